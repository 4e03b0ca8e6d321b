//! The broker daemon: parse, load, run, map the result to an exit code; nothing else.

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;

use broker::cli::Cli;
use broker::config::Config;
use broker::net::{self, Ended, Reload};
use broker::secret::{self, SecretError};
use broker::{limits, logging};
use clap::Parser;
use signal_hook::consts::SIGTERM;
use signal_hook::low_level::raise;

const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.new_secret {
        return told(secret::make());
    }
    if cli.hash_secret {
        return told(secret::hash());
    }
    let cli = cli.settled();
    let config = match cli.configuration() {
        Ok(config) => config,
        Err(errors) => {
            logging::tell_failure(None, &errors.to_string());
            net::tell_failure(&errors.to_string());
            return ExitCode::from(USAGE);
        }
    };
    if cli.check_config {
        return check(&config);
    }
    if cli.check_link {
        return check_link(&config);
    }
    if cli.exit_with_stdin {
        thread::spawn(stop_with_standard_input);
    }
    run(&config, Box::new(move || cli.configuration()))
}

/// How printing a secret ended.
fn told(result: Result<(), SecretError>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    logging::tell_failure(None, &format!("broker: {error}"));
    ExitCode::from(if matches!(error, SecretError::Given(_)) { USAGE } else { FAILED })
}

/// Whether a broker could start with that, but for ports that are in use: those may be the ones of
/// the broker that is to read it.
fn check(config: &Config) -> ExitCode {
    let users = config.users().map(drop).map_err(|errors| errors.to_string());
    let log = || logging::check(&config.log).map_err(|error| cannot_log(config, &error));
    let net = || net::check(config).map_err(|error| error.to_string());
    let text = match users.and_then(|()| log()).and_then(|()| net()) {
        Ok(()) => "ok".to_owned(),
        Err(text) => {
            logging::tell_failure(None, &text);
            return ExitCode::from(USAGE);
        }
    };
    print(&format!("{text}\n"), ExitCode::SUCCESS)
}

/// Whether the hubs let a broker in that would start with that.
fn check_link(config: &Config) -> ExitCode {
    match net::check_link(config) {
        Ok(report) => {
            let code = if report.all_good { ExitCode::SUCCESS } else { ExitCode::from(FAILED) };
            print(&report.text, code)
        }
        Err(error) => {
            logging::tell_failure(None, &format!("broker: {error}"));
            ExitCode::from(if error.is_of_configuration() { USAGE } else { FAILED })
        }
    }
}

/// Writes the outcome to standard output, and gives the code if that is possible.
fn print(text: &str, code: ExitCode) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(error) => {
            logging::tell_failure(
                None,
                &format!("broker: cannot write to standard output: {error}"),
            );
            ExitCode::from(FAILED)
        }
    }
}

fn run(config: &Config, reload: Reload) -> ExitCode {
    if let Err(error) = logging::start(&config.log) {
        let text = cannot_log(config, &error);
        logging::tell_failure(None, &text);
        net::tell_failure(&text);
        return ExitCode::from(FAILED);
    }
    limits::raise_descriptors(config.network.max_connections);
    if config.has_secrets() {
        limits::keep_secrets();
    }
    match net::run_daemon(config, reload) {
        Ok(Ended::Drained) => ExitCode::SUCCESS,
        Ok(Ended::Interrupted) => ExitCode::from(FAILED),
        Err(error) => {
            logging::tell_failure(Some(&config.log), &format!("broker: {error}"));
            net::tell_failure(&error.to_string());
            ExitCode::from(if error.is_of_configuration() { USAGE } else { FAILED })
        }
    }
}

fn cannot_log(config: &Config, error: &io::Error) -> String {
    let file = config.log.file.as_deref().unwrap_or("standard error".as_ref());
    format!("broker: cannot write the log to {}: {error}", file.display())
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
