//! Tests of the control lines' grammar: each quirk by name, each line at each split, random bytes.

use super::LineError::{ControlLineTooLong, Malformed, UnknownOperation};
use super::*;
use crate::nats::MAX_CONTROL_LINE_BYTES as MAX;
use crate::nats::random::Random;

type Parsed<'a> = Result<Option<(Line<'a>, usize)>, LineError>;

fn publish<'a>(
    subject: &'a str,
    reply: Option<&'a str>,
    header_bytes: Option<u32>,
    total_bytes: u32,
) -> Line<'a> {
    let (subject, reply) = (subject.as_bytes(), reply.map(str::as_bytes));
    Line::Publish(Publish { subject, reply, header_bytes, total_bytes })
}

fn subscribe<'a>(filter: &'a str, group: Option<&'a str>, sid: &'a str) -> Line<'a> {
    let (filter, group) = (filter.as_bytes(), group.map(str::as_bytes));
    Line::Subscribe { filter, group, sid: sid.as_bytes() }
}

fn unsubscribe(sid: &str, max: Option<u64>) -> Line<'_> {
    Line::Unsubscribe { sid: sid.as_bytes(), max }
}

/// Lines that are good, and what they say.
fn good() -> Vec<(&'static str, Line<'static>)> {
    vec![
        ("PUB a 5\r\n", publish("a", None, None, 5)),
        ("PUB a r 5\r\n", publish("a", Some("r"), None, 5)),
        ("pub a.b _INBOX.1 0\r\n", publish("a.b", Some("_INBOX.1"), None, 0)),
        ("PUB a  2\r\n", publish("a", None, None, 2)),
        ("PUB \t a \t r\t 2 \t\r\n", publish("a", Some("r"), None, 2)),
        ("PUB a 01\n", publish("a", None, None, 1)),
        ("PUB a 000000001\r\n", publish("a", None, None, 1)),
        ("PUB a 999999999\r\n", publish("a", None, None, 999_999_999)),
        ("PUB a..b 1\r\n", publish("a..b", None, None, 1)),
        ("PUB \0\x7F\u{e9} 1\r\n", publish("\0\x7F\u{e9}", None, None, 1)),
        ("HPUB a 12 17\r\n", publish("a", None, Some(12), 17)),
        ("hPuB a r 0 0\r\n", publish("a", Some("r"), Some(0), 0)),
        ("HPUB a 2 2\n", publish("a", None, Some(2), 2)),
        ("SUB a 1\r\n", subscribe("a", None, "1")),
        ("SUB a  1\r\n", subscribe("a", None, "1")),
        ("SUB a.> g 1\r\n", subscribe("a.>", Some("g"), "1")),
        ("sub\ta\tg..\tsid-\u{1}\t\n", subscribe("a", Some("g.."), "sid-\u{1}")),
        ("UNSUB 1\r\n", unsubscribe("1", None)),
        ("UNSUB 1 \r\n", unsubscribe("1", None)),
        ("UNSUB 1 5\r\n", unsubscribe("1", Some(5))),
        ("UNSUB x 007\r\n", unsubscribe("x", Some(7))),
        ("UNSUB 1 999999999\r\n", unsubscribe("1", Some(999_999_999))),
        ("UNSUB 1 zz\r\n", unsubscribe("1", None)),
        ("UNSUB 1 -3\r\n", unsubscribe("1", None)),
        ("UNSUB 1 0\r\n", unsubscribe("1", None)),
        ("UNSUB 1 1000000000\r\n", unsubscribe("1", None)),
        ("PING\r\n", Line::Ping),
        ("PiNg\n", Line::Ping),
        ("PING xyz\r\n", Line::Ping),
        ("PINGX\rX\r\n", Line::Ping),
        ("PONG\r\n", Line::Pong),
        ("pong \n", Line::Pong),
        ("+OK\r\n", Line::Ok),
        ("+ok whatever\r\n", Line::Ok),
        ("CONNECT {}\r\n", Line::Connect(b"{}")),
        ("CONNECT{}\r\n", Line::Connect(b"{}")),
        ("connect \t{ \"a\" : 1 } \n", Line::Connect(b"{ \"a\" : 1 } ")),
        ("CONNECT\r\n", Line::Connect(b"")),
        ("CONNECTX\r\n", Line::Connect(b"X")),
        ("INFO {}\r\n", Line::Info(b"{}")),
        ("info  x\r\n", Line::Info(b"x")),
        ("INFO{}\n", Line::Info(b"{}")),
        ("INFO\r\n", Line::Info(b"")),
    ]
}

/// Lines that are not, and why.
const BAD: [(&[u8], LineError); 60] = [
    (b"\r\n", UnknownOperation),
    (b"\n", UnknownOperation),
    (b" PING\r\n", UnknownOperation),
    (b"GET / HTTP/1.1\r\n", UnknownOperation),
    (b"\x16\x03\x01\x02\x00", UnknownOperation),
    (b"MSG a 1 0\r\n\r\n", UnknownOperation),
    (b"HMSG a 1 0 0\r\n\r\n", UnknownOperation),
    (b"PUBX a 1\r\n", UnknownOperation),
    (b"PUB\r\n", UnknownOperation),
    (b"PUB\n", UnknownOperation),
    (b"HPUB\r\n", UnknownOperation),
    (b"SUB\r\n", UnknownOperation),
    (b"SUB\n", UnknownOperation),
    (b"UNSUB\r\n", UnknownOperation),
    (b"-ERR\r\n", UnknownOperation),
    (b"-ERRX\r\n", UnknownOperation),
    (b"PIN\r\n", UnknownOperation),
    (b"P\r\n", UnknownOperation),
    (b"P\x49NX", UnknownOperation),
    (b"CONNEC\r\n", UnknownOperation),
    (b"+O\r\n", UnknownOperation),
    (b"\x0BOK\r\n", UnknownOperation),
    (b"\xFF", UnknownOperation),
    (b"\0", UnknownOperation),
    (b"PUB \r\n", Malformed),
    (b"PUB \t \n", Malformed),
    (b"PUB a\r\n", Malformed),
    (b"PUB a \r\n", Malformed),
    (b"PUB a r x 1\r\n", Malformed),
    (b"PUB a r x y z w 1\r\n", Malformed),
    (b"PUB a x\r\n", Malformed),
    (b"PUB a +1\r\n", Malformed),
    (b"PUB a -1\r\n", Malformed),
    (b"PUB a 1x\r\n", Malformed),
    (b"PUB a 0x1\r\n", Malformed),
    (b"PUB a 1.0\r\n", Malformed),
    (b"PUB a 1000000000\r\n", Malformed),
    (b"PUB a 0000000001\r\n", Malformed),
    (b"PUB a 99999999999999999999999\r\n", Malformed),
    (b"PUB a\rb 1\r\n", Malformed),
    (b"PUB a 1\r\r\n", Malformed),
    (b"PUB a 1\r \r\n", Malformed),
    (b"HPUB a 1\r\n", Malformed),
    (b"HPUB a\r\n", Malformed),
    (b"HPUB a r x 1 1\r\n", Malformed),
    (b"HPUB a 2 1\r\n", Malformed),
    (b"HPUB a x 1\r\n", Malformed),
    (b"HPUB a 1 x\r\n", Malformed),
    (b"HPUB a 1 1000000000\r\n", Malformed),
    (b"SUB \r\n", Malformed),
    (b"SUB a\r\n", Malformed),
    (b"SUB a g 1 x\r\n", Malformed),
    (b"SUB a\r1\r\n", Malformed),
    (b"UNSUB \r\n", Malformed),
    (b"UNSUB 1 2 3\r\n", Malformed),
    (b"UNSUB 1\r2\r\n", Malformed),
    (b"CONNECT {\r}\r\n", Malformed),
    (b"INFO {\r}\r\n", Malformed),
    (b"-ERR 'x'\r\n", Malformed),
    (b"-err \n", Malformed),
];

/// Parses each beginning of `bytes`: all of it must say what the shorter ones say, or those must be
/// incomplete. What follows a line must not matter either.
fn parse_everywhere(bytes: &[u8], max: usize) -> Parsed<'_> {
    let whole = parse(bytes, max);
    let mut known: Option<Parsed<'_>> = None;
    for split in 0..=bytes.len() {
        let part = parse(&bytes[..split], max);
        match &known {
            Some(known) => assert_eq!(part, *known, "{} at {split}", bytes.escape_ascii()),
            None if part == Ok(None) => {}
            None => {
                if let Ok(Some((_, length))) = part {
                    assert_eq!(length, split, "{}", bytes.escape_ascii());
                }
                known = Some(part);
            }
        }
    }
    assert_eq!(whole, known.unwrap_or(Ok(None)));
    whole
}

#[test]
fn good_lines_are_read_and_incomplete_at_every_split() {
    for (text, expected) in good() {
        let found = parse_everywhere(text.as_bytes(), MAX);
        assert_eq!(found, Ok(Some((expected, text.len()))), "{text:?}");
        for behind in ["\r\n", "PUB a 1\r\n", "\n", " ", "\0"] {
            let bytes = [text, behind].concat();
            assert_eq!(parse(bytes.as_bytes(), MAX), found, "{text:?} {behind:?}");
        }
    }
}

#[test]
fn bad_lines_are_refused_for_the_same_reason_at_every_split() {
    for (bytes, expected) in BAD {
        assert_eq!(parse_everywhere(bytes, MAX), Err(expected), "{}", bytes.escape_ascii());
    }
}

#[test]
fn an_unknown_verb_is_refused_at_its_first_wrong_byte() {
    for first in 0..=255_u8 {
        let expected =
            if b"PHSUCI+-phsuci".contains(&first) { Ok(None) } else { Err(UnknownOperation) };
        assert_eq!(parse(&[first], MAX), expected, "{first}");
    }
    for (begun, wrong) in [("PU", "C"), ("PIN", "K"), ("PUB", "\r"), ("SUB", "1"), ("-ERR", "'")] {
        assert_eq!(parse(begun.as_bytes(), MAX), Ok(None), "{begun}");
        let bytes = [begun, wrong].concat();
        assert_eq!(parse(bytes.as_bytes(), MAX), Err(UnknownOperation), "{bytes}");
    }
}

#[test]
fn arguments_are_limited_whether_the_line_ends_or_not() {
    for (verb, length, ends) in [
        ("PUB ", MAX - 2, " 1\r\n"),
        ("PUB  \t  ", MAX - 5, " 1   \n"),
        ("sub ", MAX - 2, " 1\r\n"),
        ("UNSUB ", MAX, "\r\n"),
        ("CONNECT ", MAX, "\r\n"),
        ("CONNECT", MAX, "\n"),
        ("INFO ", MAX, "\r\n"),
        ("PING", MAX, "\r\n"),
        ("+OK", MAX, "\r\n"),
    ] {
        let fits = [verb, &"x".repeat(length), ends].concat();
        let line = parse(fits.as_bytes(), MAX).map(|line| line.map(|(_, length)| length));
        assert_eq!(line, Ok(Some(fits.len())), "{verb}");
        let over = [verb, &"x".repeat(length + 1), ends].concat();
        assert_eq!(parse(over.as_bytes(), MAX), Err(ControlLineTooLong), "{verb}");
        // Without its end the line is cut off at the same length; a CR may be part of the end.
        let begun = [verb, &"x".repeat(MAX)].concat();
        for (behind, expected) in [
            ("", Ok(None)),
            ("\r", Ok(None)),
            ("x", Err(ControlLineTooLong)),
            ("\rx", Err(ControlLineTooLong)),
            ("\r\r", Err(ControlLineTooLong)),
        ] {
            let bytes = [begun.as_str(), behind].concat();
            assert_eq!(parse(bytes.as_bytes(), MAX), expected, "{verb} {behind:?}");
        }
    }
}

#[test]
fn blanks_in_front_of_arguments_are_limited_by_themselves() {
    for max in [0, 1, 10, MAX] {
        let blanks = " ".repeat(max);
        let fits = format!("UNSUB \t{}{}\r\n", &blanks[..max.saturating_sub(2)], "1".repeat(max));
        if max >= 2 {
            let length = parse(fits.as_bytes(), max).map(|line| line.map(|(_, length)| length));
            assert_eq!(length, Ok(Some(fits.len())));
            assert!(fits.len() <= max_line_bytes(max));
        }
        assert_eq!(parse(format!("CONNECT{blanks}").as_bytes(), max), Ok(None));
        assert_eq!(parse(format!("CONNECT {blanks}").as_bytes(), max), Err(ControlLineTooLong));
    }
    assert_eq!(parse(b"PUB a 1", usize::MAX), Ok(None));
}

#[test]
fn only_connect_begins_as_connect_does() {
    assert!(may_be_connect(b"") && may_be_connect(b"connect") && may_be_connect(b"C"));
    assert!(!may_be_connect(b"PUB") && !may_be_connect(b"\r") && !may_be_connect(b"#"));
}

#[test]
fn random_bytes_say_the_same_at_every_split() {
    let words: [&[u8]; 24] = [
        b"PUB",
        b"HPUB",
        b"SUB",
        b"UNSUB",
        b"PING",
        b"PONG",
        b"CONNECT",
        b"INFO",
        b"+OK",
        b"-ERR",
        b" ",
        b" ",
        b" ",
        b"\t",
        b"\r\n",
        b"\r\n",
        b"\r",
        b"\n",
        b"a.b",
        b"_INBOX.1",
        b"17",
        b"0000000001",
        b"{}",
        b"\xFF\0",
    ];
    let mut lines = 0;
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let mut bytes = random.pick(&words[..10]).to_vec();
        for _ in 0..random.below(12) {
            bytes.extend_from_slice(random.pick(&words));
        }
        // A short limit, so that it is met often.
        let max = random.below(25);
        if let Ok(Some((_, length))) = parse_everywhere(&bytes, max) {
            lines += 1;
            assert!(length <= bytes.len() && length <= max_line_bytes(max), "{seed}");
            assert_eq!(bytes[length - 1], b'\n', "{seed}");
        }
    }
    assert!(lines > 2_000, "hardly any was a line: {lines}");
}

#[test]
fn what_is_written_is_read_back() {
    for seed in 0..2_000 {
        let mut random = Random(seed);
        let (subject, reply) = (random.bytes(b"ab.*>\0\xFF", 30), random.bytes(b"ab.*>", 30));
        let total_bytes = random.below(1_000_000_000) as u32;
        let header_bytes = random.below(total_bytes as usize + 1) as u32;
        let expected = Publish {
            subject: &subject,
            reply: (random.below(2) == 0).then_some(&reply),
            header_bytes: (random.below(2) == 0).then_some(header_bytes),
            total_bytes,
        };
        let blank = random.pick(&[" ", "\t", "  ", " \t "]);
        let verb = if expected.header_bytes.is_some() { "HpUb" } else { "pUB" };
        let mut bytes = [verb.as_bytes(), blank.as_bytes(), &subject].concat();
        let numbers = [expected.header_bytes, Some(total_bytes)].into_iter().flatten();
        let numbers = numbers.map(|number| number.to_string().into_bytes());
        for field in expected.reply.map(<[u8]>::to_vec).into_iter().chain(numbers) {
            bytes.extend_from_slice(blank.as_bytes());
            bytes.extend_from_slice(&field);
        }
        bytes.extend_from_slice(random.pick(&[b"\r\n".as_slice(), b"\n", b" \n"]));
        let length = bytes.len();
        assert_eq!(parse_everywhere(&bytes, MAX), Ok(Some((Line::Publish(expected), length))));
    }
}
