//! Proves that the monitor is right, within its limits, and does not hold messages up: endpoints
//! and status codes, numbers, slow clients, stalled readers.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::frame::{publish, subscribe};
use crate::support::http::request;
use crate::support::{Broker, Flood, Http, PATIENCE, Peer, Response};
use serde_json::Value;

/// Connections that the monitor serves at a time.
const SERVED: usize = 16;
/// What `/healthz` answers while all is well.
const HEALTHY: &str = "{\"status\":\"ok\"}\n";

fn watched(settings: &[(&str, &str)]) -> (Broker, SocketAddr) {
    let all = [&[("monitor.address", "127.0.0.1:0")], settings].concat();
    let broker = Broker::with(&all);
    let address = broker.monitor();
    (broker, address)
}

/// Repeats the request until the response is as expected.
fn wait_for(address: SocketAddr, target: &str, good: impl Fn(&Response) -> bool) -> Response {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let response = Http::try_get(address, target);
        if let Some(response) = response.clone().filter(&good) {
            return response;
        }
        assert!(Instant::now() < deadline, "waited in vain, the last answer: {response:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_endpoint_answers_with_its_type_and_nothing_to_cache_or_share() {
    let (_broker, address) = watched(&[]);
    let rows = [
        ("/", "text/html; charset=utf-8"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/healthz", "application/json"),
        ("/varz", "application/json"),
        ("/connz?subs=1", "application/json"),
        ("/subsz", "application/json"),
        ("/connections", "application/json"),
        ("/connections?limit=5", "application/json"),
        ("/connections?filters=1", "application/json"),
        ("/topics", "application/json"),
        ("/stats", "application/json"),
    ];
    for (target, content_type) in rows {
        let response = Http::get(address, target);
        assert_eq!((response.status, response.header("Content-Type")), (200, content_type));
        assert_eq!(response.header("Cache-Control"), "no-store");
        assert_eq!(response.header("X-Content-Type-Options"), "nosniff");
        assert!(response.header("Content-Security-Policy").starts_with("default-src 'none';"));
        assert!(!response.head.contains("Access-Control"), "{}", response.head);
        let mut http = Http::connect(address);
        http.send(&request("HEAD", target));
        let head = http.response_to_head();
        let headers = ["Content-Type", "Content-Security-Policy"];
        for name in headers {
            assert_eq!(head.header(name), response.header(name), "{target}");
        }
        http.send(&request("HEAD", "/healthz"));
        assert_eq!(http.response_to_head().status, 200, "a body came behind HEAD {target}");
    }
    assert_eq!(Http::get(address, "/healthz").body, HEALTHY);
}

#[test]
fn what_is_wrong_is_answered_with_its_status_and_an_end() {
    let (_broker, address) = watched(&[]);
    let long = |bytes: usize| "x".repeat(bytes);
    let rows = [
        (request("GET", "/nothing"), 404),
        (request("GET", "/connections?limit=x"), 400),
        (request("GET", "/connections?filters=x"), 400),
        (request("POST", "/"), 405),
        (request("DELETE", "/connections"), 405),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/3.0\r\nHost: x\r\n\r\n".into(), 505),
        ("hello?\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".into(), 413),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", long(8_192)), 414),
        (format!("GET / HTTP/1.1\r\nHost: x\r\na: {}\r\n\r\n", long(100_000)), 431),
    ];
    for (text, status) in rows {
        let mut http = Http::connect(address);
        http.send(&text);
        let response = http.response();
        assert_eq!(response.status, status, "{text:.60}");
        assert_eq!(response.header("Connection"), "close");
        http.expect_close();
    }
    let mut http = Http::connect(address);
    http.send(&request("PUT", "/"));
    assert_eq!(http.response().header("Allow"), "GET, HEAD");
}

#[test]
fn requests_may_come_behind_each_other_or_byte_by_byte() {
    let (_broker, address) = watched(&[]);
    let mut http = Http::connect(address);
    http.send(&[request("GET", "/healthz"), request("GET", "/stats")].concat().repeat(40));
    for _ in 0..40 {
        assert_eq!(http.response().body, HEALTHY);
        assert_eq!(http.response().header("Content-Type"), "application/json");
    }
    for byte in request("GET", "/healthz").chars() {
        http.send(&byte.to_string());
    }
    assert_eq!(http.response().body, HEALTHY);
    // As large as a request may be.
    let head = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\na: ";
    let room = 8_192 - head.len() - 4;
    http.send(&format!("{head}{}\r\n\r\n", "x".repeat(room)));
    assert_eq!(http.response().body, HEALTHY);
    http.expect_close();
}

#[test]
fn a_request_that_does_not_come_is_not_waited_for() {
    let (_broker, address) = watched(&[]);
    // The broker's time-out begins when it accepts: not before this, however long connecting and
    // sending take here.
    let began = Instant::now();
    let (mut slow, mut silent) = (Http::connect(address), Http::connect(address));
    slow.send("GET / HTTP/1.1\r\n");
    let mut drip = slow.stream.try_clone().expect("a handle can be copied");
    let dripping = thread::spawn(move || {
        while began.elapsed() < PATIENCE && drip.write_all(b"a: b\r\n").is_ok() {
            thread::sleep(Duration::from_millis(300));
        }
    });
    assert_eq!(slow.response().status, 408);
    assert!(began.elapsed() > Duration::from_secs(2), "patience came to an end too soon");
    slow.expect_close();
    silent.expect_close();
    drop(slow);
    dripping.join().expect("it ends with its connection");
}

#[test]
fn the_seventeenth_connection_is_told_that_it_is_one_too_many() {
    let (_broker, address) = watched(&[]);
    let mut connections: Vec<_> = (0..SERVED).map(|_| Http::connect(address)).collect();
    for http in &mut connections {
        http.send(&request("GET", "/healthz"));
        assert_eq!(http.response().status, 200);
    }
    let mut late = Http::connect(address);
    let response = late.response();
    assert_eq!((response.status, response.header("Retry-After")), (503, "5"));
    late.expect_close();
    // Many more are closed without a response, and those inside are still served.
    let many: Vec<_> = (0..100).map(|_| Http::connect(address)).collect();
    connections[0].send(&request("GET", "/healthz"));
    assert_eq!(connections[0].response().status, 200);
    drop((many, connections));
    wait_for(address, "/healthz", |response| response.status == 200);
}

#[test]
fn refused_connections_that_are_gone_already_take_no_place() {
    let (broker, address) = watched(&[]);
    let _served: Vec<_> = (0..SERVED).map(|_| Http::connect(address)).collect();
    // Reset before they are accepted.
    broker.signal("STOP");
    for _ in 0..8 {
        let http = Http::connect(address);
        let socket = socket2::SockRef::from(&http.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("a socket takes its options");
    }
    broker.signal("CONT");
    assert_eq!(Http::get(address, "/healthz").status, 503);
}

#[test]
fn the_numbers_are_those_of_the_load() {
    let (broker, address) =
        watched(&[("monitor.topics", "orders.>, orders.eu, none"), ("monitor.busiest", "2")]);
    let mut subscribers: Vec<_> = (0..3).map(|_| broker.subscriber_of(&[b"orders.*"])).collect();
    let mut workers = broker.subscriber();
    workers.subscribe(b"jobs", b"group");
    let mut publisher = broker.publisher();
    let rows: [(&[u8], usize); 3] = [(b"orders.eu", 70), (b"orders.us", 30), (b"jobs", 11)];
    let mut bytes = 0;
    for (topic, count) in rows {
        for number in 0..count {
            let frame = publish(topic, &vec![7; number % 40]);
            bytes += frame.len();
            publisher.send(&frame);
        }
    }
    let odd = publish(b"odd.\"quoted\\\"", b"x").repeat(40);
    bytes += odd.len();
    publisher.send(&odd);
    publisher.confirm();
    for subscriber in &mut subscribers {
        for _ in 0..100 {
            subscriber.next(PATIENCE);
        }
    }
    let metrics = Http::get(address, "/metrics");
    let expected = [
        ("broker_messages_received_total", 151.0),
        ("broker_received_bytes_total", bytes as f64),
        ("broker_messages_delivered_total", 311.0),
        ("broker_messages_dropped_total", 0.0),
        ("broker_connections{role=\"publisher\"}", 1.0),
        ("broker_connections{role=\"subscriber\"}", 4.0),
        ("broker_connections_accepted_total", 5.0),
        ("broker_subscriptions", 4.0),
        ("broker_filters", 2.0),
        ("broker_cached_topics", 4.0),
        ("broker_queued_bytes", 0.0),
        ("broker_memory_limit_bytes", 536_870_912.0),
        ("broker_paused_publishers{cause=\"subscriber\"}", 0.0),
        ("broker_topic_messages_total{topic=\"orders.>\"}", 100.0),
        ("broker_topic_messages_total{topic=\"orders.eu\"}", 70.0),
        ("broker_topic_messages_total{topic=\"none\"}", 0.0),
        ("broker_topic_messages_total{topic=\"odd.\\\"quoted\\\\\\\"\"}", 40.0),
        ("broker_topic_bytes_total{topic=\"odd.\\\"quoted\\\\\\\"\"}", odd.len() as f64),
        ("broker_topic_messages_total{topic=\"orders.us\"}", 30.0),
        ("broker_draining", 0.0),
    ];
    for (name, value) in expected {
        assert_eq!(metrics.sample(name), value, "{name}");
    }
    assert_eq!(metrics.body.matches("broker_topic_messages_total{").count(), 5, "two busiest");
    let turns = metrics.sample("broker_turns_total");
    assert!(turns > 0.0 && turns == metrics.sample("broker_turn_duration_seconds_count"));
    assert_eq!(turns, metrics.sample("broker_turn_duration_seconds_bucket{le=\"+Inf\"}"));
    assert!(metrics.sample("process_resident_memory_bytes") > 1e6);

    let stats = Http::get(address, "/stats").json();
    assert_eq!(stats["messages_received"], 151);
    assert_eq!(stats["topics"][3]["topic"], "odd.\"quoted\\\"");
    drop(publisher);
    let closed = "broker_disconnects_total{reason=\"client_closed\"}";
    wait_for(address, "/metrics", |response| response.sample(closed) == 1.0);
}

#[test]
fn promtool_has_nothing_to_say() {
    let (broker, address) = watched(&[("monitor.topics", "a.>")]);
    let mut publisher = broker.publisher();
    publisher.publish("odd.\"quoted\\\".é".as_bytes(), b"x");
    publisher.confirm();
    let metrics = Http::get(address, "/metrics");
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("not checked: there is no promtool; Debian has it in the package prometheus");
        return;
    };
    let mut input = promtool.stdin.take().expect("it was asked for");
    input.write_all(metrics.body.as_bytes()).expect("it reads its input");
    drop(input);
    let output = promtool.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_slow_subscriber_is_on_top_and_its_publisher_waits_for_it() {
    let (broker, address) = watched(&[
        ("limits.outbox_bytes", "64KiB"),
        ("overflow.stall_timeout", "600"),
        ("timeouts.heartbeat", "0"),
    ]);
    let _quick: Vec<_> = (0..5).map(|_| broker.subscriber_of(&[b"t"])).collect();
    let mut slow = Peer::connect_small(broker.subscribers).hello("slow \"\\ é".as_bytes());
    slow.send(&[subscribe(b"bulk", b""), subscribe(b"other", b"")].concat());
    slow.confirm();
    let publisher = broker.publisher();
    let flood = Flood::start(publisher.sender(), publish(b"bulk", &[7; 10_000]).repeat(2_400));
    flood.wait_until_blocked();
    let paused = "broker_paused_publishers{cause=\"subscriber\"}";
    let metrics = wait_for(address, "/metrics", |response| response.sample(paused) == 1.0);
    let answer = Http::get(address, "/connections").json();
    assert_eq!((&answer["total"], &answer["shown"]), (&Value::from(7), &Value::from(7)));
    let (first, second) = (&answer["connections"][0], &answer["connections"][1]);
    assert_eq!(first["id"], "slow \"\\ é");
    assert_eq!(first["address"], slow.address().to_string());
    assert_eq!((&first["role"], &first["state"]), (&"subscriber".into(), &"open".into()));
    assert_eq!((&first["subscriptions"], &first["waiting_publishers"]), (&2.into(), &1.into()));
    let queued = first["queued_bytes"].as_f64().expect("it is a number");
    // It counts as full until it has drained to half, and its socket may have taken some since.
    assert!(queued > 32_768.0 && first["highest_queued_bytes"].as_f64() >= Some(queued), "{first}");
    assert_eq!(metrics.sample("broker_queued_bytes"), queued);
    assert_eq!((&second["id"], &second["paused_by"]), (&"publisher".into(), &"subscribers".into()));
    assert_eq!(second["waits_for"][0]["id"], first["id"]);
    assert_eq!(second["waits_for"][0]["address"], first["address"]);
    assert_eq!((&second["waits_for_count"], &second["queued_bytes"]), (&1.into(), &0.into()));
    let since = first["since"].as_str().expect("a time");
    assert!(since.ends_with('Z') && since.as_bytes()[10] == b'T', "{since}");
    let one = Http::get(address, "/connections?limit=1").json();
    assert_eq!((&one["total"], &one["shown"]), (&7.into(), &1.into()));
    assert_eq!(one["connections"][0]["id"], first["id"]);

    for _ in 0..2_400 {
        slow.expect_message(b"bulk", &[7; 10_000]);
    }
    flood.finish();
    let drained = wait_for(address, "/connections", |response| {
        let first = &response.json()["connections"][0];
        first["queued_bytes"] == 0 && first["messages"] == 2_400
    });
    let first = &drained.json()["connections"][0];
    assert!(first["highest_queued_bytes"].as_f64() >= Some(queued), "{first}");
    let pauses = Http::get(address, "/metrics").sample("broker_pauses_total");
    assert!(pauses >= 1.0, "{pauses}");
}

#[test]
fn dropped_messages_are_counted_for_who_lost_them() {
    let (broker, address) =
        watched(&[("limits.outbox_bytes", "64KiB"), ("overflow.policy", "drop")]);
    let stalled = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    publisher.send(&publish(b"t", &[7; 10_000]).repeat(2_400));
    publisher.confirm();
    let first = Http::get(address, "/connections").json()["connections"][0].clone();
    let dropped = first["dropped"].as_u64().expect("it is a number");
    assert!(dropped > 0, "{first}");
    assert_eq!(first["messages"].as_u64().map(|sent| sent + dropped), Some(2_400));
    let total = Http::get(address, "/metrics").sample("broker_messages_dropped_total");
    assert_eq!(total, dropped as f64);
    drop(stalled);
}

#[test]
fn while_draining_it_is_not_healthy_but_can_be_asked() {
    let (broker, address) = watched(&[("timeouts.drain", "600")]);
    let mut stalled = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    publisher.send(&publish(b"t", &[7; 10_000]).repeat(700));
    publisher.confirm();
    broker.signal("TERM");
    let draining = wait_for(address, "/healthz", |response| response.status == 503);
    assert_eq!(draining.body, "{\"status\":\"unavailable\"}\n");
    assert_eq!(draining.header("Content-Type"), "application/json");
    assert_eq!(Http::get(address, "/metrics").sample("broker_draining"), 1.0);
    let first = Http::get(address, "/connections").json()["connections"][0].clone();
    assert_eq!(first["state"], "finishing");
    assert_eq!(stalled.frames_until_close().len(), 701);
}

#[test]
fn messages_flow_while_responses_are_not_read() {
    let (broker, address) = watched(&[]);
    // Enough connections for a long answer, and readers with small buffers.
    let _idle: Vec<_> =
        (0..300).map(|_| Peer::connect(broker.publishers).hello(&[b'i'; 255])).collect();
    let mut stalled = Vec::new();
    for _ in 0..SERVED {
        let mut http = Http::connect_small(address);
        http.send(&request("GET", "/connections?limit=500").repeat(80));
        stalled.push(http);
    }
    let mut subscriber = broker.subscriber_of(&[b"t"]);
    let mut publisher = broker.publisher();
    for number in 0..2_000_u32 {
        publisher.publish(b"t", &number.to_be_bytes());
        subscriber.expect_message(b"t", &number.to_be_bytes());
    }
    let resident = broker.process().resident();
    assert!(resident < 100 << 20, "{resident} bytes for answers that nobody reads");
    // They are not waited for for ever.
    wait_for(address, "/healthz", |response| response.status == 200);
    drop(stalled);
}

#[test]
fn an_address_that_is_taken_is_reported() {
    let (broker, address) = watched(&[]);
    let text = format!("[monitor]\naddress = {address}\n");
    broker.dir.write("second.ini", &text);
    let mut command = support::broker::command(broker.dir.path());
    command.args(["-s", "0", "-p", "0", "--config", "second.ini"]);
    let (code, _, errors) = support::Process::spawn(&mut command).outcome();
    assert_eq!(code, Some(1));
    assert!(errors.contains(&format!("cannot listen for monitors on {address}: ")), "{errors}");
}
