//! The broker daemon: parse, load, run, map the result to an exit code; nothing else.

use std::io;
use std::process::ExitCode;
use std::thread;

use broker::cli::Cli;
use broker::config::Config;
use broker::net::{self, Ended, Reload};
use broker::{limits, logging};
use clap::Parser;
use signal_hook::consts::SIGTERM;
use signal_hook::low_level::raise;

const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse().settled();
    let config = match cli.configuration() {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(USAGE);
        }
    };
    if cli.check_config {
        println!("ok");
        return ExitCode::SUCCESS;
    }
    if cli.exit_with_stdin {
        thread::spawn(stop_with_standard_input);
    }
    run(&config, Box::new(move || cli.configuration()))
}

/// Waits for the end of standard input, which the process that started this one holds open. The
/// loop has no part in that: it hears of a signal, as always.
fn stop_with_standard_input() {
    // What stands in there is of no interest, nor is why it cannot be read any further.
    let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
    if raise(SIGTERM).is_err() {
        std::process::exit(FAILED.into());
    }
}

fn run(config: &Config, reload: Reload) -> ExitCode {
    if let Err(error) = logging::start(&config.log) {
        let file = config.log.file.as_deref().unwrap_or("standard error".as_ref());
        eprintln!("broker: cannot write the log to {}: {error}", file.display());
        return ExitCode::from(FAILED);
    }
    limits::raise_descriptors(config.network.max_connections);
    match net::run_daemon(config, reload) {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::Interrupted) => ExitCode::from(FAILED),
        Err(error) => {
            // Beside the log, since that may be a file or switched off.
            eprintln!("broker: {error}");
            ExitCode::from(FAILED)
        }
    }
}
