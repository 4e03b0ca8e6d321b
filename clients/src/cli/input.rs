//! Command files and lines of standard input: reads them, gives them line by line.
//!
//! Owns the reading only; what a line means is the `command` module's.

use std::fs;
use std::io::{self, BufRead};
use std::path::Path;

use crate::command::{Role, TimedCommand, parse_file};

use super::report::Failure;

/// Reads and checks a whole command file. No file, no commands.
pub(super) fn read_commands(file: Option<&Path>, role: Role) -> Result<Vec<TimedCommand>, Failure> {
    let Some(path) = file else {
        return Ok(Vec::new());
    };
    let name = path.display().to_string();
    let bytes = fs::read(path)
        .map_err(|error| Failure::Usage(format!("cannot read the command file {name}: {error}")))?;
    parse_file(&name, &bytes, role).map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Failure::Usage(lines.join("\n"))
    })
}

/// The lines of standard input with their numbers, without line ends, until `take` returns `false`.
pub(super) fn for_each_line(mut take: impl FnMut(usize, Vec<u8>) -> bool) -> io::Result<()> {
    for (index, line) in io::stdin().lock().split(b'\n').enumerate() {
        if !take(index + 1, line?) {
            break;
        }
    }
    Ok(())
}
