//! INFO: what a server says of itself, as one line of JSON.
//!
//! Owns the names of the fields and when each is there. Must not decide their values, except where
//! clients leave no choice.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{LINE_END, json};

/// The longest INFO line that all clients take, in bytes.
pub const MAX_INFO_BYTES: usize = 4_096;
/// The version of the protocol. Clients refuse to leave out the echo of their messages below 1.
pub const PROTOCOL: u8 = 1;
/// The version of Go that the server is built with. Some clients fail if the field is missing.
pub const GO: &str = "none";

/// What a server says of itself. A field that is false, `None` or empty is left out where clients
/// take its absence for that; none is ever `null`, which some clients cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info<'a> {
    /// A new one for each start of the server.
    pub server_id: &'a str,
    /// For people.
    pub server_name: &'a str,
    /// Begins with three numbers, `2.12.0`, by which clients decide what the server can do. Some
    /// connect to no server whose version does not look like that.
    pub version: &'a str,
    /// The address that the server listens on.
    pub host: &'a str,
    /// The port that it listens on.
    pub port: u16,
    /// Whether it takes messages with headers.
    pub headers: bool,
    /// The most bytes of headers and payload that it takes, at most `i32::MAX`.
    pub max_payload: u32,
    /// The number of this connection, at most `i32::MAX`.
    pub client_id: u32,
    /// The address that this client comes from.
    pub client_ip: &'a str,
    /// The client has to show who it is.
    pub auth_required: bool,
    /// The client has to begin TLS behind this line.
    pub tls_required: bool,
    /// The client has to show a certificate.
    pub tls_verify: bool,
    /// The client may begin TLS behind this line.
    pub tls_available: bool,
    /// What the client signs if it has a key.
    pub nonce: Option<&'a str>,
    /// Addresses `host:port` of other servers. Clients forget those that they had found before.
    pub connect_urls: &'a [&'a str],
    /// The server is about to shut down.
    pub lame_duck: bool,
}

impl Info<'_> {
    /// Appends the line with its end to `out`. It should not be over [`MAX_INFO_BYTES`].
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"INFO ");
        serde_json::to_writer(&mut *out, self).expect("a vector takes everything");
        out.extend_from_slice(LINE_END);
    }
}

impl Serialize for Info<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("server_id", self.server_id)?;
        map.serialize_entry("server_name", self.server_name)?;
        map.serialize_entry("version", self.version)?;
        map.serialize_entry("proto", &PROTOCOL)?;
        map.serialize_entry("go", GO)?;
        map.serialize_entry("host", self.host)?;
        map.serialize_entry("port", &self.port)?;
        map.serialize_entry("headers", &self.headers)?;
        map.serialize_entry("max_payload", &self.max_payload)?;
        map.serialize_entry("client_id", &self.client_id)?;
        map.serialize_entry("client_ip", self.client_ip)?;
        for (key, value) in [
            ("auth_required", self.auth_required),
            ("tls_required", self.tls_required),
            ("tls_verify", self.tls_verify),
            ("tls_available", self.tls_available),
        ] {
            if value {
                map.serialize_entry(key, &true)?;
            }
        }
        if let Some(nonce) = self.nonce {
            map.serialize_entry("nonce", nonce)?;
        }
        if !self.connect_urls.is_empty() {
            map.serialize_entry("connect_urls", self.connect_urls)?;
        }
        if self.lame_duck {
            map.serialize_entry("ldm", &true)?;
        }
        map.end()
    }
}

/// Whether the JSON of a client's INFO can be ignored. If it is no object, the connection ends
/// without a word.
pub fn can_be_ignored(json: &[u8]) -> bool {
    json::is_object(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const PLAIN: Info<'static> = Info {
        server_id: "N1",
        server_name: "demo",
        version: "2.12.0-ours.0.1",
        host: "127.0.0.1",
        port: 4222,
        headers: true,
        max_payload: 1_048_576,
        client_id: 5,
        client_ip: "::1",
        auth_required: false,
        tls_required: false,
        tls_verify: false,
        tls_available: false,
        nonce: None,
        connect_urls: &[],
        lame_duck: false,
    };

    fn written(info: &Info) -> String {
        let mut out = Vec::new();
        info.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_plain_server_says_what_clients_cannot_do_without() {
        let expected = "INFO {\"server_id\":\"N1\",\"server_name\":\"demo\",\
            \"version\":\"2.12.0-ours.0.1\",\"proto\":1,\"go\":\"none\",\"host\":\"127.0.0.1\",\
            \"port\":4222,\"headers\":true,\"max_payload\":1048576,\"client_id\":5,\
            \"client_ip\":\"::1\"}\r\n";
        assert_eq!(written(&PLAIN), expected);
    }

    #[test]
    fn what_is_not_always_there_is_there_when_it_is_set() {
        let info = Info {
            auth_required: true,
            tls_required: true,
            tls_verify: true,
            tls_available: true,
            nonce: Some("n\"1"),
            connect_urls: &["a:1", "b:2"],
            lame_duck: true,
            headers: false,
            server_name: "line\r\nend",
            ..PLAIN
        };
        let line = written(&info);
        assert_eq!(line.find('\n'), Some(line.len() - 1), "one line, whatever a name holds");
        let value: Value = serde_json::from_str(&line["INFO ".len()..]).unwrap();
        for key in ["auth_required", "tls_required", "tls_verify", "tls_available", "ldm"] {
            assert_eq!(value[key], json!(true), "{key}");
        }
        assert_eq!(value["nonce"], json!("n\"1"));
        assert_eq!(value["connect_urls"], json!(["a:1", "b:2"]));
        assert_eq!(
            (&value["headers"], &value["server_name"]),
            (&json!(false), &json!("line\r\nend"))
        );
    }
}
