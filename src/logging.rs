//! Where log lines go and how they look.
//!
//! Owns the set-up of the `log` crate. A line is formatted in memory and written at once, so that
//! lines never mix and one line is one system call. Nothing here can fail later on: a full disk
//! or a closed standard error loses lines, not the broker.

use std::fs::OpenOptions;
use std::io::{self, LineWriter, Write};
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter, Metadata, Record};
use simplelog::{ConfigBuilder, FormatItem, WriteLogger, format_description};

use crate::config::{Log, LogFormat};

/// RFC 3339 in UTC, always of the same length, so that lines sort by time.
const TIME: &[FormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// Sets up logging.
///
/// # Errors
/// When the log file cannot be opened.
pub fn start(log: &Log) -> io::Result<()> {
    let writer: Box<dyn Write + Send> = match &log.file {
        None => Box::new(io::stderr()),
        Some(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
    };
    // The variable says which file the journal reads; a log file of our own is not it.
    let journal = match log.format {
        LogFormat::Auto => log.file.is_none() && std::env::var_os("JOURNAL_STREAM").is_some(),
        LogFormat::Text => false,
        LogFormat::Journal => true,
    };
    // Logging is set up once, at the start; a second set-up would be refused and change nothing.
    let _ = if journal {
        let logger = JournalLogger { level: log.level, writer: Mutex::new(writer) };
        log::set_boxed_logger(Box::new(logger)).map(|()| log::set_max_level(log.level))
    } else {
        let config = ConfigBuilder::new()
            .set_time_format_custom(TIME)
            .set_thread_level(LevelFilter::Off)
            .set_target_level(LevelFilter::Off)
            .set_location_level(LevelFilter::Off)
            .build();
        WriteLogger::init(log.level, config, LineWriter::new(writer))
    };
    Ok(())
}

/// Lines for the journal: a priority as in sd-daemon(3), and the text; the journal has the time.
struct JournalLogger<W: Write> {
    level: LevelFilter,
    writer: Mutex<W>,
}

impl<W: Write + Send> log::Log for JournalLogger<W> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("<{}>{}\n", priority(record.level()), record.args());
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            // Where could the failure be told?
            let _ = writer.write_all(line.as_bytes());
        }
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
        let logger = JournalLogger { level: LevelFilter::Info, writer: Mutex::new(Vec::new()) };
        for (level, text) in [(Level::Error, "bad"), (Level::Info, "good"), (Level::Debug, "x")] {
            logger.log(&Record::builder().level(level).args(format_args!("{text}")).build());
        }
        assert_eq!(*logger.writer.lock().unwrap(), b"<3>bad\n<6>good\n");
    }
}
