//! Proves that the broker survives shortages: no file descriptor left, no memory left by its own
//! limit, and many clients that connect and disconnect.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::frame::{hello, publish};
use crate::support::{Broker, Event, Flood, PATIENCE, Peer, Process, TempDir, kind};

/// A broker that may have so many files open.
fn with_open_files(count: u32) -> Broker {
    let dir = TempDir::new();
    // No other deadline may let waiting connections be accepted.
    dir.write("config.ini", "[timeouts]\nhello = 600\nheartbeat = 0\n");
    let program = support::broker::command(dir.path()).get_program().to_owned();
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {count} && exec \"$0\" -s 0 -p 0");
    command.current_dir(dir.path()).arg("-c").arg(script).arg(program);
    let process = Process::spawn(&mut command);
    Broker::started(dir, process)
}

#[test]
fn running_out_of_file_descriptors_ends_when_clients_leave() {
    let mut broker = with_open_files(40);
    let mut early = broker.subscriber_of(&[b"t"]);
    let mut publisher = broker.publisher();
    // More than it can take: they are refused, or wait to be accepted.
    let connections: Vec<TcpStream> = (0..80)
        .filter_map(|_| TcpStream::connect_timeout(&broker.subscribers, PATIENCE).ok())
        .collect();
    for _ in 0..20 {
        publisher.publish(b"t", b"still here");
        early.expect_message(b"t", b"still here");
    }
    let before = broker.process().cpu_and_sleeps().0;
    std::thread::sleep(Duration::from_millis(500));
    let spent = broker.process().cpu_and_sleeps().0 - before;
    assert!(spent <= 10, "it spins: {spent} hundredths of a second in half a second");
    drop(connections);

    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut late = Peer::connect(broker.subscribers);
        let _ = late.try_send(&hello(b"late", b"version=1\n"));
        if let Event::Frame(frame) = late.next(PATIENCE)
            && frame.kind == kind::WELCOME
        {
            late.subscribe(b"t", b"");
            publisher.publish(b"t", b"again");
            late.expect_message(b"t", b"again");
            break;
        }
        assert!(Instant::now() < deadline, "nobody gets in any more");
    }
    assert!(broker.is_running());
}

#[test]
fn memory_bytes_holds_publishers_up_and_loses_nothing_under_block() {
    const MESSAGES: usize = 6_000;
    let settings = [
        ("limits.memory_bytes", "8MiB"),
        ("limits.outbox_bytes", "256MiB"),
        ("overflow.stall_timeout", "600"),
    ];
    let broker = Broker::with(&settings);
    let mut stalled: Vec<Peer> = (0..3).map(|_| broker.small_subscriber_of(b"t")).collect();
    let mut publisher = broker.publisher();
    let bytes = (0..MESSAGES).flat_map(|i| publish(b"t", &[i as u8; 10_000])).collect();
    let flood = Flood::start(publisher.sender(), bytes);
    flood.wait_until_blocked();
    // The program itself, the limit, and what allocators keep.
    let resident = broker.process().resident();
    assert!(resident < 64 << 20, "{} MiB are in use", resident >> 20);
    std::thread::scope(|scope| {
        for peer in &mut stalled {
            scope.spawn(|| {
                for i in 0..MESSAGES {
                    peer.expect_message(b"t", &[i as u8; 10_000]);
                }
            });
        }
    });
    flood.finish();
    publisher.confirm();
}

#[test]
fn a_stalled_subscriber_of_a_few_small_messages_pins_little_memory() {
    let broker = Broker::with(&[("network.read_bytes", "256KiB")]);
    // One small message for the stalled subscriber among many without a receiver.
    let stalled = broker.small_subscriber_of(b"rare");
    let mut publisher = broker.publisher();
    // First fill the kernel's buffers, so that what follows stays in the outbox.
    for _ in 0..60 {
        publisher.publish(b"rare", &[7; 100_000]);
    }
    publisher.confirm();
    let before = broker.process().resident();
    let filler = publish(b"unwanted", &[7; 255_000]);
    for _ in 0..600 {
        publisher.send(&[publish(b"rare", b"small"), filler.clone()].concat());
    }
    publisher.confirm();
    let after = broker.process().resident();
    let grown = after.saturating_sub(before) >> 20;
    assert!(grown < 32, "{grown} MiB are held for 600 small messages of 150 MiB");
    drop(stalled);
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let broker = Broker::with(&[("network.max_connections", "300")]);
    let round = || {
        let mut peers: Vec<Peer> = Vec::new();
        for i in 0..50 {
            let own = format!("room.{i}.*");
            peers.push(broker.subscriber_of(&[own.as_bytes(), b"all.>"]));
        }
        let mut publisher = broker.publisher();
        for i in 0..50 {
            publisher.publish(format!("room.{i}.x").as_bytes(), &[7; 1_000]);
        }
        publisher.publish(b"all.x", b"end");
        for peer in &mut peers {
            assert_eq!(peer.messages_until(b"all.x").len(), 1);
        }
        for peer in &mut peers {
            peer.half_close();
            peer.expect_close();
        }
    };
    (0..5).for_each(|_| round());
    let before = broker.process().resident();
    (0..25).for_each(|_| round());
    let grown = broker.process().resident().saturating_sub(before) >> 20;
    assert!(grown < 8, "{grown} MiB more after clients that have all gone");
}
