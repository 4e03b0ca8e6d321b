//! Control lines of NATS clients out of any bytes: reading and writing agree, and how bytes are cut
//! changes nothing.

use wire::nats::client::{self, ServerLine};
use wire::nats::connect::{ConnectOptions, MAX_NAME_BYTES};
use wire::nats::error_text::{ErrorText, MAX_TEXT_BYTES};
use wire::nats::line::{Line, Publish, max_line_bytes, parse};
use wire::nats::message::{MessageLine, NoResponders, walk};
use wire::nats::subject::{
    FilterError, PublishSubject, check_filter, check_publish, is_group_carried, is_reply_carried,
};
use wire::nats::{LINE_END, MAX_CONTROL_LINE_BYTES};
use wire::topic::{validate_filter, validate_topic};

use super::lines::{behind, check_cuts, check_refused};

const MAX_CONTROL_LINES: [usize; 4] = [0, 16, 200, MAX_CONTROL_LINE_BYTES];

/// The first byte chooses how long a line may be, and whether each cut is tried; the rest is the
/// stream. Payloads that are whole are skipped.
pub fn check(data: &[u8]) {
    let Some((&choice, mut bytes)) = data.split_first() else { return };
    // Each cut of each line is most of the work, so only one input in sixteen is cut everywhere.
    let everywhere = choice >> 4 == 0;
    let max = MAX_CONTROL_LINES[usize::from(choice & 3)];
    let is_whole = |bytes: &[u8]| parse(bytes, max).map(|line| line.is_some());
    let mut options = ConnectOptions::default();
    loop {
        // What a server says is read by the same rules; here it must only not panic.
        let _ = client::parse(bytes, max);
        match parse(bytes, max) {
            Ok(Some((line, length))) => {
                assert!(length <= bytes.len().min(max_line_bytes(max)));
                assert!(bytes[..length].ends_with(b"\n"));
                check_cuts(&bytes[..length], everywhere, is_whole);
                check_line(&line);
                bytes = &bytes[length..];
                match line {
                    Line::Publish(publish) => match behind(bytes, publish.total_bytes) {
                        Some(rest) => bytes = rest,
                        None => return,
                    },
                    Line::Connect(json) if !check_connect(&mut options, json) => return,
                    _ => {}
                }
            }
            Ok(None) => return assert!(bytes.len() < max_line_bytes(max)),
            Err(error) => return check_refused(bytes, error, everywhere, max, is_whole),
        }
    }
}

fn check_line(line: &Line) {
    let mut again = Vec::new();
    line.write(&mut again);
    // What is written has single blanks, but may end its arguments with the blanks that it had.
    let same = parse(&again, MAX_CONTROL_LINE_BYTES);
    assert_eq!(same, Ok(Some((*line, again.len()))), "{}", again.escape_ascii());
    match *line {
        Line::Publish(publish) => check_publish_line(&publish),
        Line::Subscribe { filter, group, .. } => check_subscription(filter, group),
        _ => {}
    }
}

fn check_subscription(filter: &[u8], group: Option<&[u8]>) {
    let checked = check_filter(filter);
    assert_eq!(checked.is_ok(), validate_filter(filter).is_ok());
    if checked == Err(FilterError::Invalid) {
        assert!(std::str::from_utf8(filter).is_ok());
    }
    check_text(ErrorText::MayNotSubscribe { filter, group, because: None });
    assert!(group.is_none_or(|group| !is_group_carried(group) || group.len() <= 255));
}

fn check_publish_line(publish: &Publish) {
    let Publish { subject, reply, header_bytes, total_bytes } = *publish;
    assert!(header_bytes.is_none_or(|headers| headers <= total_bytes));
    let checked = check_publish(subject);
    assert_eq!(checked == PublishSubject::Topic, validate_topic(subject).is_ok());
    check_text(ErrorText::MayNotPublish(subject));
    // A message that is passed on is found again by whoever walks over it, and by its receiver.
    if checked == PublishSubject::NotCarried || !reply.is_none_or(is_reply_carried) {
        return;
    }
    let header_bytes = header_bytes.unwrap_or(0);
    let line = MessageLine { subject, sid: b"17", reply, header_bytes, total_bytes };
    let mut out = Vec::new();
    line.write(&mut out);
    assert_eq!(out.len(), line.line_bytes());
    let found = walk(&out).expect("the line is whole");
    let total = out.len() + total_bytes as usize + LINE_END.len();
    assert_eq!((found.line_bytes, found.total_bytes, found.is_message), (out.len(), total, true));
    let read = client::parse(&out, 2 * MAX_CONTROL_LINE_BYTES);
    assert_eq!(read, Ok(Some((ServerLine::Message(line), out.len()))));
    if let Some(reply) = reply {
        let message = NoResponders { subject, reply, sid: b"17" };
        let mut out = Vec::new();
        message.write(&mut out);
        assert_eq!(out.len(), message.message_bytes());
        assert_eq!(walk(&out).map(|found| found.total_bytes), Some(out.len()));
    }
}

/// Whatever is quoted, the text is one short line of UTF-8.
fn check_text(error: ErrorText) {
    let mut out = Vec::new();
    error.write(&mut out);
    let line = std::str::from_utf8(&out).expect("clients want UTF-8");
    let text = line.strip_prefix("-ERR '").and_then(|line| line.strip_suffix("'\r\n"));
    let text = text.expect("the text is quoted");
    assert!(text.len() <= MAX_TEXT_BYTES && !text.contains(char::is_control));
}

/// Merges one more CONNECT. Whether it was good.
fn check_connect(options: &mut ConnectOptions, json: &[u8]) -> bool {
    if options.merge(json).is_err() {
        return false;
    }
    assert!(options.protocol <= 1 && (options.headers || !options.no_responders));
    for name in [&options.name, &options.lang, &options.version] {
        assert!(name.len() <= MAX_NAME_BYTES);
    }
    let mut again = ConnectOptions::default();
    assert_eq!(again.merge(&options.to_json()), Ok(()));
    assert_eq!(again, *options, "what is known of a client survives writing");
    true
}
