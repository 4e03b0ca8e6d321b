//! Text to values and back: sizes, times, ports and choices.
//!
//! Each reader's error says what was expected.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wire::topic;

use crate::engine::access::Grants;

/// The longest path of a Unix socket, in bytes: sockaddr_un, with the zero behind it.
const MAX_SOCKET_PATH: usize = 107;

/// Filters in one list: each of them is looked at for a topic that is new.
pub(super) const MAX_FILTERS: usize = 1_000;
/// What a list of grants is.
const GRANTS: &str = "topics and filters separated by commas, with ! in front of those that are \
                      not granted";

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A number of bytes within `range`: digits, then nothing, `KiB`, `MiB` or `GiB`, which a blank may
/// set apart.
pub(super) fn size(text: &str, range: RangeInclusive<u64>) -> Result<usize, String> {
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(name, bytes)| Some((text.strip_suffix(name)?.trim_end(), *bytes)))
        .unwrap_or((text, 1));
    whole(digits)
        .and_then(|count| count.checked_mul(unit))
        .filter(|bytes| range.contains(bytes))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| {
            let (from, to) = (show_size(*range.start()), show_size(*range.end()));
            format!("a size from {from} to {to}, like 65536, 64KiB or 1MiB")
        })
}

/// A whole number within `range`.
pub(super) fn count(text: &str, range: RangeInclusive<u64>) -> Result<usize, String> {
    whole(text)
        .filter(|number| range.contains(number))
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| format!("a whole number from {} to {}", range.start(), range.end()))
}

/// A TCP port.
pub(super) fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "a port from 0 to 65535 (0 takes a free one)".to_string())
}

/// The same, or nothing.
pub(super) fn optional_port(text: &str) -> Result<Option<u16>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    port(text).map(Some).map_err(|expected| format!("{expected}, or nothing"))
}

/// A host and a port, or nothing.
pub(super) fn host_and_port(text: &str) -> Result<Option<String>, String> {
    let is_valid = |text: &str| {
        let (host, port) = text.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        // Without brackets nobody could tell where an IPv6 address ends.
        let host = bare.or((!host.contains(':')).then_some(host))?;
        let odd =
            host.is_empty() || host.contains(|c: char| c.is_whitespace() || "[]/".contains(c));
        (!odd && port.parse::<u16>().is_ok()).then_some(())
    };
    if text.is_empty() {
        return Ok(None);
    }
    let expected = "an address and a port, like 127.0.0.1:9100 or [::1]:9100";
    is_valid(text).map(|()| Some(text.into())).ok_or_else(|| expected.into())
}

/// A path that a Unix socket can be bound to, or nothing.
pub(super) fn socket_path(text: &str) -> Result<Option<PathBuf>, String> {
    match text.len() {
        0 => Ok(None),
        1..=MAX_SOCKET_PATH => Ok(Some(text.into())),
        _ => Err(format!("a path of at most {MAX_SOCKET_PATH} bytes, or nothing")),
    }
}

/// The path of a file, or nothing.
pub(super) fn file(text: &str) -> Result<Option<PathBuf>, String> {
    Ok((!text.is_empty()).then(|| text.into()))
}

/// A path as it is written.
pub(super) fn show_path(path: Option<&Path>) -> String {
    path.map_or(String::new(), |path| path.display().to_string())
}

/// The permissions of a file.
pub(super) fn permissions(text: &str) -> Result<u32, String> {
    let is_octal =
        (3..=4).contains(&text.len()) && text.bytes().all(|c| (b'0'..=b'7').contains(&c));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
    mode.ok_or_else(|| "permissions from 0000 to 0777, like 0660".into())
}

/// The name or number of a group, or nothing.
pub(super) fn group(text: &str) -> Result<Option<String>, String> {
    if text.contains(|c: char| c.is_whitespace() || c == ':') {
        return Err("the name or number of a group, or nothing".into());
    }
    Ok((!text.is_empty()).then(|| text.into()))
}

/// Filters separated by commas, at most so many.
pub(super) fn filters(text: &str, most: usize) -> Result<Vec<String>, String> {
    let parts = text.split(',').map(str::trim).filter(|_| !text.is_empty());
    let filters: Vec<String> = parts.map(Into::into).collect();
    if filters.len() > most {
        return Err(format!("{most} topics and filters at most, not {}", filters.len()));
    }
    for (place, filter) in filters.iter().enumerate() {
        if let Err(error) = topic::validate_filter(filter.as_bytes()) {
            return Err(format!("topics and filters separated by commas; {filter:?}: {error}"));
        }
        if filters[..place].contains(filter) {
            return Err(format!("each topic once; {filter:?} is given twice"));
        }
    }
    Ok(filters)
}

/// Filters that are granted, and behind `!` those that are not.
pub(super) fn grants(text: &str) -> Result<Grants, String> {
    let (mut allow, mut deny) = (Vec::new(), Vec::new());
    for part in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
        match part.strip_prefix('!') {
            _ if part.is_empty() => return Err(format!("{GRANTS}; one of them is empty")),
            Some(rest) if rest.starts_with('!') => {
                return Err(format!(
                    "{GRANTS}; {part:?}: no topic that begins with ! can be named"
                ));
            }
            Some(denied) => deny.push(denied),
            None => allow.push(part),
        }
    }
    let read = |list: &[&str]| filters(&list.join(","), MAX_FILTERS);
    if deny.contains(&"") {
        return Err(format!("{GRANTS}; nothing stands behind a !"));
    }
    Ok(Grants { allow: boxed(&read(&allow)?), deny: Vec::from(boxed(&read(&deny)?)).into() })
}

/// Grants as they are written.
pub(super) fn show_grants(grants: &Grants) -> String {
    let text = |filter: &[u8]| String::from_utf8_lossy(filter).into_owned();
    let denied = grants.deny.iter().map(|filter| format!("!{}", text(filter)));
    let all = grants.allow.iter().map(|filter| text(filter)).chain(denied);
    all.collect::<Vec<_>>().join(", ")
}

/// The same as the engine has them.
pub(super) fn boxed(filters: &[String]) -> Box<[Box<[u8]>]> {
    filters.iter().map(|filter| filter.as_bytes().into()).collect()
}

/// Seconds within `range`, decimals allowed.
pub(super) fn seconds(text: &str, range: RangeInclusive<f64>) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|seconds| range.contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("seconds from {} to {}, like 10 or 0.5", range.start(), range.end()))
}

/// One of the given words.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        format!("one of {}", names.join(", "))
    })
}

/// The word for a value.
pub(super) fn chosen<T: PartialEq>(value: &T, choices: &[(&'static str, T)]) -> String {
    let found = choices.iter().find(|(_, choice)| choice == value);
    found.map_or("?", |(name, _)| *name).to_string()
}

/// A size in the largest unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    unit.map_or(bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// Seconds as short as they can be written.
pub(super) fn show_seconds(duration: Duration) -> String {
    duration.as_secs_f64().to_string()
}

fn whole(digits: &str) -> Option<u64> {
    let digits_only = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if digits_only { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown_alike() {
        for (text, bytes) in [("0", 0), ("1", 1), ("64KiB", 65_536), ("1GiB", 1 << 30)] {
            assert_eq!(size(text, 0..=u64::MAX), Ok(bytes));
            assert_eq!(show_size(bytes as u64), text);
        }
        let wrong = [
            "",
            "KiB",
            "-1",
            "+1",
            "1.5MiB",
            " KiB",
            "1 0KiB",
            "1kb",
            "1K",
            "99999999999999999999GiB",
        ];
        for text in wrong {
            assert!(size(text, 0..=u64::MAX).is_err(), "{text}");
        }
        assert_eq!(size("10 MiB", 0..=u64::MAX), Ok(10 << 20));
        assert!(size("17179869184GiB", 0..=u64::MAX).is_err(), "2^64 does not wrap around");
        assert!(size("9", 10..=20).is_err() && size("21", 10..=20).is_err());
    }

    #[test]
    fn addresses_have_a_host_and_a_port() {
        assert_eq!(host_and_port(""), Ok(None));
        for text in ["127.0.0.1:0", "[::1]:9100", "monitor.example:65535"] {
            assert_eq!(host_and_port(text), Ok(Some(text.into())));
        }
        for text in ["9100", ":9100", "::1:9100", "a:", "a:65536", "a b:1", "[]:1", "http://a:1"] {
            assert!(host_and_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn permissions_are_octal() {
        assert_eq!(permissions("0660"), Ok(0o660));
        assert_eq!(permissions("777"), Ok(0o777));
        for text in ["", "66", "0888", "1777", "00660", "rw-rw----", "+660"] {
            assert!(permissions(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_of_a_socket_is_not_longer_than_the_system_takes() {
        assert_eq!(socket_path(""), Ok(None));
        assert!(socket_path(&"a".repeat(107)).is_ok_and(|path| path.is_some()));
        assert!(socket_path(&"a".repeat(108)).is_err());
    }

    #[test]
    fn filters_are_valid_different_and_not_too_many() {
        assert_eq!(filters("", 2), Ok(vec![]));
        assert_eq!(filters("a.b ,c.>", 2), Ok(vec!["a.b".into(), "c.>".into()]));
        for text in ["a,b,c", "a,", ",", "a b", "a,a", "a..b", ">.a"] {
            assert!(filters(text, 2).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_take_decimals_and_nothing_odd() {
        assert_eq!(seconds("0.5", 0.0..=10.0), Ok(Duration::from_millis(500)));
        assert_eq!(show_seconds(Duration::from_millis(500)), "0.5");
        assert_eq!(show_seconds(Duration::from_secs(10)), "10");
        for text in ["", "-1", "11", "NaN", "inf", "1s"] {
            assert!(seconds(text, 0.0..=10.0).is_err(), "{text}");
        }
    }
}
