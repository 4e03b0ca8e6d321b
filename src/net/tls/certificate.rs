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
