//! Lines that end a connection, and lines as long as they may be. Each is complete enough for a
//! server to refuse it without waiting for more.

use fastrand::Rng;

use super::MAX_PAYLOAD;
use crate::session::Line;

/// What no server takes.
const BROKEN: [&[u8]; 76] = [
    // No verb.
    b"FOO\r\n",
    b"X",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\r\n",
    b"\n",
    b" PING\r\n",
    b"\tPING\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"PIN\r\n",
    b"PO\r\n",
    b"P ING\r\n",
    b"PUBa 0\r\n\r\n",
    b"SUBX a 1\r\n",
    b"UNSUBa\r\n",
    b"HPUBx",
    b"CONNEC {}\r\n",
    b"\0",
    b"\xFF",
    b"+O\r\n",
    b"+KO\r\n",
    b"-ERR\r\n",
    b"-E\r\n",
    b"{}\r\n",
    b"HP ",
    b"MSG a 1 0\r\n\r\n",
    b"PUB\r\n",
    b"SUB\r\n",
    b"UNSUB\r\n",
    b"HPUB\r\n",
    b"PUB\n",
    b"SUB\n",
    // A wrong number of arguments, or wrong ones.
    b"PUB \r\n",
    b"PUB a\r\n",
    b"PUB 1\r\n1\r\n",
    b"PUB a b c 1\r\nx\r\n",
    b"PUB a -1\r\n",
    b"PUB a +1\r\nx\r\n",
    b"PUB a 1x\r\nx\r\n",
    b"PUB a x\r\n",
    b"PUB a 0000000001\r\nx\r\n",
    b"PUB a b 1.0\r\nx\r\n",
    b"PUB a 0x1\r\nx\r\n",
    b"SUB \r\n",
    b"SUB a\r\n",
    b"SUB a b c d\r\n",
    b"UNSUB \r\n",
    b"UNSUB 1 2 3\r\n",
    b"HPUB \r\n",
    b"HPUB a\r\n",
    b"HPUB a 1\r\n",
    b"HPUB a b 1 2 3\r\n",
    b"HPUB a 5 4\r\n",
    b"HPUB a -1 4\r\n",
    b"HPUB a 1 -4\r\n",
    b"HPUB a x 4\r\n",
    b"HPUB a 0000000001 4\r\n",
    // A payload that does not end where it should.
    b"PUB a 2\r\nhix\r\n",
    b"PUB a 2\r\nhi\n\n",
    b"PUB a 2\r\nhi\rx",
    b"PUB a 0\r\nx\r\n",
    b"PUB a 0\r\n\n",
    // What a CONNECT must not be.
    b"CONNECT\r\n",
    b"CONNECT \r\n",
    b"CONNECT {\r\n",
    b"CONNECT []\r\n",
    b"CONNECT {} x\r\n",
    b"CONNECT {\"verbose\":1}\r\n",
    b"CONNECT {\"protocol\":1.0}\r\n",
    b"CONNECT {\"protocol\":2}\r\n",
    b"CONNECT {\"protocol\":-1}\r\n",
    b"CONNECT {\"account\":\"x\"}\r\n",
    b"CONNECT {\"name\":1}\r\n",
    b"CONNECT {\"headers\":false,\"no_responders\":true}\r\n",
    // What only servers send.
    b"-ERR 'x'\r\n",
    b"INFO x\r\n",
    b"INFO\r\n",
];

pub(super) fn line(rng: &mut Rng) -> Line {
    match rng.u8(..20) {
        0 => long_line(rng, b"a", b"1", 4_097),
        // Without an end.
        1 => Line::raw(&[b"SUB a", &[b' '; 4_200][..]].concat()),
        2 => Line::raw(&[b"PUB ", &[b'a'; 4_200][..]].concat()),
        3 => Line::raw(&[b"CONNECT {\"name\":\"", &[b'a'; 4_200][..]].concat()),
        4 => Line::raw(format!("PUB a {}\r\n", MAX_PAYLOAD + rng.usize(1..3)).as_bytes()),
        5 => Line::raw(format!("PUB a b {}\r\n", pick(rng, &[999_999_999, 65_537])).as_bytes()),
        6 => Line::raw(b"CONNECT {\"headers\":true}\r\nHPUB a 10 65537\r\n"),
        _ => Line::raw(pick(rng, &BROKEN)),
    }
}

/// A SUB whose arguments have this length, made of blanks at one of the places where they may be.
pub(super) fn long_line(rng: &mut Rng, filter: &[u8], sid: &[u8], length: usize) -> Line {
    let blanks = vec![pick(rng, b" \t"); length - filter.len() - sid.len()];
    let end: &[u8] = pick(rng, &[&b"\r\n"[..], b"\n"]);
    let bytes = match rng.u8(..3) {
        0 => [&b"SUB "[..], filter, &blanks, sid, end].concat(),
        1 => [&b"SUB   "[..], filter, &blanks, sid, end].concat(),
        _ => [&b"SUB "[..], filter, &blanks[..1], sid, &blanks[1..], end].concat(),
    };
    Line::raw(&bytes)
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}
