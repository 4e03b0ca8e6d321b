//! Proves what an operator sees when a broker starts, or does not: the reason is reported where it
//! is looked for, a configuration that cannot start is not called ok, and no file blocks the start.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

use crate::support;
use crate::support::broker::command;
use crate::support::{Broker, Http, Manager, Process, TempDir, eventually};

/// Runs the broker to its end: exit code, and both outputs.
fn run(dir: &TempDir, arguments: &[&str]) -> (Option<i32>, String) {
    let (code, stdout, stderr) = Process::spawn(command(dir.path()).args(arguments)).outcome();
    (code, format!("{stdout}\n{stderr}"))
}

#[test]
fn the_end_of_standard_input_stops_the_broker_as_a_signal_does() {
    let dir = TempDir::new();
    let (stdin, parent) = std::io::pipe().expect("there is a pipe");
    let mut broker = command(dir.path());
    broker.args(["--exit-with-stdin", "-s", "0", "-p", "0"]);
    let stdin = Stdio::from(OwnedFd::from(stdin));
    let mut process = Process::spawn_on(&mut broker, stdin, Stdio::null());
    drop(broker);
    process.stderr.wait_for("the ports", |line| line.contains("listening for subscribers"));
    assert!(process.is_running());
    drop(parent);
    process.stderr.wait_for("the stop", |line| line.contains("told to stop"));
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn an_unknown_level_is_answered_with_those_there_are() {
    let (code, said) = run(&TempDir::new(), &["--log-level", "foo"]);
    assert_eq!(code, Some(2));
    for level in ["off", "error", "warn", "info", "debug", "trace"] {
        assert!(said.contains(level), "{said}");
    }
}

#[test]
fn a_check_that_cannot_be_printed_fails_without_a_panic() {
    let dir = TempDir::new();
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let mut broker = command(dir.path());
    let mut process = Process::spawn_on(broker.arg("-t"), Stdio::null(), full.into());
    assert_eq!(process.wait().code(), Some(1));
    assert!(process.stderr.all().contains("cannot write to standard output"));
}

#[test]
fn what_cannot_start_is_not_ok() {
    let rows = [
        ("[monitor]\naddress = 127.0.0.1:9000\n", "is the publishers' port"),
        ("[log]\nfile = no/such/directory/broker.log\n", "no/such/directory/broker.log"),
        ("[log]\nfile = .\n", "cannot write the log to ."),
        ("[network]\nhost =\n", "expected an address or a host name"),
        ("[network]\nhost = no..such\n", "cannot listen on no..such"),
        ("[monitor]\naddress = no..such:1\n", "cannot listen for monitors on no..such:1"),
    ];
    for (config, expected) in rows {
        let dir = TempDir::new();
        dir.write("config.ini", config);
        let (code, said) = run(&dir, &["-t"]);
        assert_eq!(code, Some(2), "{config} {said}");
        assert!(said.contains(expected), "{config} {said}");
        assert!(!said.contains("ok\n"), "{said}");
    }
    let (code, said) = run(&TempDir::new(), &["-t", "--host", ""]);
    assert!(code == Some(2) && said.contains("an address or a host name"), "{said}");
    let dir = TempDir::new();
    dir.write("config.ini", "[log]\nfile = new.log\n");
    assert_eq!(run(&dir, &["-t"]).0, Some(0));
    assert_eq!(dir.names(), ["config.ini"], "a check leaves nothing behind");
}

#[test]
fn why_it_does_not_start_is_in_the_log_file_and_in_the_service_manager_s_status() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let manager = Manager::new();
    let dir = TempDir::new();
    dir.write("config.ini", "[log]\nfile = broker.log\n");
    let mut broker = command(dir.path());
    broker.args(["-s", "0", "-p", &port]);
    let (code, _, stderr) = Process::spawn(manager.watch(&mut broker)).outcome();
    assert_eq!(code, Some(1));
    let reason = format!("cannot listen for publishers on 127.0.0.1:{port}");
    assert!(stderr.contains(&reason), "{stderr}");
    let log = std::fs::read_to_string(dir.path().join("broker.log")).expect("it was written");
    assert!(log.lines().any(|line| line.contains("[ERROR]") && line.contains(&reason)), "{log}");
    assert!(manager.wait_for("STATUS=").contains(&reason));
    // A broken configuration is one, too.
    dir.write("config.ini", "[nonsense]\n");
    let mut broker = command(dir.path());
    let (code, _, _) = Process::spawn(manager.watch(&mut broker)).outcome();
    assert_eq!(code, Some(2));
    assert!(manager.wait_for("STATUS=").contains("unknown section [nonsense]"));
}

#[test]
fn in_the_journal_s_format_the_reason_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let dir = TempDir::new();
    dir.write("config.ini", "[log]\nformat = journal\n");
    let (code, said) = run(&dir, &["-s", "0", "-p", &port]);
    assert_eq!(code, Some(1));
    assert!(said.contains("\n<3>broker: cannot listen for publishers"), "{said}");
}

#[test]
fn a_log_that_is_a_pipe_is_never_waited_for() {
    let dir = TempDir::new();
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("it runs").success());
    dir.write("config.ini", "[log]\nfile = pipe\nlevel = trace\n");
    // No program reads it: an error, at once.
    for arguments in [&["-t"][..], &["-s", "0", "-p", "0"]] {
        let (code, said) = run(&dir, arguments);
        assert_ne!(code, Some(0));
        assert!(said.contains("it is a pipe that no program reads"), "{said}");
    }
    // A program has it open and stalls: lines are lost, and clients served.
    const O_NONBLOCK: i32 = 0o4000;
    let mut reader = File::options().read(true).custom_flags(O_NONBLOCK).open(&pipe).unwrap();
    let process = Process::spawn(command(dir.path()).args(["-s", "0", "-p", "0"]));
    let mut log = String::new();
    let port = eventually("the port in the log", || {
        let _ = reader.read_to_string(&mut log);
        let line = log.lines().find(|line| line.contains("listening for subscribers"))?;
        line.rsplit_once(':')?.1.parse::<u16>().ok().filter(|_| log.ends_with('\n'))
    });
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    for _ in 0..2_000 {
        drop(TcpStream::connect(address).expect("it accepts"));
    }
    let mut peer = support::Peer::connect(address).hello(b"served");
    peer.subscribe(b"t", b"");
    drop(process);
}

#[test]
fn a_name_is_listened_on_at_all_of_its_addresses() {
    // Both kinds of loopback, where this machine has them.
    let has_both = TcpListener::bind("[::1]:0").is_ok()
        && std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 0)).is_ok_and(|found| {
            let all: Vec<_> = found.collect();
            all.iter().any(SocketAddr::is_ipv6) && all.iter().any(SocketAddr::is_ipv4)
        });
    let settings = [("network.host", "localhost"), ("monitor.address", "localhost:0")];
    let broker = Broker::with(&settings);
    let ports = [broker.publishers, broker.subscribers, broker.monitor()].map(|one| one.port());
    let hosts = if has_both { &["127.0.0.1", "::1"][..] } else { &["localhost"] };
    for host in hosts {
        for port in ports {
            TcpStream::connect((*host, port)).unwrap_or_else(|error| panic!("{host}: {error}"));
        }
        let address = std::net::ToSocketAddrs::to_socket_addrs(&(*host, ports[2]));
        let address = address.expect("it is known").next().expect("it has an address");
        assert_eq!(Http::get(address, "/healthz").status, 200, "{host}");
    }
}

#[test]
fn settings_that_passed_sockets_make_void_are_named() {
    let dir = TempDir::new();
    let listening = || TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let mut shell = Command::new("sh");
    let program = command(dir.path()).get_program().to_owned();
    shell.current_dir(dir.path()).arg("-c").arg(
        "exec 3<&0 4<&1 0</dev/null 1>&2; export LISTEN_PID=$$; exec \"$0\" -p 7 --host 127.0.0.2",
    );
    shell.arg(program).env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "publishers:subscribers");
    let [first, second] = [listening(), listening()].map(|one| Stdio::from(OwnedFd::from(one)));
    let process = Process::spawn_on(&mut shell, first, second);
    for text in ["[network] host = 127.0.0.2 is not used", "[network] publisher_port = 7 is not"] {
        let is_warning = |line: &str| line.contains("[WARN]") && line.contains(text);
        process.stderr.wait_for(text, is_warning);
    }
    process.stderr.wait_for("the ports", |line| line.contains("listening for subscribers"));
    let warnings = process.stderr.so_far();
    assert!(!warnings.iter().any(|line| line.contains("subscriber_port = 9090 is not")));
}
