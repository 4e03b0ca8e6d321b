//! Topics to receivers: who gets a message.
//!
//! Owns subscriptions, the routes that are made from them, and what publishers can make the broker
//! remember of their topics. Knows tokens and topics; must not know what a connection is, nor
//! deliver.
//!
//! - `index`: the room's face: subscribe, unsubscribe, and the route of a topic.
//! - `registry`, `groups`: subscriptions by filter and connection; queue groups by name.
//! - `trie`, `search`: filters with wildcards, and the search for those that match a topic.
//! - `route`, `routes`: a set of receivers; equal sets are one object.
//! - `cache`, `counts`: topics whose route is known, and what was published to them.

mod cache;
pub mod counts;
mod groups;
pub mod index;
mod members;
mod registry;
pub mod route;
mod routes;
mod search;
mod trie;

pub use index::{Index, NoRoute};
pub use route::{GroupId, Route, RouteGroup};
