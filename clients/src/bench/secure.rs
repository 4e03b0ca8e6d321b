//! TLS for connections that know nothing of it: two threads stand between each and the broker.
//!
//! What is measured of the broker is as it is; what this program uses itself is more.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pubsub_client::{Session, Stream};
use socket2::{Domain, Socket, Type};

/// Bytes that are passed on at once.
const BYTES: usize = 64 << 10;

/// Goes through the handshake on a connection, and gives one whose bytes are passed on over it.
pub(crate) fn relay(socket: Socket, session: Session, time: Duration) -> io::Result<Socket> {
    let stream = Stream::secure(socket, session, Instant::now().checked_add(time))?;
    stream.set_read_timeout(None)?;
    let stream = Arc::new(stream);
    let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None)?;
    let (up, back) = (Arc::clone(&stream), theirs.try_clone()?);
    thread::Builder::new().name("to broker".to_owned()).spawn(move || {
        let mut bytes = vec![0; BYTES];
        while let Ok(count @ 1..) = (&theirs).read(&mut bytes) {
            if up.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        up.finish();
    })?;
    thread::Builder::new().name("from broker".to_owned()).spawn(move || {
        let mut bytes = vec![0; BYTES];
        while let Ok(count @ 1..) = (&*stream).read(&mut bytes) {
            if (&back).write_all(&bytes[..count]).is_err() {
                return stream.close();
            }
        }
        // It fails only if the connection has already ended.
        let _ = back.shutdown(Shutdown::Both);
    })?;
    Ok(ours)
}
