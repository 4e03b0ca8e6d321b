//! Proves what the operator of the broker sees: its command line, its config file, its exit codes
//! and its log.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::broker::command;
use crate::support::process::ini;
use crate::support::{Broker, PATIENCE, Peer, Process, TempDir, code};

/// Runs the broker to its end: exit code, standard output, standard error.
fn run(dir: &TempDir, arguments: &[&str]) -> (Option<i32>, String, String) {
    Process::spawn(command(dir.path()).args(arguments)).outcome()
}

/// It must end with this code and say each of `words`, on either output.
fn says(dir: &TempDir, arguments: &[&str], code: i32, words: &[&str]) -> String {
    let (got, stdout, stderr) = run(dir, arguments);
    let said = format!("{stdout}\n{stderr}");
    assert_eq!(got, Some(code), "{arguments:?} said: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} does not say {word}: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// `max_payload` as a new connection is told it.
fn max_payload(broker: &Broker) -> String {
    let mut peer = Peer::connect(broker.publishers);
    peer.send(&support::frame::hello(b"asking", b"version=1\n"));
    let body = String::from_utf8(peer.expect_welcome().body).expect("WELCOME is UTF-8");
    let value = body.lines().find_map(|line| line.strip_prefix("max_payload="));
    value.expect("WELCOME has max_payload").to_owned()
}

/// A message is delivered.
fn works(broker: &Broker) {
    let mut subscriber = broker.subscriber_of(&[b"t"]);
    broker.publisher().publish(b"t", b"x");
    subscriber.expect_message(b"t", b"x");
}

#[test]
fn help_names_every_flag_and_exits_with_0() {
    let dir = TempDir::new();
    let flags = ["-s", "-p", "--host", "--config", "--log-level", "-t", "--check-config"];
    says(&dir, &["--help"], 0, &flags);
    says(&dir, &["--help"], 0, &["--new-secret", "--hash-secret"]);
    says(&dir, &["--help"], 0, &["--version", "--help"]);
}

#[test]
fn version_is_the_packages() {
    says(&TempDir::new(), &["--version"], 0, &["broker", env!("CARGO_PKG_VERSION")]);
}

#[test]
fn bad_usage_exits_with_2_and_binds_nothing() {
    let dir = TempDir::new();
    let rows: [(&[&str], &str); 12] = [
        (&["--no-such-flag"], "--no-such-flag"),
        (&["stray"], "stray"),
        (&["-p", "65536"], "65536"),
        (&["-s", "-1"], "-1"),
        (&["-p", "http"], "http"),
        (&["-p"], "-p"),
        (&["-s", "1", "-s", "2"], "-s"),
        (&["--log-level", "loud"], "loud"),
        (&["--config"], "--config"),
        (&["--new-secret", "--hash-secret"], "--hash-secret"),
        (&["--new-secret", "-t"], "--check-config"),
        (&["--new-secret=x"], "--new-secret"),
    ];
    for (arguments, word) in rows {
        let said = says(&dir, arguments, 2, &[word]);
        assert!(!said.contains("listening"), "{said}");
    }
}

#[test]
fn a_port_in_use_is_one_clear_line_and_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let dir = TempDir::new();
    for arguments in [["-s", "0", "-p", &port], ["-s", &port, "-p", "0"]] {
        let (code, _, stderr) = run(&dir, &arguments);
        assert_eq!(code, Some(1), "{stderr}");
        let about: Vec<&str> = stderr.lines().filter(|line| line.contains(&address)).collect();
        let in_use = |line: &&&str| line.contains("in use");
        assert_eq!(about.iter().filter(in_use).count(), 1, "not one clear line: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn an_address_that_is_not_here_is_one_clear_line_and_exit_code_1() {
    let dir = TempDir::new();
    for host in ["192.0.2.1", "no-such-host.invalid"] {
        let (code, _, stderr) = run(&dir, &["-s", "0", "-p", "0", "--host", host]);
        assert_eq!(code, Some(1), "{stderr}");
        let is_error = |line: &&str| line.contains(host) && line.to_lowercase().contains("cannot");
        assert_eq!(stderr.lines().filter(is_error).count(), 1, "not one clear line: {stderr}");
    }
}

#[test]
fn hosts_may_be_addresses_of_both_kinds_and_names() {
    for host in ["127.0.0.1", "::1", "localhost", "0.0.0.0"] {
        println!("{host}");
        let mut broker = Broker::run(TempDir::new(), &["-s", "0", "-p", "0", "--host", host]);
        assert_ne!((broker.publishers.port(), broker.subscribers.port()), (0, 0));
        match host {
            "::1" => assert!(broker.publishers.is_ipv6() && broker.subscribers.is_ipv6()),
            "localhost" => assert!(broker.publishers.ip().is_loopback()),
            _ => assert_eq!(broker.publishers.ip().to_string(), host),
        }
        works(&broker);
        broker.signal("TERM");
        assert_eq!(broker.wait().code(), Some(0));
    }
}

#[test]
fn the_ports_that_are_asked_for_are_the_ports_that_are_bound() {
    // Free now; another process may take them meanwhile, so there are several attempts.
    for _ in 0..5 {
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("there is a port"));
        let [p, s] = free.map(|l| l.local_addr().expect("it is bound").port().to_string());
        let dir = TempDir::new();
        let started = Process::spawn(command(dir.path()).args(["-p", &p, "-s", &s]));
        let line = started.stderr.wait_for("a word on its ports", |line| {
            line.contains("listening for subscribers on") || line.contains("in use")
        });
        if line.contains("listening") {
            assert!(line.contains(&format!("127.0.0.1:{s}")), "{line}");
            let publishers = started.stderr.wait_for_count("listening for publishers on", 1);
            assert!(publishers[0].contains(&format!("127.0.0.1:{p}")), "{publishers:?}");
            return;
        }
    }
    panic!("no free port stayed free");
}

#[test]
fn config_ini_in_the_working_directory_is_read_unasked() {
    let dir = TempDir::new();
    dir.write("config.ini", "[limits]\nmax_payload = 777\n");
    let broker = Broker::run(dir, &["-s", "0", "-p", "0"]);
    assert_eq!(max_payload(&broker), "777");
}

#[test]
fn config_names_the_only_file_that_is_read() {
    let dir = TempDir::new();
    dir.write("config.ini", "[limits]\nmax_payload = 777\n");
    dir.write("other.ini", "[network]\nread_bytes = 64KiB\n");
    let broker = Broker::run(dir, &["-s", "0", "-p", "0", "--config", "other.ini"]);
    assert_eq!(max_payload(&broker), "1048576");
}

#[test]
fn the_command_line_wins_over_the_file() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let dir = TempDir::new();
    let settings = [
        ("network.host", "192.0.2.1"),
        ("network.publisher_port", &port),
        ("network.subscriber_port", "1"),
        ("log.level", "off"),
    ];
    dir.write("config.ini", &ini(&settings));
    let flags = ["-s", "0", "-p", "0", "--host", "127.0.0.1", "--log-level", "info"];
    works(&Broker::run(dir, &flags));
}

#[test]
fn the_file_says_where_to_listen() {
    let dir = TempDir::new();
    let ports = [("network.publisher_port", "0"), ("network.subscriber_port", "0")];
    dir.write("config.ini", &ini(&[("network.host", "::1"), ports[0], ports[1]]));
    let broker = Broker::run(dir, &[]);
    assert!(broker.publishers.is_ipv6());
    works(&broker);
}

/// What is wrong with a config file, and what must be said about it.
const BAD: [(&str, &[&str]); 17] = [
    ("[nonsense]\nkey = 1\n", &["bad.ini:1", "nonsense"]),
    ("\n\n[network]\nhots = ::1\n", &["bad.ini:4", "hots"]),
    ("[limits]\nheartbeat = 1\n", &["bad.ini:2", "heartbeat"]),
    ("stray = 1\n", &["bad.ini:1", "stray"]),
    ("[log]\nlevel = info\nlevel = warn\n", &["bad.ini:3", "level", "twice"]),
    ("[network]\npublisher_port = 65536\n", &["bad.ini:2", "publisher_port", "65536"]),
    ("[network]\nsubscriber_port = x\n", &["bad.ini:2", "subscriber_port"]),
    ("[network]\nmax_connections = 0\n", &["bad.ini:2", "max_connections"]),
    ("[limits]\nmax_payload = 1 MB\n", &["bad.ini:2", "max_payload", "MB"]),
    ("[limits]\nmax_payload = -1\n", &["bad.ini:2", "max_payload"]),
    ("[limits]\noutbox_bytes = 1.5MiB\n", &["bad.ini:2", "outbox_bytes"]),
    ("[limits]\nmemory_bytes = 99999999999999999999\n", &["bad.ini:2", "memory_bytes"]),
    ("[overflow]\npolicy = panic\n", &["bad.ini:2", "panic", "block", "drop", "disconnect"]),
    ("[timeouts]\nhello = -1\n", &["bad.ini:2", "hello"]),
    ("[timeouts]\ndrain = soon\n", &["bad.ini:2", "drain"]),
    ("[timeouts]\nheartbeat = nan\n", &["bad.ini:2", "heartbeat"]),
    ("[log]\nlevel = loud\n", &["bad.ini:2", "loud"]),
];

#[test]
fn errors_in_the_config_file_exit_with_2_and_name_file_and_line() {
    for (text, words) in BAD {
        let dir = TempDir::new();
        dir.write("bad.ini", text);
        let arguments = ["-s", "0", "-p", "0", "--config", "bad.ini"];
        let said = says(&dir, &arguments, 2, words);
        assert!(!said.contains("listening"), "it listened all the same: {said}");
        says(&dir, &["-t", "--config", "bad.ini"], 2, words);
    }
}

#[test]
fn all_errors_of_the_file_are_told_at_once() {
    let dir = TempDir::new();
    let text = "[nonsense]\n[limits]\nmax_payload = x\n[log]\nlevel = loud\ncolour = 1\n";
    dir.write("config.ini", text);
    let lines = ["config.ini:1", "config.ini:3", "config.ini:5", "config.ini:6"];
    says(&dir, &["-t"], 2, &lines);
    says(&dir, &["--check-config"], 2, &lines);
    says(&dir, &[], 2, &lines);
}

#[test]
fn a_config_file_that_is_missing_or_no_text_is_a_clear_error() {
    let dir = TempDir::new();
    says(&dir, &["--config", "missing.ini"], 2, &["missing.ini"]);
    says(&dir, &["-t", "--config", "missing.ini"], 2, &["missing.ini"]);
    fs::write(dir.path().join("binary.ini"), b"[log]\nfile = \xFF\n").expect("it can be written");
    says(&dir, &["-t", "--config", "binary.ini"], 2, &["binary.ini"]);
}

#[test]
fn checking_the_config_says_ok_and_does_nothing_else() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let dir = TempDir::new();
    let settings = [
        ("network.publisher_port", port.as_str()),
        ("network.subscriber_port", "0"),
        ("log.file", "broker.log"),
    ];
    dir.write("config.ini", &ini(&settings));
    for flag in ["-t", "--check-config"] {
        let said = says(&dir, &[flag], 0, &["ok"]);
        assert!(!said.contains("listening"), "{said}");
        assert_eq!(dir.names(), ["config.ini"], "checking left something behind");
    }
    says(&TempDir::new(), &["-t"], 0, &["ok"]);
}

#[test]
fn the_repositorys_config_file_is_good() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config.ini");
    says(&TempDir::new(), &["-t", "--config", file], 0, &["ok"]);
}

#[test]
fn the_log_goes_to_the_file_that_is_configured_behind_what_is_there() {
    let dir = TempDir::new();
    dir.write("config.ini", "[log]\nfile = broker.log\n");
    let log = dir.write("broker.log", "an earlier line\n");
    let mut process = Process::spawn(command(dir.path()).args(["-s", "0", "-p", "0"]));
    let deadline = Instant::now() + PATIENCE;
    let text = loop {
        let text = fs::read_to_string(&log).expect("the log is text");
        let both = ["publishers", "subscribers"].map(|who| format!("listening for {who} on "));
        if both.iter().all(|words| text.contains(words)) {
            break text;
        }
        assert!(Instant::now() < deadline, "not in the log: {text}");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(text.starts_with("an earlier line\n"), "{text}");
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    let stderr = process.stderr.all();
    assert!(!stderr.contains("listening"), "it also went to standard error: {stderr}");
}

#[test]
fn a_log_file_that_cannot_be_written_is_a_clear_error() {
    let dir = TempDir::new();
    dir.write("config.ini", "[log]\nfile = no/such/directory/broker.log\n");
    says(&dir, &["-s", "0", "-p", "0"], 1, &["no/such/directory/broker.log"]);
}

#[test]
fn the_log_begins_with_the_settings_in_force() {
    let broker = Broker::with(&[("limits.max_payload", "777")]);
    let line = broker.log().wait_for("max_payload", |line| line.contains("max_payload"));
    assert!(line.contains("777"), "{line}");
}

/// The log lines about a connection, of which there must be two: its beginning and its end.
fn two_lines(broker: &Broker, peer: Peer, end: impl FnOnce(Peer)) -> [String; 2] {
    let address = peer.address().to_string();
    broker.log().wait_for_count(&address, 1);
    end(peer);
    broker.log().wait_for_count(&address, 2);
    // After the lines of a later connection, those of the first one are complete.
    let later = broker.subscriber();
    let later_address = later.address().to_string();
    drop(later);
    broker.log().wait_for_count(&later_address, 2);
    let lines = broker.log().wait_for_count(&address, 2);
    let lines: Result<[String; 2], _> = lines.try_into();
    lines.unwrap_or_else(|lines| panic!("not two lines about one connection: {lines:#?}"))
}

#[test]
fn each_connection_has_a_line_at_its_beginning_and_one_at_its_end() {
    let broker = Broker::start();
    for (_, address) in broker.ports() {
        let peer = Peer::connect(address).hello(b"a-telling-id");
        let lines = two_lines(&broker, peer, |mut peer| {
            peer.half_close();
            peer.expect_close();
        });
        assert!(lines.iter().all(|line| line.contains("a-telling-id")), "{lines:#?}");
    }
}

#[test]
fn the_line_at_the_end_says_why() {
    let settings = [("timeouts.heartbeat", "0.2"), ("network.max_connections", "50")];
    let broker = Broker::with(&settings);
    let rows: [(&str, u16, &[u8]); 4] = [
        ("malformed", code::MALFORMED, &[0; 8]),
        ("not_allowed", code::NOT_ALLOWED, &[0, 0, 0, 4, 2, 0, 0, 0]),
        ("too_large", code::TOO_LARGE, &[0xFF, 0, 0, 0, 5, 0, 0, 0]),
        ("timeout", code::TIMEOUT, &[]),
    ];
    for (word, code, bytes) in rows {
        let peer = Peer::connect(broker.publishers).hello(b"a-telling-id");
        let address = peer.address().to_string();
        let mut peer = peer;
        peer.send(bytes);
        while peer.recv().error_code_or_ping() != Some(code) {}
        drop(peer);
        let lines = broker.log().wait_for_count(&address, 2);
        let last = lines[1].to_lowercase().replace([' ', '-'], "_");
        assert!(last.contains(word) && last.contains("a_telling_id"), "{lines:#?}");
    }
}

#[test]
fn an_id_cannot_forge_a_log_line() {
    let broker = Broker::start();
    let mut peer = Peer::connect(broker.publishers);
    peer.send(&support::frame::hello("evil\u{2028}\u{9b}31m id".as_bytes(), b"version=1\n"));
    peer.expect_welcome();
    let address = peer.address().to_string();
    let lines = broker.log().wait_for_count(&address, 1);
    assert!(!lines[0].contains(['\u{9b}', '\u{2028}']), "{lines:?}");
}

#[test]
fn sigpipe_does_not_end_it() {
    let mut broker = Broker::start();
    broker.signal("PIPE");
    works(&broker);
    assert!(broker.is_running());
}
