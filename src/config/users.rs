//! The file of users: who may come in, and what each may do there.
//!
//! Owns the keys of a user, and what is wrong with a value of one. Must not say a secret, nor what
//! may be one: its messages end up in a log. How a client is recognised is not known here.

use std::cell::{LazyCell, OnceCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::syntax::{comment_behind, line_of, places, without_mark};
use super::value::{MAX_FILTERS, boxed, choice, count, filters, grants};
use super::{ConfigErrors, MAX_ERRORS, ini, read};
use crate::engine::access::credentials::{PublicKey, Secret};
use crate::engine::access::{User, Users};

/// Keys that may be given several times, with a number behind them from the second one on.
const NUMBERED: [&str; 5] = ["secret", "token", "nkey", "certificate", "uid"];
/// Keys that are given once.
const SINGLE: [&str; 5] = ["publish", "subscribe", "groups", "max_connections", "allow_responses"];
/// Keys whose values are never shown.
const SECRET: [&str; 3] = ["secret", "token", "nkey"];
const YES_OR_NO: &[(&str, bool)] = &[("yes", true), ("no", false)];

/// Bytes of a user's name.
const MAX_NAME_BYTES: usize = 255;
/// Bytes of a name in a certificate.
const MAX_CERTIFICATE_BYTES: usize = 1_024;
/// Users of a file: a running broker reads them between two turns of its loop.
const MAX_USERS: usize = 10_000;
/// Unknown keys that are longer are not shown: they may be a secret whose key was forgotten.
const MAX_SHOWN_KEY: usize = 20;
/// The bits of a file's mode that let everyone do something with it.
const EVERYONE: u32 = 0o007;
/// Whom the kernel shows in place of each user that a user namespace does not know.
const NOBODY: u32 = 65_534;
/// Where the users of this machine stand, and how much of it is read at most.
const PASSWD: &str = "/etc/passwd";
const MAX_PASSWD_BYTES: u64 = 16 << 20;

/// Gives the text of [`PASSWD`].
type Passwd<'a> = &'a dyn Fn() -> io::Result<String>;

/// Reads a file of users.
///
/// # Errors
/// All that is wrong with it, or why it cannot be read.
pub(super) fn load(path: &Path, anonymous: Option<&str>) -> Result<Users, ConfigErrors> {
    let text = read(path, |metadata| is_closed(metadata, path)).map_err(|error| {
        ConfigErrors::one(path, 0, &format!("the users cannot be read: {error}"))
    })?;
    parse(&text, path, anonymous, &passwd)
}

/// Reads the text of a file of users; `path` is for messages. What `passwd` gives is in the form of
/// /etc/passwd, and asked for where a uid is given by its name.
///
/// # Errors
/// What is wrong with it: at least one error and at most 20, each with its line.
pub fn parse(
    text: &str,
    path: &Path,
    anonymous: Option<&str>,
    passwd: Passwd<'_>,
) -> Result<Users, ConfigErrors> {
    let text = without_mark(text);
    let ini = ini(text, path, true)?;
    let places = LazyCell::new(|| places(text));
    let mut reader = Reader { passwd, machine: OnceCell::new(), owners: BTreeMap::new() };
    let mut errors: Vec<(usize, String)> = Vec::new();
    let mut users: Vec<User> = Vec::new();
    let mut names = BTreeSet::new();
    for (section, properties) in &ini {
        let (is_in_front, section) = (section.is_none(), section.unwrap_or(""));
        let line = |key: Option<&str>, nth: usize| line_of(&places, section, key, nth);
        if users.len() == MAX_USERS {
            errors.push((line(None, 0), format!("there are more than {MAX_USERS} users")));
            break;
        }
        match name(section) {
            // Where nothing should stand: each key is told below.
            _ if is_in_front => {}
            Ok(()) if names.insert(section) => {}
            Ok(()) => {
                let message = format!("[{section}] is there twice; keep one of the sections");
                errors.push((line(None, 1), message));
                continue;
            }
            Err(expected) => {
                let message = format!("[{}]: expected {expected}", section.escape_debug());
                errors.push((line(None, 0), message));
                continue;
            }
        }
        let mut user = User { name: section.to_owned(), ..User::default() };
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (key, value) in properties {
            let earlier = seen.entry(key).or_default();
            if let Err(message) = reader.set(&mut user, key, value, *earlier > 0) {
                errors.push((line(Some(key), *earlier), message));
            }
            *earlier += 1;
            if errors.len() >= MAX_ERRORS {
                break;
            }
        }
        if !is_in_front {
            users.push(user);
        }
        if errors.len() >= MAX_ERRORS {
            break;
        }
    }
    if errors.is_empty() {
        return named(users, path, anonymous);
    }
    errors.sort();
    Err(ConfigErrors::all(path, errors))
}

/// The table of users, of which one is called `anonymous`.
fn named(users: Vec<User>, path: &Path, anonymous: Option<&str>) -> Result<Users, ConfigErrors> {
    let users = Users::new(users, anonymous);
    match anonymous.filter(|name| users.named(name).is_none()) {
        None => Ok(users),
        Some(name) => {
            let text = format!(
                "[users] anonymous = {name} of the configuration is not in this file: add a \
                 section [{name}], or take the setting away"
            );
            Err(ConfigErrors::one(path, 0, &text))
        }
    }
}

/// A user's name, or nothing.
///
/// # Errors
/// What was expected instead.
pub(super) fn optional_name(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    name(text).map(|()| Some(text.into())).map_err(|expected| format!("{expected}, or nothing"))
}

fn name(text: &str) -> Result<(), String> {
    let is_good = (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.contains(char::is_control);
    let expected =
        || format!("the name of a user: 1 to {MAX_NAME_BYTES} bytes, no control characters");
    is_good.then_some(()).ok_or_else(expected)
}

/// A file that holds what only the broker is to know, and that is there to be read again.
fn is_closed(metadata: &Metadata, path: &Path) -> io::Result<()> {
    let mode = metadata.permissions().mode();
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    if mode & EVERYONE != 0 {
        return Err(io::Error::other(format!(
            "its mode, {:o}, lets every user of this machine in: chmod 640 {}",
            mode & 0o7777,
            path.display()
        )));
    }
    Ok(())
}

fn passwd() -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(PASSWD)?.take(MAX_PASSWD_BYTES).read_to_end(&mut bytes)?;
    // Only the text in front of the second colon is compared, a person's name need not be text.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What can be only one user's, because it says who somebody is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Key(PublicKey),
    Certificate(String),
    Uid(u32),
}

/// What is known while the sections are read one after the other.
struct Reader<'a> {
    passwd: Passwd<'a>,
    /// What that has given.
    machine: OnceCell<Result<String, String>>,
    /// Whose each mark is.
    owners: BTreeMap<Mark, String>,
}

impl Reader<'_> {
    /// Gives a user what a line says.
    fn set(&mut self, user: &mut User, key: &str, value: &str, again: bool) -> Result<(), String> {
        if user.name.is_empty() {
            return Err(format!("{} stands before any [user]", shown(key)));
        }
        let kind = kind(key).ok_or_else(|| unknown_key(&user.name, key))?;
        if again {
            return Err(twice(&user.name, key));
        }
        let comment = comment_behind(value);
        // Text of any kind would take the comment for a part of it.
        let applied = if kind == "certificate" && comment.is_some() {
            Err("expected a name in a certificate".into())
        } else {
            self.apply(user, kind, value)
        };
        applied.map_err(|wrong| {
            let line = match SECRET.contains(&kind) {
                true => format!("[{}] {key}", user.name),
                false => format!("[{}] {key} = {value}", user.name),
            };
            let hint = comment.map(|hint| format!("; {hint}")).unwrap_or_default();
            format!("{line}: {wrong}{hint}")
        })
    }

    fn apply(&mut self, user: &mut User, kind: &str, value: &str) -> Result<(), String> {
        let expected = |what: String| format!("expected {what}");
        match kind {
            "secret" => user.secrets.push(secret(value)?),
            "token" => user.tokens.push(secret(value)?),
            "nkey" => {
                let key = public_key(value)?;
                self.mark(Mark::Key(key), &user.name)?;
                user.keys.push(key);
            }
            "certificate" => {
                let name = certificate(value)?;
                self.mark(Mark::Certificate(name.clone()), &user.name)?;
                user.certificates.push(name);
            }
            "uid" => {
                let uid = self.uid(value)?;
                self.mark(Mark::Uid(uid), &user.name)?;
                user.uids.push(uid);
            }
            "publish" => user.rights.publish = grants(value).map_err(expected)?,
            "subscribe" => user.rights.subscribe = grants(value).map_err(expected)?,
            "groups" => user.rights.groups = Some(boxed(&groups(value).map_err(expected)?)),
            "max_connections" => {
                let most = count(value, 1..=1_000_000).map_err(expected)?;
                user.max_connections = Some(most);
            }
            // All others were refused before.
            _ => user.rights.allow_responses = choice(value, YES_OR_NO).map_err(expected)?,
        }
        Ok(())
    }

    /// Notes that it is this user's.
    fn mark(&mut self, mark: Mark, user: &str) -> Result<(), String> {
        match self.owners.get(&mark) {
            Some(owner) if owner == user => Err("it is given twice; keep one of the lines".into()),
            Some(owner) => Err(format!("it is [{owner}]'s already, and can be one user's only")),
            None => {
                self.owners.insert(mark, user.to_owned());
                Ok(())
            }
        }
    }

    /// A user of this machine, by number or name.
    fn uid(&self, value: &str) -> Result<u32, String> {
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let number = if is_number { Some(value) } else { self.uid_of(value)? };
        // The greatest number of all stands for no user.
        let uid = number.and_then(|text| text.parse().ok()).filter(|uid| *uid != u32::MAX);
        match uid {
            Some(NOBODY) => Err(format!(
                "{NOBODY} is shown for every process of another user namespace, so it says nothing \
                 of who that is: let the process have a user of its own"
            )),
            Some(uid) => Ok(uid),
            None if is_number => Err(format!("expected a number from 0 to {}", u32::MAX - 1)),
            None => Err(format!(
                "expected the number of a user, or a name that stands in {PASSWD}, which this one \
                 does not"
            )),
        }
    }

    fn uid_of(&self, name: &str) -> Result<Option<&str>, String> {
        let read = || {
            let unread = |error| format!("{PASSWD} cannot be read ({error}): give the number");
            (self.passwd)().map_err(unread)
        };
        let text = self.machine.get_or_init(read).as_ref().map_err(String::clone)?;
        // A name with a colon in it, or an empty one, is nobody's.
        let is_name = !name.is_empty() && !name.contains(':');
        let of = |line: &str| is_name && line.split(':').next() == Some(name);
        Ok(text.lines().find(|line| of(line)).and_then(|line| line.split(':').nth(2)))
    }
}

/// What a key is about, without the number behind it.
fn kind(key: &str) -> Option<&str> {
    let base = key.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_numbered = NUMBERED.contains(&base) && !key[base.len()..].starts_with('0');
    (is_numbered || SINGLE.contains(&key)).then_some(base)
}

fn secret(text: &str) -> Result<Secret, String> {
    let expected = "expected sha256:SALT:HASH, as broker --new-secret and broker --hash-secret \
                    print it; a secret itself never stands in this file";
    Secret::parse(text).ok_or_else(|| expected.into())
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    let expected = "expected the public key of a NATS user: 56 characters that begin with U; what \
                    begins with S is its seed, and never stands in this file";
    PublicKey::parse(text).ok_or_else(|| expected.into())
}

fn certificate(text: &str) -> Result<String, String> {
    let is_long = !(1..=MAX_CERTIFICATE_BYTES).contains(&text.len());
    if is_long || text.contains(char::is_control) {
        let most = MAX_CERTIFICATE_BYTES;
        return Err(format!("expected a name in a certificate, of 1 to {most} bytes"));
    }
    Ok(text.into())
}

/// Filters for names of groups. There is no denying any.
fn groups(text: &str) -> Result<Vec<String>, String> {
    let groups = filters(text, MAX_FILTERS)?;
    match groups.iter().find(|group| group.starts_with('!')) {
        Some(group) => Err(format!("groups that may be joined; {group:?}: none can be denied")),
        None => Ok(groups),
    }
}

fn twice(user: &str, key: &str) -> String {
    let another = if NUMBERED.contains(&key) {
        format!(", or call the other one {key}2")
    } else {
        String::new()
    };
    format!("[{user}] {} is given twice; keep one of the lines{another}", shown(key))
}

fn unknown_key(user: &str, key: &str) -> String {
    let (single, numbered) = (SINGLE.join(", "), NUMBERED.join(", "));
    let key = shown(key);
    format!(
        "unknown key {key} in [{user}]; expected one of {single}, or of {numbered}, which may have \
         a number behind them"
    )
}

/// A key as it may be shown.
fn shown(key: &str) -> &str {
    if key.len() <= MAX_SHOWN_KEY { key } else { "of many characters" }
}

#[cfg(test)]
mod tests;
