//! What the broker shows to a hub that asks who it is.
//!
//! Owns the files of it, and what is wrong with one. Must not say what is in them: its messages end
//! up in a log.

use std::path::Path;

use wire::leaf::connect::LogIn;

use super::seed::Seed;
use crate::config;
use crate::net::files::File;

/// Bytes of a password, a token or a statement: the hub takes 64 KiB of CONNECT.
const MAX_SECRET_BYTES: usize = 32 << 10;

/// What is shown.
pub(super) enum Credentials {
    /// Nothing.
    None,
    /// A name and a password.
    User(String, String),
    /// A token.
    Token(String),
    /// A key.
    Key(Seed),
    /// A statement, and the key that it names.
    Statement(String, Seed),
}

/// The text that a hub has not given, so that there is nothing to sign.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoNonce;

impl Credentials {
    /// Reads the file that the settings name, and tells `keep` of its bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn load(
        settings: &config::Link,
        keep: &mut dyn FnMut(&[u8]),
    ) -> Result<Credentials, String> {
        let mut read = |setting: &'static str, path: &Path| {
            let file = File::read_private(setting, path)?;
            keep(file.bytes());
            Ok::<_, String>(file)
        };
        if let Some(path) = &settings.secret_file {
            let file = read("[link] secret_file", path)?;
            let secret = line(&file)?.to_owned();
            return Ok(match &settings.user {
                Some(user) => Credentials::User(user.clone(), secret),
                None => Credentials::Token(secret),
            });
        }
        if let Some(path) = &settings.nkey_file {
            let file = read("[link] nkey_file", path)?;
            let seed = Seed::parse(line(&file)?);
            let wrong = || file.wrong("expected the seed of a user's nkey, which begins with SU");
            return seed.map(Credentials::Key).ok_or_else(wrong);
        }
        if let Some(path) = &settings.credentials {
            let file = read("[link] credentials", path)?;
            let statement =
                parse(text(&file)?).map(|(jwt, seed)| Credentials::Statement(jwt, seed));
            return statement.map_err(|what| file.wrong(what));
        }
        Ok(Credentials::None)
    }

    /// Calls `with` with what to show to a hub that gave this nonce.
    ///
    /// # Errors
    /// If there is something to sign, and no nonce.
    pub(super) fn show<T>(
        &self,
        nonce: Option<&str>,
        with: impl FnOnce(LogIn<'_>) -> T,
    ) -> Result<T, NoNonce> {
        Ok(match self {
            Credentials::None => with(LogIn::None),
            Credentials::User(user, pass) => with(LogIn::User { user, pass }),
            Credentials::Token(token) => with(LogIn::Token(token)),
            Credentials::Key(seed) => {
                let sig = seed.sign(nonce.ok_or(NoNonce)?);
                with(LogIn::Nkey { nkey: &seed.public_key(), sig: &sig })
            }
            Credentials::Statement(jwt, seed) => {
                let sig = seed.sign(nonce.ok_or(NoNonce)?);
                with(LogIn::Jwt { jwt, sig: &sig })
            }
        })
    }
}

fn text(file: &File) -> Result<&str, String> {
    std::str::from_utf8(file.bytes()).map_err(|_| file.wrong("it is no text"))
}

/// The only line of a file.
fn line(file: &File) -> Result<&str, String> {
    let line = text(file)?.trim_end_matches(['\r', '\n']);
    let wrong = if line.is_empty() {
        "expected one line, and it is empty"
    } else if line.contains(char::is_control) {
        "expected one line, and it has more, or control characters"
    } else if line.len() > MAX_SECRET_BYTES {
        "its line is longer than 32 KiB; is it the right file?"
    } else {
        return Ok(line);
    };
    Err(file.wrong(wrong))
}

/// The statement and the seed in the text of a file of credentials.
fn parse(text: &str) -> Result<(String, Seed), &'static str> {
    let jwt = between(text, "NATS USER JWT").filter(|jwt| jwt.len() <= MAX_SECRET_BYTES);
    let jwt = jwt.ok_or("expected a line behind BEGIN NATS USER JWT, as nsc writes it")?;
    let seed = between(text, "USER NKEY SEED").and_then(Seed::parse);
    let seed = seed.ok_or("expected the seed of a user's nkey behind BEGIN USER NKEY SEED")?;
    Ok((jwt.to_owned(), seed))
}

/// The line between the two marks of this name.
fn between<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let is_mark = |line: &str, word: &str| {
        let inner = line.trim_matches('-');
        inner.len() < line.len() && inner.strip_prefix(word).is_some_and(|rest| rest == name)
    };
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.find(|line| is_mark(line, "BEGIN "))?;
    let line = lines.next()?;
    let is_one = lines.next().is_some_and(|line| is_mark(line, "END "));
    let is_odd = |c: char| c.is_whitespace() || c.is_control();
    (is_one && !line.contains(is_odd)).then_some(line)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::super::seed;
    use super::*;
    use crate::config::Config;

    fn file(text: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.eyJq.sig\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\nNKEYs are sensitive\n\n\
             -----BEGIN USER NKEY SEED-----\n{text}\n------END USER NKEY SEED------\n\n****\n"
        )
    }

    /// What the settings give, with this text in the file that they name.
    fn load(settings: &str, text: &str, mode: u32) -> Result<Credentials, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let text = format!("[link]\n{settings} = {}\n", path.display());
        let config = Config::parse(&text, "c.ini".as_ref()).unwrap();
        let mut kept = Vec::new();
        let loaded = Credentials::load(&config.link, &mut |bytes| kept.extend_from_slice(bytes));
        assert!(loaded.is_err() || !kept.is_empty());
        loaded
    }

    fn shown(credentials: &Credentials) -> String {
        let nonce = Some("nonce");
        let with = |log_in: LogIn<'_>| match log_in {
            LogIn::None => "none".to_owned(),
            LogIn::User { user, pass } => format!("{user} {pass}"),
            LogIn::Token(token) => token.to_owned(),
            LogIn::Nkey { nkey, sig } => format!("{nkey} {}", sig.len()),
            LogIn::Jwt { jwt, sig } => format!("{jwt} {}", sig.len()),
        };
        credentials.show(nonce, with).unwrap()
    }

    #[test]
    fn each_way_to_log_in_comes_from_its_file() {
        let seed = seed::tests::text();
        let rows = [
            ("user = u\nsecret_file", "pa ss\r\n", "u pa ss".to_owned()),
            ("secret_file", "t0ken", "t0ken".to_owned()),
            ("nkey_file", &seed, format!("{} 86", Seed::parse(&seed).unwrap().public_key())),
            ("credentials", &file(&seed), "eyJ0.eyJq.sig 86".to_owned()),
        ];
        for (settings, text, expected) in rows {
            assert_eq!(shown(&load(settings, text, 0o600).unwrap()), expected, "{settings}");
        }
        let none = Credentials::load(&Config::default().link, &mut |_| unreachable!()).unwrap();
        assert_eq!(shown(&none), "none");
        assert_eq!(none.show(None, |_| ()), Ok(()));
        let signed = load("nkey_file", &seed, 0o600).unwrap();
        assert_eq!(signed.show(None, |_| ()), Err(NoNonce));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_without_what_is_in_it() {
        let seed = seed::tests::text();
        let rows = [
            ("secret_file", "", "is empty"),
            ("secret_file", "SECRET\nSECRET\n", "one line"),
            ("nkey_file", "SUSECRET\n", "begins with SU"),
            ("credentials", "SECRET", "BEGIN NATS USER JWT"),
            ("credentials", &file("SUSECRET"), "behind BEGIN USER NKEY SEED"),
            ("credentials", &file(&format!("{seed}\nSECRET")), "behind BEGIN USER NKEY SEED"),
        ];
        for (settings, text, says) in rows {
            let error = load(settings, text, 0o600).err().unwrap();
            assert!(error.starts_with(&format!("[link] {settings} = ")), "{error}");
            assert!(error.contains(says) && !error.contains("SECRET"), "{error}");
        }
        for setting in ["secret_file", "nkey_file", "credentials"] {
            let error = load(setting, &seed, 0o604).err().unwrap();
            assert!(error.contains("chmod 640"), "{error}");
        }
    }
}
