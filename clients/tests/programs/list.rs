//! `subscriber --list` against a real broker's monitor, and against servers that are none.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use crate::secure::certificates;
use crate::support::eventually;
use crate::support::process::{program, run, start, subscriber};
use crate::support::real::{Broker, executable};

/// A broker with a monitor, and its address.
fn watched() -> (Broker, String) {
    watched_with("")
}

/// The same with more settings, the first of them of the monitor.
fn watched_with(more: &str) -> (Broker, String) {
    let broker = Broker::with_config(&format!("[monitor]\naddress = 127.0.0.1:0\n{more}"));
    let words = "listening for monitors on ";
    let address = eventually("the monitor's address", || {
        let log = broker.process.await_stderr(words);
        let line = log.split_once(words)?.1.split_once('\n')?.0.to_owned();
        line.split_whitespace().next().map(str::to_owned)
    });
    (broker, address)
}

#[test]
fn topics_and_those_who_listen_are_listed() {
    let (broker, monitor) = watched();
    let worker = start(broker.subscriber("-i worker --topic jobs.* --group crew"));
    let tail = broker.ready_subscriber("-i tail --topic orders.> --topic probe.>");
    let list = |more: &str| run(subscriber(&format!("--list --monitor {monitor} {more}")), b"");
    let listed = eventually("all subscriptions", || {
        let listed = list("");
        assert_eq!((listed.code, listed.stderr.as_str()), (Some(0), ""));
        let text = String::from_utf8(listed.stdout).unwrap();
        text.contains("jobs.*").then_some(text)
    });
    let lines: Vec<Vec<&str>> =
        listed.lines().map(|line| line.split_whitespace().collect()).collect();
    let begins = |words: &[&str]| lines.iter().any(|line| line.starts_with(words));
    assert!(begins(&["TOPIC", "MESSAGES"]) && begins(&["probe.ready"]), "{listed}");
    assert!(begins(&["FILTER", "GROUP"]) && begins(&["jobs.*", "crew", "worker"]), "{listed}");
    assert!(begins(&["orders.>", "-", "tail"]), "{listed}");
    let json = String::from_utf8(list("--json").stdout).unwrap();
    let objects: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(objects.iter().any(|one| one["topic"] == "probe.ready"), "{json}");
    assert!(objects.iter().any(|one| one["filter"] == "jobs.*" && one["group"] == "crew"));
    drop((worker, tail));
}

#[test]
fn a_monitor_that_asks_for_a_secret_is_shown_it_over_tls_too() {
    let dir = certificates();
    let path = dir.path().display();
    let hashed = run(program(executable(), "--hash-secret"), b"hush hush hush hush");
    let kept = String::from_utf8(hashed.stdout).unwrap();
    let users = dir.path().join("users.ini");
    fs::write(&users, format!("[ann]\n{kept}")).unwrap();
    fs::set_permissions(&users, fs::Permissions::from_mode(0o600)).unwrap();
    for (name, secret) in [("right", "hush hush hush hush\n"), ("wrong", "hush\n")] {
        fs::write(dir.path().join(name), secret).unwrap();
    }
    let asks = format!("user = ann\n[users]\nfile = {path}/users.ini\nanonymous =\n");
    let tls = format!("[tls]\ncertificate = {path}/broker.pem\nkey = {path}/broker.key\n");
    for (settings, how) in [
        (asks.clone(), String::new()),
        (format!("{asks}{tls}"), format!("--tls --ca {path}/ca.pem --server-name localhost")),
    ] {
        let (_broker, monitor) = watched_with(&settings);
        let list =
            |more: &str| run(subscriber(&format!("--list --monitor {monitor} {how} {more}")), b"");
        let listed = list(&format!("--user ann --secret-file {path}/right"));
        assert_eq!((listed.code, listed.stderr.as_str()), (Some(0), ""));
        assert!(String::from_utf8_lossy(&listed.stdout).contains("TOPIC"), "{listed:?}");
        for (more, expected) in [
            (format!("--user ann --secret-file {path}/wrong"), "is that its secret?"),
            (String::new(), "give --user and --secret-file"),
        ] {
            let refused = list(&more);
            assert_eq!(refused.code, Some(1), "{refused:?}");
            assert!(refused.stderr.contains(expected), "{refused:?}");
        }
        if !how.is_empty() {
            let plain = run(subscriber(&format!("--list --monitor {monitor}")), b"");
            assert!(plain.code == Some(1) && plain.stderr.contains("wants --tls"), "{plain:?}");
        }
    }
}

#[test]
fn what_is_no_monitor_is_said_to_be_none() {
    let (broker, _) = watched();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1_024]);
        stream.write_all(b"HTTP/1.0 404 Not Found\r\n\r\nno").unwrap();
    });
    let rows = [
        (address.to_string(), "answers /topics with status 404"),
        (format!("127.0.0.1:{}", broker.publisher_port), "no monitor of a broker"),
        ("127.0.0.1".to_owned(), "monitor 127.0.0.1: "),
    ];
    for (monitor, expected) in rows {
        let listed = run(subscriber(&format!("--list --monitor {monitor}")), b"");
        assert_eq!(listed.code, Some(1), "{listed:?}");
        assert!(listed.stderr.contains(expected), "{listed:?}");
    }
    answering.join().unwrap();
}

#[test]
fn where_the_monitor_is_must_be_known_and_the_environment_may_say() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = subscriber("--list");
    command.current_dir(folder.path()).env("HOME", folder.path()).env_remove("XDG_CONFIG_HOME");
    let listed = run(command, b"");
    assert_eq!(listed.code, Some(2), "{listed:?}");
    assert!(listed.stderr.contains("--monitor HOST:PORT or BROKER_MONITOR"), "{listed:?}");
    let (_broker, monitor) = watched();
    let mut command = subscriber("--list");
    command.env("BROKER_MONITOR", &monitor);
    assert_eq!(run(command, b"").code, Some(0));
    // config.ini of the folder says so as well.
    fs::write(folder.path().join("config.ini"), format!("[monitor]\naddress = {monitor}\n"))
        .unwrap();
    let mut command = subscriber("--list");
    command.current_dir(folder.path());
    assert_eq!(run(command, b"").code, Some(0));
    for flags in ["--list a.b", "--list --count 3", "--monitor 127.0.0.1:9190 a.b"] {
        assert_eq!(run(subscriber(flags), b"").code, Some(2), "{flags}");
    }
}
