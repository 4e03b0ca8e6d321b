//! Proves that the broker survives every shortage of accept(2): it neither spins nor floods the
//! log, connected clients are not affected, and it recovers at once.

use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::frame::{hello, ping};
use crate::support::{Broker, Event, PATIENCE, Peer, Process, TempDir, kind};

/// Runs the broker by these words in front of its own command line.
fn run_by(words: &[&str]) -> Broker {
    let dir = TempDir::new();
    // No other deadline may let waiting connections be accepted.
    dir.write("config.ini", "[timeouts]\nhello = 600\nheartbeat = 0\n");
    let program = support::broker::command(dir.path()).get_program().to_owned();
    let mut command = Command::new(words[0]);
    command.current_dir(dir.path()).args(&words[1..]).arg(program).args(["-s", "0", "-p", "0"]);
    let process = Process::spawn(&mut command);
    Broker::started(dir, process)
}

fn with_limit(files: u32) -> Broker {
    run_by(&["sh", "-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\"")])
}

/// Lines of the log about shortages of accepting.
fn warnings(broker: &Broker) -> usize {
    broker.log().so_far().iter().filter(|line| line.contains("cannot accept")).count()
}

/// A new client connects; how long until it was welcomed.
fn welcomed(broker: &Broker) -> Duration {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let mut peer = Peer::connect(broker.subscribers);
        let _ = peer.try_send(&hello(b"late", b"version=1\n"));
        if let Event::Frame(frame) = peer.next(PATIENCE)
            && frame.kind == kind::WELCOME
        {
            peer.confirm();
            return start.elapsed();
        }
    }
    panic!("nobody gets in any more");
}

/// Three hundred clients for a limit of 128 files, for so long. Returns the share of a processor
/// that it took, the lines that it logged, and the time until it had recovered.
fn exhausted(lasting: Duration) -> (f64, usize, Duration) {
    let broker = with_limit(128);
    let mut subscriber = broker.subscriber_of(&[b"connected.before"]);
    let mut publisher = broker.publisher();
    let connections: Vec<TcpStream> = (0..300)
        .filter_map(|_| TcpStream::connect_timeout(&broker.subscribers, PATIENCE).ok())
        .collect();
    broker.log().wait_for("the warning", |line| line.contains("cannot accept"));
    // Those that were connected before are not held up.
    for number in 0..100 {
        publisher.publish(b"connected.before", &[number]);
        subscriber.expect_message(b"connected.before", &[number]);
    }
    // Until all that were accepted are settled.
    thread::sleep(Duration::from_millis(200));
    let (before, lines) = (broker.process().cpu_and_sleeps().0, warnings(&broker));
    thread::sleep(lasting);
    let spent = (broker.process().cpu_and_sleeps().0 - before) as f64 / 100.0;
    let logged = warnings(&broker) - lines;
    drop(connections);
    (spent / lasting.as_secs_f64(), logged, welcomed(&broker))
}

#[test]
fn without_descriptors_it_neither_spins_nor_floods_the_log_and_is_back_soon() {
    let (part, lines, back) = exhausted(Duration::from_millis(1_500));
    assert!(part <= 0.1, "it takes {:.0} % of a processor", part * 100.0);
    assert!(lines <= 2, "{lines} lines in 1.5 s");
    println!("back after {back:?}");
}

#[test]
#[ignore = "10 s, and wants the machine for itself"]
fn full_row_7_three_hundred_clients_for_128_descriptors() {
    let (part, lines, back) = exhausted(Duration::from_secs(10));
    println!(
        "row 7: {:.1} % of a processor of 1 allowed, {lines} lines in 10 s, back after {:.3} s of \
         0.3 allowed",
        part * 100.0,
        back.as_secs_f64()
    );
    assert!(part <= 0.01 && lines <= 10 && back <= Duration::from_millis(300));
}

/// A broker under strace. Dropping this ends both: strace alone would leave its child running.
struct Traced(Broker);

impl Traced {
    fn run(words: &[&str]) -> Traced {
        Traced(run_by(&[&["strace", "-f", "-o", "trace.txt"], words].concat()))
    }

    /// Whether strace has made a call fail.
    fn has_injected(&self) -> bool {
        let trace = std::fs::read_to_string(self.0.dir.path().join("trace.txt"));
        trace.expect("strace writes it").contains("INJECTED")
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let strace = self.0.process().id();
        let children = std::fs::read_to_string(format!("/proc/{strace}/task/{strace}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let _ = Command::new("kill").args(["-s", "KILL", child]).status();
        }
    }
}

/// Accepting fails so many times with this error, injected by strace, and then works.
fn failing_accepts(error: &str, times: usize, is_exhaustion: bool) {
    let inject = format!("inject=accept4:error={error}:when=3..{}", 2 + times);
    let traced = Traced::run(&["-e", "trace=accept4", "-e", &inject]);
    let broker = &traced.0;
    // The first calls: accepting a client, and learning that there is no other.
    let mut before = Peer::connect(broker.subscribers).hello(b"before");
    let start = Instant::now();
    let mut late = Peer::connect(broker.subscribers);
    late.send(&[hello(b"late", b"version=1\n"), ping(b"in")].concat());
    support::eventually("an injected error", || traced.has_injected().then_some(()));
    before.confirm();
    late.expect_welcome();
    assert_eq!(late.recv().kind, kind::PONG);
    let seconds = start.elapsed().as_secs() as usize + 1;
    assert!(warnings(broker) <= seconds, "{error}: too many lines");
    assert_eq!(warnings(broker) > 0, is_exhaustion, "{error}");
    before.confirm();
}

#[test]
fn all_that_accept_runs_out_of_is_waited_for() {
    for error in ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"] {
        failing_accepts(error, 5, true);
    }
}

#[test]
fn errors_of_one_connection_are_nothing_to_the_next() {
    for error in ["ECONNABORTED", "EPROTO", "ENETDOWN", "EINTR"] {
        failing_accepts(error, 5, false);
    }
}
