//! A route: the receivers of a topic, sorted by the encoding that they want.
//!
//! Owns the shape of a route. Must not know how one is found or cached.

use smallvec::SmallVec;
use wire::Encoding;

use crate::engine::token::Token;

/// The receivers of a topic. Equal sets of receivers are one object, so that telling whether two
/// messages go the same way is comparing pointers.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Receivers with a plain subscription that matches, by encoding.
    pub plain: SmallVec<[Audience; 1]>,
    /// Queue groups that match; each gets the message once.
    pub groups: Box<[RouteGroup]>,
    /// Some receiver gets several copies, or a subscription of one ends behind so many messages:
    /// having room is not all that is to be looked at.
    pub needs_look: bool,
}

/// The plain receivers of a route that want one encoding.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Audience {
    /// How they want their messages.
    pub encoding: Encoding,
    /// Each once, in ascending order.
    pub receivers: Box<[Token]>,
    /// Of NATS clients: the subscription of each receiver, which counts its messages.
    pub subscriptions: Box<[SubscriptionId]>,
}

/// Names a subscription, as long as it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub(crate) u32);

/// A member of a queue group for one topic: a native connection, or one subscription of a NATS
/// client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its connection.
    pub token: Token,
    /// How it wants its messages.
    pub encoding: Encoding,
    /// Its subscription; one of them, for a native connection.
    pub subscription: SubscriptionId,
}

/// A queue group in a route.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct RouteGroup {
    /// Which group.
    pub group: GroupId,
    /// The lists of its members that match: one for each filter.
    pub(crate) lists: SmallVec<[u32; 2]>,
    /// Members that are not to be given this topic.
    pub(crate) withheld: Box<[Token]>,
}

/// Names a queue group: its number is used again when the group has no member left, its generation
/// is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId {
    pub(crate) number: u32,
    pub(crate) generation: u32,
}

impl Route {
    /// How many plain receivers there are.
    pub fn receivers(&self) -> usize {
        self.plain.iter().map(|audience| audience.receivers.len()).sum()
    }

    /// Whether all receivers want the very bytes that a native publisher sends. (The members of
    /// queue groups are not known to the route.)
    pub fn is_native(&self) -> bool {
        let is_native = |audience: &Audience| audience.encoding == Encoding::Native;
        self.groups.is_empty() && self.plain.iter().all(is_native)
    }

    /// The way to a hub alone.
    pub(crate) fn to_hub(hub: Token) -> Route {
        let (receivers, subscriptions) = ([hub].into(), Box::default());
        let audience = Audience { encoding: Encoding::Leaf, receivers, subscriptions };
        Route { plain: [audience].into_iter().collect(), groups: Box::default(), needs_look: false }
    }

    /// Whether a hub is among the plain receivers.
    pub fn leads_to_hub(&self) -> bool {
        self.plain.last().is_some_and(|audience| audience.encoding == Encoding::Leaf)
    }

    /// Copies of a message that a connection gets through its plain subscriptions.
    pub fn plain_copies(&self, token: Token) -> usize {
        self.plain_encodings(token).count()
    }

    /// The encodings in which a connection gets a message through its plain subscriptions.
    pub fn plain_encodings(&self, token: Token) -> impl Iterator<Item = Encoding> {
        let holds = move |audience: &&Audience| audience.receivers.binary_search(&token).is_ok();
        self.plain.iter().filter(holds).map(|audience| audience.encoding)
    }

    /// What its receivers take up in memory, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let lists =
            |group: &RouteGroup| if group.lists.spilled() { 4 * group.lists.len() } else { 0 };
        let audiences = if self.plain.spilled() { size_of_val(&self.plain[..]) } else { 0 };
        audiences
            + self.plain.iter().map(|it| size_of_val(&*it.receivers)).sum::<usize>()
            + self.plain.iter().map(|it| size_of_val(&*it.subscriptions)).sum::<usize>()
            + size_of_val(&*self.groups)
            + self.groups.iter().map(lists).sum::<usize>()
            + self.groups.iter().map(|group| size_of_val(&*group.withheld)).sum::<usize>()
    }
}
