//! Lines of a hub out of any bytes: reading and writing agree, how bytes are cut changes nothing,
//! and whatever lines say can be looked at.

use wire::leaf::MAX_LINE_BYTES;
use wire::leaf::hub_error::HubError;
use wire::leaf::info::HubInfo;
use wire::leaf::line::{Line, Message, max_line_bytes, parse};
use wire::leaf::subject::{
    check_filter, check_subject, is_internal_interest, is_internal_subject, is_loop_mark,
    is_reply_carried, jetstream_reply,
};
use wire::topic::matches;

use super::lines::{behind, check_cuts, check_refused};

const MAX_LINES: [usize; 4] = [0, 16, 200, MAX_LINE_BYTES];

/// The first byte chooses how long a line may be, and whether each cut is tried; the rest is the
/// stream. Bodies that are whole are skipped.
pub fn check(data: &[u8]) {
    let Some((&choice, mut bytes)) = data.split_first() else { return };
    // Each cut of each line is most of the work, so only one input in sixteen is cut everywhere.
    let everywhere = choice >> 4 == 0;
    let max = MAX_LINES[usize::from(choice & 3)];
    let is_whole = |bytes: &[u8]| parse(bytes, max).map(|line| line.is_some());
    let mut info = HubInfo::default();
    loop {
        match parse(bytes, max) {
            Ok(Some((line, length))) => {
                assert!(length <= bytes.len().min(max_line_bytes(max)));
                assert!(bytes[..length].ends_with(b"\n"));
                check_cuts(&bytes[..length], everywhere, is_whole);
                check_line(&line, &info);
                bytes = &bytes[length..];
                match line {
                    Line::Message(message) => match behind(bytes, message.total_bytes) {
                        Some(rest) => bytes = rest,
                        None => return,
                    },
                    Line::Info(json) => info = HubInfo::parse(json).unwrap_or(info),
                    _ => {}
                }
            }
            Ok(None) => return assert!(bytes.len() < max_line_bytes(max)),
            Err(error) => return check_refused(bytes, error, everywhere, max, is_whole),
        }
    }
}

fn check_line(line: &Line, info: &HubInfo) {
    let mut again = Vec::new();
    line.write(&mut again);
    // An error may have come without its quotes.
    let same = parse(&again, MAX_LINE_BYTES + 2);
    assert_eq!(same, Ok(Some((*line, again.len()))), "{}", again.escape_ascii());
    match *line {
        Line::Message(message) => {
            assert_eq!(message.line_bytes(), again.len());
            check_message(&message, info);
        }
        Line::Interest { filter, .. } | Line::EndInterest { filter, .. } => {
            check_interest(filter, info);
        }
        Line::Error(text) => {
            let error = HubError::of(text);
            assert_eq!(HubError::of(&text.to_ascii_uppercase()), error);
            assert!(error.closes() || error.wait().least().as_secs() == 1);
        }
        _ => {}
    }
}

fn check_message(message: &Message, info: &HubInfo) {
    let Message { subject, reply, groups, header_bytes, total_bytes } = *message;
    assert!(header_bytes.is_none_or(|headers| headers <= total_bytes));
    assert_eq!(groups.is_empty(), groups.count() == 0);
    assert!(groups.iter().all(|name| !name.is_empty() && !name.contains(&b' ')));
    if check_subject(subject).is_ok() {
        // A topic is a filter that matches itself, and either permitted or not.
        assert!(check_filter(subject).is_ok() && matches(subject, subject));
        assert_eq!(info.import.permits_interest(subject), info.import.permits(subject));
        let below = [subject, b".x"].concat();
        assert!(!is_internal_subject(subject) || is_internal_subject(&below));
    }
    let Some(reply) = reply else { return };
    if let Some((ack, shown)) = jetstream_reply(reply) {
        assert_eq!([ack, b"@", shown].concat(), reply);
        assert_eq!(jetstream_reply(ack), None, "it is cut at the first mark");
    }
    if is_reply_carried(reply) {
        assert!(reply.len() <= 1_024 && std::str::from_utf8(reply).is_ok());
    }
}

fn check_interest(filter: &[u8], info: &HubInfo) {
    let is_free = is_loop_mark(filter);
    assert!(!is_free || is_internal_interest(filter) && is_internal_subject(filter));
    assert!(!is_internal_interest(filter) || is_internal_subject(filter));
    if check_filter(filter).is_ok() && check_subject(filter).is_err() {
        assert!(info.import.permits_interest(filter), "a hub takes each wildcard");
    }
    assert!(!is_free || info.export.permits(filter), "the loop mark is always permitted");
}
