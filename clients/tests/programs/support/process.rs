//! The programs as child processes: started, given input, watched, and never left running.

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::eventually;
use super::fake::{FakeBroker, Peer};

/// A running program. Killed when dropped.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Output,
    stderr: Output,
}

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Finished {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// What a program has written to one of its outputs so far.
struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

/// `publisher` with arguments separated by blanks.
pub fn publisher(args: &str) -> Command {
    program(env!("CARGO_BIN_EXE_publisher"), args)
}

/// `subscriber` with arguments separated by blanks.
pub fn subscriber(args: &str) -> Command {
    program(env!("CARGO_BIN_EXE_subscriber"), args)
}

/// Any program, in a directory without a config.ini.
pub fn program(path: impl AsRef<Path>, args: &str) -> Command {
    let mut command = Command::new(path.as_ref());
    command.args(args.split_ascii_whitespace()).current_dir(env!("CARGO_TARGET_TMPDIR"));
    for name in ["HOST", "PUBLISHER_PORT", "SUBSCRIBER_PORT", "USER", "SECRET"] {
        command.env_remove(format!("BROKER_{name}"));
    }
    command
}

/// Arguments that point a program at a fake broker.
pub fn aimed(fake: &FakeBroker, args: &str) -> String {
    format!("-h 127.0.0.1 -p {} {args}", fake.address().port())
}

/// A subscriber program, connected and welcomed.
pub fn subscriber_at(fake: &FakeBroker, args: &str) -> (Process, Peer) {
    let process = start(subscriber(&aimed(fake, args)));
    (process, fake.welcome())
}

/// A publisher program, connected and welcomed.
pub fn publisher_at(fake: &FakeBroker, args: &str) -> (Process, Peer) {
    let process = start(publisher(&aimed(fake, args)));
    (process, fake.welcome())
}

/// A command file that lasts as long as the value.
pub fn command_file(text: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

/// Any program, on a terminal of its own: Python's standard library makes one, and passes on what
/// is typed and printed.
pub fn on_a_terminal(path: &str, args: &str) -> Command {
    let code = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)";
    let mut command = Command::new("python3");
    command.args(["-c", code, path]).args(args.split_ascii_whitespace());
    command
}

/// Starts a program whose standard input the test feeds.
pub fn start(mut command: Command) -> Process {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    Process {
        stdin: child.stdin.take(),
        stdout: Output::collect(child.stdout.take().unwrap()),
        stderr: Output::collect(child.stderr.take().unwrap()),
        child,
    }
}

/// Runs a program with this on its standard input, to its end.
pub fn run(command: Command, input: &[u8]) -> Finished {
    let mut process = start(command);
    process.feed(input);
    process.close_input();
    process.finish()
}

impl Process {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes to the program's standard input.
    pub fn feed(&mut self, input: &[u8]) {
        // A program may end without reading all of it.
        let _ = self.stdin.as_mut().unwrap().write_all(input);
    }

    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Waits until standard output holds `text`; returns all of it.
    pub fn await_stdout(&self, text: &str) -> String {
        eventually(&format!("{text:?} on stdout\n{self:?}"), || self.stdout.with(text))
    }

    /// Waits until standard error holds `text`; returns all of it.
    pub fn await_stderr(&self, text: &str) -> String {
        eventually(&format!("{text:?} on stderr\n{self:?}"), || self.stderr.with(text))
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout.bytes.lock().unwrap()).into_owned()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the program to end by itself.
    pub fn finish(&mut self) -> Finished {
        let what = format!("the end of process {}\n{self:?}", self.child.id());
        let status = eventually(&what, || self.child.try_wait().unwrap());
        let stdout = self.stdout.rest();
        Finished {
            code: status.code(),
            stdout,
            stderr: String::from_utf8_lossy(&self.stderr.rest()).into_owned(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stderr = self.stderr.bytes.lock().unwrap();
        write!(f, "stdout: {}\nstderr: {}", self.stdout(), String::from_utf8_lossy(&stderr))
    }
}

impl Output {
    fn collect(mut source: impl Read + Send + 'static) -> Output {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut piece = [0; 8_192];
            while let Ok(count @ 1..) = source.read(&mut piece) {
                collected.lock().unwrap().extend_from_slice(&piece[..count]);
            }
        });
        Output { bytes, reader: Some(reader) }
    }

    fn with(&self, text: &str) -> Option<String> {
        let all = String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned();
        all.contains(text).then_some(all)
    }

    fn rest(&mut self) -> Vec<u8> {
        self.reader.take().unwrap().join().unwrap();
        self.bytes.lock().unwrap().clone()
    }
}
