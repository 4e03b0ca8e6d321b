//! Who the programs say they are: flags, environment, and the file with the secret.
//!
//! Owns where a user and a secret come from. Must not show a secret, nor take one from the command
//! line, where every user of the machine reads it.

use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use pubsub_client::ConnectOptions;

const USER: &str = "BROKER_USER";
const SECRET: &str = "BROKER_SECRET";
/// Bytes of a file with a secret: beyond what the broker's protocol takes.
const MAX_FILE_BYTES: u64 = 4 << 10;

/// Flags of all programs.
#[derive(Debug, Args)]
pub(crate) struct CredentialArgs {
    /// User of the broker to connect as [default: BROKER_USER]
    #[arg(long, value_name = "NAME")]
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    user: Option<String>,

    /// File whose only line is that user's secret [default: the secret in BROKER_SECRET]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// A user, and its secret if it is to show one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) secret: Option<String>,
}

// Written by hand so that no secret is ever shown.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.secret.as_ref().map(|_| "***");
        f.debug_struct("Credentials").field("user", &self.user).field("secret", &secret).finish()
    }
}

impl CredentialArgs {
    /// What they and the environment come to; `None`: the program shows nothing of itself.
    ///
    /// # Errors
    /// Why there is no secret where one was named, or no user for it.
    pub(crate) fn read(&self) -> Result<Option<Credentials>, String> {
        self.read_where(variable)
    }

    fn read_where(
        &self,
        variable: impl Fn(&str) -> Result<Option<String>, String>,
    ) -> Result<Option<Credentials>, String> {
        let user = match &self.user {
            Some(user) => Some(user.clone()),
            None => variable(USER)?,
        };
        let (secret, place) = match &self.secret_file {
            Some(path) => (Some(secret_of(path)?), "--secret-file"),
            None => (variable(SECRET)?, SECRET),
        };
        match (user, secret) {
            (None, None) => Ok(None),
            (None, Some(_)) => {
                Err(format!("{place} is nobody's: say whose secret it is, by --user or {USER}"))
            }
            (Some(user), secret) => Ok(Some(Credentials { user, secret })),
        }
    }
}

impl Credentials {
    /// The options with these credentials.
    pub(crate) fn apply(&self, options: ConnectOptions) -> ConnectOptions {
        match &self.secret {
            Some(secret) => options.credentials(&self.user, secret),
            None => options.user(&self.user),
        }
    }
}

/// What to do when a broker does not let the program in.
pub(crate) fn advice(shown: Option<&Credentials>) -> String {
    match shown {
        None => format!(
            "the broker wants to know who this is: give --user and --secret-file, or {USER} and \
             {SECRET}"
        ),
        Some(Credentials { user, secret: None }) => {
            format!("{user:?} showed no secret: give --secret-file or {SECRET}")
        }
        Some(Credentials { user, secret: Some(_) }) => {
            format!("is there a user {user:?}, and is that its secret?")
        }
    }
}

fn variable(name: &str) -> Result<Option<String>, String> {
    let value = env::var_os(name).filter(|value| !value.is_empty());
    // The value may be a secret, so that it is not shown.
    value.map(|value| value.into_string().map_err(|_| format!("{name} is no text"))).transpose()
}

/// The line of a file, which may be a pipe: `--secret-file <(…)`.
fn secret_of(path: &Path) -> Result<String, String> {
    let name = path.display();
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| format!("--secret-file {name}: {error}"))?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_one = !line.is_empty() && !line.iter().any(u8::is_ascii_control);
    let text = std::str::from_utf8(line).ok();
    text.filter(|_| is_one && bytes.len() as u64 <= MAX_FILE_BYTES).map(str::to_owned).ok_or_else(
        || format!("--secret-file {name}: expected a secret, as text in one line of the file"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn read(
        user: Option<&str>,
        file: Option<&Path>,
        environment: [&str; 2],
    ) -> Result<Option<(String, Option<String>)>, String> {
        let args = CredentialArgs {
            user: user.map(str::to_owned),
            secret_file: file.map(Path::to_path_buf),
        };
        let variable = |name: &str| {
            let [user, secret] = environment.map(str::to_owned);
            Ok(Some(if name == USER { user } else { secret }).filter(|value| !value.is_empty()))
        };
        args.read_where(variable).map(|found| found.map(|it| (it.user, it.secret)))
    }

    #[test]
    fn flags_win_over_the_environment() {
        let hush = file(b"hush\r\n");
        let both = |user: &str, secret: &str| Ok(Some((user.to_owned(), Some(secret.to_owned()))));
        assert_eq!(read(None, None, ["", ""]), Ok(None));
        assert_eq!(read(None, None, ["eve", "sh"]), both("eve", "sh"));
        assert_eq!(read(Some("ann"), Some(hush.path()), ["eve", "sh"]), both("ann", "hush"));
        assert_eq!(read(Some("ann"), None, ["", "sh"]), both("ann", "sh"));
        assert_eq!(read(Some("ann"), None, ["", ""]), Ok(Some(("ann".to_owned(), None))));
        let nobodys = read(None, Some(hush.path()), ["", ""]).unwrap_err();
        assert!(nobodys.starts_with("--secret-file is nobody's"), "{nobodys}");
        assert!(read(None, None, ["", "sh"]).unwrap_err().starts_with("BROKER_SECRET is nobody's"));
    }

    #[test]
    fn a_file_has_one_line_and_is_not_shown() {
        for bytes in [&b""[..], b"\n", b"hush\nhush\n", b"\xFFhush\n", &[b'h'; 5_000]] {
            let file = file(bytes);
            let error = read(Some("ann"), Some(file.path()), ["", ""]).unwrap_err();
            assert!(error.contains("expected a secret") && !error.contains("hush"), "{error}");
        }
        let missing = read(Some("ann"), Some(Path::new("/no/such")), ["", ""]).unwrap_err();
        assert!(missing.starts_with("--secret-file /no/such: No such file"), "{missing}");
        let shown = Credentials { user: "ann".to_owned(), secret: Some("hush".to_owned()) };
        let debug = format!("{shown:?} {:?}", shown.apply(ConnectOptions::new()));
        assert!(debug.contains("ann") && !debug.contains("hush"), "{debug}");
    }
}
