//! Proves that systemd accepts the units, that their sandbox is as tight as is claimed, and that
//! the broker runs in it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::broker::command;
use crate::support::{Broker, Process, TempDir};

/// The most exposure that `systemd-analyze security` may find.
const MOST_EXPOSURE: f64 = 1.2;
const UNITS: [&str; 4] = [
    "broker.service",
    "broker-publishers.socket",
    "broker-subscribers.socket",
    "broker-nats.socket",
];

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The output of a program; `None` if it is missing, which is not allowed where everything must be
/// tested.
fn output(command: &mut Command) -> Option<Output> {
    let output = command.output();
    if output.is_err() {
        let program = command.get_program().display();
        assert!(std::env::var_os("CI").is_none(), "{program} is not installed");
        eprintln!("without {program} this shows nothing");
    }
    output.ok()
}

/// The units in a directory of their own, with the program that was built in the place of the one
/// that a package installs.
fn installed() -> TempDir {
    let dir = TempDir::new();
    let program = env!("CARGO_BIN_EXE_broker");
    for name in UNITS {
        dir.write(name, &unit(name).replace("/usr/bin/broker", program));
    }
    dir
}

#[test]
fn systemd_has_nothing_to_say_about_the_units() {
    let dir = installed();
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["verify", "--man=no"]).args(UNITS.map(|name| dir.path().join(name)));
    let Some(output) = output(&mut analyze) else { return };
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", said.escape_ascii());
}

#[test]
fn a_mistake_in_a_unit_would_be_found() {
    let dir = installed();
    let broken = unit("broker.service").replace("ProtectSystem=strict", "ProtectSystm=strict");
    dir.write("broker.service", &broken.replace("/usr/bin/broker", env!("CARGO_BIN_EXE_broker")));
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["verify", "--man=no"]).arg(dir.path().join("broker.service"));
    let Some(output) = output(&mut analyze) else { return };
    assert!(String::from_utf8_lossy(&output.stderr).contains("ProtectSystm"));
}

#[test]
fn the_exposure_is_as_low_as_is_claimed() {
    let dir = installed();
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--no-pager"]);
    analyze.arg(dir.path().join("broker.service"));
    let Some(output) = output(&mut analyze) else { return };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find(|line| line.contains("Overall exposure level"));
    let score = line.and_then(|line| line.split(": ").nth(1)?.split_whitespace().next());
    let score: f64 = score.and_then(|score| score.parse().ok()).expect("there is a score");
    assert!(score <= MOST_EXPOSURE, "{said}");
    println!("exposure: {score}");
}

#[test]
fn the_sockets_have_the_names_that_the_broker_knows_and_the_ports_that_it_would_open() {
    let config = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.ini"));
    let config = config.expect("there is a config.ini");
    let value = |key: &str| {
        let line = config.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        line.unwrap_or_else(|| panic!("no {key} in config.ini")).to_owned()
    };
    // The port for NATS clients is off by default; its unit has the usual port.
    let rows = [
        ("publishers", value("publisher_port")),
        ("subscribers", value("subscriber_port")),
        ("nats", "4222".to_owned()),
    ];
    for (name, port) in rows {
        let unit = unit(&format!("broker-{name}.socket"));
        let lines: Vec<&str> = unit.lines().collect();
        let listen = format!("ListenStream={}:{port}", value("host"));
        let named = format!("FileDescriptorName={name}");
        for line in [listen.as_str(), named.as_str(), "Service=broker.service"] {
            assert!(lines.contains(&line), "no {line} in broker-{name}.socket");
        }
    }
}

#[test]
fn the_broker_asks_the_kernel_for_nothing_that_its_unit_denies() {
    let dir = TempDir::new();
    dir.write("config.ini", "[network]\nhost = localhost\nmax_connections = 5000\n");
    let calls = dir.path().join("calls");
    let program = command(dir.path()).get_program().to_owned();
    let mut strace = Command::new("strace");
    if output(strace.arg("-V")).is_none() {
        return;
    }
    // Less than it needs, so that it raises its limit.
    let script = "ulimit -Sn 64 && exec strace -f -o calls \"$0\" -s 0 -p 0";
    let mut shell = Command::new("sh");
    shell.current_dir(dir.path()).arg("-c").arg(script).arg(program);
    let mut broker = Broker::started(dir, Process::spawn(&mut shell));
    let (mut subscriber, mut publisher) = (broker.subscriber_of(&[b"t"]), broker.publisher());
    for _ in 0..10 {
        publisher.publish(b"t", &[7; 100_000]);
        subscriber.expect_message(b"t", &[7; 100_000]);
    }
    // strace passes these on.
    let pid = traced(&calls);
    let signal = |name: &str| {
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.expect("there is a kill program").success());
    };
    signal("HUP");
    broker.log().wait_for_count("reloaded: ", 1);
    signal("TERM");
    subscriber.frames_until_close();
    drop((subscriber, publisher));
    assert_eq!(broker.wait().code(), Some(0));
    let text = std::fs::read_to_string(&calls).expect("strace has written");
    let used: BTreeSet<String> = text.lines().filter_map(call).collect();
    for name in ["epoll_wait", "accept4", "prlimit64"] {
        assert!(used.contains(name), "{name} is not in {used:?}");
    }
    let Some(allowed) = allowed() else { return };
    let denied: Vec<&String> = used.iter().filter(|call| !allowed.contains(*call)).collect();
    assert!(denied.is_empty(), "the unit denies {denied:?}");
}

/// The process id that stands in front of each line of strace's file.
fn traced(file: &Path) -> String {
    let text = std::fs::read_to_string(file).expect("strace has begun to write");
    text.split_whitespace().next().expect("strace has written a line").to_owned()
}

fn call(line: &str) -> Option<String> {
    let call = line.split_once(' ')?.1.trim_start();
    let end = call.find('(')?;
    (!call.starts_with(['+', '-', '<'])).then(|| call[..end].to_owned())
}

/// The system calls that the unit's filter allows.
fn allowed() -> Option<BTreeSet<String>> {
    let unit = unit("broker.service");
    let mut allowed = set("@default")?;
    for line in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let denies = line.starts_with('~');
        for name in line.trim_start_matches('~').split_whitespace() {
            let set = set(name)?;
            allowed = if denies { &allowed - &set } else { &allowed | &set };
        }
    }
    Some(allowed)
}

/// The system calls of one of systemd's sets.
fn set(name: &str) -> Option<BTreeSet<String>> {
    let output = output(Command::new("systemd-analyze").args(["syscall-filter", name]))?;
    assert!(output.status.success(), "systemd knows no {name}");
    let mut calls = BTreeSet::new();
    for line in String::from_utf8_lossy(&output.stdout).lines().skip(1).map(str::trim) {
        match line.as_bytes().first() {
            None | Some(b'#') => {}
            Some(b'@') => calls.extend(set(line)?),
            Some(_) => drop(calls.insert(line.to_owned())),
        }
    }
    Some(calls)
}
