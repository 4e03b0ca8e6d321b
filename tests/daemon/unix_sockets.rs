//! Proves that publishers, subscribers and NATS clients are served over Unix sockets as over ports,
//! that the log says which process is behind one, and what becomes of the files of the sockets.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::support::broker::command;
use crate::support::process::ini;
use crate::support::relay::short_dir;
use crate::support::{Broker, NatsPeer, Peer, Process, Relay, TempDir};

/// A directory for sockets, which goes with the test.
struct Sockets(PathBuf);

impl Sockets {
    fn new() -> Sockets {
        Sockets(short_dir())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Starts a broker that is to fail: its exit code, and what it said.
fn failing(settings: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let dir = TempDir::new();
    dir.write("config.ini", &ini(settings));
    let mut broker = command(dir.path());
    let (code, stdout, stderr) = Process::spawn(broker.args(arguments)).outcome();
    (code, format!("{stdout}{stderr}"))
}

/// The process is listening at this path when this returns.
fn wait_for(broker: &Broker, path: &Path) {
    let words = format!("on unix:{}", path.display());
    broker.log().wait_for(&words, |line| line.ends_with(&words));
}

fn file_is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

#[test]
fn all_roles_work_over_unix_sockets_and_beside_ports() {
    let sockets = Sockets::new();
    let [publishers, subscribers, nats] = ["p", "s", "n"].map(|name| sockets.text(name));
    let mut broker = Broker::with(&[
        ("network.publisher_socket", publishers.as_str()),
        ("network.subscriber_socket", subscribers.as_str()),
        ("network.nats_socket", nats.as_str()),
        ("log.level", "debug"),
    ]);
    wait_for(&broker, &sockets.path("n"));
    let [publishers, subscribers, nats] =
        ["p", "s", "n"].map(|name| Relay::to_path(&sockets.path(name)));
    let mut local = Peer::connect(subscribers.address).hello(b"local");
    local.subscribe(b"t", b"");
    let mut remote = broker.subscriber_of(&[b"t"]);
    let mut client = NatsPeer::named(nats.address, "client");
    client.send("SUB t 1\r\n");
    client.confirm();
    let mut publisher = Peer::connect(publishers.address).hello(b"publisher");
    let large = vec![b'x'; 1_000_000];
    for payload in [&b"hello"[..], &large] {
        publisher.publish(b"t", payload);
        local.expect_message(b"t", payload);
        remote.expect_message(b"t", payload);
        client.expect_payload(std::str::from_utf8(payload).expect("it is text"));
    }
    client.send("PUB t 2\r\nhi\r\n");
    local.expect_message(b"t", b"hi");
    let address = format!("\"local\" at unix:{} pid {}", sockets.text("s"), std::process::id());
    broker.log().wait_for(&address, |line| line.contains(&address));
    broker.signal("TERM");
    local.frames_until_close();
    drop((local, remote, client, publisher));
    assert_eq!(broker.wait().code(), Some(0));
    for name in ["p", "s", "n"] {
        assert!(!sockets.path(name).exists(), "a broker that stops leaves no socket behind");
    }
}

#[test]
fn a_broker_that_drains_has_no_socket_any_more() {
    let sockets = Sockets::new();
    let path = sockets.path("s");
    let broker = Broker::with(&[
        ("network.subscriber_socket", sockets.text("s").as_str()),
        ("timeouts.drain", "600"),
    ]);
    wait_for(&broker, &path);
    let stalled = broker.small_subscriber_of(b"t");
    let mut publisher = broker.publisher();
    for _ in 0..70 {
        publisher.publish(b"t", &[7; 100_000]);
    }
    publisher.confirm();
    assert!(file_is_socket(&path));
    broker.signal("TERM");
    publisher.frames_until_close();
    assert!(!path.exists());
    drop(stalled);
}

#[test]
fn a_socket_that_a_killed_broker_has_left_is_replaced() {
    let sockets = Sockets::new();
    let (path, text) = (sockets.path("s"), sockets.text("s"));
    let settings = [("network.subscriber_socket", text.as_str())];
    let first = Broker::with(&settings);
    wait_for(&first, &path);
    drop(first);
    assert!(file_is_socket(&path), "a broker that is killed leaves its socket behind");
    let second = Broker::with(&settings);
    wait_for(&second, &path);
    let relay = Relay::to_path(&path);
    Peer::connect(relay.address).hello(b"subscriber");
}

#[test]
fn what_is_in_the_way_is_named_and_stays() {
    let sockets = Sockets::new();
    let (path, text) = (sockets.path("s"), sockets.text("s"));
    let settings = [("network.subscriber_socket", text.as_str())];
    let start = || failing(&settings, &["-s", "0", "-p", "0"]);
    let busy = UnixListener::bind(&path).expect("the name is free");
    let (code, said) = start();
    assert_eq!(code, Some(1), "{said}");
    let expected =
        format!("cannot listen for subscribers on {text}: a program listens there: stop");
    assert!(said.contains(&expected), "{said}");
    assert!(file_is_socket(&path));
    drop(busy);
    fs::remove_file(&path).expect("it was left");
    fs::write(&path, "precious").expect("a file can be written");
    let (code, said) = start();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("a file that is no socket is in the way"), "{said}");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
    let missing = [("network.subscriber_socket", "/nonexistent/directory/s")];
    let (code, said) = failing(&missing, &["-s", "0", "-p", "0"]);
    assert!(code == Some(1) && said.contains("/nonexistent/directory/s: No such file"), "{said}");
}

#[test]
fn a_socket_has_the_mode_and_the_group_that_are_set() {
    let sockets = Sockets::new();
    let path = sockets.path("s");
    let text = sockets.text("s");
    let own = fs::metadata(&sockets.0).expect("it is there").gid().to_string();
    let settings = [
        ("network.subscriber_socket", text.as_str()),
        ("network.socket_mode", "0606"),
        ("network.socket_group", own.as_str()),
    ];
    let broker = Broker::with(&settings);
    wait_for(&broker, &path);
    let file = fs::metadata(&path).expect("it is there");
    assert_eq!(file.permissions().mode() & 0o777, 0o606, "whatever the umask is");
    assert_eq!(file.gid().to_string(), own);
    drop(broker);
    let unknown = [settings[0], ("network.socket_group", "no-such-group")];
    for arguments in [&["-s", "0", "-p", "0"][..], &["-t"]] {
        let (code, said) = failing(&unknown, arguments);
        assert_ne!(code, Some(0), "{said}");
        assert!(said.contains("no group no-such-group in /etc/group"), "{said}");
    }
}
