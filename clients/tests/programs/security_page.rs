//! Follows docs/security.md word by word: two users, an authority, certificates for clients. The
//! blocks of the page are run as they stand there, and come to what it promises.
//!
//! [`PLACES`] is all that is put in place of something else; what `systemctl` would do is done by
//! the test, and what only root can do is named.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::eventually;
use crate::support::process::{Finished, Process, program, run, start};
use crate::support::real::{Broker, executable};

const PAGE: &str = include_str!("../../../docs/security.md");

/// What stands on the page, and what it is here. `DIR` is the directory of the test.
const PLACES: [(&str, &str); 7] = [
    ("/etc/broker/", "DIR/etc/broker/"),
    ("broker.example", "localhost"),
    // The test is the broker's user, and its directory is its own.
    ("sudo -u broker ", ""),
    ("sudo install -d ", "install -d "),
    ("sudo install -m 640 -g broker ", "install -m 640 "),
    ("sudo install ", "install "),
    ("sudo chmod ", "chmod "),
];
/// What is left out: other users are root's to make and to give files to.
const LEFT_OUT: [&str; 1] = ["sudo chown root:broker DIR/etc/broker/users.ini"];

/// A block of the page, and the file that the text in front of it names, if it does.
struct Block {
    language: String,
    text: String,
    file: Option<String>,
}

/// The blocks below a heading, with all places replaced.
fn blocks(heading: &str) -> Vec<Block> {
    let mut lines = PAGE.lines().skip_while(|line| line.trim_start_matches('#').trim() != heading);
    assert!(lines.next().is_some(), "the page has no {heading:?}");
    let (mut found, mut file): (Vec<Block>, _) = (Vec::new(), None);
    let mut lines = lines.take_while(|line| !line.starts_with("##"));
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let body: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            let text = body.join("\n") + "\n";
            found.push(Block { language: language.to_owned(), text, file: file.take() });
        }
        let named = line.split('`').skip(1).step_by(2).find(|it| it.starts_with("/etc/"));
        file = named.map(str::to_owned).or(file);
    }
    found
}

/// The commands of a block: lines, with those that go on joined.
fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    joined.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// A user, as `broker --new-secret` has made it.
struct User {
    secret: String,
    line: String,
}

fn new_user() -> User {
    let made = run(program(executable(), "--new-secret"), b"").text();
    let (secret, line) = made.trim_end().split_once('\n').expect("it prints two lines");
    User { secret: secret.to_owned(), line: line.to_owned() }
}

/// Who follows the page.
struct Reader {
    dir: tempfile::TempDir,
    alice: User,
    bob: User,
    broker: Option<Broker>,
    reloads: usize,
    /// `subscriber`s that run.
    listening: Vec<Process>,
    left_out: Vec<String>,
}

impl Reader {
    fn new() -> Reader {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/broker")).unwrap();
        let (alice, bob) = (new_user(), new_user());
        let (listening, left_out) = (Vec::new(), Vec::new());
        Reader { dir, alice, bob, broker: None, reloads: 0, listening, left_out }
    }

    /// The text with all places replaced.
    fn here(&self, text: &str) -> String {
        let placed = PLACES.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        placed
            .replace("secret = sha256:5b0c…:91d7…", &self.alice.line)
            .replace("secret = sha256:c2aa…:07fe…", &self.bob.line)
            .replace("BROKER_SECRET=…", &format!("BROKER_SECRET={}", self.bob.secret))
    }

    fn path(&self, file: &str) -> PathBuf {
        file.replace("DIR", &self.dir.path().display().to_string()).into()
    }

    /// A command in the directory, with the programs and the ports of the broker.
    fn shell(&self, command: &str) -> Command {
        let command = command.replace("DIR", &self.dir.path().display().to_string());
        let programs = [executable(), Path::new(env!("CARGO_BIN_EXE_publisher"))];
        let [broker, clients] = programs.map(|program| program.parent().unwrap().display());
        let path = format!("{broker}:{clients}:{}", env::var("PATH").unwrap());
        let mut shell = program("sh", "-eu -c");
        shell.arg(&command).current_dir(self.dir.path()).env("PATH", path);
        // Who the page has been about so far; where it names a user, that one counts.
        let user = if command.contains("subscriber ") { &self.bob } else { &self.alice };
        let name = if command.contains("subscriber ") { "bob" } else { "alice" };
        shell.env("BROKER_USER", name).env("BROKER_SECRET", &user.secret);
        if let Some(broker) = &self.broker {
            shell.env("BROKER_PUBLISHER_PORT", broker.publisher_port.to_string());
            shell.env("BROKER_SUBSCRIBER_PORT", broker.subscriber_port.to_string());
        }
        shell
    }

    fn run(&self, command: &str) -> Finished {
        let input = if command.contains("cat >alice.secret") { &*self.alice.secret } else { "" };
        run(self.shell(command), format!("{input}\n").as_bytes())
    }

    /// Does what a section says.
    fn follow(&mut self, heading: &str) {
        for block in blocks(heading) {
            let text = self.here(&block.text);
            match &*block.language {
                "ini" => self.write(&self.here(&block.file.expect("a file is named")), &text),
                "sh" => self.carry_out(&commands(&text)),
                // What a command prints.
                other => assert_eq!(other, "", "{text}"),
            }
        }
    }

    /// Writes the lines of a block into their file, each below its section.
    fn write(&self, file: &str, block: &str) {
        let path = self.path(file);
        let mut text = fs::read_to_string(&path).unwrap_or_default();
        for part in block.replace("DIR", &self.dir.path().display().to_string()).split("\n\n") {
            let (section, lines) = part.split_once('\n').expect("it begins with its section");
            match text.find(&format!("{section}\n")) {
                Some(at) => text.insert_str(at + section.len() + 1, &format!("{lines}\n")),
                None => text += &format!("{section}\n{lines}\n"),
            }
        }
        fs::write(path, text).unwrap();
    }

    /// Runs commands, those first that wait for messages.
    fn carry_out(&mut self, all: &[String]) {
        let is_listening = |command: &&String| command.contains("subscriber ");
        for command in all.iter().filter(|it| !is_listening(it)) {
            if command.starts_with("publisher ") {
                continue;
            } else if command.starts_with("sudo systemctl restart ") {
                let config = self.path("DIR/etc/broker/config.ini");
                let flags = format!("--config {}", config.display());
                self.broker = Some(Broker::with_flags(&flags));
            } else if command.starts_with("sudo systemctl reload ") {
                self.reload();
            } else if command.starts_with("sudo ") {
                self.left_out.push(command.clone());
            } else {
                let done = self.run(command);
                assert_eq!(done.code, Some(0), "{command}: {done:?}");
            }
        }
        for command in all.iter().filter(is_listening) {
            self.listening.push(start(self.shell(&format!("exec env {command}"))));
        }
        for command in all.iter().filter(|it| it.starts_with("publisher ")) {
            self.reaches(command);
        }
    }

    fn reload(&mut self) {
        let process = &self.broker.as_ref().expect("it was started").process;
        let kill = run(program("kill", &format!("-s HUP {}", process.id())), b"");
        assert_eq!(kill.code, Some(0), "{kill:?}");
        self.reloads += 1;
        let words = "what TLS goes by has changed";
        let wanted = self.reloads;
        eventually("a reload", || {
            (process.await_stderr(words).matches(words).count() == wanted).then_some(())
        });
    }

    /// What a command publishes comes to the subscriber that was started last.
    fn reaches(&self, command: &str) {
        let subscriber = self.listening.last().expect("there is one");
        let before = subscriber.stdout().len();
        eventually(&format!("{command}: {subscriber:?}"), || {
            // It may be there before the subscriber is.
            let done = self.run(command);
            assert_eq!(done.code, Some(0), "{command}: {done:?}");
            subscriber.stdout()[before..].contains("orders.eu hello").then_some(())
        });
    }

    /// A command is refused, and says this.
    fn is_refused(&self, command: &str, expected: &str) {
        let done = self.run(command);
        assert_eq!(done.code, Some(1), "{command}: {done:?}");
        assert!(done.stderr.contains(expected), "{command}: no {expected:?} in {done:?}");
    }
}

#[test]
fn what_the_page_says_leads_to_what_it_promises() {
    let mut reader = Reader::new();
    reader.follow("Two users, from nothing");
    assert_eq!(reader.left_out, LEFT_OUT);
    let alice = "publisher --user alice --secret-file alice.secret";
    reader.reaches(&format!("{alice} orders.eu hello"));
    reader.is_refused(&format!("{alice} orders.secret.x hello"), "orders.secret.x");
    reader.is_refused(&format!("{alice} news hello"), "news");
    reader.is_refused("BROKER_SECRET=guessed publisher orders.eu hello", "is that its secret?");
    reader.is_refused("env -u BROKER_USER -u BROKER_SECRET publisher orders.eu hello", "--user");
    reader.is_refused("subscriber news --count 1", "news");
    reader.is_refused("subscriber 'orders.>' --group others --count 1", "NOT_ALLOWED");

    reader.follow("An authority of your own");
    reader.reaches("publisher --tls --ca ca.pem -h localhost orders.eu hello");
    reader
        .is_refused("publisher -h localhost orders.eu hello", "connection to the broker was lost");
    let others = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 \
                  -subj /CN=others -keyout others.key -out others.pem";
    assert_eq!(reader.run(others).code, Some(0));
    let deceived = "publisher --tls --ca others.pem -h localhost orders.eu hello";
    reader.is_refused(deceived, "trust its root");

    reader.follow("Certificates for clients");
    // As strictly as Python looks at them.
    let strictly = "openssl verify -x509_strict -CAfile ca.pem broker.pem alice.pem";
    assert_eq!(reader.run(strictly).code, Some(0));
    let without = "publisher --tls --ca ca.pem -h localhost orders.eu hello";
    reader.is_refused(without, "--cert and --key");
    assert_eq!(reader.left_out, LEFT_OUT, "nothing else was left out");
}
