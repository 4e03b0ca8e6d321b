//! Reading lines from the left: the verb, the blanks, the end, the fields between.
//!
//! Owns what the lines of clients, servers and leaf nodes have in common. Must not know any verb.
//! Whatever is found or refused here stays so when more bytes come.

use super::LINE_END;
use super::line::LineError;

/// The most digits of a number.
const MAX_DIGITS: usize = 9;
/// The most arguments that any verb has.
const MAX_FIELDS: usize = 5;

/// A whole line.
pub(crate) struct Cut<'a, V> {
    pub(crate) verb: V,
    pub(crate) arguments: &'a [u8],
    /// Bytes of it, with its end.
    pub(crate) length: usize,
}

/// Cuts the first line off. `least_blanks` tells how
/// many blanks have to stand behind a verb; `None`: it takes no arguments, and none are skipped.
/// `max` limits the arguments, and the blanks.
#[inline]
pub(crate) fn line<'a, V: Copy>(
    verbs: &[(&[u8], V)],
    bytes: &'a [u8],
    max: usize,
    least_blanks: impl FnOnce(V) -> Option<usize>,
) -> Result<Option<Cut<'a, V>>, LineError> {
    let Some((verb, behind)) = find(verbs, bytes)? else {
        return Ok(None);
    };
    let start = match least_blanks(verb) {
        Some(least) => skip_blanks(bytes, behind, least, max)?,
        None => Some(behind),
    };
    let Some(start) = start else {
        return Ok(None);
    };
    Ok(cut(bytes, start, max)?.map(|(arguments, length)| Cut { verb, arguments, length }))
}

/// The text of an error, without the quotes that servers put around it.
pub(crate) fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"'").and_then(|text| text.strip_suffix(b"'")).unwrap_or(text)
}

/// The verb that the bytes begin with, and its length. No verb of `verbs` begins another.
fn find<V: Copy>(verbs: &[(&[u8], V)], bytes: &[u8]) -> Result<Option<(V, usize)>, LineError> {
    for &(name, verb) in verbs {
        let there = bytes.len().min(name.len());
        if bytes[..there].eq_ignore_ascii_case(&name[..there]) {
            return Ok((there == name.len()).then_some((verb, there)));
        }
    }
    Err(LineError::UnknownOperation)
}

/// Where the arguments begin, behind at least `least` blanks that begin at `start`.
fn skip_blanks(
    bytes: &[u8],
    start: usize,
    least: usize,
    most: usize,
) -> Result<Option<usize>, LineError> {
    let rest = &bytes[start..];
    let blanks = rest.iter().position(|&byte| !is_blank(byte));
    if blanks.is_some_and(|blanks| blanks < least) {
        return Err(LineError::UnknownOperation);
    }
    if blanks.unwrap_or(rest.len()) > most {
        return Err(LineError::ControlLineTooLong);
    }
    Ok(blanks.map(|blanks| start + blanks))
}

/// The line's arguments, which begin at `start`, and the length of the line with its end.
fn cut(bytes: &[u8], start: usize, max: usize) -> Result<Option<(&[u8], usize)>, LineError> {
    let rest = &bytes[start..];
    // No LF this near means that the line is too long, so none is looked for further on.
    let rest = &rest[..rest.len().min(max.saturating_add(LINE_END.len()))];
    let end = rest.iter().position(|&byte| byte == b'\n');
    let line = &rest[..end.unwrap_or(rest.len())];
    let arguments = line.strip_suffix(b"\r").unwrap_or(line);
    if arguments.len() > max {
        return Err(LineError::ControlLineTooLong);
    }
    Ok(end.map(|end| (arguments, start + end + 1)))
}

/// What stands between the blanks.
pub(crate) struct Fields<'a> {
    fields: [&'a [u8]; MAX_FIELDS],
    count: usize,
}

impl<'a> Fields<'a> {
    /// Splits the arguments. `None`: there are more than any verb has, or there is a CR in them,
    /// which nobody can mean, as servers differ about it.
    #[inline]
    pub(crate) fn split(arguments: &'a [u8]) -> Option<Fields<'a>> {
        let (mut fields, mut count): ([&[u8]; MAX_FIELDS], _) = ([&[]; MAX_FIELDS], 0);
        let mut rest = arguments;
        while !rest.is_empty() {
            // One comparison is all that most bytes need.
            let ends = |&byte: &u8| byte <= b' ' && matches!(byte, b' ' | b'\t' | b'\r');
            let end = rest.iter().position(ends).unwrap_or(rest.len());
            let (field, behind) = rest.split_at(end);
            if !field.is_empty() {
                *fields.get_mut(count)? = field;
                count += 1;
            }
            rest = match behind.split_first() {
                Some((b'\r', _)) => return None,
                Some((_, rest)) => rest,
                None => &[],
            };
        }
        Some(Fields { fields, count })
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[&'a [u8]] {
        &self.fields[..self.count]
    }
}

/// The first word, and what is behind it. `None`: there are only blanks.
#[inline]
pub(crate) fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = bytes.iter().position(|&byte| !is_blank(byte))?;
    let rest = &bytes[start..];
    let end = rest.iter().position(|&byte| is_blank(byte)).unwrap_or(rest.len());
    Some(rest.split_at(end))
}

/// What is in front of the last word, and that word. `None`: there are only blanks.
#[inline]
pub(crate) fn last(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().rposition(|&byte| !is_blank(byte))? + 1;
    let rest = &bytes[..end];
    let start = rest.iter().rposition(|&byte| is_blank(byte)).map_or(0, |blank| blank + 1);
    Some(rest.split_at(start))
}

/// A number of 1 to 9 digits; zeros may lead.
pub(crate) fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

/// Two sizes: of headers, and of headers and payload together.
pub(crate) fn sizes(headers: &[u8], total: &[u8]) -> Option<(u32, u32)> {
    let sizes = (number(headers)?, number(total)?);
    (sizes.0 <= sizes.1).then_some(sizes)
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}
