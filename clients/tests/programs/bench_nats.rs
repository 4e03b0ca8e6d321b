//! `bench-publisher --protocol nats` against a fake server.

use std::fs;

use serde_json::{Value, json};

use crate::bench::{bench, program, stderr, stdout};
use crate::support::eventually;
use crate::support::nats::{FakeNats, Habit};

/// The first run of a report, and the report; it must succeed.
fn run(server: &FakeNats, args: &str) -> (Value, Value) {
    let output = bench(&server.aimed(&format!("{args} --json")));
    assert_eq!(output.status.code(), Some(0), "{args}: {}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    (report["runs"][0].clone(), report)
}

/// The error where it must fail.
fn failure(server: &FakeNats, args: &str) -> String {
    let output = bench(&server.aimed(args));
    assert_eq!(output.status.code(), Some(1), "{args}: {}", stdout(&output));
    stderr(&output)
}

#[test]
fn every_message_is_counted_at_every_subscriber() {
    for (args, published, delivered) in [
        ("--messages 3000", 3_000, 3_000),
        ("--messages 1001 --publishers 3 --subscribers 4 --topics 20", 1_001, 4_004),
        ("--messages 500 --subscribers 2 --topics 9 --wildcard --size 16", 500, 1_000),
        ("--messages 30 --subscribers 3 --size 50000", 30, 90),
        ("--messages 300 --subscribers 2 --size 0..700", 300, 600),
        ("--messages 100 --size 0", 100, 100),
        ("--messages 100 --rate 1000 --publishers 2", 100, 100),
        ("--messages 500 --no-subscribers", 500, 0),
    ] {
        let (run, report) = run(&FakeNats::start(Habit::Good), args);
        assert_eq!(run["published"], published, "{args}");
        assert_eq!((&run["delivered"], &run["lost"]), (&json!(delivered), &json!(0)), "{args}");
        assert_eq!((&run["lost_told"], &run["requests"]), (&Value::Null, &Value::Null));
        assert_eq!(report["options"]["protocol"], "nats");
        assert_eq!(report["broker"]["server"], "NATS server 0.9.8");
    }
}

#[test]
fn all_forms_of_the_report_are_there() {
    let server = FakeNats::start(Habit::Good);
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let args = server.aimed("--messages 500 --verify --runs 2 --html");
    let output = program(&args).arg(&page).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let place =
        format!("broker   NATS server 0.9.8, process {}, 127.0.0.1, port ", std::process::id());
    for expected in [place.as_str(), "verified: order, content, no gap, no duplicate", "median"] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
    assert!(!text.contains("LOST"), "the protocol does not have that:\n{text}");
    assert!(fs::read_to_string(&page).unwrap().contains("<svg"));
}

#[test]
fn a_client_says_who_it_is_and_what_it_takes() {
    let server = FakeNats::start(Habit::Good);
    run(&server, "--messages 1");
    for connect in server.connects() {
        let connect: Value = serde_json::from_str(&connect).unwrap();
        for (key, expected) in
            [("verbose", false), ("echo", true), ("headers", true), ("no_responders", true)]
        {
            assert_eq!(connect[key], expected, "{connect}");
        }
        assert!(connect["name"].as_str().unwrap().starts_with("bench-"), "{connect}");
    }
    assert_eq!(server.connects().len(), 2);
}

#[test]
fn a_server_that_asks_for_pong_gets_it() {
    let server = FakeNats::start(Habit::Pings);
    // So long that publishers have to poll for it while they publish.
    let (run, _) = run(&server, "--seconds 1.5 --rate 200 --publishers 2 --verify");
    assert_eq!((&run["published"], &run["delivered"]), (&json!(300), &json!(300)));
    eventually("a PONG for each PING", || {
        let (pings, pongs) = server.pings_and_pongs();
        // The last one may arrive when the subscriber has all that it waits for.
        (pings == 3 + 30 && pongs + 1 >= pings).then_some(())
    });
}

#[test]
fn a_user_and_its_secret_are_in_each_connect() {
    let server = FakeNats::start(Habit::Demands(",\"auth_required\":true"));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "hush\n").unwrap();
    let args = format!("--messages 1 --user ann --secret-file {}", file.path().display());
    let (_, report) = run(&server, &args);
    assert!(!report.to_string().contains("hush"), "{report}");
    assert_eq!(server.connects().len(), 2);
    for connect in server.connects() {
        let connect: Value = serde_json::from_str(&connect).unwrap();
        assert_eq!((&connect["user"], &connect["pass"]), (&json!("ann"), &json!("hush")));
    }
    let text = failure(&FakeNats::start(Habit::RefusesConnect("Authorization Violation")), &args);
    assert!(text.contains("is there a user \"ann\"") && !text.contains("hush"), "{text}");
}

#[test]
fn what_is_not_delivered_is_lost_and_a_gap() {
    let output = bench(&FakeNats::start(Habit::Drops(&[2, 3, 5])).aimed("--messages 9 --json"));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["runs"][0]["lost"]), (Some(0), &json!(3)));
    let server = FakeNats::start(Habit::Drops(&[2, 3, 5]));
    let output = bench(&server.aimed("--messages 9 --verify"));
    assert_eq!(output.status.code(), Some(1));
    let expected = "subscriber 0: message 4 of publisher 0 came where 2 was due: a gap";
    assert!(stdout(&output).contains(expected), "{}", stdout(&output));
    assert!(stderr(&output).contains("not verified: 3 messages lost, 2 faults"));
}

#[test]
fn what_a_server_refuses_is_told_with_what_to_do() {
    let forbidden = "Permissions Violation for Publish to \"bench.0\"";
    for (habit, expected) in [
        (Habit::RefusesConnect("Authorization Violation"), "subscriber 0 was not welcomed by 127"),
        (
            Habit::RefusesConnect("Authorization Violation"),
            "give --user and --secret-file, or BROKER_USER",
        ),
        (Habit::RefusesConnect("maximum connections exceeded"), "use fewer connections"),
        (Habit::RefusesPublish(forbidden), "publisher 0: the broker says Permissions Violation"),
        (Habit::RefusesPublish(forbidden), "; let it publish to bench.>"),
        (Habit::ClosesSubscribers, "as NATS servers do with slow consumers"),
        (Habit::Demands(",\"tls_required\":true"), "it wants TLS; add --tls"),
        (Habit::Demands(",\"auth_required\":true"), "it wants credentials; "),
    ] {
        let text = failure(&FakeNats::start(habit), "--messages 100");
        assert!(text.contains(expected), "{habit:?}: {text}");
    }
    let text = failure(&FakeNats::start(Habit::Good), "--size 2000000");
    assert!(text.contains("the broker takes payloads of up to 1000000 bytes"), "{text}");
}

#[test]
fn a_port_for_nats_clients_is_noticed_without_the_flag() {
    let server = FakeNats::start(Habit::Good);
    let output = bench(&format!("-p {0} -s {0} --messages 1", server.port()));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("add --protocol nats"), "{}", stderr(&output));
    // Nothing listens on port 1.
    let output = bench("--protocol nats -p 1");
    assert!(stderr(&output).contains("is the broker running there?"), "{}", stderr(&output));
}

#[test]
fn each_request_is_answered_once_by_one_of_the_group() {
    for (args, requests) in [
        ("--messages 300", 300),
        ("--messages 301 --requesters 3 --responders 2 --window 7 --topics 4", 301),
        ("--messages 300 --window 300 --responders 3 --wildcard --size 20..3000", 300),
        ("--messages 100 --rate 500 --requesters 2", 100),
    ] {
        let server = FakeNats::start(Habit::Good);
        let (run, report) = run(&server, &format!("--requests --verify {args}"));
        assert_eq!(run["requests"], requests, "{args}");
        assert_eq!((&run["round_trips"], &run["lost"]), (&json!(requests), &json!(0)), "{args}");
        assert_eq!((&run["published"], &run["delivered_per_s"]), (&Value::Null, &Value::Null));
        assert_eq!(run["latency_samples"], requests);
        let figures = ["round_trips_per_s", "latency_max_us", "broker_cpu_us_per_round_trip"];
        assert!(figures.iter().all(|key| run[key].as_f64() > Some(0.0)), "{run:#}");
        assert!(report["options"]["responders"].as_u64() >= Some(1));
    }
}

#[test]
fn requests_are_told_as_such() {
    let server = FakeNats::start(Habit::Good);
    let text = stdout(&bench(&server.aimed("--requests --seconds 0.3 --size 0")));
    for expected in [
        "1 requester, 1 topic, 1 responder, window 1, 0 B, 0.3 s",
        " round trips/s",
        "latency p99 ",
        "latency max ",
        "µs per round trip",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
}

#[test]
fn a_request_without_an_answer_is_lost_and_others_go_on() {
    // The second thing that is published is the first answer.
    let server = FakeNats::start(Habit::Drops(&[1]));
    let (run, _) = run(&server, "--requests --messages 5");
    assert_eq!((&run["requests"], &run["round_trips"]), (&json!(5), &json!(4)), "{run:#}");
    assert_eq!(run["lost"], 1);
}

#[test]
fn requests_without_a_responder_are_a_failure() {
    let text = failure(&FakeNats::start(Habit::HasNoResponders), "--requests --messages 5");
    assert!(text.contains("requester 0: nobody is there to answer"), "{text}");
}

#[test]
fn flags_of_the_other_protocol_are_wrong_usage() {
    for (args, expected) in [
        ("--requests", "--requests needs --protocol nats"),
        ("--protocol nats -s 9090", "-s has no meaning with --protocol nats"),
        ("--protocol nats --window 2", "--requests"),
        ("--protocol nats --requests --no-subscribers", "--no-subscribers"),
        ("--protocol mqtt", "possible values: native, nats"),
    ] {
        let output = bench(args);
        assert_eq!(output.status.code(), Some(2), "{args}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{args}: {}", stderr(&output));
    }
}
