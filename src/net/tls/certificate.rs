//! What is read off a certificate: when it ends, and whose it is.
//!
//! Owns which of its names count. Must not judge whether it is to be believed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::macros::format_description;
use x509_cert::Certificate;
use x509_cert::der::{self, Decode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};

/// When a certificate ends.
pub(super) fn ends(certificate: &[u8]) -> Result<SystemTime, der::Error> {
    let read = Certificate::from_der(certificate)?;
    let ends = read.tbs_certificate().validity().not_after.to_unix_duration();
    // A time that the clock cannot show is one that nobody lives to see.
    let last = UNIX_EPOCH + Duration::from_secs(u32::MAX.into());
    Ok(UNIX_EPOCH.checked_add(ends).unwrap_or(last))
}

/// The day of a time, for people.
pub(super) fn date(at: SystemTime) -> String {
    let day = format_description!("[year]-[month]-[day]");
    OffsetDateTime::from(at).format(day).unwrap_or_else(|_| "a day far away".to_owned())
}

/// Whose a certificate is: its alternative names, addresses of mail first, then hosts, then URIs.
/// Only one that has no alternative names at all goes by its common name.
pub(in crate::net) fn names(certificate: &[u8]) -> Vec<String> {
    read_names(certificate).unwrap_or_default()
}

fn read_names(certificate: &[u8]) -> Result<Vec<String>, der::Error> {
    let read = Certificate::from_der(certificate)?;
    let read = read.tbs_certificate();
    let Some((_, SubjectAltName(all))) = read.get_extension::<SubjectAltName>()? else {
        let common = read.subject().common_name()?;
        return Ok(common.map(text).into_iter().flatten().collect());
    };
    let mut names: Vec<(u8, String)> = all
        .iter()
        .filter_map(|name| match name {
            GeneralName::Rfc822Name(name) => Some((0, name.to_string())),
            GeneralName::DnsName(name) => Some((1, name.to_string())),
            GeneralName::UniformResourceIdentifier(name) => Some((2, name.to_string())),
            _ => None,
        })
        .collect();
    names.sort_by_key(|(kind, _)| *kind);
    Ok(names.into_iter().map(|(_, name)| name).collect())
}

fn text(name: DirectoryString) -> Option<String> {
    match name {
        DirectoryString::PrintableString(text) => Some(text.to_string()),
        DirectoryString::Utf8String(text) => Some(text),
        DirectoryString::TeletexString(text) => Some(text.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A certificate that openssl has made for this subject, with these extensions.
    fn made(subject: &str, extensions: &[&str]) -> Vec<u8> {
        let mut openssl = Command::new("openssl");
        openssl
            .args("req -x509 -utf8 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes".split(' '));
        openssl.args(["-keyout", "/dev/null", "-outform", "DER", "-days", "2", "-subj", subject]);
        for extension in extensions {
            openssl.args(["-addext", extension]);
        }
        let output = openssl.output().expect("there is a program openssl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    #[test]
    fn alternative_names_count_in_their_order_and_the_common_name_only_without_any() {
        let all = "subjectAltName=URI:urn:x:1,IP:127.0.0.1,DNS:b.example,email:c@d.example,DNS:e";
        let expected = ["c@d.example", "b.example", "e", "urn:x:1"];
        assert_eq!(names(&made("/CN=common", &[all])), expected);
        assert_eq!(names(&made("/O=ours/CN=common näme", &[])), ["common näme"]);
        assert_eq!(names(&made("/CN=common", &["subjectAltName=IP:127.0.0.1"])), [""; 0]);
        assert_eq!(names(&made("/O=ours", &[])), [""; 0]);
        assert_eq!(names(b"nothing of the kind"), [""; 0]);
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let left = ends(&made("/CN=x", &[])).unwrap().duration_since(SystemTime::now()).unwrap();
        let two_days = 2 * 86_400;
        assert!((two_days - 60..=two_days).contains(&left.as_secs()), "{left:?}");
        assert_eq!(date(UNIX_EPOCH + Duration::from_secs(86_400)), "1970-01-02");
        assert!(ends(b"\x30\x03\x02\x01\x01").is_err());
    }
}
