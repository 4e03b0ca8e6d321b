//! CONNECT: what a leaf node says of itself and wants, as JSON.
//!
//! Owns the names of the fields and when each is there. Must not decide their values. What shows
//! who the leaf node is never shows in debug output.

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::LINE_END;

/// The newest version of the protocol: the hub may pass on what is traced.
pub const PROTOCOL: u8 = 1;

/// What a leaf node says of itself. What is false or empty is left out, which the hub takes for
/// just that. There is no field for compression: a hub compresses nothing if none is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect<'a> {
    /// One for each broker, and always the same. Shown to the hub's people.
    pub name: &'a str,
    /// The leaf node takes messages with headers; else the hub cuts them off.
    pub headers: bool,
    /// A hub passes nothing from one link to another of the same name. Without blanks, and not the
    /// name of the hub's own cluster.
    pub cluster: &'a str,
    /// With it, a link that comes again under the same names ends the one that is there.
    pub remote_account: &'a str,
    /// Three numbers, `2.10.0`. Hubs may refuse versions below a certain one.
    pub version: &'a str,
    /// [`PROTOCOL`], or 0.
    pub protocol: u8,
    /// Who the leaf node is.
    pub log_in: LogIn<'a>,
    /// Filters of subjects that the hub must not send, whatever wider ones are asked for.
    pub deny_pub: &'a [&'a str],
    /// The hub does not tell the interest of its other leaf nodes.
    pub isolate: bool,
}

/// What a leaf node gives to show who it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LogIn<'a> {
    /// Nothing: the hub does not ask.
    None,
    /// A name and a password.
    User {
        /// The user's name.
        user: &'a str,
        /// The user's password.
        pass: &'a str,
    },
    /// A token in place of name and password.
    Token(&'a str),
    /// A public key.
    Nkey {
        /// The key, as text.
        nkey: &'a str,
        /// The signature by it of the nonce that INFO had: Ed25519, in base64 for URLs, unpadded.
        sig: &'a str,
    },
    /// A signed statement of who the user is.
    Jwt {
        /// The statement.
        jwt: &'a str,
        /// The signature of the nonce by the key that the statement names.
        sig: &'a str,
    },
}

impl fmt::Debug for LogIn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogIn::None => f.write_str("None"),
            LogIn::User { user, .. } => write!(f, "User({user:?}, ..)"),
            LogIn::Token(_) => f.write_str("Token(..)"),
            LogIn::Nkey { nkey, .. } => write!(f, "Nkey({nkey:?}, ..)"),
            LogIn::Jwt { .. } => f.write_str("Jwt(..)"),
        }
    }
}

impl Connect<'_> {
    /// Appends the line with its end to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"CONNECT ");
        serde_json::to_writer(&mut *out, self).expect("a vector takes everything");
        out.extend_from_slice(LINE_END);
    }
}

impl Serialize for Connect<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let who = match self.log_in {
            LogIn::None => [("", ""); 2],
            LogIn::User { user, pass } => [("user", user), ("pass", pass)],
            LogIn::Token(token) => [("auth_token", token), ("", "")],
            LogIn::Nkey { nkey, sig } => [("nkey", nkey), ("sig", sig)],
            LogIn::Jwt { jwt, sig } => [("jwt", jwt), ("sig", sig)],
        };
        let what = [
            ("name", self.name),
            ("cluster", self.cluster),
            ("remote_account", self.remote_account),
            ("version", self.version),
        ];
        for (key, text) in what.into_iter().chain(who).filter(|(_, text)| !text.is_empty()) {
            map.serialize_entry(key, text)?;
        }
        for (key, value) in [("headers", self.headers), ("isolate", self.isolate)] {
            if value {
                map.serialize_entry(key, &true)?;
            }
        }
        if self.protocol > 0 {
            map.serialize_entry("protocol", &self.protocol)?;
        }
        if !self.deny_pub.is_empty() {
            map.serialize_entry("deny_pub", self.deny_pub)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const LEAST: Connect<'static> = Connect {
        name: "",
        headers: false,
        cluster: "",
        remote_account: "",
        version: "",
        protocol: 0,
        log_in: LogIn::None,
        deny_pub: &[],
        isolate: false,
    };

    fn written(connect: &Connect) -> String {
        let mut out = Vec::new();
        connect.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_line_is_written_to_the_byte() {
        assert_eq!(written(&LEAST), "CONNECT {}\r\n");
        let usual = Connect {
            name: "broker-1",
            headers: true,
            cluster: "brokers",
            remote_account: "BROKERS",
            version: "2.10.0",
            protocol: PROTOCOL,
            ..LEAST
        };
        let expected = "CONNECT {\"name\":\"broker-1\",\"cluster\":\"brokers\",\
            \"remote_account\":\"BROKERS\",\"version\":\"2.10.0\",\"headers\":true,\
            \"protocol\":1}\r\n";
        assert_eq!(written(&usual), expected);
    }

    #[test]
    fn each_way_to_log_in_has_its_fields_and_no_debug_output() {
        let (nkey, sig, jwt) = ("UPUBLIC", "c2ln-1", "eyJ-1");
        let rows = [
            (LogIn::None, json!({})),
            (LogIn::User { user: "u", pass: "p-1" }, json!({"user": "u", "pass": "p-1"})),
            (LogIn::Token("t-1"), json!({"auth_token": "t-1"})),
            (LogIn::Nkey { nkey, sig }, json!({"nkey": nkey, "sig": sig})),
            (LogIn::Jwt { jwt, sig }, json!({"jwt": jwt, "sig": sig})),
        ];
        for (log_in, expected) in rows {
            let line = written(&Connect { log_in, ..LEAST });
            let value: Value = serde_json::from_str(&line["CONNECT ".len()..]).unwrap();
            assert_eq!(value, expected);
            assert!(!format!("{log_in:?}").contains("-1"), "{log_in:?}");
        }
    }

    #[test]
    fn whatever_a_text_holds_it_is_one_line() {
        let connect = Connect {
            name: "line\r\nend \"x\"",
            log_in: LogIn::User { user: "caf\u{e9}", pass: "\n\u{0}" },
            deny_pub: &["$JS.>", "a\nb"],
            isolate: true,
            ..LEAST
        };
        let line = written(&connect);
        assert_eq!(line.find(['\r', '\n']), Some(line.len() - 2));
        let value: Value = serde_json::from_str(&line["CONNECT ".len()..]).unwrap();
        let expected = json!({
            "name": "line\r\nend \"x\"",
            "user": "caf\u{e9}",
            "pass": "\n\u{0}",
            "deny_pub": ["$JS.>", "a\nb"],
            "isolate": true,
        });
        assert_eq!(value, expected);
    }
}
