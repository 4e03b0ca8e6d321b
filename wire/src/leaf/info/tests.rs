//! What INFO says: fields, defaults and types, and those of a real server.

use super::*;

#[test]
fn what_is_left_out_has_its_default() {
    for json in ["{}", " { } ", "{\"import\":null,\"nonce\":null,\"headers\":null}"] {
        assert_eq!(HubInfo::parse(json.as_bytes()), Some(HubInfo::default()), "{json}");
    }
    let info = HubInfo::default();
    assert!(info.leafnode_urls.is_none() && info.max_payload.is_none());
    assert!(info.import.is_everything() && info.export.is_everything());
}

#[test]
fn a_field_that_is_used_has_its_type_and_others_any() {
    for json in [
        "",
        "[]",
        "{}x",
        "{\"server_id\":1}",
        "{\"tls_required\":\"true\"}",
        "{\"headers\":1}",
        "{\"nonce\":[]}",
        "{\"max_payload\":-1}",
        "{\"max_payload\":4294967296}",
        "{\"max_payload\":1.5}",
        "{\"leafnode_urls\":\"a:1\"}",
        "{\"leafnode_urls\":[1]}",
        "{\"import\":[]}",
        "{\"import\":{\"allow\":\"a\"}}",
        "{\"export\":{\"deny\":{}}}",
    ] {
        assert_eq!(HubInfo::parse(json.as_bytes()), None, "{json}");
    }
    let deep = format!("{{\"new\":{}{}}}", "[".repeat(2_000), "]".repeat(2_000));
    for json in ["{\"port\":\"x\",\"proto\":[1,{}]}", "{\"import\":{\"new\":7}}", &deep] {
        assert_eq!(HubInfo::parse(json.as_bytes()), Some(HubInfo::default()), "{json}");
    }
}

#[test]
fn lists_are_there_or_empty_or_absent() {
    let read = |json: &str| HubInfo::parse(json.as_bytes()).unwrap();
    assert_eq!(read("{\"leafnode_urls\":[]}").leafnode_urls, Some(Vec::new()));
    let export = read("{\"export\":{\"allow\":[],\"deny\":null}}").export;
    assert_eq!(export, Permissions { allow: Some(Vec::new()), deny: Vec::new() });
    let twice = read("{\"leafnode_urls\":[\"a:1\"],\"leafnode_urls\":[\"b:2\"]}");
    assert_eq!(twice.leafnode_urls, Some(vec!["b:2".to_owned()]));
}

#[test]
fn texts_need_not_be_unicode() {
    let info = HubInfo::parse(b"{\"server_name\":\"a\xFFb\",\"\xFF\":1,\"domain\":\"\\ud800\"}");
    let info = info.unwrap();
    assert_eq!(info.server_name, "a\u{FFFD}b");
    assert!(!info.domain.is_empty() && !info.domain.is_ascii());
}

#[test]
fn a_port_for_leaf_nodes_is_told_from_others() {
    let rows = [
        ("{\"client_id\":6,\"leafnode_urls\":[\"a:1\"]}", true),
        ("{\"leafnode_urls\":[]}", true),
        // A hub that does not advertise has no list.
        ("{\"client_id\":6,\"ip\":\"127.0.0.1:7422\"}", true),
        ("{\"client_id\":5,\"client_ip\":\"127.0.0.1\"}", false),
        ("{\"connect_urls\":[\"a:1\"],\"lnoc\":true}", false),
        ("{\"gateway\":\"g\"}", false),
        ("{\"client_id\":null,\"client_ip\":null}", false),
    ];
    for (json, expected) in rows {
        assert_eq!(HubInfo::parse(json.as_bytes()).unwrap().is_leaf_port, expected, "{json}");
    }
}
