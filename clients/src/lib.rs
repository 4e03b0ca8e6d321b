//! The programs `publisher`, `subscriber` and `bench-publisher`.
//!
//! Each program's `main` calls one function here. The connection to the broker is the library
//! `pubsub_client`'s; nothing here may depend on the broker's own crate.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`command`] | command files and commands from the keyboard |
//! | [`cli`] | `publisher` and `subscriber` |
//! | [`mod@bench`] | `bench-publisher` |
//! | `credentials` | who all of them say they are |
//! | `tls` | the flags of TLS, of all three |

pub mod bench;
pub mod cli;
pub mod command;
mod credentials;
mod tls;
