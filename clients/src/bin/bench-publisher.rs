//! The program `bench-publisher`: everything it does is in the library's `bench` part.

use std::process::ExitCode;

fn main() -> ExitCode {
    clients::bench::run()
}
