//! Topics to receivers: who gets a message.
//!
//! Owns subscriptions, the routes that are made from them, and what publishers can make the broker
//! remember of their topics. Knows tokens and topics; must not know what a connection is, nor
//! deliver.
//!
//! - `index`: the room's face: subscribe, unsubscribe, and the route of a topic.
//! - `registry`, `changes`, `sids`: subscriptions by filter and connection, how they come and go,
//!   and what NATS clients call them.
//! - `groups`, `members`: queue groups by name, and whose turn it is.
//! - `trie`, `search`: filters with wildcards, and the search for those that match a topic.
//! - `route`, `routes`: a set of receivers; equal sets are one object.
//! - `table`: where an item is found by its hash, without a pause in which all of them move.
//! - `cache`, `seen`, `counts`: topics whose route is known, those that were asked for once, and
//!   what was published to them.

mod cache;
mod changes;
pub mod counts;
mod groups;
pub mod index;
mod members;
mod registry;
pub mod route;
mod routes;
mod search;
mod seen;
mod sids;
mod table;
mod trie;

pub(crate) use index::Interest;
pub use index::{Index, NoRoute};
pub(crate) use registry::Subscribed;
pub use route::{GroupId, Member, Route, RouteGroup, SubscriptionId};
