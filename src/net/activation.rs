//! Sockets that the service manager has bound and passes on; sd_listen_fds(3).
//!
//! Owns the rules which of them are taken: by name, whatever their order. Must not bind any.

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use socket2::{Protocol, SockRef};

use super::RunError;
use super::listener::{ListeningSocket, Place};
use crate::engine::sessions::connection::Role;

/// What FileDescriptorName= says, for each role.
const NAMES: [(&str, Role); 3] =
    [("publishers", Role::PUBLISHER), ("subscribers", Role::SUBSCRIBER), ("nats", Role::NATS)];
/// What to do about a socket with a wrong name or none.
const NAME_THEM: &str =
    "set FileDescriptorName= in its .socket unit to publishers, subscribers or nats";
/// Multipath TCP, which systemd can listen with, too.
const IPPROTO_MPTCP: i32 = 262;

/// The sockets that were passed to this process, ready for a loop that does not block.
///
/// # Errors
/// What is wrong with one of them, and what to do about it.
pub(super) fn passed_sockets() -> Result<Vec<(Role, ListeningSocket)>, RunError> {
    let names = std::env::var("LISTEN_FDNAMES").ok();
    let mut passed = ListenFd::from_env();
    let roles = roles(passed.len(), names.as_deref()).map_err(refused)?;
    let mut sockets = Vec::new();
    for (index, role) in roles.into_iter().enumerate() {
        let what = format!("the socket for {} that the service manager has passed", role.plural());
        let socket = take(&mut passed, index).map_err(|error| RunError::new(what, error))?;
        sockets.extend(socket.map(|socket| (role, socket)));
    }
    Ok(sockets)
}

/// What each of `count` sockets is for.
fn roles(count: usize, names: Option<&str>) -> Result<Vec<Role>, String> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = names.unwrap_or_default().split(':').collect();
    if names == [""] || names.len() != count {
        return Err(format!("{count} sockets have {} names: {NAME_THEM}", names.len() - 1));
    }
    let role = |name: &str| {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        let unknown = || format!("one of them is called {name:?}: {NAME_THEM}");
        found.map(|(_, role)| *role).ok_or_else(unknown)
    };
    names.into_iter().map(role).collect()
}

/// One of the sockets, whichever kind it is. What is taken for the wrong kind stays in its place.
fn take(passed: &mut ListenFd, index: usize) -> io::Result<Option<ListeningSocket>> {
    match passed.take_unix_listener(index) {
        Ok(socket) => socket.map(checked_path).transpose(),
        Err(_) => passed.take_tcp_listener(index)?.map(checked_port).transpose(),
    }
}

/// A socket that listens, speaks TCP, and does not block. That it is not inherited by other
/// programs is seen to when it is taken.
fn checked_port(socket: TcpListener) -> io::Result<ListeningSocket> {
    let options = SockRef::from(&socket);
    let protocols = [Protocol::TCP, Protocol::from(IPPROTO_MPTCP)];
    if !options.protocol()?.is_some_and(|protocol| protocols.contains(&protocol)) {
        return Err(io::Error::other("it is not TCP: use ListenStream= with an address and port"));
    }
    does_listen(&options)?;
    socket.set_nonblocking(true)?;
    Ok(ListeningSocket::Tcp(mio::net::TcpListener::from_std(socket)))
}

/// The same for a path. Its file is the service manager's.
fn checked_path(socket: UnixListener) -> io::Result<ListeningSocket> {
    does_listen(&SockRef::from(&socket))?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    let path = address.as_pathname().map_or("(no path)".to_owned(), |it| it.display().to_string());
    let socket = mio::net::UnixListener::from_std(socket);
    Ok(ListeningSocket::Unix(socket, Place::of_another(path)))
}

fn does_listen(socket: &SockRef<'_>) -> io::Result<()> {
    match socket.is_listener()? {
        true => Ok(()),
        false => Err(io::Error::other("it does not listen: use Accept=no in its .socket unit")),
    }
}

fn refused(why: String) -> RunError {
    RunError::new(
        "cannot use the sockets that the service manager has passed",
        io::Error::other(why),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_told_by_name_in_any_order_and_number() {
        assert_eq!(roles(0, None), Ok(vec![]));
        assert_eq!(roles(0, Some("left:over")), Ok(vec![]));
        assert_eq!(roles(1, Some("subscribers")), Ok(vec![Role::SUBSCRIBER]));
        assert_eq!(
            roles(3, Some("subscribers:publishers:subscribers")),
            Ok(vec![Role::SUBSCRIBER, Role::PUBLISHER, Role::SUBSCRIBER])
        );
    }

    #[test]
    fn names_that_are_missing_or_unknown_are_refused_with_what_to_do() {
        for (count, names) in [
            (1, None),
            (1, Some("")),
            (2, Some("publishers")),
            (1, Some("publishers:subscribers")),
            (2, Some("publishers:")),
            (1, Some("broker.socket")),
            (1, Some("Publishers")),
        ] {
            let error = roles(count, names).unwrap_err();
            assert!(error.contains("FileDescriptorName="), "{names:?}: {error}");
        }
    }

    #[test]
    fn a_socket_that_does_not_listen_is_refused() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let error = checked_port(socket.unwrap().into()).err().unwrap().to_string();
        assert!(error.contains("does not listen"), "{error}");
        assert!(checked_port(TcpListener::bind("127.0.0.1:0").unwrap()).is_ok());
    }
}
