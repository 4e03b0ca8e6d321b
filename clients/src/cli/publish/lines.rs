//! One message a line of standard input.
//!
//! Owns what a line means in each form. A line that cannot be sent is reported, and the rest
//! continues.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pubsub_client::ClientError;
use serde_json::Value;

use crate::cli::input::{self, Line, Lines, STANDARD_INPUT};
use crate::cli::report::{Failure, explain, say};

use super::sender::Sender;
use super::{PROGRAM, unreadable};

/// Bytes of a line besides its payload: topic, separator, names and quotes.
const MAX_BESIDE_PAYLOAD: usize = 16 << 10;
/// A byte of a payload takes so many in JSON at most, as in `\u0000`.
const JSON_EXPANSION: usize = 6;

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form<'a> {
    /// The payload of a message to this topic.
    Payload(&'a str),
    /// A topic, this separator, and the payload.
    Keyed(&'a str),
    /// An object, as `subscriber --json` prints it.
    Json,
}

/// A topic and a payload.
type Message<'a> = (Cow<'a, str>, Cow<'a, [u8]>);

/// Publishes each line. What was read is sent before more input is awaited, so that a slow input
/// is not held back, and a fast one goes out in large batches. The inner result says whether all
/// lines could be sent.
pub(super) fn publish(
    publisher: &mut Sender,
    form: Form<'_>,
    failed: impl Fn(ClientError) -> Failure,
) -> Result<Result<(), Failure>, Failure> {
    let limit = publisher.welcome().max_payload;
    let mut lines = Lines::new(input::open().map_err(unreadable)?, form.max_line(limit));
    let mut outcome = Ok(());
    loop {
        if lines.must_wait() {
            publisher.send().map_err(&failed)?;
        }
        let published = match lines.next().map_err(unreadable)? {
            None => return Ok(outcome),
            Some(Line::TooLong(bytes)) => Err(explain(&too_large(bytes, limit))),
            Some(Line::Text(text)) => match form.message(text) {
                Ok(None) => Ok(()),
                Ok(Some((topic, payload))) => match publisher.publish(&topic, &payload) {
                    Err(error) if error.is_final() => return Err(failed(error)),
                    published => published.map_err(|error| explain(&error)),
                },
                Err(wrong) => Err(wrong),
            },
        };
        if let Err(wrong) = published {
            say(PROGRAM, &format!("{STANDARD_INPUT}:{}: {wrong}", lines.number()));
            outcome = Err(Failure::Reported);
        }
    }
}

/// The error that a payload of so many bytes is.
pub(super) fn too_large(bytes: u64, limit: usize) -> ClientError {
    ClientError::TooLarge { bytes: usize::try_from(bytes).unwrap_or(usize::MAX), limit }
}

impl Form<'_> {
    fn max_line(self, max_payload: usize) -> usize {
        match self {
            Form::Payload(_) => max_payload,
            Form::Keyed(_) => max_payload.saturating_add(MAX_BESIDE_PAYLOAD),
            Form::Json => {
                max_payload.saturating_mul(JSON_EXPANSION).saturating_add(MAX_BESIDE_PAYLOAD)
            }
        }
    }

    /// What a line is; `None`: nothing.
    fn message<'a>(&'a self, line: &'a [u8]) -> Result<Option<Message<'a>>, String> {
        match self {
            Form::Payload(topic) => Ok(Some(((*topic).into(), line.into()))),
            Form::Keyed(separator) => keyed(line, separator.as_bytes()).map(Some),
            Form::Json if line.trim_ascii().is_empty() => Ok(None),
            Form::Json => json(line).map(Some),
        }
    }
}

fn keyed<'a>(line: &'a [u8], separator: &[u8]) -> Result<Message<'a>, String> {
    let found = line.windows(separator.len()).position(|window| window == separator);
    let at = found
        .ok_or_else(|| format!("there is no \"{}\" behind a topic", separator.escape_ascii()))?;
    let topic = str::from_utf8(&line[..at]).map_err(|_| "the topic is not UTF-8".to_owned())?;
    Ok((topic.into(), line[at + separator.len()..].into()))
}

/// `topic`, and `payload`, `payload_base64`, or `payload` with `"encoding": "base64"`.
fn json(line: &[u8]) -> Result<Message<'static>, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| format!("no JSON: {error}"))?;
    let text = |name: &str| match &value[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.as_str())),
        _ => Err(format!("\"{name}\" is not a string")),
    };
    let decoded = |name: &str, text: &str| {
        STANDARD.decode(text).map_err(|error| format!("\"{name}\" is not base64: {error}"))
    };
    let topic = text("topic")?.ok_or("an object with \"topic\" and \"payload\" was expected")?;
    let payload = match (text("payload")?, text("payload_base64")?, text("encoding")?) {
        (None, Some(payload), _) => decoded("payload_base64", payload)?,
        (Some(payload), None, Some("base64")) => decoded("payload", payload)?,
        (Some(payload), None, None) => payload.as_bytes().to_vec(),
        (Some(_), None, Some(other)) => {
            return Err(format!("the encoding \"{other}\" is not known"));
        }
        (Some(_), Some(_), _) => return Err("there are two payloads".to_owned()),
        (None, None, _) => return Err("there is no \"payload\"".to_owned()),
    };
    Ok((topic.to_owned().into(), payload.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(form: Form<'_>, line: &[u8]) -> Result<(String, Vec<u8>), String> {
        let (topic, payload) = form.message(line)?.unwrap_or_default();
        Ok((topic.into_owned(), payload.into_owned()))
    }

    #[test]
    fn a_line_has_its_topic_in_front_or_in_an_object() {
        let rows: [(Form<'_>, &[u8], &str, &[u8]); 7] = [
            (Form::Payload("t"), b"a:b", "t", b"a:b"),
            (Form::Keyed(":"), b"a:b:c", "a", b"b:c"),
            (Form::Keyed(" => "), b"a.b => \xFF", "a.b", b"\xFF"),
            (Form::Json, br#"{"topic":"a","payload":"x\n","time":"now"}"#, "a", b"x\n"),
            (Form::Json, br#"{"topic":"a","payload_base64":"/wA="}"#, "a", b"\xFF\x00"),
            (
                Form::Json,
                br#"{"topic":"a","payload":"/wA=","encoding":"base64"}"#,
                "a",
                b"\xFF\x00",
            ),
            (Form::Json, b"  ", "", b""),
        ];
        for (form, line, topic, payload) in rows {
            assert_eq!(message(form, line), Ok((topic.to_owned(), payload.to_vec())));
        }
    }

    #[test]
    fn what_is_no_message_is_told_as_what_it_lacks() {
        let rows: [(Form<'_>, &[u8], &str); 8] = [
            (Form::Keyed(":"), b"a", "there is no \":\""),
            (Form::Json, b"x", "no JSON"),
            (Form::Json, b"[]", "an object with \"topic\""),
            (Form::Json, br#"{"topic":"a"}"#, "there is no \"payload\""),
            (Form::Json, br#"{"topic":"a","payload":1}"#, "\"payload\" is not a string"),
            (Form::Json, br#"{"topic":"a","payload_base64":"!"}"#, "is not base64"),
            (Form::Json, br#"{"topic":"a","payload":"","payload_base64":""}"#, "two payloads"),
            (Form::Json, br#"{"topic":"a","payload":"","encoding":"hex"}"#, "\"hex\" is not known"),
        ];
        for (form, line, expected) in rows {
            let error = message(form, line).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
