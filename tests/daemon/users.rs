//! Proves that an operator gets from a new secret to a file of users that the broker accepts, and
//! hears what is wrong with one.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use broker::engine::access::credentials::Secret;

use crate::support::broker::command;
use crate::support::{Process, TempDir};

/// Runs the broker with this standard input: exit code, standard output, standard error.
fn run(arguments: &[&str], input: &[u8]) -> (Option<i32>, String, String) {
    let dir = TempDir::new();
    let mut command = command(dir.path());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the broker can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    // It need not read what it has no use for.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(dir.names().is_empty(), "it left something behind");
    let text = |bytes| String::from_utf8(bytes).expect("it prints text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn kept(line: &str) -> Secret {
    let kept = line.strip_prefix("secret = ").and_then(Secret::parse);
    kept.unwrap_or_else(|| panic!("{line:?} is no line for the file"))
}

#[test]
fn a_new_secret_comes_with_the_line_that_keeps_it() {
    let (code, first, stderr) = run(&["--new-secret"], b"");
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = first.lines().collect();
    assert_eq!((lines.len(), lines[0].len()), (2, 32), "160 bits in base 32: {first}");
    assert!(kept(lines[1]).is(lines[0].as_bytes()));
    let (_, second, _) = run(&["--new-secret"], b"");
    assert!(lines[0] != second.lines().next().unwrap_or_default(), "they are random");
}

#[test]
fn a_secret_that_was_chosen_is_read_from_standard_input() {
    let long = b"correct horse battery";
    let (code, stdout, stderr) = run(&["--hash-secret"], b"correct horse battery\nmore\n");
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(kept(stdout.trim_end()).is(long) && stdout.lines().count() == 1, "{stdout}");

    let (code, stdout, stderr) = run(&["--hash-secret"], b"hunter2");
    assert_eq!(code, Some(0));
    assert!(kept(stdout.trim_end()).is(b"hunter2"));
    assert!(stderr.contains("less than 16 characters"), "{stderr}");
    assert!(!stderr.contains("hunter2") && !stdout.contains("hunter2"));

    for bad in [&b""[..], b"\n", b"\xFF\xFF\n", &[b'x'; 5_000]] {
        let (code, stdout, stderr) = run(&["--hash-secret"], bad);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains("--hash-secret: "), "{stderr}");
    }
}

#[test]
fn what_cannot_be_printed_is_exit_code_1() {
    let dir = TempDir::new();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let mut command = command(dir.path());
    let output = command.arg("--new-secret").stdout(full).stderr(Stdio::piped()).output();
    let output = output.expect("the broker can be started");
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("cannot write to standard output"), "{stderr}");
}

#[test]
fn checking_the_configuration_checks_the_users() {
    let dir = TempDir::new();
    dir.write("config.ini", "[users]\nfile = users.ini\nanonymous = guest\n");
    let check = || Process::spawn(command(dir.path()).arg("-t")).outcome();
    let expect = |code, words: &[&str]| {
        let (got, stdout, stderr) = check();
        let said = format!("{stdout}\n{stderr}");
        assert_eq!(got, Some(code), "{said}");
        words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in {said}"));
    };
    let write = |text: &str, mode| {
        let path = dir.write("users.ini", text);
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(path, permissions).expect("it is ours");
    };
    expect(2, &["users.ini: the users cannot be read: No such file"]);
    let (_, made, _) = run(&["--new-secret"], b"");
    let line = made.lines().nth(1).expect("there are two lines");
    let good = format!("[ann]\n{line}\npublish = >\nuid = root\n[guest]\nsubscribe = news.>\n");
    write(&good, 0o640);
    expect(0, &["ok"]);
    write(&good, 0o644);
    expect(2, &["its mode, 644, lets every user of this machine in: chmod 640 users.ini"]);
    write("[ann]\nsecret = hush\n\n[bob]\npublish = a..b\n", 0o640);
    expect(2, &["users.ini:2: [ann] secret: expected", "users.ini:5: [bob] publish = a..b: "]);
    write("[ann]\n", 0o640);
    expect(2, &["users.ini: [users] anonymous = guest", "add a section [guest]"]);
}
