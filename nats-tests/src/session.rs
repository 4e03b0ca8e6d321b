//! A session of the differential test as data: which connection sends what, step by step. Owns how
//! it is printed. Knows nothing about servers.

use std::fmt;

/// Placeholder in subjects for a name that no other session uses, of the same length.
pub const PREFIX: &[u8] = b"@@@@@@";

/// Steps that are taken one after the other, each seen by all connections before the next.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// How many connections there are. None of them is open at first.
    pub connections: usize,
    /// No connection ends in it, so it may use subjects without the prefix.
    pub calm: bool,
    /// What happens.
    pub steps: Vec<Step>,
}

/// What one connection does.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its number.
    pub connection: usize,
    /// What it does.
    pub action: Action,
}

/// See `Step`.
#[derive(Clone, Debug)]
pub enum Action {
    /// Connects, and sends these lines after the server's INFO.
    Join(Vec<Line>),
    /// Sends these lines.
    Send {
        /// What is sent.
        lines: Vec<Line>,
        /// Sent in two parts, the first as long as this.
        cut: Option<usize>,
        /// Between the two parts the others are read.
        pause: bool,
    },
    /// Closes the connection.
    Leave,
}

/// A control line, with its payload if it has one.
#[derive(Clone, Debug)]
pub struct Line {
    /// What is sent, if it is not made of `fields`.
    pub bytes: Vec<u8>,
    /// The same in canonical case and spacing.
    pub plain: Option<Vec<u8>>,
    /// A CONNECT with these members.
    pub fields: Option<Vec<String>>,
    /// The PONGs that it causes.
    pub pongs: usize,
}

impl Line {
    /// A line as it stands.
    pub fn raw(bytes: &[u8]) -> Line {
        Line { bytes: bytes.to_vec(), plain: None, fields: None, pongs: 0 }
    }

    /// A CONNECT with these members.
    pub fn connect(fields: Vec<String>) -> Line {
        Line { fields: Some(fields), ..Line::raw(b"") }
    }

    /// What is sent.
    pub fn sent(&self) -> Vec<u8> {
        match &self.fields {
            Some(fields) => format!("CONNECT {{{}}}\r\n", fields.join(",")).into_bytes(),
            None => self.bytes.clone(),
        }
    }
}

impl Action {
    /// The lines that it sends.
    pub fn lines(&self) -> &[Line] {
        match self {
            Action::Join(lines) | Action::Send { lines, .. } => lines,
            Action::Leave => &[],
        }
    }

    /// The same, to be changed.
    pub fn lines_mut(&mut self) -> Option<&mut Vec<Line>> {
        match self {
            Action::Join(lines) | Action::Send { lines, .. } => Some(lines),
            Action::Leave => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.connection;
        match &self.action {
            Action::Join(_) => write!(to, "{name} connects")?,
            Action::Leave => write!(to, "{name} leaves")?,
            Action::Send { cut: None, .. } => write!(to, "{name} sends")?,
            Action::Send { cut: Some(cut), pause, .. } => {
                let how = if *pause { ", others are heard" } else { "" };
                write!(to, "{name} sends in two parts, cut at {cut}{how}")?;
            }
        }
        for line in self.action.lines() {
            write!(to, "\n    > {}", shown(&line.sent()))?;
        }
        Ok(())
    }
}

/// Bytes in a readable form, with runs and long ends cut short.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let run = bytes[at..].iter().take_while(|&&byte| byte == bytes[at]).count();
        let one = match bytes[at] {
            quote @ (b'"' | b'\'') => char::from(quote).to_string(),
            other => other.escape_ascii().to_string(),
        };
        if run > 8 {
            text.push_str(&format!("{one}({run} times)"));
            at += run;
        } else {
            text.push_str(&one);
            at += 1;
        }
    }
    text
}
