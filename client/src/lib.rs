//! A blocking client of the publish/subscribe broker.
//!
//! [`Publisher`] connects to the broker's publishers' port, [`Subscriber`] to its subscribers'
//! port. Both are plain values that one thread uses at a time; each keeps its connection alive by
//! itself, with a thread of its own. Errors are a [`ClientError`], sorted by their cause.
//!
//! ```no_run
//! use pubsub_client::{ClientError, Publisher, Subscriber};
//!
//! fn main() -> Result<(), ClientError> {
//!     let mut subscriber = Subscriber::connect("127.0.0.1:9090")?;
//!     subscriber.subscribe("orders.>", None)?;
//!     subscriber.confirm()?; // from here on no message is missed
//!
//!     let mut publisher = Publisher::connect("127.0.0.1:9000")?;
//!     publisher.publish("orders.eu.created", "{\"order\": 1}")?;
//!     publisher.flush()?; // it is in the outboxes of its subscribers
//!
//!     for message in subscriber {
//!         let message = message?;
//!         println!("{}: {} bytes", message.topic, message.payload.len());
//!     }
//!     Ok(())
//! }
//! ```
//!
//! [`Reconnect`] makes clients that connect again by themselves: a publisher sends again what was
//! not confirmed, a subscriber subscribes again and says where messages are missing.
//!
//! A broker on the same machine may have Unix sockets
//! ([`unix_socket`](ConnectOptions::unix_socket)); others may want TLS, which is behind the feature
//! `tls` of this crate (`ConnectOptions::tls`).
//!
//! The folder `examples/` has programs that run against a broker on this machine.
//!
//! # Map
//!
//! | module | what it owns |
//! | --- | --- |
//! | `options` | how to connect |
//! | `connection` | HELLO and WELCOME |
//! | `stream`, `tls` | the socket, and TLS over it (feature `tls`) |
//! | `link` | the sending half, and the thread that keeps the connection alive |
//! | `read_buffer` | bytes read, and the frames in them |
//! | `reconnect` | clients that outlive their connection |
//! | `publisher`, `subscriber`, `subscriptions`, `messages`, `event`, `error` | what users see |

#![warn(missing_debug_implementations)]

mod connection;
mod error;
mod event;
mod link;
mod messages;
mod options;
mod publisher;
mod read_buffer;
mod reconnect;
mod stream;
mod subscriber;
mod subscriptions;
#[cfg(feature = "tls")]
mod tls;

pub use connection::Welcome;
pub use error::{Attempt, ClientError, Refusal};
pub use event::{Event, Gap, Message, OwnedMessage};
pub use messages::{IntoMessages, Messages};
pub use options::ConnectOptions;
pub use publisher::{EndWatch, Publisher};
pub use reconnect::{Reconnect, ReconnectingPublisher, ReconnectingSubscriber};
#[doc(hidden)]
pub use stream::Stream;
pub use subscriber::Subscriber;
pub use subscriptions::Subscriptions;
#[cfg(feature = "tls")]
#[doc(hidden)]
pub use tls::Session;
#[cfg(feature = "tls")]
pub use tls::{Secrets, Tls};
pub use wire::native::error_code::ErrorCode;
pub use wire::native::{DEFAULT_PUBLISHER_PORT, DEFAULT_SUBSCRIBER_PORT};
pub use wire::topic::TopicError;
