//! Writes the manual pages and the completions of all four programs into a directory:
//! `cargo run -p manuals -- target/manuals`.
//!
//! The pages of the programs are made from the definitions that parse their command lines, that of
//! the configuration file from the table of settings: nothing in them is written a second time.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use broker::cli::Cli;
use broker::config::SETTINGS;
use clap::builder::{Resettable, StyledStr};
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

#[cfg(test)]
mod tests;

use sections::Sections;

mod sections;

const SOURCE: &str = concat!("pubsub-broker ", env!("CARGO_PKG_VERSION"));
/// The pages that each page refers to, except itself.
const PAGES: [&str; 5] =
    ["bench-publisher(1)", "broker(1)", "publisher(1)", "subscriber(1)", "broker.ini(5)"];

fn main() -> ExitCode {
    let Some(directory) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: manuals DIRECTORY");
        return ExitCode::from(2);
    };
    if let Err(error) = write_all(&directory) {
        eprintln!("manuals: cannot write into {}: {error}", directory.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Writes everything.
fn write_all(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let [publisher, subscriber] = clients::cli::commands();
    for command in [Cli::command(), publisher, subscriber, clients::bench::command()] {
        let name = command.get_name().to_owned();
        fs::write(directory.join(format!("{name}.1")), page(command.clone())?)?;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            clap_complete::generate_to(shell, &mut command.clone(), &name, directory)?;
        }
    }
    fs::write(directory.join("broker.ini.5"), page_of_settings()?)
}

/// The manual page of a program.
fn page(command: Command) -> io::Result<Vec<u8>> {
    let name = format!("{}(1)", command.get_name());
    let mut page = Vec::new();
    let sections = Sections::of(command.get_name());
    let notes = command.get_after_help().map(|text| notes(&text.to_string())).unwrap_or_default();
    let command = match notes.is_empty() {
        true => command.after_help(Resettable::<StyledStr>::Reset),
        false => command.after_help(notes),
    };
    Man::new(command).manual("User Commands").source(SOURCE).section("1").render(&mut page)?;
    page.extend(sections.map(Sections::render).unwrap_or_default().bytes());
    see_also(&name, &mut page)?;
    Ok(page)
}

/// The text after the flags in `--help`, except what the page has sections of its own for.
fn notes(text: &str) -> String {
    let is_section =
        |line: &&str| line.starts_with("Exit status:") || line.starts_with("Environment:");
    let kept: Vec<_> = text.lines().filter(|line| !is_section(line)).collect();
    kept.join("\n").trim().to_owned()
}

/// The manual page of the configuration file.
fn page_of_settings() -> io::Result<Vec<u8>> {
    let mut roff = Roff::new();
    roff.control("TH", ["broker.ini", "5", "", SOURCE, "File Formats"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("broker.ini - configuration file of the publish/subscribe broker")]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([bold("/etc/broker/config.ini"), roman(", "), bold("config.ini")]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([
        roman("The service reads "),
        italic("/etc/broker/config.ini"),
        roman("; a broker that is started by hand reads what "),
        bold("--config"),
        roman(" names, or "),
        italic("config.ini"),
        roman(
            " in its working directory if there is one. The file has sections in brackets, lines ",
        ),
        roman("of "),
        italic("key = value"),
        roman(
            ", and comments, which are lines that begin with ; or #. Every setting has a default \
             and may be left out; ",
        ),
        roman("one that is unknown or given twice is an error. Sizes are bytes, or take KiB, MiB "),
        roman("or GiB. Times are seconds, decimals allowed. "),
        bold("broker --check-config"),
        roman(" says what is wrong with a file. On SIGHUP ("),
        bold("systemctl reload broker"),
        roman(") the broker reads it again; what is marked [restart] keeps its value until then."),
    ]);
    let mut section = "";
    for setting in SETTINGS {
        if setting.section != section {
            section = setting.section;
            roff.control("SH", [format!("[{section}]").as_str()]);
        }
        roff.control("TP", []);
        roff.text([bold(setting.key), roman(format!(" = {}", setting.default))]);
        let restart = if setting.reloads { "" } else { " [restart]" };
        roff.text([roman(format!("{}{restart}", setting.help))]);
    }
    roff.control("SH", ["FILES"]);
    roff.text([bold("/etc/broker/config.ini"), roman(": the configuration of the service.")]);
    roff.text([
        bold("/etc/broker/users.ini"),
        roman(": its users, where [users] file says so. One section in brackets for each user; "),
        roman("its keys are in /usr/share/doc/pubsub-broker/security.md."),
    ]);
    roff.control("SH", ["EXAMPLES"]);
    roff.text([roman("A broker for a network that is trusted, with its monitor:")]);
    roff.control("nf", []);
    for line in ["[network]", "host = 0.0.0.0", "", "[monitor]", "address = 127.0.0.1:9190"] {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    let mut page = Vec::new();
    roff.to_writer(&mut page)?;
    see_also("broker.ini(5)", &mut page)?;
    Ok(page)
}

fn see_also(own: &str, page: &mut Vec<u8>) -> io::Result<()> {
    let others = PAGES.iter().filter(|page| **page != own).flat_map(|page| {
        let (name, section) = page.split_at(page.len() - 3);
        [bold(name), roman(format!("{section} "))]
    });
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text(others.collect::<Vec<_>>());
    // Without the preamble, which is at the top of the page already.
    write!(page, "{}", roff.to_roff())
}
