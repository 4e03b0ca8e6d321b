//! The program `publisher`: everything it does is in the library's `cli` part.

use std::process::ExitCode;

fn main() -> ExitCode {
    clients::cli::run_publisher()
}
