//! The broker daemon: parse, load, run, map the result to an exit code; nothing else.

use std::process::ExitCode;

use broker::cli::Cli;
use broker::config::Config;
use broker::net::{self, Ended, Reload};
use broker::{limits, logging};
use clap::Parser;

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
    run(&config, Box::new(move || cli.configuration()))
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
