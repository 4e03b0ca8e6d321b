//! INFO: what a hub says of itself, as the leaf node reads it.
//!
//! Owns the fields that a leaf node uses, their types and defaults. Must not decide what follows
//! from them. Fields of no use here may hold anything.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::permissions::Permissions;
use crate::nats::json::{self, Text, set, set_text};

/// What one INFO says. A hub sends several, and each has but a part of the fields: what one leaves
/// out has its default here, and the caller knows what an earlier one has said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HubInfo {
    /// A new one for each start of the server; empty if it says none.
    pub server_id: String,
    /// For people; empty if it says none.
    pub server_name: String,
    /// The server's version; empty if it says none.
    pub version: String,
    /// The leaf node has to begin TLS behind this line.
    pub tls_required: bool,
    /// What a leaf node signs that has a key.
    pub nonce: Option<String>,
    /// Whether the hub takes headers.
    pub headers: bool,
    /// The most bytes of headers and payload that the hub takes; `None`: it does not say.
    pub max_payload: Option<u32>,
    /// The name of the hub's cluster; empty if it has none.
    pub cluster: String,
    /// The hub's JetStream domain; empty if it has none.
    pub domain: String,
    /// Whether the hub has JetStream.
    pub jetstream: bool,
    /// The link has been joined: this is the answer to CONNECT.
    pub connect_info: bool,
    /// The account of the hub that the link is in; empty before it has been joined.
    pub remote_account: String,
    /// Whether the port is one for leaf nodes, and not for clients or servers of the same cluster.
    /// Only the first INFO of a link says so.
    pub is_leaf_port: bool,
    /// `host:port` of each node of the hub's cluster, its own included. `None`: the hub does not
    /// tell them.
    pub leafnode_urls: Option<Vec<String>>,
    /// What the leaf node may subscribe to.
    pub import: Permissions,
    /// What the leaf node may send.
    pub export: Permissions,
}

impl HubInfo {
    /// Reads the JSON of an INFO. `None`: it is no object, or a field that is used is of a wrong
    /// type. A field that is `null` counts as left out, one that is there twice as the last says.
    pub fn parse(json: &[u8]) -> Option<HubInfo> {
        if !json::is_object(json) {
            return None;
        }
        let mut reader = serde_json::Deserializer::from_slice(json);
        reader.deserialize_map(Fields).ok()
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = HubInfo;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields of INFO")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HubInfo, A::Error> {
        let mut info = HubInfo::default();
        // Ports for clients and for leaf nodes number their connections, others do not; those for
        // clients tell where the client is.
        let (mut is_numbered, mut names_client) = (false, false);
        while let Some(Text(key)) = map.next_key()? {
            match key.as_str() {
                "server_id" => set_text(&mut map, &mut info.server_id)?,
                "server_name" => set_text(&mut map, &mut info.server_name)?,
                "version" => set_text(&mut map, &mut info.version)?,
                "tls_required" => set(&mut map, &mut info.tls_required)?,
                "nonce" => info.nonce = map.next_value::<Option<Text>>()?.map(|Text(text)| text),
                "headers" => set(&mut map, &mut info.headers)?,
                "max_payload" => info.max_payload = map.next_value()?,
                "cluster" => set_text(&mut map, &mut info.cluster)?,
                "domain" => set_text(&mut map, &mut info.domain)?,
                "jetstream" => set(&mut map, &mut info.jetstream)?,
                "connect_info" => set(&mut map, &mut info.connect_info)?,
                "remote_account" => set_text(&mut map, &mut info.remote_account)?,
                "leafnode_urls" => info.leafnode_urls = texts(&mut map)?,
                "import" => set(&mut map, &mut info.import)?,
                "export" => set(&mut map, &mut info.export)?,
                "client_id" => is_numbered = map.next_value::<Option<IgnoredAny>>()?.is_some(),
                "client_ip" => names_client = map.next_value::<Option<IgnoredAny>>()?.is_some(),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        info.is_leaf_port = info.leafnode_urls.is_some() || is_numbered && !names_client;
        Ok(info)
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Permissions, D::Error> {
        deserializer.deserialize_map(Lists)
    }
}

struct Lists;

impl<'de> Visitor<'de> for Lists {
    type Value = Permissions;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what is allowed and denied")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Permissions, A::Error> {
        let mut permissions = Permissions::default();
        while let Some(Text(key)) = map.next_key()? {
            match key.as_str() {
                "allow" => permissions.allow = texts(&mut map)?,
                "deny" => permissions.deny = texts(&mut map)?.unwrap_or_default(),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(permissions)
    }
}

fn texts<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Vec<String>>, A::Error> {
    let texts = map.next_value::<Option<Vec<Text>>>()?;
    Ok(texts.map(|texts| texts.into_iter().map(|Text(text)| text).collect()))
}

#[cfg(test)]
mod tests;
