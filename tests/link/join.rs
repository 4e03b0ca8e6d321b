//! Proves that the broker joins a hub under its name, is refused with reasons, and finds its way
//! back to a hub, or to another one.

use serde_json::json;

use crate::support::http::Http;
use crate::support::{Broker, Hub, TempDir, eventually};
use crate::{at, broker, secret};

/// Waits for a line of the log with all of these parts.
fn told(broker: &Broker, parts: &[&str]) -> String {
    broker.log().wait_for(&parts.join(" .. "), |line| parts.iter().all(|part| line.contains(part)))
}

/// A figure of the monitor; `None`: it is not shown.
fn figure(broker: &Broker, name: &str) -> Option<f64> {
    let body = Http::get(broker.monitor(), "/metrics").body;
    let value = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map(|value| value.parse().expect("it is a number"))
}

#[test]
fn a_broker_joins_and_says_what_it_is() {
    let hub = Hub::start();
    let broker = broker(&at(&hub), &[]);
    let link = hub.accept();
    let connect = link.connect();
    let expected = json!({
        "name": "broker-1",
        "headers": true,
        "cluster": "broker-1",
        "remote_account": "BROKER",
        "version": "2.10.0",
        "protocol": 1,
        "deny_pub": ["$SYS.>", "$JS.EVENT.>", "$GR.>", "_GR_.>", "_R_.>"],
    });
    assert_eq!(connect, expected);
    let server = format!("joined the hub hub (nats-server 2.15.1) at {}", hub.address);
    told(&broker, &["[INFO] link: ", &server, ", account $G, in "]);
    assert_eq!(broker.log().wait_for_count("link: dialling the hub ", 1).len(), 1);
}

#[test]
fn without_a_name_it_is_the_machine_and_the_port() {
    let hub = Hub::start();
    let dir = TempDir::new();
    dir.write("config.ini", &crate::support::process::ini(&[("link.servers", &at(&hub))]));
    let broker = Broker::run(dir, &["-s", "0", "-p", "0"]);
    let name = hub.accept().connect()["name"].as_str().expect("it has a name").to_owned();
    let port = broker.publishers.port().to_string();
    assert!(name.len() > port.len() + 1 && name.ends_with(&format!(":{port}")), "{name}");
}

#[test]
fn the_hub_is_shown_what_the_settings_name() {
    let dir = TempDir::new();
    let file = secret(&dir, "secret", "pass word\n");
    // Of the bytes 0 to 31.
    let seed = "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y";
    let rows = [
        (vec![("link.user", "u"), ("link.secret_file", &*file)], "user", "u"),
        (vec![("link.user", "u"), ("link.secret_file", &*file)], "pass", "pass word"),
        (vec![("link.secret_file", &*file)], "auth_token", "pass word"),
    ];
    for (settings, field, expected) in rows {
        let hub = Hub::start();
        let _broker = broker(&at(&hub), &settings);
        assert_eq!(hub.accept().connect()[field], expected);
    }
    let public = "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK";
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    let [seed_file, creds_file] =
        [("seed", seed), ("creds", &creds)].map(|(name, text)| secret(&dir, name, text));
    let signed = [
        ("link.nkey_file", seed_file, "nkey", public),
        ("link.credentials", creds_file, "jwt", "a.b.c"),
    ];
    for (setting, file, field, expected) in signed {
        let hub = Hub::start();
        let _broker = broker(&at(&hub), &[(setting, &file)]);
        let connect = hub.accept().connect();
        assert_eq!(connect[field], expected);
        // Of the nonce that the hub gives.
        assert_eq!(connect["sig"].as_str().map(str::len), Some(86), "{connect}");
    }
    let bad = secret(&dir, "seed", &format!("{seed}X"));
    dir.write(
        "config.ini",
        &crate::support::process::ini(&[("link.servers", "h"), ("link.nkey_file", &*bad)]),
    );
    let mut command = crate::support::broker::command(dir.path());
    let output = command.output().expect("it can be run");
    assert_eq!(output.status.code(), Some(2), "what cannot be used is found at the start");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("expected the seed") && !said.contains(seed), "{said}");
}

#[test]
fn a_hub_that_refuses_is_left_alone_for_long() {
    let hub = Hub::start();
    let broker = broker(&at(&hub), &[]);
    hub.greet().refuse("Authorization Violation");
    let line = told(&broker, &["[WARN] link: ", "does not let us in"]);
    let says = "the hub refuses the credentials: 'Authorization Violation'; check [link] user";
    assert!(line.contains(says), "{line}");
    assert!(line.contains(" in 30.") || line.contains(" in 31."), "{line}");
    assert!(!hub.is_dialled());
}

#[test]
fn a_hub_that_never_answers_is_given_up() {
    let hub = Hub::start();
    let broker = broker(&at(&hub), &[("timeouts.hello", "0.3")]);
    let _silent = hub.greet();
    told(&broker, &["[WARN] link: ", "does not let us in: the hub did not answer in time"]);
    let _link = hub.accept();
    told(&broker, &["[INFO] link: joined"]);
}

#[test]
fn a_hub_that_comes_back_is_joined_again() {
    let mut hub = Hub::start();
    let settings = [("monitor.address", "127.0.0.1:0")];
    let broker = broker(&at(&hub), &settings);
    let mut link = hub.accept();
    for joins in 1..=3 {
        broker.log().wait_for_count("link: joined", joins);
        assert_eq!(figure(&broker, "broker_link_joins_total"), Some(joins as f64));
        assert_eq!(figure(&broker, "broker_link_up"), Some(1.0));
        hub.close();
        link.cut();
        told(&broker, &["[WARN] link: lost the hub hub", "has closed the connection"]);
        told(&broker, &["[WARN] link: ", "was not reached: no connection"]);
        assert_eq!(figure(&broker, "broker_link_up"), Some(0.0));
        hub.reopen();
        link = hub.accept();
    }
}

#[test]
fn figures_of_the_link_are_shown_where_there_is_one() {
    let hub = Hub::start();
    let settings = [("monitor.address", "127.0.0.1:0"), ("link.forward", "")];
    let on = broker(&at(&hub), &settings);
    let link = hub.greet();
    link.join("LS+ wanted.>\r\nLS+ work crew 2\r\n");
    let off = broker("", &settings);
    assert_eq!(figure(&off, "broker_link_up"), None);
    eventually("two filters that were heard", || {
        (figure(&on, "broker_link_filters_heard") == Some(2.0)).then_some(())
    });
    on.publisher().publish(b"wanted.x", b"12345");
    assert_eq!(link.message().payload, b"12345");
    assert_eq!(figure(&on, "broker_link_messages_sent_total"), Some(1.0));
    assert_eq!(figure(&on, "broker_link_lost_messages_total"), Some(0.0));
    eventually("the message is confirmed", || {
        (figure(&on, "broker_link_unconfirmed_messages") == Some(0.0)).then_some(())
    });
}

#[test]
fn a_line_that_is_too_long_ends_the_link_and_not_the_broker() {
    let hub = Hub::start();
    let broker = broker(&at(&hub), &[]);
    let link = hub.accept();
    told(&broker, &["link: joined"]);
    link.send(&format!("LS+ {}\r\n", "x".repeat(70_000)));
    link.wait_for_end();
    told(&broker, &["[WARN] link: lost the hub", "line that is too long"]);
    let link = hub.accept();
    broker.log().wait_for_count("link: joined", 2);
    link.send("nonsense\r\n");
    link.wait_for_end();
    told(&broker, &["[WARN] link: lost the hub", "no line of a link"]);
    hub.accept();
}

#[test]
fn a_server_that_is_down_is_passed_over() {
    let mut down = Hub::start();
    down.close();
    let hub = Hub::start();
    let broker = broker(&format!("{}, {}", at(&down), at(&hub)), &[]);
    let _link = hub.accept();
    let next = format!("dialling {} in", hub.address);
    told(&broker, &["[WARN] link: the hub", &at(&down), "no connection", &next]);
    told(&broker, &["link: joined the hub", &at(&hub)]);
}

#[test]
fn a_name_is_looked_up_and_each_of_its_addresses_dialled() {
    let hub = Hub::start();
    // It may be ::1 as well, where nobody listens.
    let server = format!("localhost:{}", hub.address.port());
    let broker = broker(&server, &[]);
    let _link = hub.accept();
    told(&broker, &["link: joined the hub", &server]);
}

#[test]
fn nodes_that_the_hub_has_told_of_are_dialled_first() {
    let (mut first, second, third) = (Hub::start(), Hub::start(), Hub::start());
    let broker = broker(&at(&first), &[]);
    let link = first.accept();
    told(&broker, &["link: joined the hub", &at(&first)]);
    link.info(&json!({"leafnode_urls": [at(&first), at(&second)]}));
    link.confirm();
    link.cut();
    let link = second.accept();
    told(&broker, &["link: joined the hub", &at(&second)]);
    // The newest list is the one that counts.
    first.close();
    link.info(&json!({"leafnode_urls": [at(&third), at(&second)]}));
    link.confirm();
    link.cut();
    let _link = third.accept();
    told(&broker, &["link: joined the hub", &at(&third)]);
    assert!(!second.is_dialled());
}

#[test]
fn a_broker_that_stops_leaves_the_hub_and_does_not_come_back() {
    let hub = Hub::start();
    let mut broker = broker(&at(&hub), &[]);
    let link = hub.accept();
    told(&broker, &["link: joined"]);
    broker.signal("TERM");
    link.wait_for_end();
    assert!(broker.wait().success());
    assert!(!hub.is_dialled());
}

/// Those that were queued and not written, and those that come while there is none; nothing waits
/// for a hub that never joined.
#[test]
fn under_block_messages_wait_for_the_next_hub() {
    const MESSAGES: usize = 1_000;
    let mut hub = Hub::start();
    let settings = [
        ("link.policy", "block"),
        ("overflow.stall_timeout", "600"),
        ("monitor.address", "127.0.0.1:0"),
    ];
    let broker = broker(&at(&hub), &settings);
    let mut link = hub.greet();
    link.join("LS+ wanted.>\r\n");
    broker.log().wait_for_count("link: joined", 1);
    let mut publisher = broker.publisher();
    for outage in 1..=2 {
        hub.close();
        link.cut();
        eventually("the link is down", || {
            (figure(&broker, "broker_link_up") == Some(0.0)).then_some(())
        });
        for number in 0..MESSAGES {
            publisher.publish(b"wanted.x", number.to_string().as_bytes());
        }
        eventually("all wait", || {
            let waiting = figure(&broker, "broker_link_waiting_messages");
            (waiting == Some(MESSAGES as f64)).then_some(())
        });
        hub.reopen();
        // One that comes and goes again takes nothing with it.
        drop(hub.greet());
        link = hub.greet();
        link.join("LS+ wanted.>\r\n");
        broker.log().wait_for_count("messages have waited for it", outage);
        publisher.publish(b"wanted.x", b"live");
        for number in 0..MESSAGES {
            assert_eq!(link.message().payload, number.to_string().as_bytes());
        }
        assert_eq!(link.message().payload, b"live");
    }
    assert_eq!(figure(&broker, "broker_link_waiting_messages"), Some(0.0));
    assert_eq!(figure(&broker, "broker_link_lost_messages_total"), Some(0.0));
}
