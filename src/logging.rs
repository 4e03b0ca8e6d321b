//! Where log lines go and how they look.
//!
//! Owns the set-up of the `log` crate, which a running broker may replace. A line is formatted in
//! memory and written at once, so that lines never mix and one line is one system call. Nothing
//! here can fail or wait later on: a full disk, or a standard error that is closed or that nobody
//! reads, loses lines, not the broker.

use std::fs::{self, File, OpenOptions};
use std::io::{self, LineWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};

use log::{Level, LevelFilter, Metadata, Record, error};
use simplelog::{ConfigBuilder, FormatItem, WriteLogger, format_description};

use crate::config::{Log, LogFormat};
use crate::limits::{O_NOCTTY, O_NONBLOCK};

mod standard_error;

/// RFC 3339 in UTC, always of the same length, so that lines sort by time.
const TIME: &[FormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// Room for a line, so that it is one write; what a pipe takes at once (pipe(7), PIPE_BUF).
const LINE_BYTES: usize = 4_096;

/// What the `log` crate writes to: whatever was installed last.
static LOGGER: Switch = Switch(RwLock::new(None));

/// Sets up logging.
///
/// # Errors
/// When the log file cannot be opened.
pub fn start(log: &Log) -> io::Result<()> {
    Prepared::new(log)?.install();
    Ok(())
}

/// A set-up that is complete but not in force.
pub struct Prepared {
    logger: Box<dyn log::Log>,
    level: LevelFilter,
}

impl Prepared {
    /// Opens what `log` names, also if it is open already: after a rotation the name belongs to a
    /// new file.
    ///
    /// # Errors
    /// When the log file cannot be opened.
    pub fn new(log: &Log) -> io::Result<Prepared> {
        // A log file of our own is not what the journal reads.
        let journal_reads = log.file.is_none() && journal_reads_standard_error();
        let writer: Box<dyn Write + Send> = match &log.file {
            None => standard_error::writer(journal_reads),
            Some(path) => open(path)?,
        };
        let journal = match log.format {
            LogFormat::Auto => journal_reads,
            LogFormat::Text => false,
            LogFormat::Journal => true,
        };
        let logger: Box<dyn log::Log> = if journal {
            Box::new(JournalLogger { writer: Mutex::new(writer) })
        } else {
            text_logger(writer)
        };
        Ok(Prepared { logger, level: log.level })
    }

    /// Lines go here from now on.
    pub fn install(self) {
        let level = self.level;
        self.install_from(level);
    }

    /// The same, and `last_words` are logged if the levels of before or of now allow it: a level
    /// that hides them must not hide that it was changed.
    pub fn install_with(self, last_words: impl FnOnce()) {
        let level = self.level;
        self.install_from(level.max(log::max_level()));
        last_words();
        log::set_max_level(level);
    }

    fn install_from(self, level: LevelFilter) {
        *LOGGER.0.write().unwrap_or_else(PoisonError::into_inner) = Some(self.logger);
        // Refused if it is set already, by an earlier call: then there is nothing left to do.
        let _ = log::set_logger(&LOGGER);
        log::set_max_level(level);
    }
}

/// Opens a log file. Nothing but a regular file is written to in a way that could wait.
fn open(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).custom_flags(O_NONBLOCK | O_NOCTTY);
    let file = options.open(path).map_err(|error| match fs::metadata(path) {
        Ok(found) if found.file_type().is_fifo() => {
            io::Error::new(error.kind(), "it is a pipe that no program reads")
        }
        _ => error,
    })?;
    let is_regular = file.metadata()?.is_file();
    Ok(if is_regular { Box::new(file) } else { standard_error::lossy(file) })
}

/// Whether lines could be appended to the log. A file that is made for that is gone again.
///
/// # Errors
/// Why they could not.
pub fn check(log: &Log) -> io::Result<()> {
    let Some(path) = &log.file else { return Ok(()) };
    let is_new = !path.exists();
    drop(open(path)?);
    if is_new { fs::remove_file(path) } else { Ok(()) }
}

/// Says why the broker does not start: in the log, as far as there is one, and to whoever has
/// started it.
pub fn tell_failure(log: Option<&Log>, text: &str) {
    let is_logging = log.is_some_and(|log| log.level >= Level::Error);
    let on_standard_error = is_logging && log.is_some_and(|log| log.file.is_none());
    if is_logging {
        text.lines().for_each(|line| error!("{line}"));
    }
    if !on_standard_error {
        // sd-daemon(3): without a mark the journal takes it for routine.
        let format = log.map_or(LogFormat::Auto, |log| log.format);
        let is_journal = format == LogFormat::Journal || journal_reads_standard_error();
        let mark = if is_journal { "<3>" } else { "" };
        for line in text.lines() {
            // With standard error gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "{mark}{line}");
        }
    }
}

/// Whether standard error is the stream that the variable names by its device and inode. That it is
/// set is not enough: in a desktop session every terminal inherits it.
fn journal_reads_standard_error() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let metadata = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    match metadata.and_then(|file| file.metadata()) {
        Ok(found) => *stream == *format!("{}:{}", found.dev(), found.ino()),
        // Out of descriptors while reloading, say: then it is most likely still what it was.
        Err(_) => true,
    }
}

/// Time, level and text. The level that counts is the `log` crate's.
fn text_logger(writer: Box<dyn Write + Send>) -> Box<dyn log::Log> {
    let config = ConfigBuilder::new()
        .set_time_format_custom(TIME)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .build();
    WriteLogger::new(LevelFilter::Trace, config, LineWriter::with_capacity(LINE_BYTES, writer))
}

/// A logger that can be replaced, which the one that the `log` crate holds cannot.
struct Switch(RwLock<Option<Box<dyn log::Log>>>);

impl log::Log for Switch {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if let Some(logger) = &*self.0.read().unwrap_or_else(PoisonError::into_inner)
            && standard_error::tell_lost_lines(|lost| tell_lost_lines(logger.as_ref(), lost))
        {
            logger.log(record);
        }
    }

    fn flush(&self) {}
}

/// Whatever the level: what is missing in a log must be said in it.
fn tell_lost_lines(logger: &dyn log::Log, lost: u64) {
    let text =
        format_args!("{lost} lines of this log are lost: nobody read standard error in time");
    logger.log(&Record::builder().level(Level::Warn).args(text).build());
}

/// Lines for the journal: a priority as in sd-daemon(3), and the text; the journal has the time.
struct JournalLogger<W: Write> {
    writer: Mutex<W>,
}

impl<W: Write + Send> log::Log for JournalLogger<W> {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("<{}>{}\n", priority(record.level()), record.args());
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // Where could the failure be told?
        let _ = writer.write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

/// The priorities of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Log as _;

    #[test]
    fn journal_lines_have_a_priority_and_no_time() {
        let logger = JournalLogger { writer: Mutex::new(Vec::new()) };
        for (level, text) in [(Level::Error, "bad"), (Level::Info, "good"), (Level::Debug, "x")] {
            logger.log(&Record::builder().level(level).args(format_args!("{text}")).build());
        }
        assert_eq!(*logger.writer.lock().unwrap(), b"<3>bad\n<6>good\n<7>x\n");
    }
}
