//! Users over real sockets: who may come in and who may not, what each may publish, subscribe to
//! and join, in both protocols, and what a reload changes for those connected.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use broker::engine::access::credentials::Secret;
use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD};
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::support::frame::{hello, publish, subscribe};
use crate::support::{Broker, Http, NatsPeer, Peer, TempDir, code, eventually};

/// What CONNECT says beside who a client is.
const QUIET: &str = r#""verbose":false,"headers":true,"no_responders":true,"protocol":1"#;

fn secret(of: &str) -> String {
    Secret::of(of.as_bytes()).expect("the system has random bytes").to_string()
}

/// alice may do much, bob little, and guests hear the news.
fn users() -> String {
    let [alice, bob, token] = ["alice-secret", "bob-secret", "a-token"].map(secret);
    format!(
        "[alice]\nsecret = {alice}\npublish = >\nsubscribe = orders.>, _INBOX.>, !orders.secret.>\n\
         groups = workers.*\n\
         [bob]\nsecret = {bob}\ntoken = {token}\npublish = orders.new, !orders.new.x\n\
         subscribe = requests.>\nallow_responses = yes\nmax_connections = 2\n\
         [guest]\nsubscribe = news.>\n"
    )
}

fn write_users(dir: &Path, text: &str) {
    let path = dir.join("users.ini");
    fs::write(&path, text).expect("the directory is there");
    fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("it is ours");
}

/// A broker with these users; its settings are in `config.ini`.
fn broker_with(users: &str, more: &str) -> Broker {
    let dir = TempDir::new();
    write_users(dir.path(), users);
    let settings = format!(
        "[network]\nnats_port = 0\n[monitor]\naddress = 127.0.0.1:0\n\
         [users]\nfile = users.ini\n{more}"
    );
    dir.write("config.ini", &settings);
    Broker::run(dir, &["-s", "0", "-p", "0"])
}

fn log_in(mut peer: Peer, user: &str) -> Peer {
    let body = format!("version=1\nuser={user}\nsecret={user}-secret\n");
    peer.send(&hello(b"a client", body.as_bytes()));
    peer.expect_welcome();
    peer
}

fn nats(broker: &Broker, user: &str) -> NatsPeer {
    let json = format!("{{{QUIET},\"user\":\"{user}\",\"pass\":\"{user}-secret\"}}");
    NatsPeer::connect(broker.nats(), &json)
}

#[test]
fn native_clients_come_in_as_a_user_or_not_at_all() {
    let broker = broker_with(&users(), "");
    for body in [
        "version=1\n",
        "version=1\nuser=alice\n",
        "version=1\nuser=alice\nsecret=wrong\n",
        "version=1\nuser=nobody\nsecret=alice-secret\n",
        "version=1\nsecret=alice-secret\n",
    ] {
        let mut peer = Peer::connect(broker.subscribers);
        peer.send(&hello(b"a client", body.as_bytes()));
        peer.expect_refusal(code::UNAUTHORIZED);
    }
    // What is wrong with the frame comes first.
    let mut peer = Peer::connect(broker.publishers);
    peer.send(&hello(b"a client", b"version=2\nuser=alice\n"));
    peer.expect_refusal(code::VERSION);
    log_in(Peer::connect(broker.publishers), "alice").confirm();
    let name = "broker_disconnects_total{reason=\"unauthorized\"}";
    let refused = || Http::get(broker.monitor(), "/metrics").sample(name) as u64;
    eventually("all of them counted", || (refused() == 5).then_some(()));
    let log = broker.log().so_far().join("\n");
    assert!(!log.contains("alice-secret") && !log.contains("wrong"), "{log}");
}

#[test]
fn native_users_publish_subscribe_and_join_what_is_granted() {
    let broker = broker_with(&users(), "");
    let mut alice = log_in(Peer::connect(broker.subscribers), "alice");
    for (filter, group) in [
        (&b">"[..], &b""[..]),
        (b"orders.secret.a", b""),
        (b"orders", b""),
        (b"orders.a", b"others"),
    ] {
        alice.send(&subscribe(filter, group));
        let error = alice.expect_error(code::NOT_ALLOWED, false);
        assert_eq!(error.topic, filter);
    }
    alice.subscribe(b"orders.>", b"");
    alice.subscribe(b"orders.b", b"workers.a");
    alice.confirm();
    let mut bob = log_in(Peer::connect(broker.publishers), "bob");
    // Runs of what is granted and what is not, in one write.
    let one = publish(b"orders.new", b"yes");
    let other = publish(b"orders.new.x", b"no");
    bob.send(&[one.repeat(3), other.repeat(2), one.clone(), publish(b"news", b"no")].concat());
    for topic in [&b"orders.new.x"[..], b"orders.new.x", b"news"] {
        assert_eq!(bob.expect_error(code::NOT_ALLOWED, false).topic, topic);
    }
    bob.confirm();
    (0..4).for_each(|_| alice.expect_message(b"orders.new", b"yes"));
    // A denial within a grant keeps these away, and nothing else.
    let mut publisher = log_in(Peer::connect(broker.publishers), "alice");
    for topic in [&b"orders.secret.a"[..], b"orders.secret", b"orders.secret.b.c", b"orders.z"] {
        publisher.publish(topic, b"x");
    }
    alice.expect_message(b"orders.secret", b"x");
    alice.expect_message(b"orders.z", b"x");
    alice.confirm();
}

#[test]
fn nats_clients_come_in_by_password_token_or_key() {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let mut key = vec![20 << 3];
    key.extend(pair.public_key().as_ref());
    let sum = key.iter().fold(0_u16, |sum, byte| {
        (0..8).fold(sum ^ (u16::from(*byte) << 8), |sum, _| {
            if sum & 0x8000 == 0 { sum << 1 } else { (sum << 1) ^ 0x1021 }
        })
    });
    key.extend(sum.to_le_bytes());
    let key = BASE32_NOPAD.encode(&key);
    let users = format!("{}[robot]\nnkey = {key}\nsubscribe = >\n", users());
    let broker = broker_with(&users, "[log]\nlevel = trace\n");
    let refused = |connect: &dyn Fn(&str) -> String| {
        let mut peer = NatsPeer::begin(broker.nats());
        let nonce = peer.info["nonce"].as_str().expect("somebody signs").to_owned();
        assert_eq!((peer.info["auth_required"].as_bool(), nonce.len()), (Some(true), 15));
        peer.send(&connect(&nonce));
        peer.send("PING\r\n");
        let line = peer.line();
        if line == "PONG" {
            return false;
        }
        assert_eq!(line, "-ERR 'Authorization Violation'");
        assert_eq!(peer.line(), "", "it ends");
        true
    };
    let with = |json: &str| format!("CONNECT {{\"verbose\":false,{json}}}\r\n");
    assert!(!refused(&|_| with(r#""user":"alice","pass":"alice-secret""#)));
    assert!(!refused(&|_| with(r#""auth_token":"a-token""#)));
    let signed = |nonce: &str, encode: &dyn Fn(&[u8]) -> String| {
        let sig = encode(pair.sign(nonce.as_bytes()).as_ref());
        with(&format!(r#""nkey":"{key}","sig":"{sig}""#))
    };
    assert!(!refused(&|nonce| signed(nonce, &|it| BASE64URL_NOPAD.encode(it))));
    assert!(!refused(&|nonce| signed(nonce, &|it| BASE64.encode(it))));
    assert!(refused(&|_| signed("another", &|it| BASE64.encode(it))));
    assert!(refused(&|_| with(r#""user":"alice","pass":"bob-secret""#)));
    assert!(refused(&|_| with(r#""auth_token":"b-token""#)));
    assert!(refused(&|_| with(r#""user":"a-token""#)));
    assert!(refused(&|_| with(r#""name":"x""#)));
    assert!(refused(&|_| "SUB a 1\r\n".to_owned()));
    assert!(refused(&|_| "PING\r\n".to_owned()));
    let log = broker.log().so_far().join("\n");
    assert!(log.contains("CONNECT from "), "even at level trace");
    for secret in ["alice-secret", "a-token", "b-token", "\"sig\""] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn nats_users_are_told_what_they_may_not_and_go_on() {
    let broker = broker_with(&users(), "");
    let mut alice = nats(&broker, "alice");
    for (line, told) in [
        ("SUB > 1", "Subscription to \">\""),
        ("SUB orders.secret.* 1", "Subscription to \"orders.secret.*\""),
        ("SUB orders.a others 1", "Subscription to \"orders.a\" using queue \"others\""),
    ] {
        alice.send(&format!("{line}\r\n"));
        assert_eq!(alice.line(), format!("-ERR 'Permissions Violation for {told}'"));
    }
    alice.send("SUB orders.> 7\r\n");
    alice.confirm();
    let mut bob = nats(&broker, "bob");
    bob.send("PUB orders.new 3\r\nyes\r\nPUB orders.x r.1 2\r\nno\r\n");
    assert_eq!(bob.line(), "-ERR 'Permissions Violation for Publish to \"orders.x\"'");
    bob.confirm();
    assert_eq!(alice.message(), Some(("MSG orders.new 7 3".into(), b"yes".to_vec())));
    alice.send("PUB orders.secret.a 1\r\nx\r\nPUB orders.b 1\r\ny\r\n");
    assert_eq!(alice.message(), Some(("MSG orders.b 7 1".into(), b"y".to_vec())));
    alice.confirm();
}

#[test]
fn a_reply_may_be_published_once_by_who_was_asked() {
    let broker = broker_with(&users(), "");
    let mut alice = nats(&broker, "alice");
    alice.send("SUB _INBOX.a.* 1\r\n");
    alice.confirm();
    let mut bob = nats(&broker, "bob");
    bob.send("SUB requests.> 2\r\nSUB requests.q q 3\r\n");
    bob.confirm();
    let denied = "-ERR 'Permissions Violation for Publish to \"_INBOX.a.1\"'";
    bob.send("PUB _INBOX.a.1 1\r\nx\r\n");
    assert_eq!(bob.line(), denied, "nobody has asked yet");
    alice.send("PUB requests.a _INBOX.a.1 1\r\n?\r\n");
    assert_eq!(bob.message(), Some(("MSG requests.a 2 _INBOX.a.1 1".into(), b"?".to_vec())));
    // Both in one read: only the first is the answer.
    bob.send("PUB _INBOX.a.1 1\r\ny\r\nPUB _INBOX.a.1 1\r\nz\r\n");
    assert_eq!(bob.line(), denied);
    assert_eq!(alice.message(), Some(("MSG _INBOX.a.1 1 1".into(), b"y".to_vec())));
    // The same through a queue group, and for several requests at a time.
    alice.send("PUB requests.b _INBOX.a.2 1\r\n?\r\nPUB requests.b _INBOX.a.3 1\r\n?\r\n");
    (0..2).for_each(|_| assert!(bob.message().is_some()));
    bob.send("PUB _INBOX.a.3 1\r\n3\r\nPUB orders.new 0\r\n\r\nPUB _INBOX.a.2 1\r\n2\r\n");
    bob.confirm();
    alice.expect_payload("3");
    alice.expect_payload("2");
}

#[test]
fn a_user_has_as_many_connections_as_it_may() {
    let broker = broker_with(&users(), "");
    let first = log_in(Peer::connect(broker.publishers), "bob");
    let _second = nats(&broker, "bob");
    let body = b"version=1\nuser=bob\nsecret=bob-secret\n";
    let mut third = Peer::connect(broker.publishers);
    third.send(&hello(b"a client", body));
    third.expect_refusal(code::TOO_MANY);
    drop(first);
    eventually("room for another", || {
        let mut peer = Peer::connect(broker.publishers);
        peer.send(&hello(b"a client", body));
        (peer.recv().kind == crate::support::kind::WELCOME).then_some(())
    });
}

#[test]
fn clients_that_show_nothing_are_anonymous_where_that_is_a_user() {
    let broker = broker_with(&users(), "anonymous = guest\n");
    let mut guest = broker.subscriber_of(&[b"news.>"]);
    guest.send(&subscribe(b"orders.>", b""));
    guest.expect_error(code::NOT_ALLOWED, false);
    let mut peer = NatsPeer::begin(broker.nats());
    assert_eq!(peer.info["auth_required"].as_bool(), None);
    // One may say all before CONNECT.
    peer.send("SUB news.a 1\r\nSUB orders.a 2\r\n");
    assert_eq!(peer.line(), "+OK");
    let told = peer.line();
    assert_eq!(told, "-ERR 'Permissions Violation for Subscription to \"orders.a\"'");
    let mut wrong = Peer::connect(broker.subscribers);
    wrong.send(&hello(b"a client", b"version=1\nuser=guest\nsecret=x\n"));
    wrong.expect_refusal(code::UNAUTHORIZED);
}

#[test]
fn a_reload_takes_away_what_is_not_granted_any_more() {
    let broker = broker_with(&users(), "");
    let mut alice = log_in(Peer::connect(broker.subscribers), "alice");
    alice.subscribe(b"orders.>", b"");
    alice.subscribe(b"orders.a", b"");
    alice.confirm();
    let mut other = nats(&broker, "alice");
    other.send("SUB orders.> 9\r\nSUB orders.a 10\r\n");
    other.confirm();
    let mut bob = log_in(Peer::connect(broker.publishers), "bob");
    bob.confirm();
    let mut bob_too = nats(&broker, "bob");
    let [secret] = ["alice-secret"].map(secret);
    let less = format!("[alice]\nsecret = {secret}\npublish = orders.a\nsubscribe = orders.*\n");
    // A file that is wrong changes nothing.
    write_users(broker.dir.path(), "[alice]\nsecret = nonsense\n");
    broker.signal("HUP");
    broker.log().wait_for_count("not reloaded: ", 1);
    bob.confirm();
    write_users(broker.dir.path(), &less);
    broker.signal("HUP");
    bob.expect_refusal(code::UNAUTHORIZED);
    assert_eq!(bob_too.line(), "", "it ends without a word");
    assert_eq!(alice.expect_error(code::NOT_ALLOWED, false).topic, b"orders.>");
    let gone = "-ERR 'Permissions Violation for Subscription to \"orders.>\" (sid \"9\")'";
    assert_eq!(other.line(), gone);
    other.send("PUB orders.b 0\r\n\r\n");
    assert_eq!(other.line(), "-ERR 'Permissions Violation for Publish to \"orders.b\"'");
    other.send("PUB orders.a 1\r\nx\r\n");
    assert_eq!(other.message(), Some(("MSG orders.a 10 1".into(), b"x".to_vec())));
    alice.expect_message(b"orders.a", b"x");
}
