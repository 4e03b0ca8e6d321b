//! Names to addresses, without waiting.
//!
//! Owns the thread that asks the system, of which there is one at most: a look-up can take as long
//! as the system likes, and nothing ends it. Must not decide what is done with the addresses.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::net::UnixStream as Pipe;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

use crate::config::Server;

/// Looks names up.
#[derive(Default)]
pub(super) struct LookUp {
    pending: Option<Pending>,
}

/// A look-up that a thread is at.
struct Pending {
    server: Server,
    answer: Receiver<io::Result<Vec<SocketAddr>>>,
    /// The thread closes its end behind the answer, which is the event.
    _bell: UnixStream,
}

impl LookUp {
    /// The addresses of a server, if they are there by now: an event of `token` comes when they
    /// are. A look-up of the same name that was begun before goes on.
    ///
    /// # Errors
    /// If there are none, or there can be no thread. `WouldBlock`: the look-up of another name does
    /// not end.
    pub(super) fn addresses(
        &mut self,
        server: &Server,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Option<Vec<SocketAddr>>> {
        if let Ok(ip) = server.host.parse::<IpAddr>() {
            return Ok(Some(vec![SocketAddr::new(ip, server.port)]));
        }
        if let Some(pending) = &mut self.pending {
            let is_same = pending.server == *server;
            let answer = match pending.answer.try_recv() {
                Ok(answer) => answer,
                Err(TryRecvError::Empty) if is_same => return Ok(None),
                Err(TryRecvError::Empty) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(TryRecvError::Disconnected) => Err(io::Error::other("its thread has ended")),
            };
            // Its end of the pipe is closed with it, which also takes it out of the poll.
            self.pending = None;
            // The answer may be to what was asked an attempt ago, and is of use if it is the same.
            if is_same {
                let addresses = answer?;
                let none = || io::Error::other("the name has no address");
                return if addresses.is_empty() { Err(none()) } else { Ok(Some(addresses)) };
            }
        }
        self.pending = Some(begin(server, registry, token)?);
        Ok(None)
    }
}

fn begin(server: &Server, registry: &Registry, token: Token) -> io::Result<Pending> {
    let (ours, theirs) = Pipe::pair()?;
    ours.set_nonblocking(true)?;
    let mut bell = UnixStream::from_std(ours);
    registry.register(&mut bell, token, Interest::READABLE)?;
    let (sender, answer) = channel();
    let (host, port) = (server.host.clone(), server.port);
    thread::Builder::new().name("look-up".to_owned()).spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Nobody waits any more if the link was given up meanwhile.
        let _ = sender.send(found);
        drop(theirs);
    })?;
    Ok(Pending { server: server.clone(), answer, _bell: bell })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use mio::{Events, Poll};

    use super::*;

    const TOKEN: Token = Token(7);

    #[test]
    fn an_address_needs_no_look_up() {
        let poll = Poll::new().unwrap();
        let mut look_up = LookUp::default();
        for (text, expected) in [("127.0.0.1:5", "127.0.0.1:5"), ("[::1]:6", "[::1]:6")] {
            let server = Server::parse(text).unwrap();
            let found = look_up.addresses(&server, poll.registry(), TOKEN).unwrap();
            assert_eq!(found, Some(vec![expected.parse().unwrap()]));
        }
        assert!(look_up.pending.is_none());
    }

    #[test]
    fn a_name_is_looked_up_beside_the_loop_which_hears_of_it() {
        let mut poll = Poll::new().unwrap();
        let mut look_up = LookUp::default();
        let server = Server::parse("localhost:5").unwrap();
        let mut events = Events::with_capacity(4);
        let deadline = Instant::now() + Duration::from_secs(60);
        let found = loop {
            if let Some(found) = look_up.addresses(&server, poll.registry(), TOKEN).unwrap() {
                break found;
            }
            poll.poll(&mut events, Some(Duration::from_secs(60))).unwrap();
            assert!(Instant::now() < deadline, "no event came");
        };
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 5));
        assert!(look_up.pending.is_none());
    }

    #[test]
    fn a_name_that_takes_for_ever_holds_up_no_address() {
        let poll = Poll::new().unwrap();
        let (ours, _theirs) = Pipe::pair().unwrap();
        let (_sender, answer) = channel();
        let server = Server::parse("slow").unwrap();
        let bell = UnixStream::from_std(ours);
        let mut look_up = LookUp { pending: Some(Pending { server, answer, _bell: bell }) };
        let mut ask =
            |text| look_up.addresses(&Server::parse(text).unwrap(), poll.registry(), TOKEN);
        assert_eq!(ask("slow").unwrap(), None);
        assert_eq!(ask("other").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(ask("127.0.0.1").unwrap().is_some());
    }
}
