//! INFO and CONNECT: what a server sends first, and what each member of CONNECT does.

use nats_tests::frame::Frame;
use nats_tests::peer::{Event, Peer};
use nats_tests::server::Server;
use serde_json::Value;

use crate::client::Client;

fn info(server: &Server) -> Value {
    match Peer::connect(server.address).receive() {
        Event::Frame(Frame::Info(json)) => {
            assert!(json.len() < 4_090, "some clients read no longer INFO");
            serde_json::from_slice(&json).expect("INFO holds JSON")
        }
        other => panic!("no INFO but {other:?}"),
    }
}

#[test]
fn the_first_info() {
    let server = Server::under_test(&["max_payload=65536"]);
    let (first, second) = (info(&server), info(&server));
    let text = |name: &str| first[name].as_str().unwrap_or_else(|| panic!("no {name}: {first}"));
    for name in ["server_id", "server_name", "go", "host"] {
        text(name);
    }
    let version: Vec<&str> = text("version").splitn(3, '.').collect();
    assert!(version.len() == 3 && version[0].parse::<u32>().is_ok_and(|major| major >= 2));
    let patch = version[2].split('-').next().expect("there is a first part");
    assert!(version[1].parse::<u32>().is_ok() && patch.parse::<u32>().is_ok(), "{version:?}");
    assert_eq!(first["proto"], 1);
    assert_eq!(first["headers"], true);
    assert_eq!(first["max_payload"], 65_536);
    assert_eq!(first["port"], server.address.port());
    assert_eq!(text("client_ip"), "127.0.0.1");
    assert_ne!(first["client_id"].as_u64(), second["client_id"].as_u64());
    assert!(first["client_id"].as_u64().is_some_and(|id| id <= 0x7FFF_FFFF));
    assert!(first.as_object().is_some_and(|fields| fields.values().all(|value| !value.is_null())));
    for name in ["auth_required", "tls_required", "tls_verify", "ldm", "jetstream"] {
        assert!(matches!(first.get(name), None | Some(Value::Bool(false))), "{name} in {first}");
    }
    for name in ["connect_urls", "cluster", "nonce"] {
        assert!(first.get(name).is_none(), "{name} in {first}");
    }
    assert_eq!(first["server_id"], second["server_id"]);
    let other = Server::under_test(&[]);
    assert_ne!(first["server_id"], info(&other)["server_id"]);
    assert_eq!(info(&other)["max_payload"], 1_048_576, "the default");
}

/// What is answered to `CONNECT …` and a PING.
const ANSWERED: [(&str, &str); 27] = [
    ("{}", "+OK\r\nPONG\r\n"),
    ("{ }", "+OK\r\nPONG\r\n"),
    ("{\"verbose\":true}", "+OK\r\nPONG\r\n"),
    ("{\"verbose\":false}", "PONG\r\n"),
    ("{\"VERBOSE\":false}", "PONG\r\n"),
    ("{\"Verbose\" : false }", "PONG\r\n"),
    ("{\"verbose\":false,\"verbose\":true}", "+OK\r\nPONG\r\n"),
    ("{\"verbose\":true,\"verbose\":false}", "PONG\r\n"),
    ("{\"verbose\":null}", "+OK\r\nPONG\r\n"),
    ("{\"verbose\":false,\"verbose\":null}", "PONG\r\n"),
    ("{\"verbose\":false,\"unknown\":[{\"a\":1},null,1.5,\"x\"]}", "PONG\r\n"),
    ("{\"verbose\":false,\"protocol\":0}", "PONG\r\n"),
    ("{\"verbose\":false,\"protocol\":1}", "PONG\r\n"),
    ("{\"verbose\":false,\"tls_required\":true}", "PONG\r\n"),
    ("{\"verbose\":false,\"account\":\"\",\"new_account\":false}", "PONG\r\n"),
    ("{\"verbose\":false,\"user\":\"u\",\"pass\":\"p\",\"auth_token\":\"t\"}", "PONG\r\n"),
    ("{\"verbose\":false,\"jwt\":\"x\",\"nkey\":\"y\",\"sig\":\"z\"}", "PONG\r\n"),
    ("{\"verbose\":false,\"name\":\"a \\\"b\\\" \\u00e9\",\"lang\":\"\"}", "PONG\r\n"),
    ("{\"verbose\":false,\"headers\":true,\"no_responders\":true}", "PONG\r\n"),
    ("{\"verbose\":false,\"headers\":false,\"no_responders\":false}", "PONG\r\n"),
    ("{\"verbose\":false,\"echo\":false,\"pedantic\":false}  ", "PONG\r\n"),
    ("\t{\"verbose\":false}", "PONG\r\n"),
    // Real clients use these forms.
    ("{\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\"name\":\"\"}", "PONG\r\n"),
    (
        "{\"echo\": true, \"lang\": \"python3\", \"pedantic\": false, \"verbose\": false}",
        "PONG\r\n",
    ),
    ("{\"verbose\":false,\"user\":null,\"pass\":null,\"auth_token\":null}", "PONG\r\n"),
    ("{\"verbose\":false,\"protocol\":null}", "PONG\r\n"),
    ("{\"verbose\":false,\"\":1}", "PONG\r\n"),
];

#[test]
fn each_connect_that_is_taken() {
    let server = Server::under_test(&[]);
    for (connect, expected) in ANSWERED {
        let mut client = Client::silent(&server);
        client.send(format!("CONNECT {connect}\r\nPING\r\n").as_bytes());
        client.expect(expected.as_bytes());
        client.expect_only(b"");
    }
    let mut client = Client::silent(&server);
    client.send(b"connect{\"verbose\":false}\nPING\r\n");
    client.expect(b"PONG\r\n");
}

/// What was for the client before comes before, whatever the second CONNECT is refused for.
#[test]
fn messages_in_front_of_a_connect_that_ends_it_arrive() {
    let server = Server::under_test(&[]);
    let endings = [
        ("{\"account\":\"x\"}", "-ERR 'Authorization Violation'\r\n"),
        ("{\"protocol\":2}", "-ERR 'invalid client protocol'\r\n"),
    ];
    for (connect, error) in endings {
        let mut client = Client::silent(&server);
        let lines = format!("SUB a 1\r\nPUB a 1\r\nx\r\nCONNECT {connect}\r\n");
        client.send(format!("CONNECT {{\"verbose\":false}}\r\n{lines}").as_bytes());
        client.expect(b"MSG a 1 1\r\nx\r\n");
        client.expect(error.as_bytes());
    }
}

#[test]
fn each_connect_that_ends_it() {
    let server = Server::under_test(&[]);
    let protocol = "-ERR 'invalid client protocol'\r\n";
    let headers = "-ERR 'no responders requires headers support'\r\n";
    let account = "-ERR 'Authorization Violation'\r\n";
    let rows = [
        (" {", ""),
        (" []", ""),
        (" 1", ""),
        (" ", ""),
        ("", ""),
        (" {} x", ""),
        (" {}{}", ""),
        (" {\"verbose\":1}", ""),
        (" {\"verbose\":\"true\"}", ""),
        (" {\"protocol\":\"1\"}", ""),
        (" {\"protocol\":1.0}", ""),
        (" {\"name\":1}", ""),
        (" {\"headers\":[]}", ""),
        (" {\"verbose\":false,}", ""),
        (" {verbose:false}", ""),
        (" {\"protocol\":2}", protocol),
        (" {\"protocol\":-1}", protocol),
        (" {\"no_responders\":true}", headers),
        (" {\"no_responders\":true,\"headers\":false}", headers),
        (" {\"account\":\"x\"}", account),
        (" {\"new_account\":true}", account),
    ];
    for (connect, expected) in rows {
        let mut client = Client::silent(&server);
        client.send(format!("CONNECT{connect}\r\n").as_bytes());
        client.expect_end(expected.as_bytes());
    }
}

#[test]
fn without_connect_all_is_served_with_the_defaults() {
    let server = Server::under_test(&[]);
    let mut client = Client::silent(&server);
    client.says(b"PING\n", b"PONG\r\n");
    client.says(b"SUB a 1\n", b"+OK\r\n");
    client.says(b"PUB a 2\nhi\r\n", b"+OK\r\nMSG a 1 2\r\nhi\r\n");
    client.says(b"PUB a..b 0\n\r\n", b"-ERR 'Invalid Publish Subject'\r\n+OK\r\n");
    // The client did not ask for `503`.
    client.says(b"PUB nobody a 0\n\r\n", b"+OK\r\n");
    client.says(b"UNSUB 1\n", b"+OK\r\n");
    client.says(b"PONG\n", b"");
}

#[test]
fn a_second_connect_merges_and_drops_all_subscriptions() {
    let server = Server::under_test(&[]);
    let mut client = Client::connect(&server);
    client.says(b"SUB a 1\r\nSUB > 2\r\nSUB a g 3\r\n", b"");
    client.says(b"CONNECT {\"echo\":true}\r\n", b"");
    client.says(b"PUB a 0\r\n\r\n", b"");
    // The sids are free again.
    client.says(b"SUB b 1\r\nSUB in 2\r\nPUB b 0\r\n\r\n", b"MSG b 1 0\r\n\r\n");
    // Fields that are not repeated stay: quiet, headers, `503` without responders.
    client.says(b"HPUB b 2 2\r\nhi\r\n", b"HMSG b 1 2 2\r\nhi\r\n");
    let none = "HMSG in 2 33 33\r\nNATS/1.0 503\r\nNats-Subject: a\r\n\r\n\r\n";
    client.says(b"PUB a in 0\r\n\r\n", none.as_bytes());
    client.says(b"CONNECT {\"verbose\":true}\r\n", b"+OK\r\n");
    client.says(b"SUB b 1\r\n", b"+OK\r\n");
    client.says(b"CONNECT {\"verbose\":false,\"echo\":false}\r\nSUB b 1\r\n", b"");
    client.says(b"PUB b 0\r\n\r\n", b"");
    // Without headers a client cannot be told that there is no responder.
    client.send(b"CONNECT {\"headers\":false}\r\n");
    client.expect_end(b"-ERR 'no responders requires headers support'\r\n");
}

#[test]
fn echo_false_holds_back_all_own_messages() {
    let server = Server::under_test(&[]);
    let mut mute = Client::quiet_with(&server, "\"echo\":false,\"headers\":true");
    let mut other = Client::connect(&server);
    mute.says(b"SUB a 1\r\nSUB > 2\r\nSUB a g 3\r\n", b"");
    other.says(b"SUB a g 9\r\n", b"");
    for _ in 0..20 {
        mute.says(b"PUB a 2\r\nhi\r\nHPUB b 0 0\r\n\r\n", b"");
        // Another member of the group takes it each time.
        other.expect_only(b"MSG a 9 2\r\nhi\r\n");
    }
    other.says(b"PUB b 2\r\nho\r\n", b"");
    mute.expect_only(b"MSG b 2 2\r\nho\r\n");
}
