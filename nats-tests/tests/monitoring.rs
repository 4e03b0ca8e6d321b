//! What tools of NATS read over HTTP: each field has the type that it has in a real nats-server,
//! and none of those that nats-top and the exporter for Prometheus read is missing. They decode
//! into typed structures, and some of them fail on a different type.

use nats_tests::frame::Frame;
use nats_tests::monitor;
use nats_tests::peer::{Event, Peer};
use nats_tests::server::Server;
use serde_json::Value;

/// What tools read, by its path.
const READ: [(&str, &str, &str); 7] = [
    (
        "/varz",
        "",
        "server_id server_name version proto go host port max_connections ping_interval ping_max \
         max_payload max_pending max_control_line write_deadline auth_timeout start now uptime mem \
         cores cpu connections total_connections routes remotes leafnodes in_msgs out_msgs \
         in_bytes out_bytes slow_consumers subscriptions http_req_stats config_load_time cluster \
         gateway leaf jetstream",
    ),
    (
        "/connz?limit=5&sort=bytes_to",
        "",
        "server_id now num_connections total offset limit connections",
    ),
    (
        "/connz?sort=idle&subs=1",
        "/connections/0",
        "cid kind type ip port start last_activity uptime idle pending_bytes in_msgs out_msgs \
         in_bytes out_bytes subscriptions name lang version subscriptions_list",
    ),
    (
        "/connz?subs=detail&auth=1",
        "/connections/0/subscriptions_list_detail/0",
        "subject sid msgs cid",
    ),
    (
        "/subsz",
        "",
        "num_subscriptions num_cache num_inserts num_removes num_matches cache_hit_rate \
         max_fanout avg_fanout",
    ),
    ("/subsz?subs=1", "/subscriptions_list/0", "subject sid msgs cid"),
    ("/healthz?js-enabled-only=true", "", "status"),
];

/// Numbers that need not be whole ones.
const SHARES: [&str; 5] = ["cpu", "cache_hit_rate", "avg_fanout", "auth_timeout", "tls_timeout"];

/// A server with a client that has subscribed and published.
fn busy(server: Server) -> (Server, Peer) {
    let mut peer = Peer::connect(server.address);
    peer.send(
        b"CONNECT {\"verbose\":false,\"name\":\"n\",\"lang\":\"go\",\"version\":\"1.50\"}\r\n",
    );
    peer.send(b"SUB a.> 1\r\nSUB b q 2\r\nPUB a.b 5\r\nhello\r\nPING\r\n");
    while peer.receive() != Event::Frame(Frame::Pong) {}
    (server, peer)
}

fn both() -> [(Server, Peer); 2] {
    let reference = Server::reference(&["http_port=-1"]);
    // A nats-server under test accepts the same.
    let tested = Server::under_test(&["http_port=-1", "monitor.address=127.0.0.1:0"]);
    [busy(reference), busy(tested)]
}

fn get(server: &Server, target: &str) -> Value {
    let address = server.monitor.expect("its log names the port");
    monitor::read(address, target).unwrap_or_else(|| panic!("no answer to {target}"))
}

/// The kind of a field's value, as far as it matters to tools.
fn kind(name: &str, value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) if SHARES.contains(&name) => "number",
        Value::Number(number) if number.is_u64() || number.is_i64() => "whole number",
        Value::Number(_) => "number",
        Value::String(text) if is_time(text) => "time",
        Value::String(text) if is_span(text) => "span",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// Whether it is a time as RFC 3339 has it.
fn is_time(text: &str) -> bool {
    let shape: String =
        text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).take(19).collect();
    let has_zone = text.ends_with('Z') || text[19.min(text.len())..].contains(['+', '-']);
    shape == "0000-00-00T00:00:00" && has_zone
}

/// Whether it is a time span such as `1d2h3m4s`.
fn is_span(text: &str) -> bool {
    text.ends_with('s')
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || "ydhm.sµn".contains(c))
}

/// Each field of `found` is there at the reference, and of the same kind.
fn compare(path: &str, reference: &Value, found: &Value) {
    match (reference, found) {
        (Value::Object(reference), Value::Object(found)) => {
            for (name, value) in found {
                let path = format!("{path}/{name}");
                let Some(known) = reference.get(name) else { panic!("{path} is unknown there") };
                assert_eq!(kind(name, known), kind(name, value), "{path}: {known}, here {value}");
                compare(&path, known, value);
            }
        }
        (Value::Array(reference), Value::Array(found)) => {
            let known = merged(reference);
            for value in found {
                assert_eq!(kind("", &known), kind("", value), "{path}: {known}, here {value}");
                compare(&format!("{path}/0"), &known, value);
            }
        }
        _ => {}
    }
}

/// One value with all fields that values of a list have; some have only a part of them.
fn merged(list: &[Value]) -> Value {
    let mut all = list.first().cloned().unwrap_or_default();
    for other in list {
        if let (Value::Object(all), Value::Object(other)) = (&mut all, other) {
            all.extend(other.clone());
        }
    }
    all
}

#[test]
fn fields_have_the_types_of_the_reference() {
    let [(reference, _one), (tested, _other)] = both();
    for (target, _, _) in READ {
        compare(target, &get(&reference, target), &get(&tested, target));
    }
}

#[test]
fn no_field_is_missing_that_tools_read() {
    let servers = both();
    for (target, place, fields) in READ {
        for (server, _) in &servers {
            let answer = get(server, target);
            let found = answer.pointer(place).unwrap_or_else(|| panic!("no {place}: {answer}"));
            let missing: Vec<_> =
                fields.split_whitespace().filter(|field| found.get(field).is_none()).collect();
            assert!(missing.is_empty(), "{target} has no {missing:?}: {answer}");
        }
    }
}

#[test]
fn figures_are_those_of_the_reference() {
    let [(reference, _one), (tested, _other)] = both();
    let [known, found] = [&reference, &tested].map(|server| get(server, "/connz?subs=detail"));
    let fields = ["kind", "type", "ip", "in_msgs", "out_msgs", "subscriptions"];
    for field in fields.into_iter().chain(["name", "lang", "version"]) {
        let field = format!("/connections/0/{field}");
        assert_eq!(known.pointer(&field), found.pointer(&field), "{field}");
    }
    for field in ["num_connections", "total", "offset", "limit"] {
        assert_eq!(known[field], found[field], "{field}");
    }
    let details = |answer: &Value| {
        let list = answer.pointer("/connections/0/subscriptions_list_detail").cloned();
        let mut list: Vec<Value> = list.and_then(|it| it.as_array().cloned()).unwrap_or_default();
        for one in &mut list {
            one["cid"] = Value::Null;
        }
        // Their order is undefined there.
        list.sort_by_key(|one| one["sid"].to_string());
        list
    };
    assert_eq!(details(&known), details(&found));
    let [known, found] = [&reference, &tested].map(|server| get(server, "/varz"));
    for field in ["connections", "total_connections", "in_msgs", "out_msgs", "slow_consumers"] {
        assert_eq!(known[field], found[field], "{field}");
    }
}

#[test]
fn kinds_are_told_apart() {
    let whole = serde_json::json!(1);
    let half = serde_json::json!(1.5);
    assert_ne!(kind("in_msgs", &whole), kind("in_msgs", &half));
    assert_eq!(kind("cpu", &whole), kind("cpu", &half));
    for (text, expected) in [
        ("2026-11-26T06:50:47.15108Z", "time"),
        ("2026-11-26T06:50:47+02:00", "time"),
        ("2026-11-26 06:50:47", "text"),
        ("1d0h0m0s", "span"),
        ("546µs", "span"),
        ("Client", "text"),
    ] {
        assert_eq!(kind("x", &text.into()), expected, "{text}");
    }
}
