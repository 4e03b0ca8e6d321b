//! The bodies of HELLO and WELCOME: `key=value` lines.
//!
//! Owns their parsing and encoding. Whether credentials are good is not asked here.

use super::error_code::ErrorCode;
use super::frame::{self, Kind};

/// The only version of the protocol that is spoken.
pub const VERSION: &str = "1";
/// The longest client id, in bytes.
pub const MAX_ID_BYTES: usize = 255;
/// The longest body of HELLO, in bytes.
pub const MAX_HELLO_BODY: usize = 4_096;

/// What a client says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The client's id: 0 to 255 bytes, without control characters.
    pub id: &'a str,
    /// The user name, if one was given.
    pub user: Option<&'a str>,
    /// The user's secret, if one was given.
    pub secret: Option<&'a str>,
}

impl<'a> Hello<'a> {
    /// Reads the topic and body of a HELLO.
    ///
    /// # Errors
    /// `MALFORMED` for a bad id or bad lines; then `VERSION` for a version that is missing or
    /// not 1.
    pub fn parse(id: &'a [u8], body: &'a [u8]) -> Result<Hello<'a>, ErrorCode> {
        if id.len() > MAX_ID_BYTES || body.len() > MAX_HELLO_BODY {
            return Err(ErrorCode::Malformed);
        }
        let id = std::str::from_utf8(id).map_err(|_| ErrorCode::Malformed)?;
        if id.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(ErrorCode::Malformed);
        }
        let lines = Lines::parse(body).ok_or(ErrorCode::Malformed)?;
        if lines.find("version") != Some(VERSION) {
            return Err(ErrorCode::Version);
        }
        Ok(Hello { id, user: lines.find("user"), secret: lines.find("secret") })
    }

    /// Appends the HELLO frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = format!("version={VERSION}\n");
        for (key, value) in [("user", self.user), ("secret", self.secret)] {
            if let Some(value) = value {
                body.push_str(&format!("{key}={value}\n"));
            }
        }
        frame::encode(Kind::Hello, 0, self.id.as_bytes(), body.as_bytes(), out);
    }
}

/// What the broker says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Welcome<'a> {
    /// The broker's id.
    pub id: &'a str,
    /// Its name and version, `name/version`.
    pub server: &'a str,
    /// The largest payload that it takes, in bytes.
    pub max_payload: usize,
    /// Its heartbeat in seconds; 0: none.
    pub heartbeat: f64,
}

impl<'a> Welcome<'a> {
    /// Reads the topic and body of a WELCOME; keys that are not known are ignored.
    ///
    /// # Errors
    /// `MALFORMED` when the lines do not parse or a known key is missing, `VERSION` when the broker
    /// speaks another version.
    pub fn parse(id: &'a [u8], body: &'a [u8]) -> Result<Welcome<'a>, ErrorCode> {
        let malformed = ErrorCode::Malformed;
        let id = std::str::from_utf8(id).map_err(|_| malformed)?;
        let lines = Lines::parse(body).ok_or(malformed)?;
        if lines.find("version") != Some(VERSION) {
            return Err(ErrorCode::Version);
        }
        let number = |key| lines.find(key).ok_or(malformed);
        Ok(Welcome {
            id,
            server: lines.find("server").ok_or(malformed)?,
            max_payload: number("max_payload")?.parse().map_err(|_| malformed)?,
            heartbeat: number("heartbeat")?.parse().map_err(|_| malformed)?,
        })
    }

    /// Appends the WELCOME frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let body = format!(
            "version={VERSION}\nserver={}\nmax_payload={}\nheartbeat={}\n",
            self.server, self.max_payload, self.heartbeat
        );
        frame::encode(Kind::Welcome, 0, self.id.as_bytes(), body.as_bytes(), out);
    }
}

/// `key=value` lines, each ended by `\n`, no key twice.
struct Lines<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Lines<'a> {
    fn parse(body: &'a [u8]) -> Option<Lines<'a>> {
        let body = std::str::from_utf8(body).ok()?;
        if body.is_empty() {
            return Some(Lines(Vec::new()));
        }
        let lines = body.strip_suffix('\n')?.split('\n');
        let mut pairs = lines.map(|line| line.split_once('=')).collect::<Option<Vec<_>>>()?;
        // Sorted, so that a body of thousands of short lines costs no quadratic search.
        pairs.sort_unstable();
        let twice = pairs.windows(2).any(|pair| pair[0].0 == pair[1].0);
        (!twice).then_some(Lines(pairs))
    }

    fn find(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|(k, _)| *k == key).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::frame::{Frame, Reader};

    fn parse(body: &[u8]) -> Result<Hello<'_>, ErrorCode> {
        Hello::parse(b"id", body)
    }

    #[test]
    fn hello_lines_are_taken_or_refused_as_the_protocol_says() {
        let with = |user, secret| Ok(Hello { id: "id", user, secret });
        let malformed = Err(ErrorCode::Malformed);
        let version = Err(ErrorCode::Version);
        let rows: [(&[u8], Result<Hello<'_>, ErrorCode>); 16] = [
            (b"version=1\n", with(None, None)),
            (b"user=u\nversion=1\nsecret=a=b\n", with(Some("u"), Some("a=b"))),
            (b"version=1\nuser=\n", with(Some(""), None)),
            (b"version=1\nwhatever=x\n", with(None, None)),
            (b"version=1", malformed),
            (b"version\n", malformed),
            (b"version=1\n\n", malformed),
            (b"version=1\nversion=1\n", malformed),
            (b"x=1\nx=2\nversion=1\n", malformed),
            (b"version=1\n\xFF=1\n", malformed),
            (b"version=2\nnonsense\n", malformed),
            (b"", version),
            (b"user=u\n", version),
            (b"version=2\n", version),
            (b"version=1 \n", version),
            (b"version=\n", version),
        ];
        for (body, expected) in rows {
            assert_eq!(parse(body), expected, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn hello_ids_are_utf8_without_controls_up_to_255_bytes() {
        let hello = |id: &[u8]| Hello::parse(id, b"version=1\n").is_ok();
        assert!(hello(b"") && hello("übel id".as_bytes()) && hello(&[b'a'; 255]));
        assert!(!hello(&[b'a'; 256]) && !hello(b"a\nb") && !hello(b"\x7F") && !hello(b"\xFF"));
    }

    #[test]
    fn hello_body_is_at_most_4096_bytes() {
        let body =
            |len: usize| [b"version=1\nx=".as_slice(), &vec![b'y'; len - 13], b"\n"].concat();
        assert!(parse(&body(4_096)).is_ok());
        assert_eq!(parse(&body(4_097)), Err(ErrorCode::Malformed));
    }

    #[test]
    fn welcome_survives_the_wire() {
        let welcome =
            Welcome { id: "b", server: "broker/0.1.0", max_payload: 1 << 20, heartbeat: 0.5 };
        let mut bytes = Vec::new();
        welcome.encode(&mut bytes);
        let frame = Frame::decode(&bytes, Reader::Client, 0).unwrap().unwrap();
        assert_eq!(Welcome::parse(frame.topic, frame.body), Ok(welcome));
        assert_eq!(Welcome::parse(b"b", b"version=2\n"), Err(ErrorCode::Version));
        assert_eq!(Welcome::parse(b"b", b"version=1\nserver=x\n"), Err(ErrorCode::Malformed));
    }
}
