//! The hub's end of a link to a broker: what the broker sends is collected, and what a test says is
//! sent.
//!
//! A link is read by a thread of its own, which answers PING. Nothing else is sent without being
//! asked.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use super::PATIENCE;

/// A message that a broker has sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LinkMessage {
    pub(crate) subject: String,
    pub(crate) reply: Option<String>,
    pub(crate) groups: Vec<String>,
    /// The block of headers; empty for LMSG.
    pub(crate) headers: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl LinkMessage {
    /// The bytes behind this line, without the CR LF at their end; `None`: it is no message.
    fn total_bytes(line: &str) -> Option<usize> {
        let is_message = line.starts_with("LMSG ") || line.starts_with("HMSG ");
        line.rsplit(' ').next().filter(|_| is_message)?.parse().ok()
    }

    /// Out of its line and what follows that.
    fn read(line: &str, mut headers: Vec<u8>) -> LinkMessage {
        let words: Vec<&str> = line.split(' ').collect();
        let (words, header_bytes) = match &words[..] {
            ["HMSG", words @ .., headers, _] => (words, headers.parse()),
            ["LMSG", words @ .., _] => (words, Ok(0)),
            _ => panic!("no message: {line}"),
        };
        let own = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let (subject, reply, groups) = match words {
            [subject] => (subject, None, Vec::new()),
            [subject, reply] => (subject, Some((*reply).to_owned()), Vec::new()),
            [subject, "+", reply, groups @ ..] => (subject, Some((*reply).to_owned()), own(groups)),
            [subject, "|", groups @ ..] => (subject, None, own(groups)),
            _ => panic!("no message: {line}"),
        };
        let payload = headers.split_off(header_bytes.expect("the size of headers is a number"));
        LinkMessage { subject: (*subject).to_owned(), reply, groups, headers, payload }
    }
}

/// What a broker has sent over a link so far.
#[derive(Debug, Default)]
pub(crate) struct LinkState {
    /// The fields of CONNECT.
    pub(crate) connect: Option<Value>,
    /// What the broker wants: the filter, or the filter, a blank and the group. The weight of a
    /// group, 1 without one.
    pub(crate) interest: BTreeMap<String, u32>,
    /// Every LS+ and LS-, as they came.
    pub(crate) changes: Vec<String>,
    /// Those that nobody has taken yet.
    pub(crate) messages: VecDeque<LinkMessage>,
    /// The texts of -ERR.
    pub(crate) errors: Vec<String>,
    pub(crate) pings: usize,
    pub(crate) pongs: usize,
    /// The broker has ended the link, or it was cut.
    pub(crate) has_ended: bool,
    /// PINGs that were not answered yet.
    unanswered: usize,
    does_not_answer: bool,
    is_joined: bool,
    is_held: bool,
}

/// What a link and the thread that reads it have in common.
struct Shared {
    state: Mutex<LinkState>,
    changed: Condvar,
    /// Locked while something is written, so that no answer gets into a message.
    writer: Mutex<TcpStream>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().expect("the thread that reads has not failed")
    }

    fn write(&self, bytes: &[u8]) {
        let mut writer = self.writer.lock().expect("nobody failed while writing");
        let _ = writer.write_all(bytes);
    }

    /// Reads lines until the link ends. A line that no leaf node sends fails the test.
    fn read(&self, stream: TcpStream) {
        let mut lines = BufReader::new(stream);
        loop {
            let held = self.changed.wait_while(self.state(), |state| state.is_held);
            drop(held.expect("nobody has failed"));
            let next = next(&mut lines);
            let mut state = self.state();
            self.changed.notify_all();
            let Some((line, body)) = next else {
                state.has_ended = true;
                return;
            };
            state.take(&line, body);
            if state.is_joined && !state.does_not_answer && state.unanswered > 0 {
                state.unanswered -= 1;
                drop(state);
                self.write(b"PONG\r\n");
            }
        }
    }
}

/// The next line without its end, and what follows it if it is a message. `None`: the link has
/// ended, or what was left of it was cut.
fn next(lines: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut line = Vec::new();
    lines.read_until(b'\n', &mut line).ok()?;
    let line = String::from_utf8_lossy(line.strip_suffix(b"\r\n")?).into_owned();
    let mut body = Vec::new();
    if let Some(bytes) = LinkMessage::total_bytes(&line) {
        body.resize(bytes + 2, 0);
        lines.read_exact(&mut body).ok()?;
    }
    Some((line, body))
}

impl LinkState {
    fn take(&mut self, line: &str, mut body: Vec<u8>) {
        let words: Vec<&str> = line.split(' ').collect();
        match *words {
            ["CONNECT", ..] => {
                assert!(self.connect.is_none(), "twice: {line}");
                let json = serde_json::from_str(&line["CONNECT ".len()..]);
                self.connect = Some(json.expect("CONNECT is JSON"));
            }
            _ if self.connect.is_none() => panic!("in front of CONNECT: {line}"),
            ["LS+", filter] => drop(self.interest.insert(filter.to_owned(), 1)),
            ["LS+", filter, group, weight] => {
                let weight = weight.parse().unwrap_or_else(|_| panic!("no weight: {line}"));
                self.interest.insert(format!("{filter} {group}"), weight);
            }
            ["LS-", filter] => drop(self.interest.remove(filter)),
            ["LS-", filter, group] => drop(self.interest.remove(&format!("{filter} {group}"))),
            ["LMSG" | "HMSG", ..] => {
                assert!(body.ends_with(b"\r\n"), "a message ends with CR LF: {line}");
                body.truncate(body.len() - 2);
                self.messages.push_back(LinkMessage::read(line, body));
            }
            ["PING"] => {
                self.pings += 1;
                self.unanswered += 1;
            }
            ["PONG"] => self.pongs += 1,
            ["-ERR", ..] => self.errors.push(line["-ERR ".len()..].trim_matches('\'').to_owned()),
            _ => panic!("no leaf node sends this: {line}"),
        }
        if line.starts_with("LS") {
            self.changes.push(line.to_owned());
        }
    }
}

/// The hub's end of a link.
pub(crate) struct Link {
    shared: Arc<Shared>,
    info: Value,
}

impl Link {
    /// Reads what comes over this connection. Says nothing yet.
    pub(super) fn on(stream: TcpStream, info: &Value) -> Link {
        let reading = stream.try_clone().expect("a handle can be copied");
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            writer: Mutex::new(stream),
        });
        let theirs = Arc::clone(&shared);
        thread::spawn(move || theirs.read(reading));
        Link { shared, info: info.clone() }
    }

    /// What the broker has said of itself.
    pub(crate) fn connect(&self) -> Value {
        self.shared.state().connect.clone().expect("it was waited for")
    }

    /// Lets the broker join: a second INFO, these lines, and the answer to its PING.
    pub(crate) fn join(&self, lines: &str) {
        let fields = json!({"connect_info": true, "remote_account": "$G"});
        self.info(&fields);
        self.send(lines);
        let mut state = self.shared.state();
        state.is_joined = true;
        let pongs = "PONG\r\n".repeat(std::mem::take(&mut state.unanswered));
        drop(state);
        self.send(&pongs);
    }

    /// INFO: what the hub is, with these fields.
    pub(crate) fn info(&self, fields: &Value) {
        self.send_bytes(&info(&self.info, fields));
    }

    /// Sends any text. If the broker has ended the link, nothing happens.
    pub(crate) fn send(&self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    /// The same for bytes.
    pub(crate) fn send_bytes(&self, bytes: &[u8]) {
        self.shared.write(bytes);
    }

    /// Sends LMSG or HMSG, with groups and reply as the line has them: `words` are all but the
    /// sizes.
    pub(crate) fn publish(&self, words: &str, headers: &str, payload: &[u8]) {
        let total = headers.len() + payload.len();
        let line = match headers.len() {
            0 => format!("LMSG {words} {total}\r\n"),
            bytes => format!("HMSG {words} {bytes} {total}\r\n{headers}"),
        };
        self.send_bytes(&[line.as_bytes(), payload, b"\r\n"].concat());
    }

    /// Waits until everything that was sent before is processed, and all that the broker had to say
    /// until then has arrived.
    pub(crate) fn confirm(&self) {
        let before = self.shared.state().pongs;
        self.send("PING\r\n");
        drop(self.wait_until("PONG", |state| state.pongs > before));
    }

    /// The next message.
    pub(crate) fn message(&self) -> LinkMessage {
        let mut state = self.wait_until("a message", |state| !state.messages.is_empty());
        state.messages.pop_front().expect("it was waited for")
    }

    /// Waits until the broker wants this, with this weight: a filter, or a filter, a blank and a
    /// group.
    pub(crate) fn wait_for_interest(&self, key: &str, weight: u32) {
        drop(self.wait_until(key, |state| state.interest.get(key) == Some(&weight)));
    }

    /// Waits until the broker does not want it any more.
    pub(crate) fn wait_for_no_interest(&self, key: &str) {
        drop(self.wait_until(key, |state| !state.interest.contains_key(key)));
    }

    /// Waits until the broker ends the link, and returns the errors that it has told.
    pub(crate) fn wait_for_end(&self) -> Vec<String> {
        self.wait_until("the end", |state| state.has_ended).errors.clone()
    }

    /// What has arrived so far.
    pub(crate) fn state(&self) -> MutexGuard<'_, LinkState> {
        self.shared.state()
    }

    /// Waits until what has arrived is so. Nothing more arrives while the result is held. A link
    /// that has ended is not waited for.
    pub(crate) fn wait_until(
        &self,
        what: &str,
        is_so: impl Fn(&LinkState) -> bool,
    ) -> MutexGuard<'_, LinkState> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.state();
        while !is_so(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            let may_come = !left.is_zero() && !state.has_ended;
            assert!(may_come, "in vain: {what} in {state:?}");
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.expect("the thread that reads has not failed").0;
        }
        state
    }

    /// PING is not answered from now on, or is again.
    pub(crate) fn set_answers(&self, answers: bool) {
        self.shared.state().does_not_answer = !answers;
    }

    /// Nothing is read from now on, except one line that may be waited for.
    pub(crate) fn hold(&self) {
        self.shared.state().is_held = true;
    }

    /// Reads on.
    pub(crate) fn release(&self) {
        self.shared.state().is_held = false;
        self.shared.changed.notify_all();
    }

    /// Tells an error, and ends the link as a hub does. Waits for the broker's end of it, as what
    /// is not read before would make the system take back the error.
    pub(crate) fn refuse(self, text: &str) {
        self.send(&format!("-ERR '{text}'\r\n"));
        let writer = self.shared.writer.lock().expect("nobody failed while writing");
        let _ = writer.shutdown(Shutdown::Write);
        drop(writer);
        self.wait_for_end();
    }

    /// Ends the link without a word.
    pub(crate) fn cut(self) {}
}

impl Drop for Link {
    /// The connection ends with the link, though the thread that reads has a handle as well.
    fn drop(&mut self) {
        if let Ok(writer) = self.shared.writer.lock() {
            let _ = writer.shutdown(Shutdown::Both);
        }
        if let Ok(mut state) = self.shared.state.lock() {
            state.is_held = false;
        }
        self.shared.changed.notify_all();
    }
}

/// The line of INFO with these fields beside the usual ones.
fn info(usual: &Value, fields: &Value) -> Vec<u8> {
    let mut info = usual.clone();
    merge(&mut info, fields);
    format!("INFO {info} \r\n").into_bytes()
}

pub(super) fn merge(object: &mut Value, fields: &Value) {
    for (key, value) in fields.as_object().expect("fields are an object") {
        object[key] = value.clone();
    }
}
