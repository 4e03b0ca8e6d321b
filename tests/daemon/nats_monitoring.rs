//! Proves that the monitor shows NATS clients as such, and that the tools of NATS read what they
//! know from nats-server.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::frame::publish;
use crate::support::{Broker, Http, NatsPeer, eventually};

/// A broker with a monitor and a port for NATS clients, and that port.
fn watched(settings: &[(&str, &str)]) -> (Broker, SocketAddr) {
    let own = [("monitor.address", "127.0.0.1:0"), ("network.nats_port", "0")];
    let broker = Broker::with(&[&own, settings].concat());
    let address = broker.nats();
    (broker, address)
}

fn get(broker: &Broker, target: &str) -> Value {
    Http::get(broker.monitor(), target).json()
}

/// One field of each connection in a list.
fn each(answer: &Value, field: &str) -> Vec<Value> {
    let all = answer["connections"].as_array().expect("a list");
    all.iter().map(|one| one[field].clone()).collect()
}

/// Whether a text is a time with a zone, as RFC 3339 has it.
fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.as_bytes()[10] == b'T' && text.ends_with('Z'))
}

#[test]
fn a_nats_client_is_seen_with_what_it_sent_and_what_it_got() {
    let (broker, address) = watched(&[]);
    let mut native = broker.subscriber_of(&[b"a.>"]);
    let connect = r#"{"verbose":false,"name":"worker \"1\"","lang":"python3","version":"2.16.0"}"#;
    let mut client = NatsPeer::connect(address, connect);
    client.send("SUB a.* 1\r\nSUB b q 2\r\nPUB a.b 5\r\nhello\r\nPUB b 2\r\nhi\r\n");
    client.expect_payload("hello");
    client.expect_payload("hi");
    native.expect_message(b"a.b", b"hello");
    broker.publisher().publish(b"a.c", b"native");
    client.expect_payload("native");
    client.confirm();

    let answer = get(&broker, "/connections");
    let found = answer["connections"].as_array().expect("a list");
    let client_of = |role: &str| found.iter().find(|one| one["role"] == role).expect("it is there");
    let (seen, subscriber) = (client_of("client"), client_of("subscriber"));
    assert_eq!((&seen["protocol"], &seen["id"]), (&"nats".into(), &"worker \"1\"".into()));
    assert_eq!((&seen["messages"], &seen["published_messages"]), (&3.into(), &2.into()), "{seen}");
    assert!(seen["published_bytes"].as_u64() > Some(7) && seen["bytes"].as_u64() > Some(13));
    assert_eq!(subscriber["protocol"], "native");
    assert_eq!(subscriber["published_messages"], Value::Null);

    let metrics = Http::get(broker.monitor(), "/metrics");
    for (role, count) in [("client", 1.0), ("subscriber", 1.0)] {
        assert_eq!(metrics.sample(&format!("broker_connections{{role=\"{role}\"}}")), count);
    }
    for reason in ["unknown_operation", "line_too_long", "unauthorized", "no_headers"] {
        let name = format!("broker_disconnects_total{{reason=\"{reason}\"}}");
        assert_eq!(metrics.sample(&name), 0.0);
    }
    assert_eq!(get(&broker, "/stats")["clients"], 1);

    let connz = get(&broker, "/connz?subs=1&auth=1");
    let server = &client.info["server_id"];
    assert_eq!((&connz["server_id"], &connz["num_connections"]), (server, &1.into()));
    assert_eq!((&connz["total"], &connz["limit"]), (&1.into(), &1_024.into()));
    let first = &connz["connections"][0];
    let expected = json!({
        "cid": client.info["client_id"], "kind": "Client", "type": "nats",
        "ip": "127.0.0.1", "port": client.local().port(), "in_msgs": 2, "out_msgs": 3,
        "in_bytes": seen["published_bytes"], "out_bytes": seen["bytes"], "pending_bytes": 0,
        "subscriptions": 2, "name": "worker \"1\"", "lang": "python3", "version": "2.16.0",
        "subscriptions_list": ["a.*", "b"],
    });
    for (field, value) in expected.as_object().expect("it is written so") {
        assert_eq!(&first[field], value, "{field}: {first}");
    }
    assert!(is_time(&first["start"]) && is_time(&first["last_activity"]), "{first}");
}

#[test]
fn the_broker_is_told_of_as_nats_server_tells_of_itself() {
    let (broker, address) = watched(&[("network.max_connections", "77")]);
    let mut client = NatsPeer::named(address, "one");
    client.send("SUB > 1\r\nPUB a 1\r\nx\r\n");
    client.expect_payload("x");
    client.confirm();
    let varz = get(&broker, "/varz");
    for field in ["server_id", "server_name", "version", "proto", "go", "host", "port"] {
        assert_eq!(varz[field], client.info[field], "{field}");
    }
    let counts = ["in_msgs", "out_msgs", "connections", "total_connections", "slow_consumers"];
    assert_eq!(counts.map(|name| varz[name].as_u64()), [1, 1, 1, 1, 0].map(Some), "{varz}");
    assert_eq!((&varz["max_connections"], &varz["subscriptions"]), (&77.into(), &1.into()));
    assert!(varz["mem"].as_u64() > Some(1 << 20) && varz["cpu"].is_f64(), "{varz}");
    assert!(["start", "now", "config_load_time"].iter().all(|name| is_time(&varz[*name])));
    assert!(varz["uptime"].as_str().is_some_and(|text| text.ends_with('s')));

    let subsz = get(&broker, "/subsz");
    assert_eq!((&subsz["num_subscriptions"], &subsz["total"]), (&1.into(), &0.into()));
    assert_eq!(subsz.get("subscriptions_list"), None);
    let listed = &get(&broker, "/subsz?subs=1")["subscriptions_list"];
    let cid = &client.info["client_id"];
    let expected = json!([{ "subject": ">", "sid": "1", "msgs": 1, "cid": cid }]);
    assert_eq!(listed, &expected);
    for target in ["/healthz", "/healthz?js-enabled-only=true", "/healthz?js-server-only=1"] {
        assert_eq!(get(&broker, target), json!({ "status": "ok" }));
    }
    for target in ["/routez", "/gatewayz", "/leafz", "/accountz", "/jsz"] {
        assert_eq!(Http::get(broker.monitor(), target).status, 404, "{target}");
    }
}

#[test]
fn clients_are_listed_in_the_order_and_the_parts_that_were_asked_for() {
    let (broker, address) = watched(&[]);
    let _native = (broker.publisher(), broker.subscriber());
    let mut clients = ["a", "b", "c"].map(|name| NatsPeer::named(address, name));
    clients[1].send("SUB x 1\r\nSUB x 2\r\nSUB y 3\r\n");
    clients[1].confirm();
    clients[2].send("SUB y 1\r\nPUB x 1\r\n1\r\nPUB x 1\r\n2\r\n");
    clients[2].confirm();
    clients[0].send("PUB y 10\r\n0123456789\r\n");
    clients[0].confirm();
    let rows = [
        ("/connz", "abc"),
        ("/connz?sort=cid", "abc"),
        ("/connz?sort=rtt", "abc"),
        ("/connz?sort=uptime", "cba"),
        ("/connz?sort=subs", "bca"),
        ("/connz?sort=msgs_from", "cab"),
        ("/connz?sort=msgs_to", "bca"),
        ("/connz?sort=bytes_to&limit=1", "b"),
        ("/connz?offset=1&limit=1", "b"),
        ("/connz?offset=3", ""),
        ("/connz?offset=99999999", ""),
        ("/connz?state=closed", ""),
        ("/connz?cid=0", ""),
    ];
    for (target, names) in rows {
        let answer = get(&broker, target);
        let expected: Vec<Value> = names.chars().map(|name| name.to_string().into()).collect();
        assert_eq!(each(&answer, "name"), expected, "{target}");
        assert_eq!(answer["num_connections"], expected.len(), "{target}");
        assert_eq!(answer["total"], if target.contains("closed") { 0 } else { 3 }, "{target}");
    }
    let one = get(&broker, &format!("/connz?cid={}&subs=detail", clients[1].info["client_id"]));
    let details = one["connections"][0]["subscriptions_list_detail"].as_array().expect("a list");
    let sids: Vec<_> = details.iter().map(|one| (&one["sid"], &one["msgs"])).collect();
    assert_eq!(sids.len(), 3);
    assert!(sids.contains(&(&"2".into(), &2.into())), "{one}");
    for target in ["/connz?limit=x", "/connz?sort=foo", "/connz?subs=x", "/connz?cid=x"] {
        assert_eq!(Http::get(broker.monitor(), target).status, 400, "{target}");
    }
}

#[test]
fn lists_have_an_end_and_a_broker_without_nats_clients_has_short_ones() {
    let (broker, address) = watched(&[]);
    let mut client = NatsPeer::named(address, "many");
    for number in 0..150 {
        client.send(&format!("SUB many.{number} {number}\r\n"));
    }
    client.confirm();
    let first = get(&broker, "/connz?subs=1")["connections"][0].clone();
    assert_eq!(first["subscriptions"], 150);
    assert_eq!(first["subscriptions_list"].as_array().map(Vec::len), Some(100));
    let subsz = get(&broker, "/subsz?subs=1&offset=140&limit=100");
    assert_eq!(subsz["subscriptions_list"].as_array().map(Vec::len), Some(10));

    let none = Broker::with(&[("monitor.address", "127.0.0.1:0")]);
    let mut native = none.subscriber_of(&[b"t"]);
    none.publisher().send(&publish(b"t", b"x"));
    native.expect_message(b"t", b"x");
    assert_eq!(get(&none, "/connz")["connections"], json!([]));
    let varz = get(&none, "/varz");
    assert_eq!((&varz["port"], &varz["in_msgs"]), (&0.into(), &1.into()));
    assert!(varz["server_id"].as_str().is_some_and(|id| id.len() == 56), "{varz}");
}

#[test]
fn clients_that_were_closed_for_being_slow_are_counted() {
    let (broker, address) = watched(&[("limits.nats_outbox_bytes", "64KiB")]);
    let mut slow = NatsPeer::named(address, "slow");
    slow.send("SUB bulk 1\r\n");
    slow.confirm();
    broker.publisher().send(&publish(b"bulk", &[7; 10_000]).repeat(2_400));
    eventually("a slow consumer", || (get(&broker, "/varz")["slow_consumers"] == 1).then_some(()));
    slow.read_to_end();
    eventually("nobody is left", || (get(&broker, "/connz")["total"] == 0).then_some(()));
}
