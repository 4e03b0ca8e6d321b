//! CONNECT: what a client says of itself and wants, as JSON.
//!
//! Owns the fields, their defaults, and which of them cannot be. Whether credentials are good is
//! not asked here, and they never show in debug output.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::json::{self, Text, set, set_text};

/// The most bytes that are kept of a client's name, its language and its version.
pub const MAX_NAME_BYTES: usize = 255;
/// The newest version of the protocol: the client takes INFO at any time.
pub const MAX_PROTOCOL: u8 = 1;

/// What a client wants, with the defaults of a client that has not said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Each line that is carried out is answered by `+OK`.
    pub verbose: bool,
    /// The client is told of subjects that it should not publish to.
    pub pedantic: bool,
    /// The client is given its own messages.
    pub echo: bool,
    /// The client may send headers, and is given those of others.
    pub headers: bool,
    /// The client is told when a request has no receiver. It has `headers`, then.
    pub no_responders: bool,
    /// The client says that it speaks TLS only, which changes nothing.
    pub tls_required: bool,
    /// At most [`MAX_PROTOCOL`]; with 1 the client takes INFO at any time.
    pub protocol: u8,
    /// The client's name, as all that a client says of itself at most [`MAX_NAME_BYTES`].
    pub name: String,
    /// The language of the client's library.
    pub lang: String,
    /// The version of the client's library.
    pub version: String,
    /// Who the client is.
    pub credentials: Credentials,
}

/// What a client gives to show who it is. What it does not give is empty.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub pass: String,
    /// A token in place of name and password.
    pub auth_token: String,
    /// A public key.
    pub nkey: String,
    /// The signature by that key of the nonce that INFO had.
    pub sig: String,
}

impl Credentials {
    /// Whether none was given at all.
    pub fn is_empty(&self) -> bool {
        *self == Credentials::default()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, nkey) = (&self.user, &self.nkey);
        f.debug_struct("Credentials")
            .field("user", user)
            .field("nkey", nkey)
            .finish_non_exhaustive()
    }
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            tls_required: false,
            protocol: 0,
            name: String::new(),
            lang: String::new(),
            version: String::new(),
            credentials: Credentials::default(),
        }
    }
}

/// Why a CONNECT is refused. Each of these ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    /// It is not one JSON object, or a field is of a wrong type. The connection ends without a
    /// word.
    Malformed,
    /// It asks for an account, which only servers with accounts have.
    AuthorizationViolation,
    /// It names a protocol that is not spoken.
    InvalidProtocol,
    /// It wants to be told of requests without receivers, but takes no headers.
    NoRespondersNeedsHeaders,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConnectError::Malformed => "it is not a JSON object of the known types",
            ConnectError::AuthorizationViolation => "it asks for an account",
            ConnectError::InvalidProtocol => "it names a protocol that is not spoken",
            ConnectError::NoRespondersNeedsHeaders => "no_responders needs headers",
        })
    }
}

impl std::error::Error for ConnectError {}

impl ConnectOptions {
    /// Takes over what a CONNECT says. Fields that it leaves out, or that are `null`, stay as they
    /// are: a client may send CONNECT again to change some. A field that it has twice counts as the
    /// last one says, keys are the same in upper and lower case, unknown ones are ignored.
    ///
    /// # Errors
    /// The first rule that it breaks. The options are of no use afterwards.
    pub fn merge(&mut self, json: &[u8]) -> Result<(), ConnectError> {
        if !json::is_object(json) {
            return Err(ConnectError::Malformed);
        }
        let protocol = i64::from(self.protocol);
        let merge = Merge { options: self, protocol, account: String::new(), new_account: false };
        let mut reader = serde_json::Deserializer::from_slice(json);
        let merged = reader.deserialize_map(merge).map_err(|_| ConnectError::Malformed)?;
        if merged.new_account || !merged.account.is_empty() {
            return Err(ConnectError::AuthorizationViolation);
        }
        self.protocol = u8::try_from(merged.protocol)
            .ok()
            .filter(|&protocol| protocol <= MAX_PROTOCOL)
            .ok_or(ConnectError::InvalidProtocol)?;
        if self.no_responders && !self.headers {
            return Err(ConnectError::NoRespondersNeedsHeaders);
        }
        Ok(())
    }

    /// The JSON that a client sends for these options. Texts that are empty are left out.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("booleans, texts and a number can be written")
    }
}

impl Serialize for ConnectOptions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in [
            ("verbose", self.verbose),
            ("pedantic", self.pedantic),
            ("tls_required", self.tls_required),
            ("echo", self.echo),
            ("headers", self.headers),
            ("no_responders", self.no_responders),
        ] {
            map.serialize_entry(key, &value)?;
        }
        map.serialize_entry("protocol", &self.protocol)?;
        let who = &self.credentials;
        for (key, text) in [
            ("name", &self.name),
            ("lang", &self.lang),
            ("version", &self.version),
            ("user", &who.user),
            ("pass", &who.pass),
            ("auth_token", &who.auth_token),
            ("nkey", &who.nkey),
            ("sig", &who.sig),
        ] {
            if !text.is_empty() {
                map.serialize_entry(key, text)?;
            }
        }
        map.end()
    }
}

/// A CONNECT while it is read: fields go into the options, or wait here to be checked at its end.
struct Merge<'a> {
    options: &'a mut ConnectOptions,
    protocol: i64,
    account: String,
    new_account: bool,
}

/// What is left of it to check.
struct Merged {
    protocol: i64,
    account: String,
    new_account: bool,
}

impl<'de> Visitor<'de> for Merge<'_> {
    type Value = Merged;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields of CONNECT")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Merged, A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            let options = &mut *self.options;
            let who = &mut options.credentials;
            match key.to_ascii_lowercase().as_str() {
                "verbose" => set(&mut map, &mut options.verbose)?,
                "pedantic" => set(&mut map, &mut options.pedantic)?,
                "echo" => set(&mut map, &mut options.echo)?,
                "headers" => set(&mut map, &mut options.headers)?,
                "no_responders" => set(&mut map, &mut options.no_responders)?,
                "tls_required" => set(&mut map, &mut options.tls_required)?,
                "protocol" => set(&mut map, &mut self.protocol)?,
                "name" => set_name(&mut map, &mut options.name)?,
                "lang" => set_name(&mut map, &mut options.lang)?,
                "version" => set_name(&mut map, &mut options.version)?,
                "user" => set_text(&mut map, &mut who.user)?,
                "pass" => set_text(&mut map, &mut who.pass)?,
                "auth_token" => set_text(&mut map, &mut who.auth_token)?,
                "nkey" => set_text(&mut map, &mut who.nkey)?,
                "sig" => set_text(&mut map, &mut who.sig)?,
                "account" => set_text(&mut map, &mut self.account)?,
                "new_account" => set(&mut map, &mut self.new_account)?,
                // Not used, but a text where it is used, so a text here.
                "jwt" => drop(map.next_value::<Option<Text>>()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let Merge { protocol, account, new_account, .. } = self;
        Ok(Merged { protocol, account, new_account })
    }
}

/// Reads a text for people, of which not all has to be kept.
fn set_name<'de, A: MapAccess<'de>>(map: &mut A, to: &mut String) -> Result<(), A::Error> {
    set_text(map, to)?;
    if to.len() > MAX_NAME_BYTES {
        let cut = (0..=MAX_NAME_BYTES).rev().find(|&cut| to.is_char_boundary(cut));
        to.truncate(cut.unwrap_or(0));
        to.shrink_to_fit();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
