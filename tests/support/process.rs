//! A child process with its output collected, and a directory of its own to run in.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// An empty directory that is removed when this is dropped.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> TempDir {
        TempDir::below(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    /// Where other users may go as well.
    pub(crate) fn for_all_users() -> TempDir {
        TempDir::below(&std::env::temp_dir())
    }

    fn below(parent: &Path) -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("broker-test-{}-{number}", std::process::id());
        let path = parent.join(name);
        // A directory left by a process that had the same id and was killed.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a temporary directory can be made");
        TempDir(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into the directory.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file can be written");
        path
    }

    /// Names of all that is in the directory, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("the directory is there");
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = entries.map(|e| name(e.expect("it can be read"))).collect();
        names.sort();
        names
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The text of a config file. Each setting is `section.key` and its value.
pub(crate) fn ini(settings: &[(&str, &str)]) -> String {
    let mut sections: Vec<&str> = Vec::new();
    let mut lines: HashMap<&str, String> = HashMap::new();
    for (name, value) in settings {
        let (section, key) = name.split_once('.').expect("a setting is named section.key");
        if !sections.contains(&section) {
            sections.push(section);
        }
        lines.entry(section).or_default().push_str(&format!("{key} = {value}\n"));
    }
    sections.iter().map(|section| format!("[{section}]\n{}", lines[section])).collect()
}

/// The lines that a process has written to one of its outputs.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    output: Mutex<Output>,
    changed: Condvar,
}

#[derive(Default)]
struct Output {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn collect(output: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let into = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                into.lock().lines.push(String::from_utf8_lossy(&line).into_owned());
                into.0.changed.notify_all();
            }
            into.lock().ended = true;
            into.0.changed.notify_all();
        });
        lines
    }

    /// No lines, for an output that goes elsewhere.
    fn none() -> Lines {
        let lines = Lines::default();
        lines.lock().ended = true;
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Output> {
        self.0.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All lines up to now.
    pub(crate) fn so_far(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// All lines, once the process has closed the output.
    pub(crate) fn all(&self) -> String {
        let guard = self.wait_while("its end", |_, ended| !ended);
        guard.lines.join("\n")
    }

    /// Waits for the first line that `wanted` takes.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let is_missing = |lines: &[String], _| !lines.iter().any(|line| wanted(line));
        let guard = self.wait_while(what, is_missing);
        let found = guard.lines.iter().find(|line| wanted(line));
        found.expect("the wait ended because it is there").clone()
    }

    /// Waits for `count` lines that contain `text`, and returns all that do.
    pub(crate) fn wait_for_count(&self, text: &str, count: usize) -> Vec<String> {
        let matching = |lines: &[String]| -> Vec<String> {
            lines.iter().filter(|line| line.contains(text)).cloned().collect()
        };
        let guard = self.wait_while(text, |lines, _| matching(lines).len() < count);
        matching(&guard.lines)
    }

    /// Waits until `missing` (of the lines, and whether the output has ended) is false.
    fn wait_while(
        &self,
        what: &str,
        missing: impl Fn(&[String], bool) -> bool,
    ) -> MutexGuard<'_, Output> {
        let deadline = Instant::now() + PATIENCE;
        let mut guard = self.lock();
        while missing(&guard.lines, guard.ended) {
            let left = deadline.saturating_duration_since(Instant::now());
            let over = left.is_zero() || guard.ended;
            assert!(!over, "waited in vain for {what} in:\n{}", guard.lines.join("\n"));
            let waited = self.0.changed.wait_timeout(guard, left);
            guard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        guard
    }
}

/// A running child. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) stdout: Lines,
    pub(crate) stderr: Lines,
}

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Process {
        Process::spawn_on(command, Stdio::null(), Stdio::piped())
    }

    /// With these as standard input and output.
    pub(crate) fn spawn_on(command: &mut Command, stdin: Stdio, stdout: Stdio) -> Process {
        command.stdin(stdin).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program can be started");
        let stdout = child.stdout.take().map_or_else(Lines::none, Lines::collect);
        let stderr = Lines::collect(child.stderr.take().expect("it was asked for"));
        Process { child, stdout, stderr }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, as the shell's `kill` does.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.expect("there is a kill program").success(), "no signal to {pid}");
    }

    /// Processor time used so far, in hundredths of a second, and how often it was put to sleep.
    pub(crate) fn cpu_and_sleeps(&self) -> (u64, u64) {
        let pid = self.child.id();
        let read = |name| fs::read_to_string(format!("/proc/{pid}/{name}")).expect("it is running");
        let stat = read("stat");
        // The fields from the third on follow the name in parentheses, which may contain anything.
        let fields = stat.rsplit(')').next().expect("the line has a name in it");
        let field = |n: usize| fields.split_whitespace().nth(n - 3);
        let time = [14, 15].map(|n| field(n).and_then(|t| t.parse::<u64>().ok()));
        let status = read("status");
        let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let sleeps = sleeps.and_then(|count| count.trim().parse().ok());
        let time = time[0].zip(time[1]).map(|(user, system)| user + system);
        time.zip(sleeps).expect("the system counts these")
    }

    /// The same once the process is idle: nothing changes for a while.
    pub(crate) fn settled_cpu_and_sleeps(&self) -> (u64, u64) {
        let mut last = self.cpu_and_sleeps();
        super::eventually("a process that rests", || {
            thread::sleep(Duration::from_millis(50));
            let before = std::mem::replace(&mut last, self.cpu_and_sleeps());
            (before == last).then_some(last)
        })
    }

    /// Bytes of memory in use, as the system sees it.
    pub(crate) fn resident(&self) -> usize {
        self.memory("VmRSS:")
    }

    /// The most bytes of memory that were ever in use.
    pub(crate) fn peak(&self) -> usize {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("it is running");
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
        kib.expect("the system counts this") * 1_024
    }

    /// File descriptors that it has open.
    pub(crate) fn descriptors(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        open.expect("it is running").count()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status;
            }
            let lines = || self.stderr.so_far().join("\n");
            assert!(Instant::now() < deadline, "it does not end; it said:\n{}", lines());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end: the exit code, standard output, standard error.
    pub(crate) fn outcome(mut self) -> (Option<i32>, String, String) {
        let code = self.wait().code();
        (code, self.stdout.all(), self.stderr.all())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
