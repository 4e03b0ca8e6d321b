//! Unix sockets: binding them to a path, and who is behind a connection.
//!
//! Owns the file of a socket: that only one which nobody listens on is replaced, who may connect,
//! and that it goes when the broker stops listening. Must not accept.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use mio::net::{UnixListener, UnixStream};
use rustix::net::sockopt::socket_peercred;
use socket2::{Domain, SockAddr, Socket, Type};

use super::BACKLOG;
use crate::engine::access::Peer;

/// Who is in which group, by name.
const GROUPS: &str = "/etc/group";

/// Who may connect to a socket of this machine.
pub(in crate::net) struct Access<'a> {
    /// The permissions of its file.
    pub(in crate::net) mode: u32,
    /// Name or number of the group that has it, if not the broker's own.
    pub(in crate::net) group: Option<&'a str>,
}

/// The file of a socket that the broker has bound; it is removed with this.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and number of the file: another broker may have put its own in its place.
    file: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // If it stays, the next broker finds that nobody listens there, and removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds a path. Nobody can connect before the file has its owner and its permissions, since only
/// then it listens.
pub(super) fn bind(path: &Path, access: &Access<'_>) -> io::Result<(UnixListener, SocketFile)> {
    let group = access.group.map(group_id).transpose()?;
    let address = SockAddr::unix(path)?;
    remove_stale(path, &address)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address)?;
    let file = SocketFile { path: path.to_owned(), file: identity(path)? };
    if group.is_some() {
        chown(path, None, group).map_err(|error| {
            let who = access.group.unwrap_or_default();
            let advice = "the broker's user has to be a member of it ([network] socket_group)";
            io::Error::new(
                error.kind(),
                format!("cannot give it to group {who}: {error}; {advice}"),
            )
        })?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(access.mode))?;
    socket.listen(BACKLOG)?;
    Ok((UnixListener::from_std(socket.into()), file))
}

/// Removes what a broker has left that was killed: a socket that nobody listens on.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?.file_type(),
    };
    if !kind.is_socket() {
        let text = "a file that is no socket is in the way: remove it, or choose another path";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A full queue of the one that listens must not hold up the start.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let text = "a socket of another user is in the way: remove it, or choose another path";
            Err(io::Error::new(io::ErrorKind::AlreadyExists, text))
        }
        Ok(()) | Err(_) => {
            let text = "a program listens there: stop it, or choose another path";
            Err(io::Error::new(io::ErrorKind::AlreadyExists, text))
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

/// The number of a group that is given by number or name.
pub(in crate::net) fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let line_of = |text: &str| {
        let mut lines = text.lines().map(|line| line.split(':'));
        lines
            .find_map(|mut fields| (fields.next() == Some(group)).then(|| fields.nth(1))?)?
            .parse()
            .ok()
    };
    let groups = fs::read_to_string(GROUPS)
        .map_err(|error| io::Error::new(error.kind(), format!("{GROUPS}: {error}")))?;
    line_of(&groups).ok_or_else(|| {
        let text = format!("there is no group {group} in {GROUPS} ([network] socket_group)");
        io::Error::new(io::ErrorKind::NotFound, text)
    })
}

/// Who is behind a connection, as the kernel says, and the number of the process.
pub(super) fn peer(stream: &UnixStream) -> (Peer, Option<i32>) {
    match socket_peercred(stream) {
        Ok(found) => {
            let uid = Some(found.uid.as_raw());
            (Peer { uid, certificate: Vec::new() }, Some(found.pid.as_raw_nonzero().get()))
        }
        // Without an answer nobody is known by it.
        Err(_) => (Peer::default(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_number_and_name() {
        assert_eq!(group_id("4711").unwrap(), 4_711);
        assert_eq!(group_id("root").unwrap(), 0);
        let error = group_id("no-such-group").unwrap_err().to_string();
        assert!(error.contains("no group no-such-group"), "{error}");
    }

    #[test]
    fn a_file_in_the_place_of_ours_stays() {
        let path = std::env::temp_dir().join(format!("broker-{}.sock", std::process::id()));
        let access = Access { mode: 0o600, group: None };
        let (listener, file) = bind(&path, &access).unwrap();
        fs::remove_file(&path).unwrap();
        let (_other, others) = bind(&path, &access).unwrap();
        drop((listener, file));
        assert!(path.exists());
        drop(others);
        assert!(!path.exists());
    }
}
