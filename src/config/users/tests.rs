//! Files of users as people write them, right and wrong.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::config::Config;
use crate::engine::access::{Credentials, Grant, Peer};

const MACHINE: &str = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n\
                       ann:x:1001:1001:Ann,,,:/home/ann:/bin/sh\nodd:x\n";
/// Of the secret `world`.
const KEPT: &str = "sha256:00000000000000000000000000000000:\
                    ee05c528a135b36d3a1650cb5d864e8c52cb424b4268cd0bbc87877fd3ff14df";
const NKEY: &str = "UAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3RLKK";

fn parse_with(text: &str, anonymous: Option<&str>) -> Result<Users, String> {
    let passwd = || Ok(MACHINE.to_owned());
    parse(text, Path::new("u.ini"), anonymous, &passwd).map_err(|errors| errors.to_string())
}

fn user(text: &str) -> std::rc::Rc<User> {
    let users = parse_with(&format!("[it]\n{text}"), None).unwrap();
    users.named("it").unwrap().clone()
}

#[test]
fn a_user_is_what_its_section_says() {
    let made = Secret::of(b"hello").unwrap();
    let it = user(&format!(
        "; a comment\nsecret = {made}\nsecret2 = {KEPT}\ntoken7 = {KEPT}\nnkey: {NKEY}\n\
         certificate = CN=it, O=x\ncertificate2 = it.example\nuid = 1000\nuid2 = ann\n\
         publish = orders.>, !orders.secret.>\nsubscribe = orders.>,_INBOX.>\n\
         groups = workers, billing.*\nmax_connections = 10\nallow_responses = yes\n"
    ));
    assert!(it.secrets[0].is(b"hello") && it.secrets[1].is(b"world"));
    assert_eq!((it.secrets.len(), it.tokens.len(), it.keys.len()), (2, 1, 1));
    assert_eq!(it.certificates, ["CN=it, O=x", "it.example"]);
    assert_eq!(it.uids, [1000, 1001]);
    assert_eq!(it.max_connections, Some(10));
    let rights = &it.rights;
    assert!(rights.publish.has(b"orders.a") && !rights.publish.has(b"orders.secret.a"));
    assert!(!rights.publish.has(b"other"));
    assert_eq!(rights.subscribe.of(b"_INBOX.x.*"), Grant::Whole);
    assert!(rights.has_group(b"workers") && rights.has_group(b"billing.a"));
    assert!(!rights.has_group(b"billing") && rights.allow_responses);
}

#[test]
fn what_is_not_said_is_not_granted_but_for_groups() {
    for text in ["", "publish = !a\nsubscribe = !a\n", "publish =\nsubscribe =\n"] {
        let it = user(text);
        assert!(!it.rights.publish.has(b"b") && !it.rights.publish.has(b"a"), "{text}");
        assert_eq!(it.rights.subscribe.of(b"b"), Grant::Refused, "{text}");
        assert!(it.rights.has_group(b"any"), "{text}");
        assert!(!it.rights.allow_responses && it.max_connections.is_none(), "{text}");
    }
    assert!(!user("groups =\n").rights.has_group(b"any"), "an empty list has none");
}

#[test]
fn files_without_users_and_marks_are_taken_as_they_are_meant() {
    assert!(parse_with("", None).unwrap().is_empty());
    assert!(parse_with("\u{FEFF}# nobody\n\n", None).unwrap().is_empty());
    let users = parse_with("\u{FEFF}[a b]\r\n[ü]\r\n[ c ]\r\n", Some("ü")).unwrap();
    assert_eq!(users.len(), 3);
    assert!(users.named("a b").is_some() && users.named("c").is_some());
    let nobody = users.identify(&Credentials::default(), &Peer::default());
    assert_eq!(nobody.map(|user| user.name.as_str()), Some("ü"));
}

#[test]
fn every_error_names_file_line_and_what_was_expected() {
    let long = format!("[{}]\n", "x".repeat(256));
    let rows = [
        ("secret = x\n[a]\n", "u.ini:1: secret stands before any [user]"),
        ("[a]\n\n[b]\n[a]\n", "u.ini:4: [a] is there twice; keep one of the sections"),
        ("[]\n", "u.ini:1: []: expected the name of a user: 1 to 255 bytes, no control"),
        ("[a\u{7}b]\n", "u.ini:1: [a\\u{7}b]: expected the name of a user"),
        (&long, "u.ini:1: [xxx"),
        ("[a]\nsecrt = x\n", "u.ini:2: unknown key secrt in [a]; expected one of publish, subs"),
        ("[a]\npublish2 = x\n", "u.ini:2: unknown key publish2 in [a]"),
        ("[a]\nsecret0 = x\n", "u.ini:2: unknown key secret0 in [a]"),
        ("[a]\nuid = 1\nuid = 2\n", "u.ini:3: [a] uid is given twice; keep one of the lines, or"),
        ("[a]\npublish = a\n\npublish = b\n", "u.ini:4: [a] publish is given twice; keep one of"),
        ("[a]\nsecret = hunter2\n", "u.ini:2: [a] secret: expected sha256:SALT:HASH, as broker"),
        ("[a]\ntoken3 = hunter2 ; x\n", "u.ini:2: [a] token3: expected sha256:SALT:HASH"),
        ("[a]\nnkey = SUhunter2\n", "u.ini:2: [a] nkey: expected the public key of a NATS user"),
        ("[a]\nhunter2\n", "u.ini:2: this line sets nothing: expected [section], key = value"),
        ("[a]\n[hunter2\n", "u.ini:2: this line is no section"),
        ("[a]\n= hunter2\n", "u.ini:2: this line has no key"),
        ("[a]\nsomethinghunter2hunter2 = 1\n", "u.ini:2: unknown key of many characters in [a]"),
        ("[a]\ncertificate =\n", "u.ini:2: [a] certificate = : expected a name in a certificate"),
        ("[a]\ncertificate = x ; y\n", "u.ini:2: [a] certificate = x ; y: expected a name in a"),
        ("[a]\nuid = 65534\n", "u.ini:2: [a] uid = 65534: 65534 is shown for every process of"),
        ("[a]\nuid = nobody\n", "u.ini:2: [a] uid = nobody: 65534 is shown for every process"),
        ("[a]\nuid = bob\n", "u.ini:2: [a] uid = bob: expected the number of a user, or a name"),
        ("[a]\nuid = odd\n", "u.ini:2: [a] uid = odd: expected the number of a user"),
        ("[a]\nuid =\n", "u.ini:2: [a] uid = : expected the number of a user"),
        ("[a]\nuid = -1\n", "u.ini:2: [a] uid = -1: expected the number of a user"),
        ("[a]\nuid = 4294967295\n", "u.ini:2: [a] uid = 4294967295: expected a number from 0 to"),
        ("[a]\nuid = 7\n[b]\nuid2 = 7\n", "u.ini:4: [b] uid2 = 7: it is [a]'s already, and can"),
        ("[a]\nuid = ann\nuid2 = 1001\n", "u.ini:3: [a] uid2 = 1001: it is given twice"),
        ("[a]\ncertificate = x\n[b]\ncertificate = x\n", "u.ini:4: [b] certificate = x: it is [a"),
        ("[a]\npublish = a..b\n", "u.ini:2: [a] publish = a..b: expected topics and filters"),
        ("[a]\npublish = a, ,b\n", "u.ini:2: [a] publish = a, ,b: expected topics and filters"),
        ("[a]\npublish = !a,\n", "u.ini:2: [a] publish = !a,: expected topics and filters"),
        ("[a]\npublish = !\n", "u.ini:2: [a] publish = !: expected topics and filters"),
        ("[a]\nsubscribe = !!a\n", "u.ini:2: [a] subscribe = !!a: expected topics and filters"),
        ("[a]\nsubscribe = a, b, a\n", "u.ini:2: [a] subscribe = a, b, a: expected each topic"),
        ("[a]\nsubscribe = a ; all\n", "u.ini:2: [a] subscribe = a ; all: expected topics and"),
        ("[a]\ngroups = !a\n", "u.ini:2: [a] groups = !a: expected groups that may be joined"),
        ("[a]\nmax_connections = 0\n", "u.ini:2: [a] max_connections = 0: expected a whole"),
        ("[a]\nallow_responses = true\n", "u.ini:2: [a] allow_responses = true: expected one of"),
    ];
    for (text, expected) in rows {
        let error = parse_with(text, None).unwrap_err();
        assert!(error.starts_with(expected), "{text:?} gave {error:?}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let hint = parse_with("[a]\nsubscribe = a ; all\n", None).unwrap_err();
    assert!(hint.ends_with("; a comment needs a line of its own"), "{hint}");
    let error = parse_with(&format!("[a]\nnkey = {NKEY}\n[b]\nnkey2 = {NKEY}\n"), None);
    assert!(error.unwrap_err().starts_with("u.ini:4: [b] nkey2: it is [a]'s already"));
}

#[test]
fn all_errors_are_told_in_order_and_not_too_many() {
    let error = parse_with("[a]\nx = 1\n[b]\nuid = y\n[a]\n", None).unwrap_err();
    let lines: Vec<_> = error.lines().map(|line| &line[..8]).collect();
    assert_eq!(lines, ["u.ini:2:", "u.ini:4:", "u.ini:5:"], "{error}");
    for text in ["[a]\nx = 1\n", "x = 1\n"] {
        let many = format!("{text}{}", "x = 1\n".repeat(100_000));
        let error = parse_with(&many, None).unwrap_err();
        assert_eq!(error.lines().count(), MAX_ERRORS, "{error}");
    }
    let many: String = (0..=MAX_USERS).map(|number| format!("[u{number}]\n")).collect();
    let error = parse_with(&many, None).unwrap_err();
    assert_eq!(error, "u.ini:10001: there are more than 10000 users");
    let (most, _) = many.split_at(many.len() - "[u10000]\n".len());
    assert_eq!(parse_with(most, None).unwrap().len(), MAX_USERS);
}

#[test]
fn the_anonymous_one_is_one_of_them() {
    let error = parse_with("[a]\n", Some("guest")).unwrap_err();
    assert!(error.starts_with("u.ini: [users] anonymous = guest of the configuration is not in"));
}

#[test]
fn the_users_of_the_machine_are_asked_for_only_where_one_is_named() {
    let fails = || Err(io::Error::other("gone"));
    let read = |text: &str| parse(text, Path::new("u.ini"), None, &fails);
    assert!(read("[a]\nuid = 7\n").is_ok());
    let error = read("[a]\nuid = ann\nuid2 = bob\n").unwrap_err().to_string();
    assert!(error.starts_with("u.ini:2: [a] uid = ann: /etc/passwd cannot be read (gone): give"));
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn a_file_that_is_open_to_everyone_or_no_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.ini");
    fs::write(&path, "[a]\n").unwrap();
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    let load = |path: &Path| load(path, None).map_err(|errors| errors.to_string());
    for open in [0o644, 0o602, 0o641, 0o666] {
        mode(open);
        let error = load(&path).unwrap_err();
        let shown = path.display();
        assert!(
            error.starts_with(&format!("{shown}: the users cannot be read: its mode, {open:o}"))
        );
        assert!(error.ends_with(&format!("chmod 640 {shown}")), "{error}");
    }
    for closed in [0o640, 0o600, 0o660] {
        mode(closed);
        assert_eq!(load(&path).unwrap().len(), 1);
    }
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    assert_eq!(load(&link).unwrap().len(), 1);
    assert!(load(Path::new("/dev/zero")).unwrap_err().contains("it is no file"));
    assert!(load(dir.path()).unwrap_err().contains("it is no file"));
    let error = load(Path::new("/nonexistent/users.ini")).unwrap_err();
    assert!(error.starts_with("/nonexistent/users.ini: the users cannot be read: "), "{error}");
    fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(load(&path).unwrap_err().contains("larger than 1 MiB"));
}

#[test]
fn the_configuration_names_the_file_which_is_read_each_time() {
    assert_eq!(Config::default().users(), Ok(None));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.ini");
    let write = |text: &str| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("[a]\n");
    let text = format!("[users]\nfile = {}\nanonymous = a\n", path.display());
    let config = Config::parse(&text, Path::new("c.ini")).unwrap().validated("c.ini").unwrap();
    assert_eq!(config.users().unwrap().map(|users| users.len()), Some(1));
    write("[a]\n[b]\n");
    assert_eq!(config.users().unwrap().map(|users| users.len()), Some(2));
    write("[b]\n");
    assert!(config.users().unwrap_err().to_string().contains("anonymous = a"));
}
