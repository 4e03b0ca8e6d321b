//! Lines of a hub: each form, each cut, each limit, and what is refused.

use super::*;
use crate::leaf::MAX_LINE_BYTES;
use crate::nats::random::Random;

const MAX: usize = MAX_LINE_BYTES;

fn groups(text: &'static str) -> Groups<'static> {
    Groups { rest: text.as_bytes() }
}

fn message(
    subject: &'static str,
    reply: Option<&'static str>,
    names: &'static str,
    sizes: (Option<u32>, u32),
) -> Line<'static> {
    Line::Message(Message {
        subject: subject.as_bytes(),
        reply: reply.map(str::as_bytes),
        groups: groups(names),
        header_bytes: sizes.0,
        total_bytes: sizes.1,
    })
}

/// Each form of each line as it is written, with what it says.
fn forms() -> Vec<(&'static str, Line<'static>)> {
    let interest = |filter: &'static str, group: Option<(&'static str, u32)>| Line::Interest {
        filter: filter.as_bytes(),
        group: group.map(|(name, weight)| (name.as_bytes(), weight)),
    };
    let end = |filter: &'static str, group: Option<&'static str>| Line::EndInterest {
        filter: filter.as_bytes(),
        group: group.map(str::as_bytes),
    };
    vec![
        ("INFO {\"a\":1} \r\n", Line::Info(b"{\"a\":1} ")),
        ("LS+ a.>\r\n", interest("a.>", None)),
        ("LS+ a.* workers 3\r\n", interest("a.*", Some(("workers", 3)))),
        ("LS+ a + 0\r\n", interest("a", Some(("+", 0)))),
        ("LS- a.>\r\n", end("a.>", None)),
        ("LS- a.* workers\r\n", end("a.*", Some("workers"))),
        ("LMSG a.b 5\r\n", message("a.b", None, "", (None, 5))),
        ("LMSG a.b _INBOX.1 0\r\n", message("a.b", Some("_INBOX.1"), "", (None, 0))),
        ("LMSG a + r g 5\r\n", message("a", Some("r"), "g", (None, 5))),
        ("LMSG a + r g h i 5\r\n", message("a", Some("r"), "g h i", (None, 5))),
        ("LMSG a | g 5\r\n", message("a", None, "g", (None, 5))),
        ("LMSG a | g h i j k l 5\r\n", message("a", None, "g h i j k l", (None, 5))),
        ("LMSG a | + | 5\r\n", message("a", None, "+ |", (None, 5))),
        ("HMSG a.b 12 17\r\n", message("a.b", None, "", (Some(12), 17))),
        ("HMSG a.b r 12 12\r\n", message("a.b", Some("r"), "", (Some(12), 12))),
        ("HMSG a + r g h 12 17\r\n", message("a", Some("r"), "g h", (Some(12), 17))),
        ("HMSG a | g 0 999999999\r\n", message("a", None, "g", (Some(0), 999_999_999))),
        ("PING\r\n", Line::Ping),
        ("PONG\r\n", Line::Pong),
        ("+OK\r\n", Line::Ok),
        ("-ERR 'it's \"a\"'\r\n", Line::Error(b"it's \"a\"")),
        ("-ERR ''\r\n", Line::Error(b"")),
    ]
}

#[test]
fn each_form_is_read_at_every_cut_and_written_to_the_byte() {
    for (text, expected) in forms() {
        for cut in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..cut], MAX), Ok(None), "{text} {cut}");
        }
        let behind = [text.as_bytes(), b"LS+ x\r\n"].concat();
        assert_eq!(parse(&behind, MAX), Ok(Some((expected, text.len()))), "{text}");
        let mut out = b"before".to_vec();
        expected.write(&mut out);
        assert_eq!(out[6..], *text.as_bytes());
        if let Line::Message(message) = expected {
            assert_eq!(message.line_bytes(), text.len(), "{text}");
        }
    }
}

#[test]
fn what_need_not_be_so_may_be_otherwise() {
    let rows = [
        ("lmsg a 5\n", message("a", None, "", (None, 5))),
        ("Hmsg \t a\t + r  g\t\th 007 00009 \r\n", message("a", Some("r"), "g h", (Some(7), 9))),
        ("ls+  a\t g  2 \r\n", Line::Interest { filter: b"a", group: Some((b"g", 2)) }),
        ("ls- a \n", Line::EndInterest { filter: b"a", group: None }),
        ("ping pong\r\n", Line::Ping),
        ("+ok\n", Line::Ok),
        ("-err x y\r\n", Line::Error(b"x y")),
        ("-ERR 'x\r\n", Line::Error(b"'x")),
        // A name that looks like a mark is one where no mark can stand.
        ("LMSG + 5\r\n", message("+", None, "", (None, 5))),
        ("LMSG a + 5\r\n", message("a", Some("+"), "", (None, 5))),
        ("LMSG a | 5\r\n", message("a", Some("|"), "", (None, 5))),
        ("LMSG a + | 5\r\n", message("a", Some("|"), "", (None, 5))),
        ("LMSG a + r 5\r\n", message("a", Some("r"), "", (None, 5))),
        ("HMSG 1 + 2 3 4 5\r\n", message("1", Some("2"), "3", (Some(4), 5))),
    ];
    for (text, expected) in rows {
        assert_eq!(parse(text.as_bytes(), MAX), Ok(Some((expected, text.len()))), "{text}");
    }
}

#[test]
fn what_no_hub_sends_is_refused_for_one_reason_from_some_byte_on() {
    use LineError::{Malformed, UnknownOperation};
    let rows = [
        ("FOO\r\n", UnknownOperation),
        ("MSG a 1 5\r\n", UnknownOperation),
        ("SUB a 1\r\n", UnknownOperation),
        ("CONNECT {}\r\n", UnknownOperation),
        ("HTTP/1.1 400\r\n", UnknownOperation),
        ("\r\n", UnknownOperation),
        ("\x16\x03\x01", UnknownOperation),
        (" PING\r\n", UnknownOperation),
        ("LMSGa 5\r\n", UnknownOperation),
        ("LS+\r\n", UnknownOperation),
        ("LS*", UnknownOperation),
        ("INFO{}\r\n", UnknownOperation),
        ("-ERR\r\n", UnknownOperation),
        ("LMSG \r\n", Malformed),
        ("LMSG 5\r\n", Malformed),
        ("LMSG a x\r\n", Malformed),
        ("LMSG a -1\r\n", Malformed),
        ("LMSG a +1\r\n", Malformed),
        ("LMSG a 1234567890\r\n", Malformed),
        ("LMSG a r g 5\r\n", Malformed),
        ("LMSG a ++ r g 5\r\n", Malformed),
        ("LMSG a + r g\r\n", Malformed),
        ("LMSG a\r 5\r\n", Malformed),
        ("LMSG a | g\r h 5\r\n", Malformed),
        ("HMSG a 5\r\n", Malformed),
        ("HMSG 5 5\r\n", Malformed),
        ("HMSG a 6 5\r\n", Malformed),
        ("HMSG a r x 5\r\n", Malformed),
        ("HMSG a r 5 x\r\n", Malformed),
        ("HMSG a r g 5 5\r\n", Malformed),
        ("LS+ \r\n", Malformed),
        ("LS+ a g\r\n", Malformed),
        ("LS+ a g x\r\n", Malformed),
        ("LS+ a g 1 1\r\n", Malformed),
        ("LS+ a g -1\r\n", Malformed),
        ("LS- \r\n", Malformed),
        ("LS- a g 1\r\n", Malformed),
        ("INFO {\r}\r\n", Malformed),
    ];
    for (text, error) in rows {
        let mut refused = false;
        for cut in 0..=text.len() {
            match parse(&text.as_bytes()[..cut], MAX) {
                Ok(read) => assert!(read.is_none() && !refused, "{text} {cut}"),
                Err(found) => {
                    assert_eq!(found, error, "{text} {cut}");
                    refused = true;
                }
            }
        }
        assert!(refused, "{text}");
    }
    // A wrong verb is found at its first wrong byte.
    for (text, cut) in [("LX", 2), ("LS*", 3), ("X", 1), ("LMSGx", 5), ("-EX", 3)] {
        assert_eq!(parse(&text.as_bytes()[..cut - 1], MAX), Ok(None), "{text}");
        assert_eq!(parse(text.as_bytes(), MAX), Err(UnknownOperation), "{text}");
    }
}

#[test]
fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
    for max in [8, 100, MAX] {
        let subject = |bytes: usize| format!("LMSG {} 5\r\n", "x".repeat(bytes - 2));
        let (fits, longer) = (subject(max), subject(max + 1));
        let found = parse(fits.as_bytes(), max).unwrap();
        assert!(matches!(found, Some((Line::Message(_), length)) if length == fits.len()));
        let long = Err(LineError::ControlLineTooLong);
        assert_eq!(parse(longer.as_bytes(), max), long);
        // Without the line's end as soon as it cannot end in time.
        let endless = "x".repeat(max + 9);
        let end = "LS- ".len() + max + 1;
        assert_eq!(parse(format!("LS- {endless}").as_bytes(), max), long);
        assert_eq!(parse(&format!("LS- {endless}").as_bytes()[..end - 1], max), Ok(None));
        assert_eq!(parse(format!("PING{endless}").as_bytes(), max), long);
        assert_eq!(parse(format!("LS+ {}", " ".repeat(max)).as_bytes(), max), long);
        assert!(max_line_bytes(max) >= "LMSG".len() + max + max + LINE_END.len());
    }
}

#[test]
fn as_many_groups_are_read_as_a_line_holds() {
    let names: Vec<String> = (0..10_000).map(|number| format!("g{number}")).collect();
    let message = Message {
        subject: b"a",
        reply: Some(b"r"),
        groups: &names,
        header_bytes: None,
        total_bytes: 1,
    };
    let mut out = Vec::new();
    message.write(&mut out);
    assert_eq!(out.len(), message.line_bytes());
    let Ok(Some((Line::Message(read), _))) = parse(&out, MAX) else {
        panic!("it fits into a line");
    };
    assert!(read.groups.iter().eq(names.iter().map(String::as_bytes)));
    assert!(!read.groups.is_empty() && Groups::default().is_empty());
    assert_eq!(read.groups.count(), 10_000);
}

#[test]
fn what_is_written_is_read_again() {
    for seed in 0..2_000 {
        let mut random = Random(seed);
        let names = b"ab.+|*>$1";
        let (subject, reply) = (random.bytes(names, 20), random.bytes(names, 20));
        let groups: Vec<_> = (0..random.below(4)).map(|_| random.bytes(names, 9)).collect();
        let total_bytes = random.below(1_000_000_000) as u32;
        let header_bytes =
            (random.below(2) == 0).then(|| random.below(total_bytes as usize + 1) as u32);
        let message = Message {
            subject: subject.as_slice(),
            reply: (random.below(2) == 0).then_some(reply.as_slice()),
            groups: groups.as_slice(),
            header_bytes,
            total_bytes,
        };
        let mut out = Vec::new();
        message.write(&mut out);
        assert_eq!(out.len(), message.line_bytes(), "{seed}");
        let Ok(Some((Line::Message(read), length))) = parse(&out, MAX) else {
            panic!("{seed}: {}", out.escape_ascii());
        };
        assert_eq!((length, read.subject, read.reply), (out.len(), message.subject, message.reply));
        assert_eq!((read.header_bytes, read.total_bytes), (header_bytes, total_bytes), "{seed}");
        assert!(read.groups.eq(groups.iter().map(Vec::as_slice)), "{seed}");
    }
}

#[test]
fn garbage_is_never_one_line_first_and_another_later() {
    let pieces: [&[u8]; 17] = [
        b"LMSG", b"hmsg", b"LS+", b"LS-", b"INFO", b"PING", b"-ERR", b"+OK", b" ", b"\t", b"\r",
        b"\n", b"+", b"|", b"12", b"a", b"\xFF",
    ];
    let mut read = 0;
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let mut bytes = random.pick(&pieces[..8]).to_vec();
        for _ in 0..random.below(12) {
            bytes.extend_from_slice(random.pick(&pieces));
        }
        let whole = parse(&bytes, MAX);
        read += usize::from(matches!(whole, Ok(Some(_))));
        for cut in 0..bytes.len() {
            match parse(&bytes[..cut], MAX) {
                Ok(None) => {}
                early => assert_eq!(early, whole, "{} {cut}", bytes.escape_ascii()),
            }
        }
    }
    assert!(read > 1_000, "most of it is no line: {read}");
}
