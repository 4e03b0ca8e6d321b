//! What stands between a client of the tests and a broker that it cannot connect to by itself: a
//! port whose connections are passed on, byte by byte, to a Unix socket or through another program.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

/// A port that passes its connections on.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
}

impl Relay {
    /// To a Unix socket.
    pub(crate) fn to_path(path: &Path) -> Relay {
        let path = path.to_owned();
        Relay::start(move |client| {
            let Ok(broker) = UnixStream::connect(&path) else { return };
            let end = |stream: &UnixStream| drop(stream.shutdown(Shutdown::Write));
            let up = (clone(&client), broker.try_clone().expect("a handle can be copied"));
            thread::spawn(move || {
                copy(up.0, &up.1);
                end(&up.1);
            });
            copy(broker, &client);
            let _ = client.shutdown(Shutdown::Write);
        })
    }

    /// Through the standard input and output of a program, which is started for each connection.
    pub(crate) fn through(program: impl Fn() -> Command + Send + Sync + 'static) -> Relay {
        Relay::start(move |client| {
            let mut command = program();
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut child = command.spawn().expect("the program can be started");
            let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
            let from = clone(&client);
            thread::spawn(move || copy(from, stdin.expect("it was asked for")));
            copy(stdout.expect("it was asked for"), &client);
            let _ = client.shutdown(Shutdown::Both);
            let _ = child.kill();
            let _ = child.wait();
        })
    }

    /// To a port, what goes to it in parts of so many bytes.
    pub(crate) fn in_parts(broker: SocketAddr, bytes: usize) -> Relay {
        Relay::start(move |client| {
            let Ok(broker) = TcpStream::connect(broker) else { return };
            broker.set_nodelay(true).expect("a socket takes its options");
            let (from, to) = (clone(&client), clone(&broker));
            thread::spawn(move || {
                copy(from, Parts(&to, bytes));
                let _ = to.shutdown(Shutdown::Write);
            });
            copy(&broker, &client);
            let _ = client.shutdown(Shutdown::Write);
        })
    }

    /// To a port; the second part that a client sends waits at a gate.
    pub(crate) fn with_gate(broker: SocketAddr) -> Gated {
        let (reached, is_reached) = mpsc::channel();
        let (open, is_open) = mpsc::channel();
        let ends = Mutex::new(Some((reached, is_open)));
        let relay = Relay::start(move |mut client| {
            let ends = ends.lock().expect("nobody panicked").take();
            let (reached, is_open) = ends.expect("one client comes");
            let Ok(mut broker) = TcpStream::connect(broker) else { return };
            let (mut to, back) = (clone(&client), clone(&broker));
            thread::spawn(move || {
                copy(back, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            let mut bytes = [0; 65_536];
            for part in 0.. {
                let Ok(count @ 1..) = client.read(&mut bytes) else { break };
                if part == 1 {
                    let _ = reached.send(());
                    let _ = is_open.recv();
                }
                if broker.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
            let _ = client.shutdown(Shutdown::Both);
        });
        Gated { relay, is_reached, open }
    }

    /// To a port for NATS clients, behind the line that it begins with.
    pub(crate) fn behind_info(broker: SocketAddr) -> Relay {
        Relay::start(move |client| {
            let Ok(mut broker) = TcpStream::connect(broker) else { return };
            let (mut byte, mut line) = ([0], Vec::new());
            while line.last() != Some(&b'\n') {
                broker.read_exact(&mut byte).expect("a line was due");
                line.push(byte[0]);
            }
            assert!(line.starts_with(b"INFO {"), "{}", line.escape_ascii());
            let (from, to) = (clone(&client), clone(&broker));
            thread::spawn(move || copy(from, &to));
            copy(&broker, &client);
            let _ = client.shutdown(Shutdown::Both);
        })
    }

    fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let serve = Arc::new(serve);
        // Both end with the process of the test.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let serve = Arc::clone(&serve);
                client.set_nodelay(true).expect("a socket takes its options");
                thread::spawn(move || serve(client));
            }
        });
        Relay { address }
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a handle can be copied")
}

/// Passes on what comes, as soon as it does, until either side ends.
fn copy(mut from: impl Read, mut to: impl Write) {
    let mut buffer = [0; 65_536];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || to.write_all(&buffer[..count]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

/// A relay with a gate.
pub(crate) struct Gated {
    pub(crate) relay: Relay,
    is_reached: mpsc::Receiver<()>,
    open: mpsc::Sender<()>,
}

impl Gated {
    pub(crate) fn wait_until_reached(&self) {
        self.is_reached.recv_timeout(super::PATIENCE).expect("a client was due at the gate");
    }

    pub(crate) fn open(&self) {
        self.open.send(()).expect("a client waits at the gate");
    }
}

/// Writes so many bytes at a time.
struct Parts<'a>(&'a TcpStream, usize);

impl Write for Parts<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(self.1)])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A new directory whose path is short enough for the name of a socket.
pub(crate) fn short_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("bt-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a directory can be made");
    path
}
