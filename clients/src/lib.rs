//! Blocking clients of the broker: a small library, and the programs `publisher` and `subscriber`.
//!
//! [`Publisher`] connects to the broker's publishers' port, [`Subscriber`] to its subscribers'
//! port. Both are plain values for one thread; each keeps its connection alive by itself. What can
//! go wrong is a [`ClientError`], sorted by who is to blame.
//!
//! # Map
//!
//! | module | what it owns |
//! | --- | --- |
//! | `options` | how to connect |
//! | `connection` | the socket, HELLO and WELCOME |
//! | `link` | the sending half, and the thread that keeps the connection alive |
//! | `read_buffer` | bytes read, and the frames in them |
//! | `publisher`, `subscriber`, `subscriptions`, `event`, `error` | what users of the library see |
//! | [`command`] | command files and commands from the keyboard |
//! | `cli` | what the programs share: flags, output, the two main paths |
//!
//! # A subscriber and its broker
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpListener;
//!
//! use wire::native::{frame, handshake};
//! use clients::{ConnectOptions, Subscriber};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A broker of two frames: WELCOME, and one message behind it.
//! let mut frames = Vec::new();
//! handshake::Welcome { id: "b", server: "example/1.0", max_payload: 1_024, heartbeat: 0.0 }
//!     .encode(&mut frames);
//! frame::encode(frame::Kind::Publish, 0, b"#hello", b"hi", &mut frames);
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let address = listener.local_addr()?;
//! std::thread::spawn(move || -> std::io::Result<()> {
//!     let (mut peer, _) = listener.accept()?;
//!     peer.write_all(&frames)?;
//!     peer.read_to_end(&mut Vec::new()).map(drop)
//! });
//!
//! let mut subscriber = Subscriber::connect(address, &ConnectOptions::new().id("reader"))?;
//! subscriber.subscribe("#hello", None)?;
//! let message = subscriber.messages().next().expect("the broker sends one")?;
//! assert_eq!((message.topic.as_str(), &*message.payload), ("#hello", b"hi".as_slice()));
//! # Ok(())
//! # }
//! ```

mod connection;
mod error;
mod event;
mod link;
mod options;
mod publisher;
mod read_buffer;
mod subscriber;
mod subscriptions;

#[doc(hidden)]
pub mod bench;
#[doc(hidden)]
pub mod cli;
pub mod command;

pub use connection::Welcome;
pub use error::{ClientError, Refusal};
pub use event::{Event, Message, OwnedMessage};
pub use options::ConnectOptions;
pub use publisher::{EndWatch, Publisher};
pub use subscriber::{Messages, Subscriber};
pub use subscriptions::Subscriptions;
