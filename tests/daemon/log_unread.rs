//! Proves that an unread standard error blocks nothing but its own lines, and that the log says how
//! many it has lost.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};

use crate::support;
use crate::support::{Peer, TempDir};

/// Clients that connect and disconnect, two lines each: far more than a pipe or a socket holds.
const CLIENTS: usize = 2_000;

/// Reads until a line has these words, and returns what follows them.
fn read_until(lines: &mut impl Iterator<Item = String>, words: &str) -> String {
    let found = lines.find_map(|line| Some(line.split_once(words)?.1.to_owned()));
    found.unwrap_or_else(|| panic!("the log ended without {words:?}"))
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The broker, with what it logs, and where it listens for each role.
fn start<R: Read>(
    mut command: Command,
    log: R,
) -> (Killed, impl Iterator<Item = String> + use<R>, [SocketAddr; 2]) {
    let child = Killed(
        command
            .args(["-s", "0", "-p", "0", "--log-level", "debug"])
            .spawn()
            .expect("the broker starts"),
    );
    drop(command);
    let mut lines = BufReader::new(log).lines().map(|line| line.expect("the log is text"));
    let ports = ["publishers", "subscribers"].map(|role| {
        let address = read_until(&mut lines, &format!("listening for {role} on "));
        address.parse().expect("an address is told")
    });
    (child, lines, ports)
}

#[test]
fn lines_that_are_not_read_from_a_pipe_are_counted_and_block_nothing() {
    let dir = TempDir::new();
    let (reader, writer) = std::io::pipe().expect("the system has a pipe");
    let mut command = support::broker::command(dir.path());
    command.stderr(writer);
    lines_are_counted(command, reader);
}

#[test]
fn lines_that_the_journal_does_not_read_are_counted_and_block_nothing() {
    let dir = TempDir::new();
    let (reader, writer) = UnixStream::pair().expect("the system has sockets");
    let writer = File::from(OwnedFd::from(writer));
    let stream = writer.metadata().expect("a socket has an inode");
    let mut command = support::broker::command(dir.path());
    command.env("JOURNAL_STREAM", format!("{}:{}", stream.dev(), stream.ino())).stderr(writer);
    lines_are_counted(command, reader);
}

fn lines_are_counted(command: Command, log: impl Read + Send + 'static) {
    let (broker, mut lines, [publishers, subscribers]) = start(command, log);
    let mut subscriber = Peer::connect(subscribers).hello(b"subscriber");
    subscriber.subscribe(b"t", b"");
    let mut publisher = Peer::connect(publishers).hello(b"publisher");
    for _ in 0..CLIENTS {
        let mut client = Peer::connect(publishers).hello(b"client");
        client.half_close();
        client.expect_close();
        publisher.publish(b"t", b"nobody waits for the log");
        subscriber.expect_message(b"t", b"nobody waits for the log");
    }

    // What the pipe holds, then what was lost, then what is new.
    let told = std::thread::spawn(move || {
        let (mut read, mut lost) = (0, 0);
        for line in lines.by_ref() {
            if let Some((before, _)) = line.split_once(" lines of this log are lost") {
                let number = before.rsplit([' ', '>']).next().unwrap_or_default();
                lost += number.parse::<usize>().expect("the number of lines");
            } else if line.contains("newcomer") {
                return (read, lost);
            } else {
                read += usize::from(line.contains("connected: "));
            }
        }
        panic!("the log ended before the last client came");
    });
    let mut newcomers = 0;
    while !told.is_finished() {
        newcomers += 1;
        Peer::connect(publishers).hello(b"newcomer").confirm();
        std::thread::yield_now();
    }
    let (read, lost) = told.join().expect("the log tells");
    assert!(lost > 0, "nothing was lost: {read} lines read");
    let (least, most) = (2 * CLIENTS + 2, 2 * (CLIENTS + newcomers) + 2);
    assert!((least..=most).contains(&(read + lost)), "{read} lines read and {lost} lost");
    drop(broker);
}
