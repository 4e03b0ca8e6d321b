//! The programs against real brokers: what a user types, what comes out, and with which exit code.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use pubsub_client::{ClientError, ConnectOptions, Event, Publisher, Subscriber};

use crate::support::eventually;
use crate::support::process::{Process, program, run, start};
use crate::support::real::Broker;

/// What was printed, without the messages that only probe whether the subscriber is ready.
fn without_probes(output: &str) -> Vec<&str> {
    output.lines().filter(|line| *line != "probe.ready ready").collect()
}

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).display().to_string()
}

fn terminate(process: &Process) {
    let status = Command::new("kill").arg(process.id().to_string()).status();
    assert!(status.unwrap().success());
}

#[test]
fn the_example_command_files_show_the_tour() {
    let broker = Broker::start();
    let mut subscriber = start(broker.subscriber(&format!("-f {}", example("subscriber.cmd"))));
    // Executed after the file.
    subscriber.feed(b"sub probe.>\n");
    broker.await_ready(&subscriber);
    let publisher = run(broker.publisher(&format!("-f {}", example("publisher.cmd"))), b"");
    assert_eq!(publisher.code, Some(0), "{publisher:?}");
    assert_eq!(publisher.stderr, "OK\n".repeat(5));
    let output = subscriber.await_stdout("orders.us");
    let expected = [
        "#hello This is the first message",
        "#hello This is the second message,  with  its  inner  spaces  kept",
        "orders.eu.created {\"order\": 1, \"amount\": 9.95}",
        "orders.us.created {\"order\": 2, \"amount\": 12.00}",
    ];
    assert_eq!(without_probes(&output), expected);
}

#[test]
fn lines_come_out_as_they_went_in() {
    let broker = Broker::start();
    let subscriber = broker.ready_subscriber("--topic lines.* --topic probe.>");
    let lines: Vec<String> = (0..20_000).map(|number| format!("line {number}")).collect();
    let published = run(broker.publisher("--topic lines.x"), lines.join("\n").as_bytes());
    assert_eq!((published.code, published.stderr.as_str()), (Some(0), ""));
    let output = subscriber.await_stdout("lines.x line 19999\n");
    let expected: Vec<String> = lines.iter().map(|line| format!("lines.x {line}")).collect();
    assert_eq!(without_probes(&output), expected);
}

#[test]
fn a_file_survives_the_way_to_the_byte() {
    let broker = Broker::start();
    let mut subscriber = start(broker.subscriber("--topic file --topic probe.> --raw -C 1"));
    let bytes: Vec<u8> = (0..=255u8).cycle().take(1 << 20).collect();
    // Nothing else is published, so the first message that comes is the file; it is sent until the
    // subscriber has come to its end.
    let finished = loop {
        let published = run(broker.publisher("--topic file --whole"), &bytes);
        assert_eq!(published.code, Some(0), "{published:?}");
        if !subscriber.stdout().is_empty() {
            break subscriber.finish();
        }
    };
    assert_eq!(finished.code, Some(0));
    assert!(finished.stdout == bytes, "{} bytes came out", finished.stdout.len());
}

#[test]
fn members_of_a_queue_group_share_the_messages() {
    let broker = Broker::start();
    // Each is ready before the next starts: a probe goes to any one member, so a plain subscription
    // detects it, sent after that of the group.
    let members: Vec<_> = (0..2)
        .map(|_| {
            let mut member = start(broker.subscriber(""));
            member.feed(b"sub jobs.> workers\nsub probe.>\n");
            broker.await_ready(&member);
            member
        })
        .collect();
    let jobs: Vec<String> = (0..100).map(|number| format!("job {number:03}")).collect();
    let published = run(broker.publisher("--topic jobs.x"), jobs.join("\n").as_bytes());
    assert_eq!(published.code, Some(0));
    let done = |member: &Process| {
        let output = member.stdout();
        let lines = without_probes(&output).into_iter().map(str::to_owned);
        lines.collect::<Vec<_>>()
    };
    let shares = eventually("all jobs", || {
        let shares: Vec<_> = members.iter().map(done).collect();
        let complete = members.iter().all(|member| member.stdout().ends_with('\n'));
        let total: usize = shares.iter().map(Vec::len).sum();
        (complete && total >= jobs.len()).then_some(shares)
    });
    assert!(shares.iter().all(|share| share.len() >= 20), "{shares:?}");
    let mut all: Vec<_> = shares.concat();
    all.sort();
    let expected: Vec<String> = jobs.iter().map(|job| format!("jobs.x {job}")).collect();
    assert_eq!(all, expected);
}

#[test]
fn unsubscribing_ends_the_messages_of_that_topic_only() {
    let broker = Broker::start();
    let mut subscriber = start(broker.subscriber(""));
    subscriber.feed(b"sub a\nsub b\nsub probe.>\n");
    broker.await_ready(&subscriber);
    let publish = |commands: &[u8]| {
        let finished = run(broker.publisher(""), commands);
        assert_eq!((finished.code, finished.text().as_str()), (Some(0), ""), "{finished:?}");
    };
    publish(b"pub a 1\npub b 2\n");
    subscriber.await_stdout("b 2\n");
    subscriber.feed(b"unsub a\nunsub probe.>\nsub probe2.>\n");
    eventually("the next subscription", || {
        publish(b"pub probe2.ready ready\n");
        subscriber.stdout().contains("probe2.ready ready").then_some(())
    });
    publish(b"pub a 3\npub b 4\n");
    let output = subscriber.await_stdout("b 4\n");
    assert!(output.contains("a 1\n") && !output.contains("a 3\n"), "{output}");
}

#[test]
fn a_broker_that_shuts_down_says_goodbye_behind_the_last_message() {
    let mut broker = Broker::start();
    let mut subscriber = broker.ready_subscriber("--topic t --topic probe.>");
    let published = run(broker.publisher("--topic t --message last"), b"");
    assert_eq!(published.code, Some(0));
    terminate(&broker.process);
    let finished = subscriber.finish();
    assert_eq!(finished.code, Some(1));
    assert!(finished.text().ends_with("t last\n"), "{finished:?}");
    assert!(finished.stderr.contains("the broker is shutting down"), "{finished:?}");
    assert_eq!(broker.process.finish().code, Some(0));
}

#[test]
fn a_killed_broker_is_noticed_by_both_programs() {
    let mut broker = Broker::start();
    let mut subscriber = broker.ready_subscriber("--topic t --topic probe.>");
    let mut publisher = start(broker.publisher(""));
    publisher.feed(b"pub t x\n");
    publisher.await_stderr("OK\n");
    broker.process.kill();
    for finished in [subscriber.finish(), publisher.finish()] {
        assert_eq!(finished.code, Some(1));
        assert!(finished.stderr.contains("connection to the broker was lost"), "{finished:?}");
    }
}

#[test]
fn idle_clients_stay_connected_beyond_the_heartbeat() {
    let broker = Broker::with_config("[timeouts]\nheartbeat = 0.5\n");
    let subscriber = broker.ready_subscriber("--topic t --topic probe.>");
    // More than two heartbeats pass, and the broker closes connections without a sign of life.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("late.cmd");
    fs::write(&file, "3 pub t still here\n").unwrap();
    let finished = run(broker.publisher(&format!("-f {}", file.display())), b"");
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), "OK\n"));
    subscriber.await_stdout("t still here\n");
}

#[test]
fn a_publisher_that_is_held_back_by_a_slow_subscriber_loses_nothing() {
    const LINES: usize = 400_000;
    let broker = Broker::with_config("[limits]\noutbox_bytes = 64KiB\n");
    let options = ConnectOptions::new().id("slow");
    let address = ("127.0.0.1", broker.subscriber_port);
    let mut subscriber = Subscriber::connect_with(address, &options).unwrap();
    subscriber.subscribe("t", None).unwrap();
    subscriber.confirm().unwrap();
    let lines = "0123456789012345678901234567890123456789\n".repeat(LINES);
    thread::scope(|scope| {
        let publishing = scope.spawn(|| run(broker.publisher("--topic t"), lines.as_bytes()));
        for _ in 0..LINES {
            assert!(matches!(subscriber.next_event().unwrap(), Event::Message(_)));
        }
        assert_eq!(publishing.join().unwrap().code, Some(0));
    });
}

#[test]
fn a_subscriber_that_is_slow_is_told_what_it_lost() {
    let config = "[limits]\noutbox_bytes = 64KiB\n[overflow]\npolicy = drop\n";
    let broker = Broker::with_config(config);
    let address = ("127.0.0.1", broker.subscriber_port);
    let mut subscriber = Subscriber::connect_with(address, &ConnectOptions::new()).unwrap();
    subscriber.subscribe("t", None).unwrap();
    subscriber.confirm().unwrap();
    let address = ("127.0.0.1", broker.publisher_port);
    let mut publisher = Publisher::connect_with(address, &ConnectOptions::new()).unwrap();
    // More than the kernel's own buffers take, and nothing is read meanwhile.
    let sent = 40_000u64;
    for _ in 0..sent {
        publisher.publish("t", [0; 1_000]).unwrap();
    }
    publisher.flush().unwrap();
    let (mut received, mut lost) = (0, 0);
    while received + lost < sent {
        match subscriber.next_event().unwrap() {
            Event::Message(_) => received += 1,
            Event::Lost(count) => lost += count,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(received + lost, sent);
    assert!(lost > 0 && received > 0, "{received} received, {lost} lost");
}

#[test]
fn the_library_confirms_and_surfaces_what_the_broker_says() {
    let broker = Broker::with_config("[limits]\nmax_subscriptions = 2\nmax_payload = 1KiB\n");
    let options = ConnectOptions::new().id("lib");
    let address = ("127.0.0.1", broker.subscriber_port);
    let mut subscriber = Subscriber::connect_with(address, &options).unwrap();
    for filter in ["a.*", "b.>", "c"] {
        subscriber.subscribe(filter, None).unwrap();
    }
    let Err(ClientError::Refused(refusals)) = subscriber.confirm() else {
        panic!("there is room for two");
    };
    assert_eq!((refusals.len(), refusals[0].about.as_str()), (1, "c"));

    let address = ("127.0.0.1", broker.publisher_port);
    let mut publisher = Publisher::connect_with(address, &options).unwrap();
    assert_eq!(publisher.welcome().max_payload, 1_024);
    publisher.publish("a.x", b"one").unwrap();
    publisher.publish("c", b"nobody").unwrap();
    publisher.publish("b.y.z", b"two").unwrap();
    publisher.close().unwrap();
    let payloads: Vec<_> =
        subscriber.messages().take(2).map(|message| message.unwrap().payload).collect();
    assert_eq!(payloads, [b"one", b"two"]);

    let wrong_port = ("127.0.0.1", broker.subscriber_port);
    let mut lost = Publisher::connect_with(wrong_port, &options).unwrap();
    lost.publish("t", b"x").unwrap();
    let error = lost.flush().unwrap_err();
    assert!(matches!(&error, ClientError::ClosedByBroker(refusal) if refusal.code == 5), "{error}");
}

#[test]
fn the_python_client_speaks_the_same_protocol() {
    let broker = Broker::start();
    let python = |args: &str| program("python3", &format!("{} {args}", example("client.py")));
    let publish = |topic: &str, message: &str| {
        let mut command = python(&format!("pub 127.0.0.1 {} {topic}", broker.publisher_port));
        command.arg(message);
        let finished = run(command, b"");
        assert_eq!(finished.code, Some(0), "{finished:?}");
    };
    let subscribe = format!("sub 127.0.0.1 {} py.>", broker.subscriber_port);
    let mut theirs = start(python(&subscribe));
    let ours = broker.ready_subscriber("--topic py.> --topic probe.>");
    eventually("the Python subscriber", || {
        publish("py.ready", "ready");
        theirs.stdout().contains("py.ready ready\n").then_some(())
    });
    publish("py.x", "grüße, with spaces");
    ours.await_stdout("py.x grüße, with spaces\n");
    theirs.await_stdout("py.x grüße, with spaces\n");

    let lines = fs::read_to_string(example("client.py")).unwrap().lines().count();
    assert!(lines < 115, "{lines} lines are too many for a short example");
    theirs.kill();

    let mut counted = start(python(&format!("{subscribe} 1")));
    eventually("the count", || {
        publish("py.ready", "ready");
        (!counted.stdout().is_empty()).then_some(())
    });
    assert_eq!(counted.finish().code, Some(0));
}

#[test]
fn reconnecting_works_across_a_restart_of_the_broker() {
    let mut broker = Broker::start();
    let subscriber = broker.ready_subscriber("--topic t --topic probe.> --reconnect");
    broker.process.kill();
    subscriber.await_stderr("connecting again");
    let again = broker.again();
    subscriber.await_stderr("connected again");
    let published = run(again.publisher("--topic t --message restored"), b"");
    assert_eq!(published.code, Some(0));
    subscriber.await_stdout("t restored\n");
}

#[test]
fn a_subscriber_without_input_prints_for_ever() {
    let broker = Broker::start();
    let mut command = broker.subscriber("--topic t --topic probe.> -C 3");
    command.stdin(Stdio::null());
    let mut subscriber = start(command);
    subscriber.close_input();
    eventually("three messages", || {
        run(broker.publisher("--topic t --message x"), b"");
        (subscriber.stdout().lines().count() == 3).then_some(())
    });
    assert_eq!(subscriber.finish().code, Some(0));
}

#[test]
fn the_python_client_can_be_imported_stays_alive_and_raises() {
    let broker = Broker::with_config("[timeouts]\nheartbeat = 0.4\n");
    let subscriber = broker.ready_subscriber("--topic py --topic probe.>");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    // Idle for more than two heartbeats, then refused.
    let code = "import sys, time
sys.argv = ['x']
import client
publisher = client.Client('127.0.0.1', int(sys.stdin.readline()))
time.sleep(1.5)
publisher.publish('py', 'still here')
try: publisher.publish('py.*', 'x')
except client.BrokerError as error: print('raised', error)
publisher.close()";
    let mut command = Command::new("python3");
    command.args(["-B", "-c", code]).current_dir(folder);
    let finished = run(command, format!("{}\n", broker.publisher_port).as_bytes());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.text().starts_with("raised error 3 py.*"), "{finished:?}");
    subscriber.await_stdout("py still here\n");
}
