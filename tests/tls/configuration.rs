//! Proves that files and settings which cannot be used are named, with what to do: at the start, by
//! a check, and when they are read again.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::broker::command;
use crate::support::process::ini;
use crate::support::{Certificates, Process, TempDir};
use crate::{broker, with};

/// A broker that is to fail with these settings: exit code, and what it says.
fn failing(settings: &[(&str, String)], arguments: &[&str]) -> (Option<i32>, String) {
    let dir = TempDir::new();
    let settings: Vec<_> = settings.iter().map(|(a, b)| (*a, b.as_str())).collect();
    dir.write("config.ini", &ini(&settings));
    let mut broker = command(dir.path());
    let (code, stdout, stderr) = Process::spawn(broker.args(arguments)).outcome();
    (code, format!("{stdout}{stderr}"))
}

#[test]
fn what_cannot_be_used_is_named() {
    let certificates = Certificates::new();
    certificates.signed("late", "ca", "subjectAltName=DNS:localhost", -1);
    certificates.signed("open", "ca", "subjectAltName=DNS:localhost", 90);
    let everyone = fs::Permissions::from_mode(0o644);
    fs::set_permissions(certificates.path("open.key"), everyone).expect("it is ours");
    let both = |certificate: &str, key: &str| {
        let [certificate, key] = [certificate, key].map(|file| certificates.text(file));
        vec![("tls.certificate", certificate), ("tls.key", key)]
    };
    let more = |extra: &[(&'static str, &str)]| with(&certificates, extra);
    let authority = certificates.text("ca.pem");
    let rows = [
        (both("late.pem", "late.key"), "late.pem: it has expired on 20"),
        (
            both("open.pem", "open.key"),
            "everyone on this machine may read or change it (mode 0644)",
        ),
        (both("open.pem", "open.key"), "chmod 640 "),
        (both("broker.pem", "late.key"), "late.key: it is not the key of "),
        (both("broker.key", "broker.key"), "broker.key: it holds no certificate"),
        (both("broker.pem", "ca.pem"), "ca.pem: everyone on this machine"),
        (both("missing.pem", "broker.key"), "missing.pem: No such file"),
        (vec![("tls.certificate", authority.clone())], "[tls] certificate needs [tls] key"),
        (vec![("tls.mode", "required".to_owned())], "[tls] mode needs [tls] certificate and key"),
        (more(&[("tls.client_certificates", "required")]), "needs [tls] client_ca"),
        (more(&[("tls.client_crl", &authority)]), "[tls] client_crl needs [tls] client_ca"),
        (
            more(&[
                ("tls.client_ca", &authority),
                ("tls.client_certificates", "required"),
                ("tls.client_crl", &authority),
            ]),
            "ca.pem: it holds no list of revoked certificates",
        ),
    ];
    for (settings, expected) in rows {
        for arguments in [&["-t"][..], &["-s", "0", "-p", "0"]] {
            let (code, said) = failing(&settings, arguments);
            assert_eq!(code, Some(2), "{expected}: {said}");
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }
    let off = [&both("late.pem", "late.key")[..], &[("tls.mode", "off".to_owned())]].concat();
    assert_eq!(failing(&off, &["-t"]).0, Some(0), "nothing of it is used");
    assert_eq!(failing(&more(&[]), &["-t"]).0, Some(0));
}

#[test]
fn a_certificate_that_ends_soon_is_warned_of() {
    let certificates = Certificates::new();
    certificates.signed("broker", "ca", "subjectAltName=DNS:localhost", 8);
    let broker = broker(&certificates, &[]);
    let words = "broker.pem ends in 7 days, on 20";
    let line = broker.log().wait_for(words, |line| line.contains(words));
    assert!(line.contains("[WARN]"), "{line}");
}
