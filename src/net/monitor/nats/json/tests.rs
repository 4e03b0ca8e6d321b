//! Proves which fields answers have, and of which types. What a real nats-server answers is
//! compared elsewhere, where there is one.

use std::time::Instant;

use serde_json::{Value, json};
use smallvec::SmallVec;

use super::*;
use crate::config::Config;
use crate::engine::sessions::connection::Traffic;
use crate::engine::sessions::nats_requests::Identity;

fn engine() -> Engine {
    let mut rules = Config::default().rules();
    (rules.max_connections, rules.max_payload) = (10_000, 1 << 20);
    rules.heartbeat = Duration::from_secs(30);
    rules.nats.outbox_bytes = 64 << 20;
    rules.nats.stall_timeout = Duration::from_secs(5);
    let mut engine = Engine::new(rules, 1_024, "b".into());
    let (server_id, host) = ("N1".to_owned(), "127.0.0.1".to_owned());
    engine.introduce(Identity { server_id, host, port: 4_222, ..Identity::default() });
    engine
}

fn moment() -> Moment {
    let started = OffsetDateTime::UNIX_EPOCH;
    let uptime = Duration::new(90_061, 5);
    let wall = started + uptime;
    Moment { now: Instant::now(), wall, started, uptime, configured: started, cores: 2 }
}

fn client() -> Client<'static> {
    Client {
        number: 7,
        address: "[::1]:4711",
        name: "",
        library: "",
        age: Duration::from_secs(61),
        idle: Duration::from_millis(1_500),
        queued: 3,
        delivered: Traffic { messages: 4, bytes: 5, ..Traffic::default() },
        published: Traffic { messages: 6, bytes: 8, ..Traffic::default() },
        subscriptions: 2,
        listed: None,
    }
}

fn written(client: &Client<'_>, shown: Shown) -> Value {
    let part = Part { skip: 1, limit: 9 };
    let bytes = connz(std::slice::from_ref(client), shown, (part, 2), &engine(), &moment());
    serde_json::from_slice(&bytes).expect("it is JSON")
}

#[test]
fn a_broker_is_told_of_in_the_types_that_tools_read() {
    let bytes = varz(&engine(), &moment(), 12.5, 1 << 20);
    let found: Value = serde_json::from_slice(&bytes).expect("it is JSON");
    let expected = json!({
        "server_id": "N1", "server_name": "b", "version": Engine::nats_version(), "proto": 1,
        "go": "none", "host": "127.0.0.1", "port": 4_222, "max_connections": 10_000,
        "ping_interval": 30_000_000_000_u64, "ping_max": 2, "auth_timeout": 0,
        "max_control_line": 4_096, "max_payload": 1 << 20, "max_pending": 64 << 20, "cluster": {},
        "gateway": {}, "leaf": {}, "jetstream": {}, "tls_timeout": 0,
        "write_deadline": 5_000_000_000_u64, "start": "1970-01-01T00:00:00Z",
        "now": "1970-01-02T01:01:01.000000005Z", "uptime": "1d1h1m1s", "mem": 1 << 20, "cores": 2,
        "cpu": 12.5, "connections": 0, "total_connections": 0, "routes": 0, "remotes": 0,
        "leafnodes": 0, "in_msgs": 0, "out_msgs": 0, "in_bytes": 0, "out_bytes": 0,
        "slow_consumers": 0, "subscriptions": 0, "http_req_stats": {},
        "config_load_time": "1970-01-01T00:00:00Z",
    });
    assert_eq!(found, expected);
}

#[test]
fn a_client_that_has_said_nothing_has_no_empty_fields() {
    let found = written(&client(), Shown::Nothing);
    let expected = json!({
        "server_id": "N1", "now": "1970-01-02T01:01:01.000000005Z", "num_connections": 1,
        "total": 2, "offset": 1, "limit": 9,
        "connections": [{
            "cid": 7, "kind": "Client", "type": "nats", "ip": "::1", "port": 4_711,
            "start": "1970-01-02T01:00:00.000000005Z",
            "last_activity": "1970-01-02T01:00:59.500000005Z",
            "uptime": "1m1s", "idle": "1s", "pending_bytes": 3, "in_msgs": 6, "out_msgs": 4,
            "in_bytes": 8, "out_bytes": 5, "subscriptions": 2,
        }],
    });
    assert_eq!(found, expected);
}

#[test]
fn names_and_subscriptions_are_told_if_they_are_there_and_asked_for() {
    let listed = |group, sid: &[u8]| {
        let sid = SmallVec::from_slice(sid);
        Listed { connection: 7, filter: b"a.>", group, sid, delivered: 3 }
    };
    let listed = Some(vec![listed(None, b"1"), listed(Some(&b"q"[..]), b"x\xFF")]);
    let client = Client { name: "n\"", library: "python3 2.16", listed, ..client() };
    let first = |shown| written(&client, shown)["connections"][0].clone();
    let filters = first(Shown::Filters);
    let words = ["name", "lang", "version"].map(|name| filters[name].as_str());
    assert_eq!(words, [Some("n\""), Some("python3"), Some("2.16")]);
    assert_eq!(filters["subscriptions_list"], json!(["a.>", "a.>"]));
    assert_eq!(filters.get("subscriptions_list_detail"), None);
    let details = first(Shown::Details);
    assert_eq!(details.get("subscriptions_list"), None);
    let expected = json!([
        { "subject": "a.>", "sid": "1", "msgs": 3, "cid": 7 },
        { "subject": "a.>", "qgroup": "q", "sid": "x\u{FFFD}", "msgs": 3, "cid": 7 },
    ]);
    assert_eq!(details["subscriptions_list_detail"], expected);
}

#[test]
fn lists_of_subscriptions_are_there_if_they_were_asked_for() {
    let part = Part { skip: 0, limit: 1_024 };
    let written = |listed| -> Value {
        serde_json::from_slice(&subsz(listed, part, &engine(), &moment())).expect("it is JSON")
    };
    let found = written(None);
    assert_eq!(found.get("subscriptions_list"), None);
    let shares = ["cache_hit_rate", "avg_fanout"].map(|name| found[name].is_f64());
    assert_eq!(shares, [true, true]);
    assert_eq!(written(Some(&[]))["subscriptions_list"], json!([]));
}

#[test]
fn uptimes_begin_with_the_largest_unit_of_which_there_is_one() {
    let rows = [
        (0, "0s"),
        (59, "59s"),
        (60, "1m0s"),
        (3_600, "1h0m0s"),
        (86_399, "23h59m59s"),
        (86_400, "1d0h0m0s"),
        (365 * 86_400, "1y0d0h0m0s"),
        (400 * 86_400 + 3_723, "1y35d1h2m3s"),
    ];
    for (seconds, text) in rows {
        assert_eq!(uptime(Duration::from_secs(seconds)), text);
    }
}

#[test]
fn health_is_one_word() {
    assert_eq!(health(true), b"{\"status\":\"ok\"}\n");
    assert_eq!(health(false), b"{\"status\":\"unavailable\"}\n");
}
