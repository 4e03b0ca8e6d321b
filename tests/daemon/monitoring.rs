//! Proves that the dashboard and the alerts that are shipped ask for existing figures, and that
//! Prometheus' own tool accepts the rules.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support;
use crate::support::{Broker, Certificates, Http, Peer};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/monitoring")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("it is shipped")
}

/// The names of figures in an expression.
fn names(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_name(c));
    words
        .filter(|word| word.starts_with("broker_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// The names of all samples of a broker that has published, and that has a hub to dial.
fn shown() -> BTreeSet<String> {
    let certificates = Certificates::new();
    let [certificate, key] = certificates.settings("broker");
    // Whoever likes may speak TLS, so that the figures of the certificate are there, too.
    let broker = Broker::with(&[
        ("monitor.address", "127.0.0.1:0"),
        (certificate.0, &certificate.1),
        (key.0, &key.1),
        ("tls.mode", "optional"),
        ("link.servers", "127.0.0.1:1"),
    ]);
    broker.publisher().publish(b"t", b"x");
    support::eventually("a topic that was counted", || {
        let body = Http::get(broker.monitor(), "/metrics").body;
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        let shown: BTreeSet<String> =
            samples.filter_map(|line| Some(line.split(['{', ' ']).next()?.to_owned())).collect();
        shown.contains("broker_topic_messages_total").then_some(shown)
    })
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_figures_that_there_are() {
    let dashboard: Value = serde_json::from_str(&text("dashboard.json")).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let asked = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions: Vec<&str> = asked.filter_map(|target| target["expr"].as_str()).collect();
    assert!(expressions.len() > 10, "the expressions were not found");
    let alerts = text("alerts.yml");
    let rules = alerts.lines().filter(|line| line.trim_start().starts_with("expr: "));
    let wanted: BTreeSet<String> = expressions.into_iter().chain(rules).flat_map(names).collect();
    let shown = shown();
    let missing: Vec<_> = wanted.difference(&shown).collect();
    assert!(missing.is_empty(), "nobody shows {missing:?}");
}

#[test]
fn promtool_has_nothing_to_say_about_the_rules() {
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let run = Command::new("promtool").args(arguments).current_dir(folder()).output();
        let Ok(output) = run else {
            assert!(std::env::var_os("CI").is_none(), "promtool is not installed");
            eprintln!("not checked: there is no promtool; Debian has it in the package prometheus");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}

#[test]
fn topics_are_told_with_their_rates() {
    let broker = Broker::with(&[("monitor.address", "127.0.0.1:0"), ("monitor.topics", "a.>")]);
    let publisher = &mut broker.publisher();
    let found = |name: &str| -> Option<Value> {
        let topics = Http::get(broker.monitor(), "/topics").json();
        topics["topics"].as_array()?.iter().find(|topic| topic["topic"] == name).cloned()
    };
    publisher.publish(b"a.b", b"x");
    publisher.publish(b"c", b"x");
    let other = support::eventually("a topic that was counted", || found("c"));
    assert_eq!((&other["listed"], &other["messages"]), (&false.into(), &1.into()), "{other}");
    let listed = found("a.>").expect("it is listed");
    assert_eq!((&listed["listed"], &listed["messages"]), (&true.into(), &1.into()), "{listed}");
    // The first answers had nothing to compare with; these have.
    let rate = support::eventually("a rate", || {
        publisher.publish(b"a.b", b"x");
        found("a.>")?["messages_per_second"].as_f64().filter(|rate| *rate > 0.0)
    });
    assert!(rate.is_finite());
}

#[test]
fn filters_are_shown_if_they_are_asked_for_and_not_without_end() {
    let broker = Broker::with(&[("monitor.address", "127.0.0.1:0")]);
    let mut many = broker.subscriber();
    for number in 0..150 {
        many.subscribe(format!("many.{number}").as_bytes(), b"");
    }
    let mut worker = Peer::connect(broker.subscribers).hello(b"worker");
    worker.subscribe(b"jobs.*", b"workers");
    worker.subscribe(b"news", b"");
    let of = |target: &str, id: &str| {
        let answer = Http::get(broker.monitor(), target).json();
        let all = answer["connections"].as_array().expect("a list").clone();
        all.into_iter().find(|one| one["id"] == id).expect("it is connected")
    };
    let worker = of("/connections?filters=1", "worker");
    let expected = serde_json::json!([
        { "filter": "jobs.*", "group": "workers" },
        { "filter": "news", "group": null },
    ]);
    assert_eq!((&worker["filters"], &worker["filters_not_shown"]), (&expected, &0.into()));
    let many = of("/connections?limit=5&filters=1", "subscriber");
    assert_eq!(many["filters"].as_array().map(Vec::len), Some(100));
    assert_eq!((&many["subscriptions"], &many["filters_not_shown"]), (&150.into(), &50.into()));
    assert_eq!(of("/connections", "worker").get("filters"), None);
}
