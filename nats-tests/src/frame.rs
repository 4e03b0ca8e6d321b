//! What a server sends, cut into frames. Strict: a server has one way to write each of them, and
//! all else is `Strange`. Pure code without I/O.

/// One thing that a server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// `INFO`, with its JSON.
    Info(Vec<u8>),
    /// `MSG` or `HMSG`.
    Message(Message),
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK`.
    Ok,
    /// `-ERR`, with the text between the quotes.
    Error(Vec<u8>),
    /// A line that is none of these, or not written as it has to be.
    Strange(Vec<u8>),
}

/// A message as a subscriber gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The subject that it was published to.
    pub subject: Vec<u8>,
    /// The subscription that it is for.
    pub sid: Vec<u8>,
    /// Where an answer is wanted.
    pub reply: Option<Vec<u8>>,
    /// The header block of an `HMSG`.
    pub headers: Option<Vec<u8>>,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Message {
    /// Whether it reports that a request had no subscriber.
    pub fn is_no_responders(&self) -> bool {
        self.headers.as_ref().is_some_and(|headers| headers.starts_with(b"NATS/1.0 503"))
    }
}

impl Frame {
    /// The frame that `bytes` begin with, and its length. `None` while it is incomplete.
    pub fn parse(bytes: &[u8]) -> Option<(Frame, usize)> {
        let end = bytes.iter().position(|&byte| byte == b'\n')?;
        let strange = || Some((Frame::Strange(bytes[..=end].to_vec()), end + 1));
        let Some(line) = bytes[..end].strip_suffix(b"\r") else { return strange() };
        let frame = match line {
            b"PING" => Frame::Ping,
            b"PONG" => Frame::Pong,
            b"+OK" => Frame::Ok,
            _ if line.starts_with(b"INFO {") => Frame::Info(line[5..].to_vec()),
            _ if line.starts_with(b"-ERR '") && line.ends_with(b"'") && line.len() > 6 => {
                Frame::Error(line[6..line.len() - 1].to_vec())
            }
            _ => {
                let Some(head) = Head::parse(line) else { return strange() };
                let total = end + 1 + head.total + 2;
                if bytes.len() < total {
                    return None;
                }
                let body = &bytes[end + 1..total];
                let Some(body) = body.strip_suffix(b"\r\n") else { return strange() };
                return Some((Frame::Message(head.with(body)), total));
            }
        };
        Some((frame, end + 1))
    }

    /// The bytes of it, as a server sends them: sizes without leading zeros.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Frame::Info(json) => [b"INFO ", &json[..], b"\r\n"].concat(),
            Frame::Ping => b"PING\r\n".to_vec(),
            Frame::Pong => b"PONG\r\n".to_vec(),
            Frame::Ok => b"+OK\r\n".to_vec(),
            Frame::Error(text) => [b"-ERR '", &text[..], b"'\r\n"].concat(),
            Frame::Strange(bytes) => bytes.clone(),
            Frame::Message(message) => {
                let Message { subject, sid, reply, headers, payload } = message;
                let verb: &[u8] = if headers.is_some() { b"HMSG" } else { b"MSG" };
                let mut words = vec![verb, subject, sid];
                words.extend(reply.as_deref());
                let block = headers.as_deref().unwrap_or_default();
                let (part, total) = (block.len().to_string(), block.len() + payload.len());
                words.extend(headers.as_ref().map(|_| part.as_bytes()));
                let total = total.to_string();
                words.push(total.as_bytes());
                let line = words.join(&b' ');
                [&line, &b"\r\n"[..], block, payload, b"\r\n"].concat()
            }
        }
    }
}

/// The line in front of a message.
struct Head<'a> {
    subject: &'a [u8],
    sid: &'a [u8],
    reply: Option<&'a [u8]>,
    headers: Option<usize>,
    total: usize,
}

impl<'a> Head<'a> {
    fn parse(line: &'a [u8]) -> Option<Head<'a>> {
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        if words.iter().any(|word| word.is_empty()) {
            return None;
        }
        let (subject, sid, reply, headers, total) = match words[..] {
            [b"MSG", subject, sid, total] => (subject, sid, None, None, total),
            [b"MSG", subject, sid, reply, total] => (subject, sid, Some(reply), None, total),
            [b"HMSG", subject, sid, part, total] => (subject, sid, None, Some(part), total),
            [b"HMSG", subject, sid, reply, part, total] => {
                (subject, sid, Some(reply), Some(part), total)
            }
            _ => return None,
        };
        let (total, part) = (number(total)?, headers.map(number));
        let headers = if let Some(part) = part { Some(part?) } else { None };
        (headers.unwrap_or(0) <= total).then_some(Head { subject, sid, reply, headers, total })
    }

    fn with(&self, body: &[u8]) -> Message {
        let (headers, payload) = body.split_at(self.headers.unwrap_or(0));
        Message {
            subject: self.subject.to_vec(),
            sid: self.sid.to_vec(),
            reply: self.reply.map(<[u8]>::to_vec),
            headers: self.headers.map(|_| headers.to_vec()),
            payload: payload.to_vec(),
        }
    }
}

/// Digits. Leading zeros are allowed: the reference echoes those of the publisher.
fn number(digits: &[u8]) -> Option<usize> {
    let is_number = digits.len() < 10 && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_at_every_point_and_written_again() {
        let all: &[u8] =
            b"INFO {\"a\":1} \r\n+OK\r\n-ERR 'x y'\r\nMSG a 1 2\r\n\r\n\r\nMSG a 1 r 0\r\n\r\n\
            HMSG a 1 2 4\r\nhiho\r\nHMSG a 1 r 0 1\r\n1\r\nPING\r\nPONG\r\n";
        let (mut at, mut written, mut count) = (0, Vec::new(), 0);
        while at < all.len() {
            let (frame, length) = Frame::parse(&all[at..]).expect("a whole frame is there");
            assert!((0..length).all(|cut| Frame::parse(&all[at..at + cut]).is_none()));
            assert!(!matches!(frame, Frame::Strange(_)), "{frame:?}");
            (at, count) = (at + length, count + 1);
            written.extend(frame.bytes());
        }
        assert_eq!((written.as_slice(), count), (all, 9));
    }

    #[test]
    fn what_no_server_writes_is_strange() {
        let lines: [&[u8]; 7] = [
            b"PING\n",
            b"msg a 1 0\r\n",
            b"MSG a  1 0\r\n",
            b"-ERR x\r\n",
            b"+OK \r\n",
            b"MSG a 1 +1\r\n",
            b"HMSG a 1 2 1\r\n",
        ];
        for line in lines {
            assert!(matches!(Frame::parse(line), Some((Frame::Strange(_), _))), "{line:?}");
        }
    }
}
