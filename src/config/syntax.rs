//! The lines of a configuration file: which are sections, which set a key, and which are neither.
//!
//! Owns the numbers of lines, which the ini crate does not keep, and what is wrong with a line
//! before its meaning is asked for. Must not know any setting.

/// What a line that is none of them should have been.
const EXPECTED: &str = "expected [section], key = value, or a line that begins with ; or #";
/// What to do about a comment behind something.
const OWN_LINE: &str = "a comment needs a line of its own";

/// A line that begins a section or sets a key: its section, its key if it has one, and its number
/// from 1.
pub(super) type Place<'a> = (&'a str, Option<&'a str>, usize);

/// The text without the mark that some editors put in front of it.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{FEFF}').unwrap_or(text)
}

/// Every line that can mean nothing, by its number, and what is wrong with it. Where secrets stand,
/// no line is quoted: what is told may end up in a log.
pub(super) fn errors(text: &str, has_secrets: bool) -> Vec<(usize, String)> {
    let lines = (1..).zip(text.lines().map(str::trim));
    lines.filter_map(|(number, line)| Some((number, wrong(line, has_secrets)?))).collect()
}

fn wrong(line: &str, has_secrets: bool) -> Option<String> {
    let shown = || if has_secrets { "this line".into() } else { format!("{line:?}") };
    if is_silent(line) {
        return None;
    }
    if let Some(rest) = line.strip_prefix('[') {
        return match rest.split_once(']').map(|(_, behind)| behind.trim()) {
            Some("") => None,
            Some(behind) if is_silent(behind) => Some(OWN_LINE.into()),
            _ => Some(format!("{} is no section: {EXPECTED}", shown())),
        };
    }
    let Some((key, value)) = line.split_once(['=', ':']) else {
        return Some(format!("{} sets nothing: {EXPECTED}", shown()));
    };
    if key.trim().is_empty() {
        return Some(format!("{} has no key: {EXPECTED}", shown()));
    }
    let value = value.trim();
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    (!value[1..].contains(quote)).then(|| format!("the quote {quote} is not closed"))
}

/// Why a value that was read may be more than was meant, if it looks so.
pub(super) fn comment_behind(value: &str) -> Option<&'static str> {
    let starts = |mark: char| {
        let mut found = value.match_indices(mark).map(|(at, _)| at);
        found.any(|at| value[..at].ends_with([' ', '\t']))
    };
    (starts(';') || starts('#')).then_some(OWN_LINE)
}

/// Where everything stands.
pub(super) fn places(text: &str) -> Vec<Place<'_>> {
    let mut section = "";
    let lines = (1..).zip(text.lines().map(str::trim));
    let place = lines.filter_map(|(number, line)| {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = name.trim();
            return Some((section, None, number));
        }
        let key = line.split(['=', ':']).next().map(str::trim);
        (!is_silent(line)).then_some((section, key, number))
    });
    place.collect()
}

/// The line of the section's header, or of the key's occurrence number `nth` in it. 0: not found.
pub(super) fn line_of(places: &[Place<'_>], section: &str, key: Option<&str>, nth: usize) -> usize {
    let mut found = places.iter().filter(|place| (place.0, place.1) == (section, key));
    found.nth(nth).map_or(0, |place| place.2)
}

/// An empty line or a comment.
fn is_silent(line: &str) -> bool {
    line.is_empty() || line.starts_with([';', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_mean_nothing_are_found_where_they_are() {
        let rows = [
            ("[a\n", "no section"),
            ("[a] b\n", "no section"),
            ("[a] ; b\n", "a line of its own"),
            ("host\n", "sets nothing"),
            ("= 1\n", "no key"),
            ("host = \"x\n", "not closed"),
        ];
        for (text, expected) in rows {
            let found = errors(&format!("; x\n\n{text}[b]\n"), false);
            assert_eq!(found.len(), 1, "{text}");
            assert!(found[0].0 == 3 && found[0].1.contains(expected), "{found:?}");
        }
        assert_eq!(errors("# c\n; c\n\n [a] \nb = c\nd: e\nf =\ng = \"h;\"\n", false), []);
    }

    #[test]
    fn a_comment_behind_a_value_is_told_from_a_topic() {
        assert!(comment_behind("9000 ; here").is_some());
        assert!(comment_behind("9000\t# here").is_some());
        assert_eq!(comment_behind("a;b#c"), None);
        assert_eq!(comment_behind("#hello,#x"), None);
    }
}
