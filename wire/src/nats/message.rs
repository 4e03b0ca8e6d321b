//! Messages to a client: the MSG and HMSG lines, and finding one's way through them afterwards.
//!
//! Owns the shape of what a server sends for each message. Must not copy payloads: a receiver's
//! line is its own, but the bytes behind it are the publisher's, CR LF included.

use super::LINE_END;

/// The most bytes of a number.
const MAX_DIGITS: usize = 10;
/// The status line of the message that says that nobody was there to answer.
const NO_RESPONDERS: &[u8] = b"NATS/1.0 503\r\nNats-Subject: ";

/// The line in front of a message. Behind it follow `total_bytes` and CR LF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLine<'a> {
    /// What it was published to.
    pub subject: &'a [u8],
    /// The receiver's name for its subscription.
    pub sid: &'a [u8],
    /// Where the publisher wants an answer.
    pub reply: Option<&'a [u8]>,
    /// How many of the bytes that follow are headers. With none the line is a MSG, else an HMSG.
    pub header_bytes: u32,
    /// Bytes of headers and payload.
    pub total_bytes: u32,
}

impl MessageLine<'_> {
    /// Bytes of the line with its end, as [`MessageLine::write`] appends them.
    pub fn line_bytes(&self) -> usize {
        let reply = self.reply.map_or(0, |reply| reply.len() + 1);
        let headers = match self.header_bytes {
            0 => 0,
            headers => digits(headers) + 1 + "H".len(),
        };
        let names = "MSG ".len() + self.subject.len() + 1 + self.sid.len() + 1 + reply;
        names + headers + digits(self.total_bytes) + LINE_END.len()
    }

    /// Appends the line with its end to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.line_bytes());
        let verb: &[u8] = if self.header_bytes > 0 { b"HMSG " } else { b"MSG " };
        out.extend_from_slice(verb);
        out.extend_from_slice(self.subject);
        out.push(b' ');
        out.extend_from_slice(self.sid);
        out.push(b' ');
        if let Some(reply) = self.reply {
            out.extend_from_slice(reply);
            out.push(b' ');
        }
        if self.header_bytes > 0 {
            push_number(self.header_bytes, out);
            out.push(b' ');
        }
        push_number(self.total_bytes, out);
        out.extend_from_slice(LINE_END);
    }
}

/// The whole message that tells a client that a request has no receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoResponders<'a> {
    /// What the request was published to.
    pub subject: &'a [u8],
    /// Where its answer was wanted: the subject of this message.
    pub reply: &'a [u8],
    /// A subscription of the client's that matches the reply.
    pub sid: &'a [u8],
}

impl NoResponders<'_> {
    fn line(&self) -> MessageLine<'_> {
        let bytes = NO_RESPONDERS.len() + self.subject.len() + 2 * LINE_END.len();
        // A subject is cut out of a line, so it is far from that long.
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        MessageLine {
            subject: self.reply,
            sid: self.sid,
            reply: None,
            header_bytes: bytes,
            total_bytes: bytes,
        }
    }

    /// Bytes of the message, as [`NoResponders::write`] appends them.
    pub fn message_bytes(&self) -> usize {
        let line = self.line();
        line.line_bytes() + line.total_bytes as usize + LINE_END.len()
    }

    /// Appends the message to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(self.message_bytes());
        self.line().write(out);
        out.extend_from_slice(NO_RESPONDERS);
        out.extend_from_slice(self.subject);
        // The end of the header, of the headers, and of the message.
        (0..3).for_each(|_| out.extend_from_slice(LINE_END));
    }
}

/// How far the first thing reaches in what a server has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of its line, with the line's end.
    pub line_bytes: usize,
    /// Bytes of all of it: a message reaches to the end of its payload's CR LF.
    pub total_bytes: usize,
    /// Whether it is a MSG or HMSG.
    pub is_message: bool,
}

/// How far the first line of `bytes` reaches, or the message that it begins. `None`: `bytes` end
/// before the line does. The bytes behind the line need not be there.
///
/// This is for what this crate has written, and says nothing useful of other bytes.
pub fn walk(bytes: &[u8]) -> Option<Extent> {
    let line_bytes = bytes.iter().position(|&byte| byte == b'\n')? + 1;
    let is_message = matches!(bytes[0], b'M' | b'H');
    if !is_message {
        return Some(Extent { line_bytes, total_bytes: line_bytes, is_message });
    }
    // The size is the last argument, so it is read from its end.
    let line = &bytes[..line_bytes.saturating_sub(LINE_END.len())];
    let (mut size, mut unit) = (0_usize, 1_usize);
    for digit in line.iter().rev().take(MAX_DIGITS).take_while(|&&byte| byte != b' ') {
        size += usize::from(digit.wrapping_sub(b'0')) * unit;
        unit *= 10;
    }
    Some(Extent { line_bytes, total_bytes: line_bytes + size + LINE_END.len(), is_message })
}

/// How many digits a number has.
pub(crate) fn digits(number: u32) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Appends a number in decimal digits. The formatter of the standard library costs several times as
/// much, for each message to each receiver.
pub(crate) fn push_number(mut number: u32, out: &mut Vec<u8>) {
    let mut text = [0; MAX_DIGITS];
    let mut start = MAX_DIGITS;
    loop {
        start -= 1;
        text[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&text[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::random::Random;

    fn line<'a>(reply: Option<&'a [u8]>, header_bytes: u32, total_bytes: u32) -> MessageLine<'a> {
        MessageLine { subject: b"svc.echo", sid: b"1", reply, header_bytes, total_bytes }
    }

    #[test]
    fn lines_are_written_to_the_byte() {
        let rows = [
            (line(None, 0, 5), "MSG svc.echo 1 5\r\n"),
            (line(Some(b"_INBOX.k3.1"), 0, 0), "MSG svc.echo 1 _INBOX.k3.1 0\r\n"),
            (line(None, 21, 26), "HMSG svc.echo 1 21 26\r\n"),
            (line(Some(b"r"), 21, 1_048_576), "HMSG svc.echo 1 r 21 1048576\r\n"),
            (line(None, 0, u32::MAX), "MSG svc.echo 1 4294967295\r\n"),
        ];
        for (line, expected) in rows {
            let mut out = b"before".to_vec();
            line.write(&mut out);
            assert_eq!(out[6..], *expected.as_bytes());
            assert_eq!(line.line_bytes(), expected.len(), "{expected}");
        }
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        let edges = (0..10).flat_map(|power| {
            let power = 10_u32.pow(power);
            [power - 1, power, power + 1, power.saturating_mul(9)]
        });
        for number in edges.chain([u32::MAX - 1, u32::MAX]) {
            let mut out = Vec::new();
            push_number(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
            assert_eq!(out.len(), digits(number));
        }
    }

    #[test]
    fn no_responders_is_the_message_that_clients_know() {
        let message = NoResponders { subject: b"svc.echo", reply: b"_INBOX.k3.2", sid: b"1" };
        let mut out = Vec::new();
        message.write(&mut out);
        let expected = "HMSG _INBOX.k3.2 1 40 40\r\n\
            NATS/1.0 503\r\nNats-Subject: svc.echo\r\n\r\n\r\n";
        assert_eq!(out, expected.as_bytes());
        assert_eq!(message.message_bytes(), expected.len());
        assert_eq!(walk(&out).map(|found| found.total_bytes), Some(expected.len()));
    }

    #[test]
    fn walking_finds_the_same_ends_that_writing_made() {
        for seed in 0..200 {
            let mut random = Random(seed);
            let (mut out, mut ends) = (Vec::new(), Vec::new());
            for _ in 0..20 {
                let start = out.len();
                let is_message = random.below(3) > 0;
                if is_message {
                    write_random(&mut random, &mut out);
                } else {
                    let others: [&[u8]; 4] = [
                        b"PING\r\n",
                        b"+OK\r\n",
                        b"-ERR 'Invalid Subject'\r\n",
                        b"INFO {\"a\":7}\r\n",
                    ];
                    out.extend_from_slice(random.pick(&others));
                }
                ends.push((out.len() - start, is_message));
            }
            let mut at = 0;
            for (bytes, is_message) in ends {
                let found = walk(&out[at..]).expect("it is whole");
                assert_eq!((found.total_bytes, found.is_message), (bytes, is_message), "{seed}");
                for cut in 0..found.line_bytes {
                    assert_eq!(walk(&out[at..at + cut]), None, "{seed} {cut}");
                }
                assert_eq!(walk(&out[at..at + found.line_bytes]), Some(found), "{seed}");
                at += bytes;
            }
            assert_eq!(at, out.len());
        }
    }

    fn write_random(random: &mut Random, out: &mut Vec<u8>) {
        let names = b"ab.19*>";
        let (subject, sid) = (random.bytes(names, 20), random.bytes(b"0123456789", 5));
        let reply = random.bytes(names, 20);
        let payload = random.bytes(b"MSG 1\r\nx", 300);
        let header_bytes =
            if random.below(2) == 0 { 0 } else { random.below(payload.len()) as u32 };
        let reply = (random.below(2) == 0).then_some(reply.as_slice());
        let total_bytes = payload.len() as u32;
        MessageLine { subject: &subject, sid: &sid, reply, header_bytes, total_bytes }.write(out);
        out.extend_from_slice(&payload);
        out.extend_from_slice(LINE_END);
    }
}
