//! Proves that `broker --check-link` says what each hub is, and whether it lets the broker in.

use std::process::Child;
use std::process::Stdio;

use serde_json::json;

use crate::support::broker::command;
use crate::support::process::ini;
use crate::support::{Hub, TempDir};
use crate::{at, secret, settings};

/// The check, under way in a directory.
fn check(dir: &TempDir, settings: &[(&str, &str)]) -> Child {
    dir.write("config.ini", &ini(settings));
    let mut command = command(dir.path());
    command.arg("--check-link").stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it can be run")
}

/// Its exit code, and what it said on both outputs.
fn outcome(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_hub_that_lets_us_in_is_described() {
    let hub = Hub::with(&json!({"cluster": "C1", "jetstream": true, "domain": "hub"}));
    let dir = TempDir::new();
    let server = at(&hub);
    let file = secret(&dir, "secret", "hush");
    let more = [("link.user", "u"), ("link.secret_file", &*file)];
    let child = check(&dir, &settings(&server, &more));
    let link = hub.greet();
    let connect = link.connect();
    link.info(&json!({
        "connect_info": true,
        "remote_account": "APP",
        "export": {"allow": ["in.>"], "deny": ["in.secret"]},
        "import": {"allow": []},
    }));
    link.join(&"LS+ a\r\n".repeat(50_000));
    let (code, said, wrong) = outcome(child);
    let expected = format!(
        "{server}: hub (nats-server 2.15.1) at {server}, cluster C1, JetStream in the domain hub, \
         no TLS\n    it lets this broker in, into the account $G\n"
    );
    assert_eq!((code, said.as_str(), wrong.as_str()), (Some(0), expected.as_str(), ""));
    // It is not taken for the broker that may run beside it.
    assert!(connect["name"].as_str().is_some_and(|name| name.contains("broker-1:check:")));
    assert_eq!((&connect["remote_account"], &connect["pass"]), (&json!(null), &json!("hush")));
}

#[test]
fn permissions_are_told() {
    let hub = Hub::start();
    let dir = TempDir::new();
    let child = check(&dir, &settings(&at(&hub), &[]));
    let link = hub.greet();
    link.info(&json!({
        "connect_info": true,
        "remote_account": "APP",
        "export": {"allow": ["in.>"], "deny": ["in.secret"]},
        "import": {"allow": []},
    }));
    link.send("PONG\r\n");
    let (code, said, _) = outcome(child);
    assert_eq!(code, Some(0));
    let expected = "    it lets this broker in, into the account APP\n    may be sent to it: in.>, \
                    !in.secret\n    may be taken from it: nothing\n";
    assert!(said.ends_with(expected), "{said}");
}

#[test]
fn one_that_does_not_is_told_with_what_to_do() {
    let (mut down, hub) = (Hub::start(), Hub::start());
    down.close();
    let dir = TempDir::new();
    let child = check(&dir, &settings(&format!("{}, {}", at(&down), at(&hub)), &[]));
    hub.greet().refuse("Authorization Violation");
    let (code, said, _) = outcome(child);
    assert_eq!(code, Some(1));
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 5, "{said}");
    assert!(lines[0].starts_with(&format!("{}: no connection: ", down.address)), "{said}");
    assert!(lines[1].starts_with("    check [link] servers"), "{said}");
    assert!(lines[2].starts_with(&format!("{}: hub (nats-server", hub.address)), "{said}");
    let refused = "    the hub refuses the credentials: 'Authorization Violation'";
    assert_eq!(lines[3], refused);
    assert!(lines[4].starts_with("    check [link] user, secret_file"), "{said}");
}

#[test]
fn a_hub_that_never_answers_ends_the_check() {
    let hub = Hub::start();
    let dir = TempDir::new();
    let child = check(&dir, &settings(&at(&hub), &[("timeouts.hello", "1")]));
    let _link = hub.greet();
    let (code, said, _) = outcome(child);
    assert_eq!(code, Some(1));
    assert!(said.contains("an answer to CONNECT did not come in time"), "{said}");
}

#[test]
fn without_a_hub_there_is_nothing_to_check() {
    let dir = TempDir::new();
    let (code, said, wrong) = outcome(check(&dir, &[]));
    assert_eq!((code, said.as_str()), (Some(2), ""));
    assert!(wrong.contains("[link] servers is empty"), "{wrong}");
    let bad = [("link.servers", "a b")];
    let (code, _, wrong) = outcome(check(&dir, &bad));
    assert_eq!(code, Some(2));
    assert!(wrong.contains("config.ini:2: [link] servers = a b: expected hosts"), "{wrong}");
}
