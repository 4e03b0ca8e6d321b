//! SUB and UNSUB: which filters there are, how sids are used, and what a maximum counts.

use nats_tests::server::Server;

use crate::client::Client;

/// Publications to `a`, one for each letter.
fn publish(letters: &str) -> Vec<u8> {
    letters.chars().flat_map(|letter| format!("PUB a 1\r\n{letter}\r\n").into_bytes()).collect()
}

/// The same as a subscriber receives them.
fn messages(sid: &str, letters: &str) -> Vec<u8> {
    let message = |letter| format!("MSG a {sid} 1\r\n{letter}\r\n").into_bytes();
    letters.chars().flat_map(message).collect()
}

#[test]
fn filters_that_are_refused_leave_the_connection() {
    let server = Server::under_test(&[]);
    for connect in ["{\"verbose\":false}", "{\"verbose\":false,\"pedantic\":false}"] {
        let mut client = Client::with(&server, &format!("CONNECT {connect}\r\n"));
        for filter in ["a..b", ".a", "a.", ".", "..", ">.a", "a.>.b", "*..a", "a..>"] {
            let error = b"-ERR 'Invalid Subject'\r\n";
            client.says(format!("SUB {filter} 1\r\n").as_bytes(), error);
            client.says(format!("SUB {filter} group 1\r\n").as_bytes(), error);
        }
        client.says(b"SUB a 1\r\nPUB a 0\r\n\r\n", b"MSG a 1 0\r\n\r\n");
    }
}

#[test]
fn what_filters_match() {
    let server = Server::under_test(&[]);
    let rows = [
        ("a", "a", true),
        ("a", "A", false),
        ("a", "a.b", false),
        ("a.b", "a", false),
        ("*", "a", true),
        ("*", "a.b", false),
        ("a.*", "a.b", true),
        ("a.*", "a", false),
        ("a.*", "a.b.c", false),
        ("*.*", "a.b", true),
        ("*.b.*", "a.b.c", true),
        (">", "a", true),
        (">", "a.b.c", true),
        (">", "$SYS.a", true),
        (">", "_INBOX.a.b", true),
        ("*", "$x", true),
        ("a.>", "a.b", true),
        ("a.>", "a.b.c.d", true),
        ("a.>", "a", false),
        ("*.>", "a.b", true),
        ("*.>", "a", false),
        // Characters like any other within a longer token.
        ("a*b", "a*b", true),
        ("a*b", "axb", false),
        (">>", ">>", true),
        (">>", "a", false),
        ("a*", "ab", false),
        ("*", "a*b", true),
        // Subjects with an empty token are not delivered.
        (">", "a..b", false),
        (">", ".a", false),
        ("a.>", "a.", false),
        ("*.*", ".", false),
    ];
    let mut client = Client::connect(&server);
    for (filter, subject, matches) in rows {
        client.send(format!("SUB {filter} 1\r\nPUB {subject} 0\r\n\r\nUNSUB 1\r\n").as_bytes());
        let message = format!("MSG {subject} 1 0\r\n\r\n");
        client.expect_only(if matches { message.as_bytes() } else { b"" });
    }
}

#[test]
fn a_sid_is_any_word() {
    let server = Server::under_test(&[]);
    let mut client = Client::connect(&server);
    for sid in [&b"1"[..], b"01", b"-1", b"a.b", b"\xC3\xA9", b"\xFF\xFE", b"'\"{}", b"\x01"] {
        client.send(&[b"SUB a ", sid, b"\r\n"].concat());
        let message = [b"MSG a ", sid, b" 0\r\n\r\n"].concat();
        client.says(b"PUB a 0\r\n\r\n", &message);
        client.send(&[b"UNSUB ", sid, b"\r\n"].concat());
        client.says(b"PUB a 0\r\n\r\n", b"");
    }
    let long = "9".repeat(1_000);
    client.send(format!("SUB a {long}\r\n").as_bytes());
    client.says(b"PUB a 0\r\n\r\n", format!("MSG a {long} 0\r\n\r\n").as_bytes());
}

#[test]
fn a_sid_in_use_is_left_alone() {
    let server = Server::under_test(&[]);
    let mut client = Client::connect(&server);
    client.says(b"SUB a 1\r\nSUB b 1\r\nSUB a group 1\r\nSUB a 1\r\n", b"");
    client.says(b"PUB b 0\r\n\r\nPUB a 0\r\n\r\n", b"MSG a 1 0\r\n\r\n");
    // One UNSUB ends it, and then the sid is free.
    client.says(b"UNSUB 1\r\nPUB a 0\r\n\r\n", b"");
    client.says(b"SUB b 1\r\nPUB a 0\r\n\r\nPUB b 0\r\n\r\n", b"MSG b 1 0\r\n\r\n");
}

#[test]
fn a_maximum_counts_from_the_subscription_on() {
    let server = Server::under_test(&[]);
    // Sent after `SUB a 1`; the result.
    let rows = [
        ("UNSUB 1 2", "abc", "", "", "ab"),
        ("UNSUB 1 02", "abc", "", "", "ab"),
        // As if there were none.
        ("UNSUB 1 0", "ab", "", "", ""),
        ("UNSUB 1 zz", "ab", "", "", ""),
        ("UNSUB 1 -3", "ab", "", "", ""),
        ("UNSUB 1 +3", "ab", "", "", ""),
        // The later one applies.
        ("UNSUB 1 1", "", "UNSUB 1 3", "abcd", "abc"),
        ("UNSUB 1 3", "a", "UNSUB 1 2", "bc", "ab"),
        ("UNSUB 1 3", "a", "UNSUB 1", "b", "a"),
        ("UNSUB 1 3", "abc", "UNSUB 1 5", "d", "abc"),
        // Those before the UNSUB are counted.
        ("PING", "ab", "UNSUB 1 3", "cd", "abc"),
        // As many have arrived already.
        ("PING", "ab", "UNSUB 1 2", "c", "ab"),
        ("PING", "abc", "UNSUB 1 2", "d", "abc"),
        // A SUB of the same sid changes nothing.
        ("UNSUB 1 2", "a", "SUB a 1", "bc", "ab"),
    ];
    for (first, before, second, behind, expected) in rows {
        let mut client = Client::connect(&server);
        client.send(b"SUB a 1\r\n");
        for (line, letters) in [(first, before), (second, behind)] {
            if !line.is_empty() && line != "PING" {
                client.send(format!("{line}\r\n").as_bytes());
            }
            client.send(&publish(letters));
        }
        client.expect_only(&messages("1", expected));
    }
}

#[test]
fn a_maximum_counts_messages_of_others_too() {
    let server = Server::under_test(&[]);
    let (mut client, mut other) = (Client::connect(&server), Client::connect(&server));
    client.says(b"SUB a 1\r\nUNSUB 1 3\r\nSUB a 2\r\n", b"");
    other.says(&publish("a"), b"");
    let both = [["1", "2"], ["2", "1"]].map(|sids| sids.map(|sid| messages(sid, "a")).concat());
    client.expect_only_one_of(&[&both[0], &both[1]]);
    client.says(b"UNSUB 2\r\n", b"");
    other.says(&publish("bcd"), b"");
    client.expect_only(&messages("1", "bc"));
    // The sid is free.
    client.says(b"SUB a 1\r\n", b"");
    other.says(&publish("efgh"), b"");
    client.expect_only(&messages("1", "efgh"));
}

#[test]
fn suppressed_messages_and_503s_do_not_count() {
    let server = Server::under_test(&[]);
    let options = "\"echo\":false,\"headers\":true,\"no_responders\":true";
    let mut mute = Client::quiet_with(&server, options);
    let mut other = Client::connect(&server);
    mute.says(b"SUB a 1\r\nUNSUB 1 2\r\n", b"");
    mute.says(&publish("xyz"), b"");
    let none = b"HMSG a 1 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n";
    mute.says(b"PUB nobody a 0\r\n\r\n", none);
    mute.says(b"PUB nobody a 0\r\n\r\n", none);
    other.says(&publish("abc"), b"");
    mute.expect_only(&messages("1", "ab"));
}

#[test]
fn a_subscription_that_has_its_last_message_is_no_responder() {
    let server = Server::under_test(&[]);
    let (mut client, mut other) = (Client::connect(&server), Client::connect(&server));
    other.says(b"SUB a 1\r\nUNSUB 1 1\r\n", b"");
    client.says(b"SUB in 9\r\n", b"");
    client.says(
        b"PUB a in 1\r\nx\r\nPUB a in 1\r\ny\r\n",
        b"HMSG in 9 33 33\r\nNATS/1.0 503\r\nNats-Subject: a\r\n\r\n\r\n",
    );
    other.expect_only(b"MSG a 1 in 1\r\nx\r\n");
}

#[test]
fn a_queue_subscription_has_a_maximum_like_any_other() {
    let server = Server::under_test(&[]);
    let (mut first, mut second) = (Client::connect(&server), Client::connect(&server));
    first.says(b"SUB a g 1\r\nUNSUB 1 2\r\n", b"");
    second.says(&publish("abc"), b"");
    first.expect_only(&messages("1", "ab"));
    // When one member has reached its maximum, the next gets it.
    first.says(b"SUB a g 1\r\nUNSUB 1 1\r\nSUB a g 2\r\nUNSUB 2 1\r\n", b"");
    second.says(&publish("abc"), b"");
    let both = [["1", "2"], ["2", "1"]]
        .map(|[one, other]| [messages(one, "a"), messages(other, "b")].concat());
    first.expect_only_one_of(&[&both[0], &both[1]]);
}

#[test]
fn unsub_of_what_is_not_there() {
    let server = Server::under_test(&[]);
    let mut client = Client::connect(&server);
    client.says(b"UNSUB 1\r\nUNSUB none 3\r\nUNSUB 2 zz\r\n", b"");
    // It leaves nothing behind for a later subscription.
    client.says(b"SUB a none\r\n", b"");
    client.says(&publish("abcd"), &messages("none", "abcd"));
}

/// Libraries drain by UNSUB and PING: after the PONG no message may arrive.
#[test]
fn no_message_comes_behind_the_pong_of_an_unsub() {
    let server = Server::under_test(&[]);
    for _ in 0..20 {
        let mut client = Client::connect(&server);
        client.says(b"SUB a 1\r\n", b"");
        let mut other = Client::connect(&server);
        let publisher = std::thread::spawn(move || {
            for _ in 0..200 {
                other.send(&publish("abcdefghij"));
            }
            other.expect_only(b"");
        });
        // Some have arrived, and more are on their way.
        client.expect(&messages("1", "a"));
        client.send(b"UNSUB 1\r\nPING\r\n");
        let pong = nats_tests::peer::Event::Frame(nats_tests::frame::Frame::Pong);
        while client.receive() != pong {}
        publisher.join().expect("the publisher gets what it expects");
        client.expect_only(b"");
    }
}
