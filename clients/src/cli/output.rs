//! Prints messages: in which form, when to write, when to flush.
//!
//! Owns standard output. Nothing else in the subscriber writes to it but the prompt.

use std::io::{self, IsTerminal, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use pubsub_client::Message;

use super::escape::{push_harmless, push_harmless_json, push_harmless_lines};
use super::prompt::{CLEAR_LINE, PROMPT};
use super::report::Failure;
use super::template::{Facts, Template, iso_time};

/// Written at once, in bytes; a flood is printed in pieces of about this size.
const WRITE_BYTES: usize = 64 * 1024;

/// How a message is printed.
#[derive(Debug)]
pub(super) enum Form {
    /// `TOPIC PAYLOAD` and a line feed.
    Line,
    /// As the template says.
    Template(Template),
    /// One JSON object a line.
    Json,
    /// The payload and nothing else.
    Raw,
}

/// Collects what is to be printed and writes it in large pieces.
pub(super) struct Printer {
    form: Form,
    terminal: bool,
    prompt: bool,
    pending: Vec<u8>,
    number: u64,
}

impl Printer {
    /// A printer to standard output. `prompt`: commands are being typed on the same terminal.
    pub(super) fn new(form: Form, prompt: bool) -> Printer {
        Printer {
            form,
            terminal: io::stdout().is_terminal(),
            prompt,
            pending: Vec::with_capacity(2 * WRITE_BYTES),
            number: 0,
        }
    }

    /// Messages printed so far.
    pub(super) fn printed(&self) -> u64 {
        self.number
    }

    /// Prints a message, which may stay buffered until a flush.
    pub(super) fn print(&mut self, message: &Message<'_>) -> Result<(), Failure> {
        self.number += 1;
        self.render(message);
        if self.pending.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Everything printed so far is written when this returns.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let written = if self.prompt {
            [CLEAR_LINE, &self.pending, PROMPT].iter().try_for_each(|part| stdout.write_all(part))
        } else {
            stdout.write_all(&self.pending)
        };
        let written = written.and_then(|()| stdout.flush());
        self.pending.clear();
        written.map_err(|error| Failure::output(&error))
    }

    fn render(&mut self, message: &Message<'_>) {
        let out = &mut self.pending;
        match (&self.form, self.terminal) {
            (Form::Line, false) => {
                out.extend_from_slice(message.topic.as_bytes());
                out.push(b' ');
                out.extend_from_slice(message.payload);
                out.push(b'\n');
            }
            (Form::Line, true) => {
                push_harmless(out, message.topic.as_bytes());
                out.push(b' ');
                push_harmless(out, message.payload);
                out.push(b'\n');
            }
            (Form::Raw, false) => out.extend_from_slice(message.payload),
            (Form::Raw, true) => push_harmless_lines(out, message.payload),
            (Form::Json, terminal) => push_json(out, message, Timestamp::now(), terminal),
            (Form::Template(template), terminal) => {
                let facts = Facts { number: self.number, terminal };
                template.render(message, &facts, Timestamp::now, out);
            }
        }
    }
}

fn push_json(out: &mut Vec<u8>, message: &Message<'_>, time: Timestamp, terminal: bool) {
    let topic = json_string(message.topic);
    let (payload, encoding) = match std::str::from_utf8(message.payload) {
        Ok(text) => (json_string(text), ""),
        Err(_) => {
            let text = format!("\"{}\"", STANDARD.encode(message.payload));
            (text, ",\"encoding\":\"base64\"")
        }
    };
    let time = iso_time(time);
    let line = format!("{{\"topic\":{topic},\"payload\":{payload}{encoding},\"time\":\"{time}\"}}");
    if terminal {
        push_harmless_json(out, &line);
    } else {
        out.extend_from_slice(line.as_bytes());
    }
    out.push(b'\n');
}

fn json_string(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(payload: &[u8], terminal: bool) -> String {
        let topic = "a.\"b\"";
        let mut out = Vec::new();
        let time = Timestamp::from_second(1_700_000_000).unwrap();
        push_json(&mut out, &Message::new(topic, payload), time, terminal);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_holds_text_as_text_and_the_rest_as_base64() {
        let time = "\"time\":\"2023-11-14T22:13:20.000000000Z\"}\n";
        assert_eq!(
            json(b"hi\n\"you\" \x1b", false),
            format!("{{\"topic\":\"a.\\\"b\\\"\",\"payload\":\"hi\\n\\\"you\\\" \\u001b\",{time}")
        );
        assert_eq!(
            json(b"\xFF\x00", false),
            format!(
                "{{\"topic\":\"a.\\\"b\\\"\",\"payload\":\"/wA=\",\"encoding\":\"base64\",{time}"
            )
        );
        assert!(json("\u{9b}".as_bytes(), true).contains("\"\\u009b\""));
        assert!(json("\u{9b}".as_bytes(), false).contains("\"\u{9b}\""));
    }

    #[test]
    fn each_form_is_printed_as_it_is_described() {
        let mut printer = Printer {
            form: Form::Line,
            terminal: false,
            prompt: false,
            pending: Vec::new(),
            number: 0,
        };
        let message = Message::new("t", b"\x1bp\n");
        let template = || Form::Template(Template::parse("%i:%p;").expect("it is fine"));
        let rows = [
            (Form::Line, false, "t \x1bp\n\n"),
            (Form::Line, true, "t \\x1bp\\n\n"),
            (Form::Raw, false, "\x1bp\n"),
            (Form::Raw, true, "\\x1bp\n"),
            (template(), false, "0:\x1bp\n;"),
            (template(), true, "0:\\x1bp\\n;"),
        ];
        for (form, terminal, expected) in rows {
            (printer.form, printer.terminal) = (form, terminal);
            printer.pending.clear();
            printer.render(&message);
            assert_eq!(String::from_utf8_lossy(&printer.pending), expected);
        }
    }
}
