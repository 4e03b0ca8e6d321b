//! Secrets for the file of users: `--new-secret` and `--hash-secret`.
//!
//! Owns what is read and printed for them. Must not keep or log any; how one is kept is the
//! business of `engine::access`.

use std::fmt;
use std::io::{self, BufRead, IsTerminal, Write};

use crate::engine::access::credentials::{NoRandomness, Secret, new_secret};

/// Bytes of a secret: about as many as a client can give.
const MAX_SECRET_BYTES: usize = 3_500;
/// Characters below which a secret that somebody chose may be guessed.
const FEW_CHARACTERS: usize = 16;

/// Why there is no line for the file.
#[derive(Debug)]
pub enum SecretError {
    /// What was given is no secret.
    Given(&'static str),
    /// The system gives no random bytes.
    Random(NoRandomness),
    /// Standard input cannot be read.
    Input(io::Error),
    /// Standard output cannot be written.
    Output(io::Error),
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretError::Given(what) => write!(f, "--hash-secret: {what}"),
            SecretError::Random(error) => error.fmt(f),
            SecretError::Input(error) => write!(f, "cannot read standard input: {error}"),
            SecretError::Output(error) => write!(f, "cannot write to standard output: {error}"),
        }
    }
}

impl std::error::Error for SecretError {}

/// Prints a new secret, and below it the line for the file of users.
///
/// # Errors
/// Without random bytes, or if it cannot be printed.
pub fn make() -> Result<(), SecretError> {
    let secret = new_secret().map_err(SecretError::Random)?;
    let kept = Secret::of(secret.as_bytes()).map_err(SecretError::Random)?;
    print(&format!("{secret}\nsecret = {kept}\n"))
}

/// Reads a secret, which is one line, and prints the line for the file of users.
///
/// # Errors
/// If there is no such line, without random bytes, or if it cannot be printed.
pub fn hash() -> Result<(), SecretError> {
    if io::stdin().is_terminal() {
        tell("the secret, in one line (it shows as you type):");
    }
    let secret = read(io::stdin().lock())?;
    if secret.chars().count() < FEW_CHARACTERS {
        tell(&format!(
            "this secret has less than {FEW_CHARACTERS} characters: whoever reads the file may \
             guess it; broker --new-secret makes one that nobody can"
        ));
    }
    let kept = Secret::of(secret.as_bytes()).map_err(SecretError::Random)?;
    print(&format!("secret = {kept}\n"))
}

/// The only line of the input, without its end.
fn read(input: impl BufRead) -> Result<String, SecretError> {
    let mut bytes = Vec::new();
    let most = MAX_SECRET_BYTES + "\r\n".len();
    let mut input = input.take(most as u64 + 1);
    input.read_until(b'\n', &mut bytes).map_err(SecretError::Input)?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > MAX_SECRET_BYTES {
        return Err(SecretError::Given("the secret is longer than 3500 bytes"));
    }
    let text = std::str::from_utf8(line)
        .map_err(|_| SecretError::Given("the secret is no text: clients cannot give it"))?;
    if text.is_empty() {
        return Err(SecretError::Given("expected the secret in a line of standard input"));
    }
    if text.contains(char::is_control) {
        return Err(SecretError::Given("the secret has a control character"));
    }
    Ok(text.to_owned())
}

fn print(text: &str) -> Result<(), SecretError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(SecretError::Output)
}

fn tell(text: &str) {
    // What cannot be told is advice only.
    let _ = writeln!(io::stderr(), "broker: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line_as_it_was_given() {
        for (bytes, secret) in [
            (&b"hush\n"[..], "hush"),
            (b"hush\r\n", "hush"),
            (b"hush", "hush"),
            (b" h s \nmore\n", " h s "),
            ("gehörnt\n".as_bytes(), "gehörnt"),
        ] {
            assert_eq!(read(bytes).unwrap(), secret);
        }
        assert!(read(&[b'x'; MAX_SECRET_BYTES][..]).is_ok());
        let long = [b'x'; MAX_SECRET_BYTES + 1];
        for bytes in [&b""[..], b"\n", b"\r\n", b"\xFF\n", b"a\tb\n", &long] {
            assert!(matches!(read(bytes), Err(SecretError::Given(_))), "{}", bytes.escape_ascii());
        }
    }
}
