//! Requests without a subscriber: which clients get `503`, and with which bytes.

use nats_tests::server::Server;

use crate::client::Client;

/// What a requester gets.
fn none(reply: &str, sid: &str, subject: &str) -> Vec<u8> {
    let size = 32 + subject.len();
    format!(
        "HMSG {reply} {sid} {size} {size}\r\nNATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n\r\n"
    )
    .into_bytes()
}

#[test]
fn a_request_without_a_subscriber() {
    let server = Server::under_test(&[]);
    let mut client = Client::connect(&server);
    client.says(b"SUB in.* 7\r\n", b"");
    client.says(b"PUB a in.1 2\r\nhi\r\n", &none("in.1", "7", "a"));
    client.says(b"HPUB a.b in.2 2 4\r\nhiho\r\n", &none("in.2", "7", "a.b"));
    // Subjects with an empty token are not delivered.
    client.says(b"PUB a..b in.3 0\r\n\r\n", &none("in.3", "7", "a..b"));
    client.says(b"PUB $JS.API.INFO in.4 0\r\n\r\n", &none("in.4", "7", "$JS.API.INFO"));
    client.says(b"PUB $KV.x in.4 0\r\n\r\n", &none("in.4", "7", "$KV.x"));
    client.says(b"PUB $SRV.PING in.4 0\r\n\r\n", &none("in.4", "7", "$SRV.PING"));
    // Each its own, in the order of the requests.
    let all = [none("in.5", "7", "a"), none("in.6", "7", "b"), none("in.7", "7", "a")].concat();
    client.says(b"PUB a in.5 0\r\n\r\nPUB b in.6 0\r\n\r\nPUB a in.7 0\r\n\r\n", &all);
}

#[test]
fn the_old_way_with_an_inbox_for_each_request() {
    let server = Server::under_test(&[]);
    let mut client = Client::connect(&server);
    client.says(b"SUB in 1\r\nUNSUB 1 1\r\nPUB a in 0\r\n\r\n", &none("in", "1", "a"));
    // It did not count.
    client.says(b"PUB in 0\r\n\r\n", b"MSG in 1 0\r\n\r\n");
    client.says(b"PUB in 0\r\n\r\nPUB a in 0\r\n\r\n", b"");
}

#[test]
fn no_503_without_cause() {
    let server = Server::under_test(&[]);
    let mut client = Client::connect(&server);
    let mut other = Client::connect(&server);
    // There is no reply subject, or it is not subscribed to here.
    client.says(b"PUB a 0\r\n\r\nPUB a in 0\r\n\r\n", b"");
    other.says(b"SUB in 1\r\n", b"");
    client.says(b"PUB a in 0\r\n\r\n", b"");
    other.expect_only(b"");
    // Queue subscriptions do not wait for replies.
    client.says(b"SUB in group 1\r\nPUB a in 0\r\n\r\n", b"");
    // It has a subscriber.
    client.says(b"UNSUB 1\r\nSUB in 1\r\n", b"");
    other.says(b"SUB a 2\r\n", b"");
    client.says(b"PUB a in 0\r\n\r\n", b"");
    other.expect_only(b"MSG a 2 in 0\r\n\r\n");
    other.says(b"UNSUB 2\r\nSUB a group 3\r\n", b"");
    client.says(b"PUB a in 0\r\n\r\n", b"");
    other.expect_only(b"MSG a 3 in 0\r\n\r\n");
    // Its own subscription receives it as well.
    other.says(b"UNSUB 3\r\n", b"");
    client.says(b"SUB a 4\r\nPUB a in 0\r\n\r\n", b"MSG a 4 in 0\r\n\r\n");
}

#[test]
fn only_who_asks_is_told() {
    let server = Server::under_test(&[]);
    for more in ["\"headers\":true", "\"headers\":true,\"no_responders\":false"] {
        let mut client = Client::quiet_with(&server, more);
        client.says(b"SUB in 1\r\nPUB a in 0\r\n\r\n", b"");
    }
}

#[test]
fn one_subscription_of_several_is_told() {
    let server = Server::under_test(&[]);
    let mut client = Client::connect(&server);
    client.says(b"SUB in.* 1\r\nSUB in.> 2\r\nSUB in.a group 3\r\n", b"");
    client.send(b"PUB a in.a 0\r\n\r\n");
    client.expect_only_one_of(&[&none("in.a", "1", "a"), &none("in.a", "2", "a")]);
}

#[test]
fn a_requester_without_echo_does_not_hear_itself() {
    let server = Server::under_test(&[]);
    let options = "\"echo\":false,\"headers\":true,\"no_responders\":true";
    let mut client = Client::quiet_with(&server, options);
    client.says(b"SUB a 1\r\nSUB a group 2\r\nSUB in 3\r\n", b"");
    client.says(b"PUB a in 0\r\n\r\n", &none("in", "3", "a"));
}

#[test]
fn a_reply_is_not_looked_at() {
    let server = Server::under_test(&[]);
    let mut client = Client::connect(&server);
    client.says(b"SUB a 1\r\n", b"");
    for reply in ["r..x", ".r", "r.>", "*", ">", "r.", "..", "a*b", "$SYS.x"] {
        let message = format!("MSG a 1 {reply} 0\r\n\r\n");
        client.says(format!("PUB a {reply} 0\r\n\r\n").as_bytes(), message.as_bytes());
    }
}

#[test]
fn a_request_and_its_reply() {
    let server = Server::under_test(&[]);
    let (mut service, mut client) = (Client::connect(&server), Client::connect(&server));
    service.says(b"SUB svc.echo workers 1\r\n", b"");
    client.says(b"SUB _INBOX.k3.* 1\r\nPUB svc.echo _INBOX.k3.1 5\r\nhello\r\n", b"");
    service.expect_only(b"MSG svc.echo 1 _INBOX.k3.1 5\r\nhello\r\n");
    let block = "NATS/1.0\r\nX-Id: 7\r\n\r\n";
    service.says(format!("HPUB _INBOX.k3.1 21 26\r\n{block}HELLO\r\n").as_bytes(), b"");
    client.expect_only(format!("HMSG _INBOX.k3.1 1 21 26\r\n{block}HELLO\r\n").as_bytes());
    service.says(b"UNSUB 1\r\n", b"");
    let answer = none("_INBOX.k3.2", "1", "svc.echo");
    client.says(b"PUB svc.echo _INBOX.k3.2 2\r\nhi\r\n", &answer);
}
