//! Standard error, for a program that must not wait for whoever reads it.
//!
//! Owns the way to write that does not block, and the number of lines that were lost on it: the
//! next line that gets through is told of them. Must not know what a line looks like.

#![expect(clippy::disallowed_types, reason = "the journal's stream is a socket")]

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{O_NOCTTY, O_NONBLOCK};

/// Lines that nobody read in time and that nobody was told of yet.
static LOST_LINES: AtomicU64 = AtomicU64::new(0);

/// A writer of whole lines to standard error. One that would have to wait is lost and counted. (A
/// line of more than 4 KiB in a pipe that is nearly full may lose its end: pipe(7).)
pub(super) fn writer(is_journal: bool) -> Box<dyn Write + Send> {
    match without_waiting(is_journal) {
        Ok(writer) => Box::new(Lossy(writer)),
        // No /proc, say, or another kind of file, which nobody has to read: as it is.
        Err(_) => Box::new(io::stderr()),
    }
}

/// Standard error must not itself be made one that does not block: whoever shares the terminal or
/// the pipe would have that, too. Opened anew, a file is one of our own. A socket cannot be, but
/// the journal's belongs to this service alone.
fn without_waiting(is_journal: bool) -> io::Result<Box<dyn Write + Send>> {
    let standard_error = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let kind = standard_error.metadata()?.file_type();
    if kind.is_socket() && is_journal {
        let stream = UnixStream::from(OwnedFd::from(standard_error));
        stream.set_nonblocking(true)?;
        Ok(Box::new(stream))
    } else if kind.is_fifo() || kind.is_char_device() {
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(O_NONBLOCK | O_NOCTTY);
        Ok(Box::new(options.open("/proc/self/fd/2")?))
    } else {
        Err(ErrorKind::Unsupported.into())
    }
}

/// A writer to a log that is no ordinary file, opened so that it does not wait: a pipe, say, whose
/// reader may stall.
pub(super) fn lossy(writer: impl Write + Send + 'static) -> Box<dyn Write + Send> {
    Box::new(Lossy(Box::new(writer)))
}

/// Loses what would have to wait.
struct Lossy(Box<dyn Write + Send>);

impl Write for Lossy {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.0.write(line) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                LOST_LINES.fetch_add(1, Ordering::Relaxed);
                Ok(line.len())
            }
            other => other,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tells of the lines that were lost, if there are any, through `tell`. Returns whether a line may
/// follow: not if there is still no room, and then that line is counted as lost.
pub(super) fn tell_lost_lines(tell: impl FnOnce(u64)) -> bool {
    let lost = LOST_LINES.swap(0, Ordering::Relaxed);
    if lost == 0 {
        return true;
    }
    tell(lost);
    let told = LOST_LINES.swap(0, Ordering::Relaxed) == 0;
    if !told {
        LOST_LINES.store(lost + 1, Ordering::Relaxed);
    }
    told
}
