//! Command files and lines of standard input: reads them, line by line.
//!
//! Owns the reading only; the `command` module interprets a line. A terminal is read while
//! this program is in its foreground: in the background a read would stop the process (SIGTTIN).

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::getpgrp;
use rustix::termios::{isatty, tcgetpgrp};

use crate::command::{Role, TimedCommand, parse_file};

use super::report::Failure;

/// Standard input, as messages name it, and the file name that stands for it.
pub(super) const STANDARD_INPUT: &str = "standard input";
const DASH: &str = "-";
/// Standard input is read in pieces of this many bytes.
const READ_BYTES: usize = 256 * 1024;
/// How often to check whether this program is in the terminal's foreground again.
const BACKGROUND_CHECK: Duration = Duration::from_millis(500);

/// Reads and checks a whole command file; `-` is standard input. No file, no commands.
pub(super) fn read_commands(file: Option<&Path>, role: Role) -> Result<Vec<TimedCommand>, Failure> {
    let Some(path) = file else {
        return Ok(Vec::new());
    };
    let name = file_name(path);
    let bytes = if is_standard_input(path) {
        let mut bytes = Vec::new();
        open().and_then(|mut input| input.read_to_end(&mut bytes)).map(|_| bytes)
    } else {
        fs::read(path)
    };
    let bytes = bytes
        .map_err(|error| Failure::Usage(format!("cannot read the command file {name}: {error}")))?;
    parse_file(&name, &bytes, role).map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Failure::Usage(lines.join("\n"))
    })
}

/// Whether the command file is standard input, which then has no lines of its own.
pub(super) fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == DASH
}

/// The command file's name for people.
pub(super) fn file_name(path: &Path) -> String {
    let is_input = is_standard_input(path);
    if is_input { STANDARD_INPUT.to_owned() } else { path.display().to_string() }
}

/// Whether this terminal can be read: this process is in its foreground, or it is not a terminal
/// that could stop the process.
pub(super) fn is_in_foreground(terminal: impl AsFd) -> bool {
    tcgetpgrp(terminal).map_or(true, |foreground| foreground == getpgrp())
}

/// Standard input.
pub(super) fn open() -> io::Result<BufReader<StandardInput>> {
    // A descriptor of our own: the standard library's buffer would hide from `poll` what it holds.
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let is_terminal = isatty(&file);
    Ok(BufReader::with_capacity(READ_BYTES, StandardInput { file, is_terminal }))
}

/// Standard input; a terminal is read only in its foreground.
#[derive(Debug)]
pub(super) struct StandardInput {
    file: File,
    is_terminal: bool,
}

impl Read for StandardInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_terminal {
            wait_for_turn(&self.file)?;
        }
        self.file.read(buffer)
    }
}

/// Waits until something is typed on the terminal, and for this process.
fn wait_for_turn(terminal: &File) -> io::Result<()> {
    loop {
        let mut typed = [PollFd::new(terminal, PollFlags::IN)];
        match poll(&mut typed, None) {
            Ok(_) if typed[0].revents().contains(PollFlags::HUP) => return Ok(()),
            Ok(_) if is_in_foreground(terminal) => return Ok(()),
            Ok(_) => thread::sleep(BACKGROUND_CHECK),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A line of an input, without its line feed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// The whole line.
    Text(&'a [u8]),
    /// It is longer than the limit; so many bytes were read and discarded.
    TooLong(u64),
}

/// The lines of an input, of which at most a limit is held in memory.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: BufReader<R>,
    line: Partial,
    number: usize,
}

/// What has been read of a line.
#[derive(Debug)]
struct Partial {
    limit: u64,
    /// Its bytes, as long as they are within the limit.
    kept: Vec<u8>,
    bytes: u64,
    /// It was handed out: the next one begins.
    is_whole: bool,
}

impl<R: Read> Lines<R> {
    /// Lines of up to `limit` bytes.
    pub(super) fn new(input: BufReader<R>, limit: usize) -> Lines<R> {
        let line = Partial { limit: limit as u64, kept: Vec::new(), bytes: 0, is_whole: false };
        Lines { input, line, number: 0 }
    }

    /// The number of the line that was handed out last, from 1.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Whether the next line is still to be waited for.
    pub(super) fn must_wait(&self) -> bool {
        !self.input.buffer().contains(&b'\n')
    }

    /// The next line; waits for it. `None`: the end.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.begin();
        loop {
            let buffered = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                buffered => buffered?,
            };
            if buffered.is_empty() && self.line.bytes == 0 {
                return Ok(None);
            }
            let end = buffered.iter().position(|&byte| byte == b'\n');
            let taken = end.unwrap_or(buffered.len());
            self.line.push(&buffered[..taken]);
            let is_last = buffered.is_empty();
            self.input.consume(taken + usize::from(end.is_some()));
            if end.is_some() || is_last {
                self.number += 1;
                return Ok(Some(self.line.whole()));
            }
        }
    }
}

impl Partial {
    fn begin(&mut self) {
        if std::mem::take(&mut self.is_whole) {
            self.kept.clear();
            self.bytes = 0;
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.limit {
            // Its beginning is of no use either.
            self.kept = Vec::new();
        } else {
            self.kept.extend_from_slice(bytes);
        }
    }

    fn whole(&mut self) -> Line<'_> {
        self.is_whole = true;
        if self.bytes > self.limit { Line::TooLong(self.bytes) } else { Line::Text(&self.kept) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as text; one that is too long as its size.
    fn lines(text: &[u8], limit: usize, buffer: usize) -> Vec<String> {
        let mut lines = Lines::new(BufReader::with_capacity(buffer, text), limit);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(match line {
                Line::Text(text) => String::from_utf8_lossy(text).into_owned(),
                Line::TooLong(bytes) => format!("#{bytes}"),
            });
        }
        assert_eq!(lines.number(), found.len());
        found
    }

    #[test]
    fn lines_are_whole_or_told_by_their_size_whatever_the_reads() {
        for buffer in [1, 2, 3, 5, 100] {
            assert_eq!(lines(b"", 4, buffer), [""; 0]);
            assert_eq!(lines(b"\n\na\n", 4, buffer), ["", "", "a"]);
            assert_eq!(lines(b"four\nfives\nx", 4, buffer), ["four", "#5", "x"]);
            assert_eq!(lines(b"much too long", 4, buffer), ["#13"]);
        }
    }
}
