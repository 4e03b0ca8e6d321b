//! Connections that cannot go on, and what each of them waits for.
//!
//! Owns the parked connections, by what they wait for and by how long they have waited, and is the
//! only one to wake them. A connection is parked on one obstacle, with the route that it was
//! refused on; so what is kept grows with the connections that wait and the distinct routes among
//! them, however many receivers are full. Must not decide when to wait.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use crate::engine::routing::{GroupId, Index, Route, RouteGroup};
use crate::engine::token::Token;
use crate::engine::turn::Schedule;

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Obstacle {
    /// That this outbox drains.
    Outbox(Token),
    /// That any member of this queue group gets room, comes or leaves.
    Group(GroupId),
    /// That memory gets free.
    Memory,
    /// That this connection, itself, reads its answers.
    Answers(Token),
}

/// What a connection that was refused a delivery costs beside its route, in bytes: its place in
/// three tables. (One that waits for memory is not counted: it would wait for itself.)
const REFUSED_BYTES: usize = 160;
/// What a route costs beside its receivers, in bytes.
const ROUTE_BYTES: usize = 128;

/// The parked connections.
#[derive(Default)]
pub(crate) struct Waits {
    /// By token.
    parked: Vec<Option<Box<Parked>>>,
    by_obstacle: HashMap<Obstacle, Vec<Token>>,
    /// Connections that were refused a delivery and have not been admitted since, the first one
    /// first.
    by_age: BTreeMap<u64, Token>,
    next_age: u64,
    /// Those that were refused up to then have waited under other rules.
    exempt: u64,
    /// The routes that connections were refused on, each once.
    routes: HashMap<*const Route, (Rc<Route>, usize)>,
    /// How many queue groups are waited for.
    groups: usize,
    bytes: usize,
}

/// A connection that is parked, or was and has not been admitted since.
struct Parked {
    /// What it waits for, and its place among those who wait for the same; nothing if it was woken.
    obstacle: Option<(Obstacle, usize)>,
    /// The route that it was refused on, and since when it waits to deliver.
    refused: Option<(Rc<Route>, u64)>,
}

impl Waits {
    /// Parks a connection, with the route that it was refused on if it was a delivery.
    ///
    /// # Panics
    /// If it is parked already.
    pub(crate) fn park(&mut self, token: Token, obstacle: Obstacle, refused: Option<&Rc<Route>>) {
        if self.parked.len() <= token.index() {
            self.parked.resize_with(token.index() + 1, || None);
        }
        let before = self.parked[token.index()].take();
        assert!(before.as_ref().is_none_or(|it| it.obstacle.is_none()), "one obstacle at a time");
        let before = before.and_then(|parked| parked.refused);
        let refused_on = match (refused, before) {
            (Some(route), Some((old, age))) => {
                self.release_route(&old);
                self.keep_route(route);
                Some((route.clone(), age))
            }
            (Some(route), None) => {
                self.keep_route(route);
                self.bytes += REFUSED_BYTES;
                self.next_age += 1;
                self.by_age.insert(self.next_age, token);
                Some((route.clone(), self.next_age))
            }
            (None, before) => before,
        };
        let waiting = self.by_obstacle.entry(obstacle).or_default();
        if waiting.is_empty() {
            self.groups += usize::from(matches!(obstacle, Obstacle::Group(_)));
        }
        let place = waiting.len();
        waiting.push(token);
        let parked = Parked { obstacle: Some((obstacle, place)), refused: refused_on };
        self.parked[token.index()] = Some(Box::new(parked));
    }

    /// All that wait for an obstacle are to be served again.
    pub(crate) fn wake(&mut self, obstacle: Obstacle, schedule: &mut Schedule) {
        let Some(waiting) = self.by_obstacle.remove(&obstacle) else { return };
        self.groups -= usize::from(matches!(obstacle, Obstacle::Group(_)));
        for token in waiting {
            self.unpark(token);
            schedule.make_ready_again(token, false);
        }
    }

    /// The same for those of the connections that wait for memory which `may_go` lets.
    pub(crate) fn wake_for_memory(
        &mut self,
        schedule: &mut Schedule,
        mut may_go: impl FnMut(Token) -> bool,
    ) {
        let Some(waiting) = self.by_obstacle.get(&Obstacle::Memory) else { return };
        let going: Vec<_> = waiting.iter().copied().filter(|it| may_go(*it)).collect();
        for token in going {
            self.remove_from_obstacle(token);
            self.unpark(token);
            schedule.make_ready_again(token, false);
        }
    }

    fn unpark(&mut self, token: Token) {
        let entry = &mut self.parked[token.index()];
        if let Some(parked) = entry {
            parked.obstacle = None;
            if parked.refused.is_none() {
                *entry = None;
            }
        }
    }

    /// A connection that was refused has delivered: it has no claim on being next any more.
    pub(crate) fn admitted(&mut self, token: Token) {
        if self.by_age.is_empty() {
            return;
        }
        let Some(entry) = self.parked.get_mut(token.index()) else { return };
        if let Some(parked) = entry.take_if(|parked| parked.refused.is_some())
            && let Some((route, age)) = parked.refused
        {
            assert!(parked.obstacle.is_none(), "a parked connection delivers nothing");
            self.end_refusal(&route, age);
        }
    }

    /// A connection waits for nothing any more.
    pub(crate) fn remove(&mut self, token: Token) {
        self.remove_from_obstacle(token);
        let Some(Some(parked)) = self.parked.get_mut(token.index()).map(Option::take) else {
            return;
        };
        if let Some((route, age)) = parked.refused {
            self.end_refusal(&route, age);
        }
    }

    fn end_refusal(&mut self, route: &Rc<Route>, age: u64) {
        self.by_age.remove(&age);
        self.bytes -= REFUSED_BYTES;
        self.release_route(route);
    }

    fn remove_from_obstacle(&mut self, token: Token) {
        let Some((obstacle, place)) = self.obstacle_and_place(token) else { return };
        let Some(waiting) = self.by_obstacle.get_mut(&obstacle) else { return };
        waiting.swap_remove(place);
        if let Some(&moved) = waiting.get(place) {
            if let Some(parked) = &mut self.parked[moved.index()] {
                parked.obstacle = Some((obstacle, place));
            }
        } else if waiting.is_empty() {
            self.by_obstacle.remove(&obstacle);
            self.groups -= usize::from(matches!(obstacle, Obstacle::Group(_)));
        }
    }

    fn keep_route(&mut self, route: &Rc<Route>) {
        let kept = self.routes.entry(Rc::as_ptr(route)).or_insert_with(|| {
            self.bytes += ROUTE_BYTES + route.bytes();
            (route.clone(), 0)
        });
        kept.1 += 1;
    }

    fn release_route(&mut self, route: &Rc<Route>) {
        let Some((_, count)) = self.routes.get_mut(&Rc::as_ptr(route)) else { return };
        *count -= 1;
        if *count == 0 {
            self.routes.remove(&Rc::as_ptr(route));
            self.bytes -= ROUTE_BYTES + route.bytes();
        }
    }

    /// What the connections that were refused a delivery and their routes take up, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// On how many distinct routes connections were refused.
    pub(crate) fn distinct_routes(&self) -> usize {
        self.routes.len()
    }

    /// Whether a connection is parked.
    pub(crate) fn is_parked(&self, token: Token) -> bool {
        self.obstacle(token).is_some()
    }

    /// What a connection waits for.
    pub(crate) fn obstacle(&self, token: Token) -> Option<Obstacle> {
        self.obstacle_and_place(token).map(|(obstacle, _)| obstacle)
    }

    fn obstacle_and_place(&self, token: Token) -> Option<(Obstacle, usize)> {
        self.parked.get(token.index())?.as_ref()?.obstacle
    }

    /// The route that a parked connection was refused on.
    pub(crate) fn route(&self, token: Token) -> Option<&Rc<Route>> {
        let parked = self.parked.get(token.index())?.as_ref()?;
        parked.refused.as_ref().map(|(route, _)| route)
    }

    /// All parked connections, and what each waits for.
    pub(crate) fn all(&self) -> Vec<(Obstacle, Token)> {
        let waiting = self.by_obstacle.iter();
        waiting.flat_map(|(obstacle, all)| all.iter().map(|token| (*obstacle, *token))).collect()
    }

    /// Whether any queue group is waited for.
    pub(crate) fn is_for_groups(&self) -> bool {
        self.groups > 0
    }

    /// Whether these members of a queue group are known to have no room: since a connection was
    /// refused for them, none has got room, come or left, or else it would have been woken. It is
    /// asked whether that connection `looked_at_all` members.
    pub(crate) fn is_group_full(
        &self,
        group: &RouteGroup,
        looked_at_all: impl Fn(Token) -> bool,
    ) -> bool {
        if self.groups == 0 {
            return false;
        }
        let waiting = self.by_obstacle.get(&Obstacle::Group(group.group));
        let last = waiting.and_then(|waiting| waiting.last());
        let route = last.filter(|last| looked_at_all(**last)).and_then(|last| self.route(*last));
        route.is_some_and(|route| route.groups.contains(group))
    }

    /// Whether a connection has waited longest of all that were refused a delivery.
    pub(crate) fn is_oldest(&self, token: Token) -> bool {
        self.by_age.first_key_value().is_some_and(|(_, oldest)| *oldest == token)
    }

    /// The rules have changed.
    pub(crate) fn exempt_all(&mut self) {
        self.exempt = self.next_age;
    }

    /// Whether a connection was refused a delivery under other rules, and has made none since.
    pub(crate) fn is_exempt(&self, token: Token) -> bool {
        let oldest = self.by_age.first_key_value().map_or(u64::MAX, |(age, _)| *age);
        let refused = || self.parked.get(token.index())?.as_ref()?.refused.as_ref();
        oldest <= self.exempt && refused().is_some_and(|(_, age)| *age <= self.exempt)
    }

    /// Whether a connection was refused a delivery for which this receiver is needed, plainly or as
    /// a member of a queue group; and how many routes were looked at for that.
    pub(crate) fn is_waited_for(&self, receiver: Token, index: &Index) -> (bool, u64) {
        let mut looks = 0;
        let needs = self.routes.values().any(|(route, _)| {
            looks += 1;
            needs(route, receiver, index)
        });
        (needs, looks)
    }

    /// How many connections were refused a delivery for which this receiver is needed.
    pub(crate) fn waiters_for(&self, receiver: Token, index: &Index) -> usize {
        let routes = self.routes.values().filter(|(route, _)| needs(route, receiver, index));
        routes.map(|(_, connections)| connections).sum()
    }
}

/// Whether a receiver is on a route.
fn needs(route: &Route, receiver: Token, index: &Index) -> bool {
    let is_member = |group: &RouteGroup| index.is_member(group.group, receiver);
    route.plain_copies(receiver) > 0 || route.groups.iter().any(is_member)
}
