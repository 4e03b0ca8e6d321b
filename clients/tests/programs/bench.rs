//! The program `bench-publisher`, run as users run it, with small loads. Its speed depends on
//! the machine and is not tested here.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use wire::native::frame::Kind;

use crate::support::fake::{FakeBroker, Peer};
use crate::support::real::{self, Broker};

const PATIENCE: Duration = Duration::from_secs(30);

pub fn program(args: &str) -> Command {
    // It starts the broker that is beside it.
    real::executable();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-publisher"));
    command.args(args.split_whitespace()).stdin(Stdio::null());
    command.env_remove("BROKER_USER").env_remove("BROKER_SECRET");
    command
}

pub fn bench(args: &str) -> Output {
    program(args).output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The report of a run that must succeed.
pub fn report(args: &str) -> Value {
    let output = bench(&format!("{args} --json"));
    assert_eq!(output.status.code(), Some(0), "{args}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process has ended; its parent may not have waited for it yet.
fn has_ended(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or(true, |stat| stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
}

#[test]
fn the_text_report_has_every_figure_and_the_set_up() {
    let output = bench("--messages 20000");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for expected in [
        "bench-publisher 0.",
        "1 publisher, 1 topic, 1 subscriber, 128 B, 20000 messages, as fast as it goes",
        "broker   broker/",
        "machine  ",
        "20,000 messages",
        "messages/s",
        "MB/s",
        "lost                                   0 messages",
        "latency max",
        "µs per 1,000 deliveries",
        "broker peak memory",
        "bench-publisher CPU",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
    assert!(stderr(&output).contains("started a broker of our own: 127.0.0.1"));
}

#[test]
fn json_counts_every_message_at_every_subscriber() {
    for (args, published, delivered) in [
        ("--messages 30000", 30_000, 30_000),
        ("--messages 10001 --publishers 3 --subscribers 4 --topics 20", 10_001, 40_004),
        ("--messages 5000 --subscribers 2 --topics 9 --wildcard --size 16", 5_000, 10_000),
        ("--messages 300 --subscribers 3 --size 50000", 300, 900),
        ("--messages 3000 --subscribers 2 --size 0..700", 3_000, 6_000),
        ("--messages 1000 --size 0", 1_000, 1_000),
        ("--messages 1 --publishers 2", 1, 1),
    ] {
        let report = report(args);
        let run = &report["runs"][0];
        assert_eq!(run["published"], published, "{args}");
        assert_eq!(run["expected"], delivered, "{args}");
        assert_eq!(run["delivered"], delivered, "{args}");
        assert_eq!((&run["lost"], &run["lost_told"]), (&0.into(), &0.into()), "{args}");
        assert!(run["broker_cores"].is_f64() && run["broker_peak_kib"].is_u64(), "{run:#}");
        assert!(report["machine"]["cores"].as_u64() >= Some(1));
        assert_eq!(report["broker"]["embedded"], true);
    }
}

#[test]
fn a_timed_run_ends_and_loses_nothing() {
    let report = report("--seconds 0.3 --subscribers 2");
    let run = &report["runs"][0];
    assert!(run["published"].as_u64() > Some(0));
    assert_eq!(run["delivered"].as_u64().unwrap(), 2 * run["published"].as_u64().unwrap());
    assert!(run["seconds"].as_f64() >= Some(0.3), "{run:#}");
    assert!(run["latency_samples"].as_u64() > Some(0), "{run:#}");
}

#[test]
fn csv_is_a_header_and_a_row_for_each_run() {
    let output = bench("--messages 1000 --runs 2 --csv");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 3, "{text}");
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{text}");
    let column = |name: &str| rows[0].iter().position(|head| *head == name).unwrap();
    for (number, row) in ["1", "2"].iter().zip(&rows[1..]) {
        assert_eq!(row[column("run")], *number);
        assert_eq!(row[column("delivered")], "1000");
        assert_eq!(row[column("subscribers")], "1");
    }
}

#[test]
fn the_page_is_well_formed_and_needs_no_network() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    let output = program("--seconds 0.4 --rate 2000 --runs 2 --html").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let page = fs::read_to_string(&file).unwrap();
    assert_eq!(page.matches("<svg").count(), 2, "{page}");
    assert!(page.matches("<polyline").count() >= 4 + 2, "a line for each run and counter");
    let namespace = "xmlns=\"http://www.w3.org/2000/svg\"";
    let rest = page.replace(namespace, "");
    for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!rest.contains(outside), "{outside} in {page}");
    }
    assert_eq!(unclosed(&page), Vec::<String>::new());
    assert!(page.contains("latency p99"));
}

/// The elements that are not closed in the right order.
fn unclosed(page: &str) -> Vec<String> {
    let mut open = Vec::new();
    for tag in page.split('<').skip(1).map(|rest| rest.split_once('>').unwrap().0) {
        let name = tag.split_whitespace().next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name), "{tag}"),
            None if tag.ends_with('/') || name.starts_with('!') => {}
            None => open.push(name.to_owned()),
        }
    }
    open
}

#[test]
fn verify_proves_order_and_content_for_any_number_of_clients() {
    for args in [
        "--verify --messages 20000",
        "--verify --messages 20001 --publishers 3 --subscribers 4 --topics 7",
        "--verify --messages 5000 --publishers 2 --subscribers 2 --size 20..3000 --wildcard",
        "--verify --messages 500 --rate 5000 --publishers 2 --subscribers 2 --topics 3",
    ] {
        let output = bench(args);
        assert_eq!(output.status.code(), Some(0), "{args}: {}", stderr(&output));
        assert!(stdout(&output).contains("verified: order, content, no gap, no duplicate"));
    }
}

#[test]
fn verify_fails_when_another_client_publishes_too() {
    let broker = Broker::start();
    let mut other = program(&broker.both_ports())
        .args(["--no-subscribers", "--rate", "1000", "--seconds", "600"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It reports its progress once a second.
    let mut first = [0];
    other.stderr.as_mut().unwrap().read_exact(&mut first).unwrap();
    let output = bench(&format!("{} --verify --rate 100 --messages 100", broker.both_ports()));
    drop(other.kill());
    drop(other.wait());
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stdout(&output).contains("fault: subscriber 0: "), "{}", stdout(&output));
    assert!(stderr(&output).contains("not verified: "), "{}", stderr(&output));
}

#[test]
fn on_schedule_every_message_is_sent_and_timed() {
    let report = report("--rate 1000 --messages 500 --publishers 2 --subscribers 2");
    let run = &report["runs"][0];
    assert_eq!((&run["published"], &run["delivered"]), (&500.into(), &1_000.into()));
    assert_eq!(run["latency_samples"], 1_000);
    // Message 499 is due after 0.499 s, and none is sent before it is due.
    assert!(run["seconds"].as_f64() >= Some(0.499), "{run:#}");
    let quantile = |key: &str| run[format!("latency_{key}_us")].as_f64().unwrap();
    let values = ["p50", "p90", "p99", "p99_9", "max"].map(quantile);
    // 1,000 messages are too few for the quantile of 1 in 10,000.
    assert!(run["latency_p99_99_us"].is_null(), "{run:#}");
    assert!(values[0] > 0.0 && values.is_sorted(), "{values:?}");
}

#[test]
fn a_rate_for_a_time_is_a_number_of_messages() {
    let report = report("--rate 400 --seconds 0.5");
    assert_eq!(report["runs"][0]["published"], 200);
}

#[test]
fn several_runs_have_a_median_between_least_and_greatest() {
    let report = report("--messages 2000 --runs 3");
    assert_eq!(report["runs"].as_array().unwrap().len(), 3);
    let of = |part: &str| report[part]["delivered_per_s"].as_f64().unwrap();
    assert!(of("min") <= of("median") && of("median") <= of("max"), "{report:#}");
    assert_eq!(report["median"]["delivered"], 2_000);

    let text = stdout(&bench("--messages 2000 --runs 3"));
    let heads = text.lines().find(|line| line.contains("median")).unwrap();
    assert!(heads.contains("min") && heads.contains("max"), "{text}");
}

#[test]
fn a_baseline_gives_ratios() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("then.json");
    let earlier = bench("--messages 1000 --json");
    assert_eq!(earlier.status.code(), Some(0));
    fs::write(&file, &earlier.stdout).unwrap();
    let now = program("--messages 3000 --json --baseline").arg(&file).output().unwrap();
    assert_eq!(now.status.code(), Some(0), "{}", stderr(&now));
    let now: Value = serde_json::from_slice(&now.stdout).unwrap();
    assert_eq!(now["ratios"]["delivered"], 3.0);
    let text = stdout(&program("--messages 500 --baseline").arg(&file).output().unwrap());
    let published = text.lines().find(|line| line.contains(" messages ")).unwrap();
    let words: Vec<_> = published.split_whitespace().collect();
    assert_eq!(words, ["published", "500", "1,000", "messages", "0.500x"], "{text}");
    assert!(text.contains("then") && text.contains("now/then"), "{text}");
    let warning = "the baseline is of another load: messages 1000 then, 500 now";
    assert!(text.contains(warning), "{text}");
}

#[test]
fn without_subscribers_it_only_publishes() {
    let report = report("--no-subscribers --messages 5000");
    let run = &report["runs"][0];
    assert_eq!((&run["published"], &run["delivered"]), (&5_000.into(), &0.into()));
    assert_eq!((&run["lost"], &run["latency_p50_us"]), (&0.into(), &Value::Null));
    assert!(run["broker_cpu_us_per_1000_published"].is_f64(), "{run:#}");
}

#[test]
fn a_broker_that_runs_already_is_found_and_looked_into() {
    let broker = Broker::start();
    let report = report(&format!("{} --messages 5000 --topics 3", broker.both_ports()));
    assert_eq!(report["runs"][0]["delivered"], 5_000);
    assert_eq!(report["broker"]["pid"], broker.process.id());
    assert_eq!(report["broker"]["embedded"], false);
}

#[test]
fn what_a_broker_drops_is_counted_exactly() {
    for (extra, code) in [("", 0), ("--verify", 1)] {
        let (publishers, subscribers) = (FakeBroker::start(), FakeBroker::start());
        let [publisher_port, subscriber_port] =
            [&publishers, &subscribers].map(|fake| fake.address().port());
        let broker = thread::spawn(move || drops_three(&publishers, &subscribers));
        let output = bench(&format!(
            "-p {publisher_port} -s {subscriber_port} --messages 10 --json {extra}"
        ));
        broker.join().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let run = &report["runs"][0];
        assert_eq!((&run["delivered"], &run["expected"]), (&7.into(), &10.into()), "{run:#}");
        assert_eq!((&run["lost"], &run["lost_told"]), (&3.into(), &3.into()), "{run:#}");
    }
}

/// A broker that delivers ten messages but for the third to the fifth.
fn drops_three(publishers: &FakeBroker, subscribers: &FakeBroker) {
    let mut subscriber = subscribers.welcome();
    assert_eq!(subscriber.receive().kind, Kind::Subscribe);
    answer_ping(&mut subscriber);
    let mut publisher = publishers.welcome();
    for number in 0..10 {
        let message = publisher.receive();
        assert_eq!(message.kind, Kind::Publish);
        match number {
            2 | 3 => {}
            4 => subscriber.send(Kind::Lost, b"", &3u64.to_be_bytes()),
            _ => subscriber.send(Kind::Publish, message.topic.as_bytes(), &message.body),
        }
    }
    answer_ping(&mut publisher);
    while let Some(frame) = subscriber.try_receive() {
        if frame.kind == Kind::Ping {
            subscriber.send(Kind::Pong, b"", &frame.body);
        }
    }
}

fn answer_ping(peer: &mut Peer) {
    let ping = peer.receive();
    assert_eq!(ping.kind, Kind::Ping);
    peer.send(Kind::Pong, b"", &ping.body);
}

#[test]
fn no_broker_is_a_failure_that_names_the_address() {
    // Nothing listens on port 1, and no parallel test can be given it.
    let output = bench("-h 127.0.0.1 -p 1 -s 1 --messages 1");
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("cannot connect to 127.0.0.1:1: "), "{text}");
    assert!(text.contains("is the broker running there?"), "{text}");
}

#[test]
fn a_broker_that_goes_away_is_a_failure() {
    let mut broker = Broker::start();
    let mut bench = program(&format!("{} --seconds 600", broker.both_ports()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(bench.stderr.take().unwrap());
    let mut text = String::new();
    // The line of the first second.
    log.read_line(&mut text).unwrap();
    broker.process.kill();
    log.read_to_string(&mut text).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(1), "{text}");
    assert!(text.contains("bench-publisher: subscriber 0: ") || text.contains("publisher 0: "));
}

#[test]
fn payloads_that_the_broker_refuses_are_told_before_anything_is_sent() {
    let output = bench("--size 2000000 --messages 1");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("the broker takes payloads of up to 1048576 bytes"));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let nowhere = Path::new("/nonexistent/then.json");
    for args in [
        "--no-such-flag",
        "--size x",
        "--size 4 --rate 10",
        "--verify --size 8",
        "--messages 1 --seconds 1",
        "--publishers 0",
        "--json --csv",
        "--no-subscribers --subscribers 2",
        &format!("--baseline {}", nowhere.display()),
    ] {
        let output = bench(args);
        assert_eq!(output.status.code(), Some(2), "{args}: {}", stderr(&output));
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{args}");
    }
}

#[test]
fn its_own_broker_is_gone_afterwards() {
    let report = report("--messages 10");
    let pid = report["broker"]["pid"].as_u64().unwrap();
    // It was waited for before the report was printed.
    assert!(has_ended(pid as u32));
}

#[test]
fn its_own_broker_ends_with_it_even_if_it_is_killed() {
    let mut bench =
        program("--seconds 600").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(bench.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("started a broker of our own"), "{line}");
    let children = format!("/proc/{0}/task/{0}/children", bench.id());
    let child = fs::read_to_string(children).unwrap().trim().parse().unwrap();
    assert!(!has_ended(child));
    bench.kill().unwrap();
    bench.wait().unwrap();
    wait_for("the broker ends", || has_ended(child));
}
