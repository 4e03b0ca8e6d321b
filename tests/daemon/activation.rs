//! Proves that sockets which a service manager has bound are used as their names say, whatever
//! their order; that others are refused with advice; and that no client that connects while the
//! broker is stopped is refused.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};

use crate::support;
use crate::support::broker::command;
use crate::support::frame::hello;
use crate::support::process::ini;
use crate::support::relay::short_dir;
use crate::support::{
    Broker, Event, Http, NatsPeer, PATIENCE, Peer, Process, Relay, TempDir, kind,
};

const PASSED: &str = ", passed by the service manager";

/// A socket that listens, and its address.
fn listening() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = socket.local_addr().expect("it is bound");
    (socket, address)
}

/// A broker that is passed `count` of two sockets with such names. A shell moves them to where
/// sd_listen_fds(3) wants them, and then becomes the broker by exec.
fn passing(dir: &TempDir, sockets: [OwnedFd; 2], count: u32, names: Option<&str>) -> Process {
    let program = command(dir.path()).get_program().to_owned();
    let mut shell = Command::new("sh");
    shell
        .current_dir(dir.path())
        .arg("-c")
        .arg("exec 3<&0 4<&1 0</dev/null 1>&2; export LISTEN_PID=$$; exec \"$0\" -s 0 -p 0 \"$@\"");
    shell.arg(program).env("LISTEN_FDS", count.to_string());
    if let Some(names) = names {
        shell.env("LISTEN_FDNAMES", names);
    }
    let [first, second] = sockets.map(Stdio::from);
    Process::spawn_on(&mut shell, first, second)
}

/// A message is delivered from one address to the other.
fn works(publishers: SocketAddr, subscribers: SocketAddr) {
    let mut subscriber = Peer::connect(subscribers).hello(b"subscriber");
    subscriber.subscribe(b"t", b"");
    Peer::connect(publishers).hello(b"publisher").publish(b"t", b"x");
    subscriber.expect_message(b"t", b"x");
}

#[test]
fn sockets_are_told_by_name_whatever_their_order() {
    for names in ["publishers:subscribers", "subscribers:publishers"] {
        let ((a, first), (b, second)) = (listening(), listening());
        let dir = TempDir::new();
        let process = passing(&dir, [a.into(), b.into()], 2, Some(names));
        process.stderr.wait_for_count(PASSED, 2);
        match names.starts_with("publishers") {
            true => works(first, second),
            false => works(second, first),
        }
    }
}

#[test]
fn several_sockets_may_have_one_name_and_a_name_without_one_is_bound_as_configured() {
    let ((a, first), (b, second)) = (listening(), listening());
    let dir = TempDir::new();
    let process = passing(&dir, [a.into(), b.into()], 2, Some("publishers:publishers"));
    let broker_of = |publishers| {
        let line = process.stderr.wait_for("a port", |line| line.contains("for subscribers on "));
        assert!(!line.contains(PASSED), "{line}");
        let address = line.rsplit(' ').next().and_then(|word| word.parse().ok());
        works(publishers, address.unwrap_or_else(|| panic!("no address in {line}")));
    };
    broker_of(first);
    broker_of(second);
}

#[test]
fn sockets_of_another_process_are_not_ours() {
    let dir = TempDir::new();
    let mut command = command(dir.path());
    command.args(["-s", "0", "-p", "0"]);
    command.envs([("LISTEN_PID", "1"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a:b")]);
    let broker = Broker::started(dir, Process::spawn(&mut command));
    works(broker.publishers, broker.subscribers);
}

#[test]
fn a_socket_for_nats_clients_brings_what_holds_for_them() {
    let ((a, _), (b, address)) = (listening(), listening());
    let dir = TempDir::new();
    dir.write("config.ini", &ini(&[("monitor.address", "127.0.0.1:0")]));
    let process = passing(&dir, [a.into(), b.into()], 2, Some("publishers:nats"));
    process.stderr.wait_for_count(PASSED, 2);
    let broker = Broker::started(dir, process);
    let mut client = NatsPeer::named(address, "client");
    client.send("SUB t 1\r\n");
    client.confirm();
    let limit = || Http::get(broker.monitor(), "/varz").json()["max_pending"].clone();
    assert_eq!(limit(), 64 << 20, "and not what holds for native subscribers");
    broker.reload(&[("monitor.address", "127.0.0.1:0"), ("limits.nats_outbox_bytes", "1MiB")]);
    broker.log().wait_for_count("reloaded: ", 1);
    assert_eq!(limit(), 1 << 20);
}

#[test]
fn a_unix_socket_is_taken_for_the_role_of_its_name_and_its_file_is_left_alone() {
    let socket_dir = short_dir();
    let path = socket_dir.join("s");
    let unix = UnixListener::bind(&path).expect("the name is free");
    let (tcp, publishers) = listening();
    let dir = TempDir::new();
    let names = Some("subscribers:publishers");
    let mut process = passing(&dir, [unix.into(), tcp.into()], 2, names);
    process.stderr.wait_for_count(PASSED, 2);
    let relay = Relay::to_path(&path);
    works(publishers, relay.address);
    let is_other = |line: &String| line.contains("for subscribers on 127.");
    assert!(!process.stderr.so_far().iter().any(is_other), "no port beside what was passed");
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(0));
    assert!(path.exists(), "it is the service manager's");
    let _ = std::fs::remove_dir_all(socket_dir);
}

#[test]
fn passed_sockets_do_not_block_and_are_not_inherited() {
    let ((a, first), (b, second)) = (listening(), listening());
    let dir = TempDir::new();
    let names = Some("publishers:subscribers");
    let process = passing(&dir, [a.into(), b.into()], 2, names);
    process.stderr.wait_for_count(PASSED, 2);
    for fd in [3, 4] {
        let info = std::fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", process.id()));
        let info = info.expect("the descriptor is open");
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
        let flags = flags.expect("the system tells the flags");
        assert_eq!((flags & 0o4000, flags & 0o2_000_000), (0o4000, 0o2_000_000), "{flags:o}");
    }
    works(first, second);
}

#[test]
fn what_cannot_be_used_is_refused_with_what_to_do() {
    let dir = TempDir::new();
    let tcp = || -> OwnedFd { listening().0.into() };
    let udp = || -> OwnedFd { UdpSocket::bind("127.0.0.1:0").expect("a port is free").into() };
    let unix = || -> OwnedFd { UnixDatagram::unbound().expect("the system has a socket").into() };
    let deaf = || -> OwnedFd {
        let ipv4 = socket2::Domain::IPV4;
        let socket = socket2::Socket::new(ipv4, socket2::Type::STREAM, None);
        socket.expect("the system has a socket").into()
    };
    let file = || -> OwnedFd { std::fs::File::open("/dev/null").expect("it is there").into() };
    let both = Some("publishers:subscribers");
    let rows: [(OwnedFd, u32, Option<&str>, &[&str]); 8] = [
        (tcp(), 2, None, &["FileDescriptorName="]),
        (tcp(), 2, Some("publishers"), &["FileDescriptorName="]),
        (tcp(), 1, both, &["FileDescriptorName="]),
        (tcp(), 2, Some("publishers:monitor"), &["\"monitor\"", "FileDescriptorName="]),
        (udp(), 2, both, &["for publishers", "tcp"]),
        (unix(), 2, both, &["for publishers", "tcp"]),
        (file(), 2, both, &["for publishers", "not a socket"]),
        (deaf(), 2, both, &["for publishers", "does not listen"]),
    ];
    for (socket, count, names, words) in rows {
        let process = passing(&dir, [socket, tcp()], count, names);
        let (code, _, said) = process.outcome();
        assert_eq!(code, Some(1), "{names:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{names:?}: no {word} in: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn no_connection_is_refused_while_the_broker_restarts() {
    let ((a, publishers), (b, subscribers)) = (listening(), listening());
    let dir = TempDir::new();
    dir.write("config.ini", "[timeouts]\ndrain = 600\n");
    let start = || {
        let [a, b] = [&a, &b].map(|socket| socket.try_clone().expect("a handle can be copied"));
        passing(&dir, [a.into(), b.into()], 2, Some("publishers:subscribers"))
    };
    let mut first = start();
    first.stderr.wait_for_count(PASSED, 2);
    let mut slow = Peer::connect_small(subscribers).hello(b"slow");
    slow.subscribe(b"t", b"");
    let mut publisher = Peer::connect(publishers).hello(b"publisher");
    for _ in 0..70 {
        publisher.publish(b"t", &[7; 100_000]);
    }
    publisher.confirm();
    first.signal("TERM");
    assert_eq!(publisher.frames_until_close().len(), 1, "GOODBYE was due");
    // The first one drains: it accepts no connection, and new ones do not wake it up either.
    let before = first.cpu_and_sleeps().1;
    let mut early: Vec<Peer> = (0..40)
        .map(|_| {
            let mut peer = Peer::connect(subscribers);
            peer.send(&hello(b"early", b"version=1\n"));
            std::thread::sleep(std::time::Duration::from_millis(5));
            peer
        })
        .collect();
    let woken = first.cpu_and_sleeps().1 - before;
    assert!(woken < 20, "it woke up {woken} times for 40 connections that are not for it");
    drop((slow, publisher));
    assert_eq!(first.wait().code(), Some(0));
    let second = start();
    for peer in &mut early {
        peer.expect_welcome();
    }
    works(publishers, subscribers);
    drop(second);
}

#[test]
fn systemd_itself_passes_them_in_either_order() {
    if Command::new("systemd-socket-activate").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "systemd-socket-activate is not installed");
        return eprintln!("without systemd-socket-activate this shows nothing");
    }
    for publishers_first in [true, false] {
        println!("publishers first: {publishers_first}");
        activated(publishers_first);
    }
}

fn activated(publishers_first: bool) {
    // It takes no port 0. Free now; if another process takes one meanwhile, others are tried.
    for _ in 0..5 {
        let [first, second] = [listening().1, listening().1];
        let (names, publishers, subscribers) = match publishers_first {
            true => ("publishers:subscribers", first, second),
            false => ("subscribers:publishers", second, first),
        };
        let dir = TempDir::new();
        let program = command(dir.path()).get_program().to_owned();
        let mut activate = Command::new("systemd-socket-activate");
        activate.current_dir(dir.path()).arg(format!("--fdname={names}"));
        activate.arg("-l").arg(first.to_string()).arg("-l").arg(second.to_string()).arg(program);
        let process = Process::spawn(&mut activate);
        let line = process.stderr.wait_for("a word on its sockets", |line| {
            line.contains(&format!("Listening on {second}")) || line.contains("Failed to open")
        });
        if line.contains("Failed") {
            continue;
        }
        // The first to connect starts the broker, and is served.
        let mut subscriber = Peer::connect(subscribers).hello(b"first");
        process.stderr.wait_for_count(PASSED, 2);
        subscriber.subscribe(b"t", b"");
        let mut wrong = Peer::connect(publishers).hello(b"publisher");
        wrong.publish(b"t", b"x");
        subscriber.expect_message(b"t", b"x");
        wrong.send(&support::frame::subscribe(b"t", b""));
        let Event::Frame(frame) = wrong.next(PATIENCE) else { panic!("an ERROR was due") };
        assert_eq!(frame.kind, kind::ERROR, "the publishers' port takes subscribers");
        return;
    }
    panic!("no free port stayed free");
}
