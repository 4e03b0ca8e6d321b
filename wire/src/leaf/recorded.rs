//! What a nats-server 2.15.1 has sent over links to its port for leaf nodes, byte for byte, and
//! what it says.

use super::MAX_LINE_BYTES;
use super::hub_error::HubError;
use super::info::HubInfo;
use super::line::{Line, parse};
use super::subject;
use crate::nats::LINE_END;

/// A hub with streams, a client with subscriptions and messages, and at last a wrong line of ours.
const STREAMS: &[u8] = include_bytes!("recorded/streams.txt");
/// A hub with users who may not do everything, and a message that was not permitted.
const PERMISSIONS: &[u8] = include_bytes!("recorded/permissions.txt");
/// The first line of a hub that wants TLS.
const TLS: &[u8] = include_bytes!("recorded/tls.txt");

/// The lines of a recording as Debug has them, without INFO, each with the body behind it.
fn lines(mut bytes: &[u8]) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    while let Some((line, length)) = parse(bytes, MAX_LINE_BYTES).expect("a hub has sent it") {
        bytes = &bytes[length..];
        let body = match line {
            Line::Message(message) => {
                let (body, behind) = bytes.split_at(message.total_bytes as usize);
                bytes = behind.strip_prefix(LINE_END).expect("it ends the message");
                body
            }
            _ => b"",
        };
        let mut text = Vec::new();
        line.write(&mut text);
        lines.push((text, body));
    }
    assert!(bytes.is_empty(), "{}", bytes.escape_ascii());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().trim_end().to_owned();
    lines.iter().map(|(line, body)| (text(line), text(body))).collect()
}

/// What is said of the hub in the INFO lines of a recording.
fn infos(bytes: &[u8]) -> Vec<HubInfo> {
    let lines = lines(bytes);
    let json = lines.iter().filter_map(|(line, _)| line.strip_prefix("INFO "));
    json.map(|json| HubInfo::parse(json.as_bytes()).expect("it is an INFO")).collect()
}

#[test]
fn a_hub_introduces_itself() {
    let [first, joined] = &infos(STREAMS)[..] else { panic!("there are two") };
    let urls = vec!["127.0.0.1:47357".to_owned()];
    for info in [first, joined] {
        assert_eq!((info.server_name.as_str(), info.version.as_str()), ("hub-1", "2.15.1"));
        assert!(info.headers && info.jetstream && !info.tls_required && info.is_leaf_port);
        assert_eq!((info.max_payload, info.domain.as_str()), (Some(1_048_576), "hubd"));
        assert_eq!(info.leafnode_urls.as_ref(), Some(&urls));
        assert_eq!((info.server_id.len(), info.cluster.as_str()), (56, ""));
        assert!(info.import.is_everything() && info.export.is_everything());
    }
    assert_eq!(first.nonce.as_deref(), Some("r7cC8-cqfz-GE6A"));
    assert!(!first.connect_info && joined.connect_info && joined.nonce.is_none());
    assert_eq!(joined.remote_account, "$G");
    let [tls] = &infos(TLS)[..] else { panic!("there is one") };
    assert!(tls.tls_required && tls.max_payload == Some(8_388_608));
}

#[test]
fn a_hub_tells_its_permissions() {
    let [first, joined] = &infos(PERMISSIONS)[..] else { panic!("there are two") };
    assert!(first.is_leaf_port && first.leafnode_urls.is_none(), "it does not advertise");
    assert!(first.export.is_everything() && joined.remote_account == "APP");
    for (topic, expected) in
        [("in.a", true), ("in.secret", false), ("plain", true), ("x", false), ("$LDS.a", true)]
    {
        assert_eq!(joined.export.permits(topic.as_bytes()), expected, "{topic}");
    }
    assert!(joined.import.permits_interest(b"a") && joined.import.permits_interest(b">"));
    assert!(!joined.import.permits_interest(b"forbidden"));
    let lines = lines(PERMISSIONS);
    let text = lines.last().and_then(|(line, _)| line.strip_prefix("-ERR '")).unwrap();
    assert_eq!(HubError::of(text.as_bytes()), HubError::PermissionsViolation);
}

#[test]
fn a_hub_tells_interest_and_some_of_it_is_the_servers_own() {
    let lines = lines(STREAMS);
    let filters = || lines.iter().filter_map(|(line, _)| line.strip_prefix("LS+ "));
    assert_eq!(filters().count(), 22);
    let others: Vec<_> = filters()
        .filter(|filter| !subject::is_internal_interest(filter.as_bytes()))
        .filter(|filter| !filter.starts_with("$JS."))
        .collect();
    assert_eq!(others, ["plain.*", "work.> crew 2", "more", "work.> crew 1", "orders.>"]);
    let marks = filters().filter(|filter| subject::is_loop_mark(filter.as_bytes()));
    assert_eq!(marks.collect::<Vec<_>>(), ["$LDS.HcdVLTauceEESfwy6Q7KdH"]);
    let ended = lines.iter().filter_map(|(line, _)| line.strip_prefix("LS- "));
    assert_eq!(ended.collect::<Vec<_>>(), ["more", "work.> crew"]);
}

#[test]
fn a_hub_sends_messages_in_all_forms() {
    let lines = lines(STREAMS);
    let sent = lines.iter().map(|(line, body)| (line.as_str(), body.as_str()));
    let header = "NATS/1.0\r\nTrace: 7";
    let with_header = |text: &str| format!("{header}\r\n\r\n{text}");
    let (line, payload) = (with_header("LS- x"), with_header("h"));
    let expected = [
        ("LMSG in.a.b 5", "plain"),
        ("LMSG in.a.b _INBOX.c.1 5", "asked"),
        ("HMSG in.a.b 22 22", header),
        ("HMSG in.a.b _INBOX.c.2 22 29", &line),
        ("LMSG in.x | two one 9", "to groups"),
        ("LMSG in.x + _INBOX.c.3 two one 9", "to groups"),
        ("HMSG in.x | two one 22 23", &payload),
        ("HMSG in.x + _INBOX.c.4 two one 22 23", &payload),
    ];
    let of_client = sent.clone().filter(|(line, _)| line.contains("MSG in."));
    assert_eq!(of_client.collect::<Vec<_>>(), expected);
    let delivered = sent.filter(|(_, body)| *body == "one").map(|(line, _)| line);
    let [delivered] = &delivered.collect::<Vec<_>>()[..] else { panic!("there is one") };
    let reply = delivered.split(' ').nth(2).unwrap();
    let ack = b"$JS.ACK.S.d.1.1.1.1795700029306129794.0";
    let parts = (ack.as_slice(), b"orders.new".as_slice());
    assert_eq!(subject::jetstream_reply(reply.as_bytes()), Some(parts));
}

#[test]
fn what_is_read_does_not_depend_on_how_it_arrives() {
    for recording in [STREAMS, PERMISSIONS, TLS] {
        let mut at = 0;
        while let Some((line, length)) = parse(&recording[at..], MAX_LINE_BYTES).unwrap() {
            for cut in 0..length {
                assert_eq!(parse(&recording[at..at + cut], MAX_LINE_BYTES), Ok(None), "{at} {cut}");
            }
            let alone = parse(&recording[at..at + length], MAX_LINE_BYTES);
            assert_eq!(alone, Ok(Some((line, length))));
            at += length;
            if let Line::Message(message) = line {
                at += message.total_bytes as usize + LINE_END.len();
            }
        }
        assert_eq!(at, recording.len());
    }
}
