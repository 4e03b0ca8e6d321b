//! Proves that a broker with secrets lets nobody look into its memory, and works all the same: its
//! own look at /proc, its log, and reading its files again.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::broker::command;
use crate::support::process::ini;
use crate::support::{Broker, Certificates, Http, Process, TempDir};

/// A user without privileges, where the tests run as root, whom nothing is hidden from.
const NOBODY: u32 = 65_534;

const USERS: &[(&str, &str)] = &[("users.ini", "[ann]\n")];

/// A broker without privileges that these files are for, and its user.
fn unprivileged(settings: &[(&str, &str)], files: &[(&str, &str)]) -> (Broker, u32) {
    let dir = TempDir::for_all_users();
    let config = dir.write("config.ini", &ini(settings));
    let write = |(name, text): &(&str, &str)| {
        let path = dir.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        path
    };
    let files: Vec<_> = files.iter().map(write).collect();
    let own = fs::metadata(config).expect("it is there").uid();
    if own != 0 {
        return (Broker::run(dir, &["-s", "0", "-p", "0"]), own);
    }
    // The program may lie where only root may go.
    let program = dir.path().join("broker");
    fs::copy(command(dir.path()).get_program(), &program).expect("there is room for it");
    for path in files.iter().map(|file| &**file).chain([dir.path(), &program]) {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may do that");
    }
    let mut command = Command::new(&program);
    command.current_dir(dir.path()).args(["-s", "0", "-p", "0"]).uid(NOBODY).gid(NOBODY);
    let process = Process::spawn(&mut command);
    (Broker::started(dir, process), NOBODY)
}

/// Whose the process's files in /proc are: its user's, or root's if nobody may look.
fn owner(broker: &Broker) -> u32 {
    let path = format!("/proc/{}/environ", broker.process().id());
    fs::metadata(path).expect("it is running").uid()
}

#[test]
fn nobody_looks_into_a_broker_with_users_and_it_still_sees_itself() {
    let (broker, _) =
        unprivileged(&[("users.file", "users.ini"), ("monitor.address", "127.0.0.1:0")], USERS);
    assert_eq!(owner(&broker), 0);
    let metrics = Http::get(broker.monitor(), "/metrics");
    for figure in ["process_resident_memory_bytes", "process_virtual_memory_bytes"] {
        assert!(metrics.sample(figure) > 1e5, "{figure}");
    }
    assert!(metrics.sample("process_max_fds") > 10.0);
    assert!(metrics.sample("process_cpu_seconds_total") >= 0.0);
    let path = format!("/proc/{}/fd", broker.process().id());
    // Where Linux tells it at all.
    if fs::metadata(path).is_ok_and(|fds| fds.len() > 0) {
        assert!(metrics.sample("process_open_fds") > 3.0);
    }
    assert!(Http::get(broker.monitor(), "/varz").json()["mem"].as_u64() > Some(100_000));
    // Its standard error is opened anew, by its name in /proc.
    broker.reload(&[("users.file", "users.ini"), ("log.level", "debug")]);
    broker.log().wait_for_count("reloaded: log.level info -> debug", 1);
}

#[test]
fn a_broker_that_gets_its_secrets_by_a_reload_is_closed_from_then_on() {
    let (broker, own) = unprivileged(&[], USERS);
    assert_eq!(owner(&broker), own, "nothing is hidden where nothing is secret");
    broker.reload(&[("users.file", "users.ini")]);
    broker.log().wait_for_count("reloaded: the users have changed", 1);
    assert_eq!(owner(&broker), 0);
    broker.reload(&[]);
    broker.log().wait_for_count("reloaded: the users have changed", 2);
    assert_eq!(owner(&broker), 0, "what was secret may still be in its memory");
}

#[test]
fn a_key_is_a_secret() {
    let certificates = Certificates::new();
    let [certificate, key] = ["broker.pem", "broker.key"]
        .map(|file| fs::read_to_string(certificates.path(file)).expect("it was made"));
    let settings = [("tls.certificate", "broker.pem"), ("tls.key", "broker.key")];
    let files = [("broker.pem", &*certificate), ("broker.key", &*key)];
    assert_eq!(owner(&unprivileged(&settings, &files).0), 0);
}
