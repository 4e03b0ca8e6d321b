//! Proves that a monitor with a user asks for that user's secret and for nobody else's, on all of
//! its paths but the one for probes, and that settings which would give it away are refused.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use broker::engine::access::credentials::Secret;
use data_encoding::BASE64;

use crate::support::broker::command;
use crate::support::process::ini;
use crate::support::{Broker, Certificates, Http, Process, Response, TempDir};

/// The settings of a monitor that asks for the secret of ann.
const WATCHED: [(&str, &str); 3] =
    [("monitor.address", "127.0.0.1:0"), ("monitor.user", "ann"), ("users.file", "users.ini")];

fn kept(secret: &str) -> String {
    format!("secret = {}\n", Secret::of(secret.as_bytes()).expect("there is randomness"))
}

fn write_users(dir: &TempDir, text: &str) {
    let path = dir.write("users.ini", text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
}

/// A broker with these settings and users.
fn start(settings: &[(&str, &str)], users: &str) -> Broker {
    let dir = TempDir::new();
    dir.write("config.ini", &ini(settings));
    write_users(&dir, users);
    Broker::run(dir, &["-s", "0", "-p", "0"])
}

/// What a broker with these settings and users says when it is asked to check them, and its code.
fn check(settings: &[(&str, &str)], users: &str) -> (Option<i32>, String) {
    let dir = TempDir::new();
    dir.write("config.ini", &ini(settings));
    write_users(&dir, users);
    let (code, stdout, stderr) = Process::spawn(command(dir.path()).arg("-t")).outcome();
    (code, format!("{stdout}{stderr}"))
}

/// A request that shows a name and a secret, or nothing.
fn asked(target: &str, shown: Option<(&str, &str)>) -> String {
    let header = shown.map(|(user, secret)| {
        format!("Authorization: Basic {}\r\n", BASE64.encode(format!("{user}:{secret}").as_bytes()))
    });
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n{}\r\n", header.unwrap_or_default())
}

fn get(address: SocketAddr, target: &str, shown: Option<(&str, &str)>) -> Response {
    let mut http = Http::connect(address);
    http.send(&asked(target, shown));
    http.response()
}

#[test]
fn only_who_shows_the_users_secret_may_read() {
    let users = format!("[ann]\n{}[bob]\n{}", kept("hush"), kept("psst"));
    let broker = start(&WATCHED, &users);
    let address = broker.monitor();
    for target in ["/", "/metrics", "/connections", "/topics", "/stats", "/varz", "/nothing"] {
        for shown in [None, Some(("ann", "psst")), Some(("bob", "psst")), Some(("", "hush"))] {
            let refused = get(address, target, shown);
            assert_eq!(refused.status, 401, "{target} {shown:?}");
            assert_eq!(refused.header("WWW-Authenticate"), "Basic realm=\"broker\"");
            assert_eq!(refused.body, "401 Unauthorized\n");
        }
        let expected = if target == "/nothing" { 404 } else { 200 };
        assert_eq!(get(address, target, Some(("ann", "hush"))).status, expected, "{target}");
    }
    for shown in [None, Some(("ann", "psst"))] {
        let healthy = get(address, "/healthz", shown);
        assert_eq!((healthy.status, healthy.body.as_str()), (200, "{\"status\":\"ok\"}\n"));
    }
}

#[test]
fn each_request_of_a_connection_is_asked_for_itself() {
    let broker = start(&WATCHED, &format!("[ann]\n{}", kept("hush")));
    let mut http = Http::connect(broker.monitor());
    let right = asked("/stats", Some(("ann", "hush")));
    http.send(&[asked("/stats", None), right.clone(), asked("/stats", None), right].concat());
    let codes: Vec<u16> = (0..4).map(|_| http.response().status).collect();
    assert_eq!(codes, [401, 200, 401, 200]);
}

#[test]
fn wrong_secrets_are_counted_and_told_once_a_second_with_their_number() {
    let broker = start(&WATCHED, &format!("[ann]\n{}", kept("hush")));
    let address = broker.monitor();
    assert_eq!(get(address, "/metrics", None).status, 401);
    let mut http = Http::connect(address);
    let own = http.stream.local_addr().expect("it is connected").to_string();
    let long = "eve".repeat(1_000);
    http.send(&asked("/metrics", Some((&long, "wrong"))).repeat(20));
    (0..20).for_each(|_| assert_eq!(http.response().status, 401));
    let line = broker.log().wait_for(&own, |line| line.contains("the monitor did not answer"));
    assert!(line.contains("[WARN]") && line.contains(&own) && line.contains("\"eveeve"), "{line}");
    assert!(line.len() < 250, "a name as long as a client likes: {line}");
    let words = "requests to the monitor in the last";
    let sum = broker.log().wait_for(words, |line| line.contains(words));
    assert!(sum.contains("[WARN]") && sum.contains("without a right secret"), "{sum}");
    let metrics = get(address, "/metrics", Some(("ann", "hush")));
    // Who shows nothing has only not been asked yet.
    assert_eq!(metrics.sample("broker_monitor_unauthorized_total"), 20.0);
    let log = broker.log().so_far().join("\n");
    assert!(!log.contains("wrong") && !log.contains("hush"), "a secret is in the log: {log}");
}

#[test]
fn another_secret_is_in_force_with_a_reload_and_a_broken_one_is_not() {
    let broker = start(&WATCHED, &format!("[ann]\n{}", kept("old")));
    let address = broker.monitor();
    let may = |secret| get(address, "/stats", Some(("ann", secret))).status == 200;
    assert!(may("old") && !may("new"));
    write_users(&broker.dir, &format!("[ann]\n{}", kept("new")));
    broker.reload(&WATCHED);
    broker.log().wait_for_count("reloaded: the users have changed", 1);
    assert!(may("new") && !may("old"));
    write_users(&broker.dir, &format!("[bob]\n{}", kept("new")));
    broker.signal("HUP");
    let words = "not reloaded: users.ini: [monitor] user = ann of the configuration is not in this";
    broker.log().wait_for_count(words, 1);
    assert!(may("new"));
    broker.reload(&WATCHED[..1]);
    broker.log().wait_for_count("reloaded: monitor.user ann -> (none)", 1);
    assert_eq!(get(address, "/stats", None).status, 200);
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    let ann = format!("[ann]\n{}", kept("hush"));
    let token = ann.replace("secret = ", "token = ");
    assert_eq!(check(&WATCHED, &ann), (Some(0), "ok".to_owned()));
    let with = |address| [("monitor.address", address), WATCHED[1], WATCHED[2]];
    let (far, near) = (with("0.0.0.0:0"), with("localhost:0"));
    let rows = [
        (&WATCHED[..], "[bob]\n", "users.ini: [monitor] user = ann of the configuration is not in"),
        (
            &WATCHED[..],
            &token,
            "users.ini: [monitor] user = ann of the configuration has no secret",
        ),
        (&WATCHED[..2], "", "[monitor] user = ann is nobody: name the file of users"),
        (&far[..], &ann, "would come to 0.0.0.0:0 in plain text: set [tls] certificate and key"),
        (&[("monitor.user", "a:b")][..], "", "expected a name without a colon"),
    ];
    for (settings, users, expected) in rows {
        let (code, said) = check(settings, users);
        assert_eq!(code, Some(2), "{expected}: {said}");
        assert!(said.contains(expected), "no {expected} in: {said}");
    }
    assert_eq!(check(&near, &ann).0, Some(0));
    let certificates = Certificates::new();
    let own = certificates.settings("broker");
    let tls = own.each_ref().map(|(name, file)| (*name, file.as_str()));
    assert_eq!(check(&[&far[..], &tls].concat(), &ann).0, Some(0));
    let (code, said) = check(&[&far[..], &tls, &[("tls.mode", "optional")]].concat(), &ann);
    assert_eq!(code, Some(2), "who takes no TLS would send it in plain text: {said}");
}

#[test]
fn a_monitor_that_others_reach_and_that_asks_nobody_is_warned_of() {
    let words = "may read the monitor, with topics";
    let broker = Broker::with(&[("monitor.address", "0.0.0.0:0")]);
    let line = broker.log().wait_for(words, |line| line.contains(words));
    assert!(line.contains("[WARN]") && line.contains("0.0.0.0:"), "{line}");
    let broker = Broker::with(&[("monitor.address", "127.0.0.1:0")]);
    broker.subscriber();
    assert!(!broker.log().so_far().iter().any(|line| line.contains(words)));
}
