//! Configuration files as people write them, right and wrong.

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::*;
use crate::engine::rules::OverflowPolicy;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("c.ini"))
        .and_then(|config| config.validated("c.ini"))
        .map_err(|errors| errors.to_string())
}

#[test]
fn empty_file_is_the_defaults() {
    assert_eq!(parse(""), Ok(Config::default()));
    assert_eq!(parse("; only a comment\n\n[network]\n"), Ok(Config::default()));
}

#[test]
fn marks_comments_and_brackets_are_taken_as_they_are_meant() {
    let config = parse("\u{FEFF}[network]\n# a comment\nhost = [::1]\n").unwrap();
    assert_eq!(config.network.host, "::1");
    assert_eq!(parse("[monitor]\ntopics = a, #hello\n").unwrap().monitor.topics.len(), 2);
}

#[test]
fn a_pipe_is_refused_instead_of_waited_for() {
    let (reader, _writer) = io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let error = Config::load(Some(Path::new(&path))).unwrap_err().to_string();
    assert!(error.contains("it is a pipe, not a file"), "{error}");
    assert_eq!(Config::load(Some(Path::new("/dev/null"))), Ok(Config::default()));
}

#[test]
fn values_are_read_in_their_units() {
    let config = parse(
        "[network]\nhost = ::1\npublisher_port=0\n[limits]\nmax_payload = 64KiB\n\
         outbox_bytes=100\n[overflow]\npolicy = drop\nmin_rate = 2MiB\n[timeouts]\n\
         heartbeat = 0\nhello = 0.25\n[log]\nlevel = debug\nfile = /tmp/x.log\n",
    )
    .unwrap();
    assert_eq!(config.network.host, "::1");
    assert_eq!(config.network.publisher_port, 0);
    assert_eq!(config.limits.max_payload, 65_536);
    assert_eq!(config.limits.outbox_bytes, 100);
    assert_eq!(config.overflow.policy, OverflowPolicy::Drop);
    assert_eq!(config.overflow.min_rate_bytes_per_second, 2 << 20);
    assert_eq!(config.timeouts.heartbeat, Duration::ZERO);
    assert_eq!(config.timeouts.hello, Duration::from_millis(250));
    assert_eq!(config.log.level, LevelFilter::Debug);
    assert_eq!(config.log.file, Some(PathBuf::from("/tmp/x.log")));
}

#[test]
fn every_error_names_file_line_and_what_was_expected() {
    let rows = [
        ("[nonsense]\na=1\n", "c.ini:1: unknown section [nonsense]; expected one of"),
        ("\n[network]\nhots = x\n", "c.ini:3: unknown key hots in [network]; expected one of"),
        ("a = 1\n", "c.ini:1: a stands before any [section]"),
        ("[log]\nlevel=info\nlevel=warn\n", "c.ini:3: [log] level is given twice"),
        ("[log]\nlevel=info\n[limits]\n[log]\nlevel=info\n", "c.ini:5: [log] level is given"),
        ("[network]\npublisher_port = 65536\n", "c.ini:2: [network] publisher_port = 65536: "),
        ("[limits]\nmax_payload = 1 MB\n", "c.ini:2: [limits] max_payload = 1 MB: expected"),
        ("[timeouts]\nhello = -1\n", "c.ini:2: [timeouts] hello = -1: expected"),
        ("[network]\n\nhost\n", "c.ini:3: \"host\" sets nothing: expected [section], key = value"),
        ("[network]\n[log\n", "c.ini:2: \"[log\" is no section"),
        (
            "[network]\npublisher_port = 7 ; mine\n",
            "c.ini:2: [network] publisher_port = 7 ; mine: expected a port from 0 to 65535 (0 \
             takes a free one); a comment needs a line of its own",
        ),
        ("[log]\nfile = /x # mine\n", "c.ini:2: [log] file = /x # mine: expected a file's name; a"),
        ("[monitor]\naddress = 127.0.0.1:9000\n", "c.ini: [monitor] address = 127.0.0.1:9000 is"),
        ("[network]\nhost =\n", "c.ini:2: [network] host = : expected an address"),
        ("[network]\npublisher_port = 7\nsubscriber_port = 7\n", "c.ini: publishers and"),
        (
            "[limits]\nmemory_bytes = 1MiB\n",
            "c.ini: [limits] memory_bytes is 1MiB: with this max_payload and read_bytes it must be",
        ),
        ("[monitor]\naddress = :80\n", "c.ini:2: [monitor] address = :80: expected"),
        ("[monitor]\n\ntopics = a, b..c\n", "c.ini:3: [monitor] topics = a, b..c: expected"),
        ("[users]\nfile = u ; mine\n", "c.ini:2: [users] file = u ; mine: expected a file's name"),
        ("[users]\nanonymous = a\n", "c.ini: [users] anonymous = a is nobody: name the file of"),
        ("[users]\nanonymous = a\u{7}\n", "c.ini:2: [users] anonymous = a\u{7}: expected the"),
        ("[monitor]\nbusiest = 101\n", "c.ini:2: [monitor] busiest = 101: expected"),
    ];
    for (text, expected) in rows {
        let error = parse(text).unwrap_err();
        assert!(error.starts_with(expected), "{text:?} gave {error:?}");
    }
}

#[test]
fn all_errors_of_a_file_are_told_in_its_order() {
    let error = parse("[x]\n[network]\nfoo=1\npublisher_port=x\n").unwrap_err();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert!(lines[0].starts_with("c.ini:1:") && lines[2].starts_with("c.ini:4:"), "{error}");
}

#[test]
fn a_file_that_is_all_wrong_is_refused_soon() {
    let lines = "foo = 1\n".repeat(100_000);
    let error = parse(&format!("[network]\n{lines}")).unwrap_err();
    assert_eq!(error.lines().count(), MAX_ERRORS, "{error}");
    let endless = Config::load(Some(Path::new("/dev/zero"))).unwrap_err().to_string();
    assert!(endless.contains("larger than 1 MiB"), "{endless}");
}

#[test]
fn a_missing_file_is_an_error_only_when_it_was_named() {
    let missing = Path::new("/nonexistent/config.ini");
    let error = Config::load(Some(missing)).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/config.ini: cannot be read"), "{error}");
}

#[test]
fn the_config_file_in_the_repository_is_the_table_of_settings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DEFAULT_FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, config_file(), "write it anew: cargo run --example config_file > config.ini");
    assert_eq!(Config::parse(&text, &path), Ok(Config::default()));
}
