//! Proves that manual pages, completions, `--help` and the configuration file agree with the code.

use std::path::Path;

use broker::cli::Cli;
use broker::config::{Config, SETTINGS, config_file};
use clap::{Command as CommandLine, CommandFactory};

fn manuals(directory: &Path) {
    super::write_all(directory).expect("the directory can be written");
}

fn programs() -> Vec<CommandLine> {
    let [publisher, subscriber] = clients::cli::commands();
    vec![Cli::command(), publisher, subscriber, clients::bench::command()]
}

/// What a page says, without its font changes and escapes.
fn read(directory: &Path, name: &str) -> String {
    let page = std::fs::read_to_string(directory.join(name)).expect("it was written");
    let plain = page.replace("\\fB", "").replace("\\fI", "").replace("\\fR", "");
    plain.replace("\\-", "-").replace("\\\\", "\\").replace(".br\n", "")
}

#[test]
fn pages_and_completions_have_every_flag_of_every_program() {
    let directory = tempfile::tempdir().unwrap();
    manuals(directory.path());
    for program in programs() {
        let name = program.get_name().to_owned();
        let page = read(directory.path(), &format!("{name}.1"));
        let shells = [format!("{name}.bash"), format!("_{name}"), format!("{name}.fish")];
        let completions = shells.map(|file| read(directory.path(), &file));
        let flags: Vec<_> = program.get_opts().filter(|arg| !arg.is_hide_set()).collect();
        assert!(flags.len() > 4, "{name} has flags");
        for flag in flags {
            let long = flag.get_long().expect("every flag has a long form");
            assert!(page.contains(&format!("--{long}")), "{name}.1 does not have --{long}");
            for completion in &completions {
                assert!(completion.contains(long), "a completion of {name} lacks --{long}");
            }
        }
    }
}

#[test]
fn page_of_the_configuration_file_has_every_setting_and_its_default() {
    let directory = tempfile::tempdir().unwrap();
    manuals(directory.path());
    let page = read(directory.path(), "broker.ini.5");
    let file = config_file();
    let defaults = Config::default();
    for setting in SETTINGS {
        let line = format!("{} = {}", setting.key, setting.default);
        let line = line.trim_end();
        assert!(page.contains(line), "the page does not say {line:?}");
        assert!(file.lines().any(|found| found == line), "the file does not say {line:?}");
        assert_eq!(setting.show(&defaults), setting.default, "{line:?} is not what the code does");
    }
}

#[test]
fn defaults_in_the_help_of_the_broker_are_those_of_the_settings() {
    let help = Cli::command().render_long_help().to_string();
    let rows = [
        ("subscriber-port", "subscriber_port"),
        ("publisher-port", "publisher_port"),
        ("host", "host"),
        ("log-level", "level"),
    ];
    for (flag, key) in rows {
        let setting = SETTINGS.iter().find(|setting| setting.key == key).unwrap();
        let (_, behind) = help.split_once(&format!("--{flag} ")).unwrap();
        let told = behind.split_once("[default: ").unwrap().1.split(']').next();
        assert_eq!(told, Some(setting.default), "--{flag}");
    }
}

#[test]
fn pages_have_the_sections_that_readers_look_for() {
    let directory = tempfile::tempdir().unwrap();
    manuals(directory.path());
    for program in programs() {
        let name = program.get_name().to_owned();
        let page = read(directory.path(), &format!("{name}.1"));
        for section in ["EXIT STATUS", "FILES", "EXAMPLES", "SEE ALSO"] {
            assert!(page.contains(section), "{name}.1 has no {section}");
        }
        assert!(!page.contains("Exit status:"), "{name}.1 says it twice");
        assert!(!page.contains("EXTRA\n.SH"), "{name}.1 has a section of nothing");
    }
    let page = read(directory.path(), "broker.ini.5");
    assert!(page.contains("EXAMPLES") && page.contains("FILES"), "{page}");
}
