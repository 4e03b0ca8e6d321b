//! The routes that topics share: equal sets of receivers are one object.
//!
//! Owns what all of them weigh, which the cache of topics counts against its limit: a route is
//! kept here whether a topic still leads to it or not. Must not know which topics those are.

use std::collections::HashSet;
use std::rc::Rc;

use super::Route;

/// Routes that nobody uses are looked for when there are this many, and twice as many as the
/// last time.
const ROUTES_BEFORE_PURGE: usize = 1_024;
/// What a route weighs beside its receivers: itself, its place in the table, and the allocator's.
const ROUTE_OVERHEAD: usize = 128;

/// Routes, each once.
pub(super) struct Routes {
    table: HashSet<Rc<Route>>,
    bytes: usize,
    purge_at: usize,
}

impl Routes {
    pub(super) fn new() -> Routes {
        Routes { table: HashSet::new(), bytes: 0, purge_at: ROUTES_BEFORE_PURGE }
    }

    /// The one route with these receivers.
    pub(super) fn share(&mut self, route: Route) -> Rc<Route> {
        if let Some(shared) = self.table.get(&route) {
            return shared.clone();
        }
        if self.table.len() >= self.purge_at {
            self.purge();
        }
        let route = Rc::new(route);
        self.bytes += weight(&route);
        self.table.insert(route.clone());
        route
    }

    /// What all of them weigh, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets all but one; those that somebody still uses live on without being shared.
    pub(super) fn forget_all_but(&mut self, route: &Rc<Route>) {
        *self = Routes::new();
        self.bytes = weight(route);
        self.table.insert(route.clone());
    }

    fn purge(&mut self) {
        self.table.retain(|route| Rc::strong_count(route) > 1);
        self.bytes = self.table.iter().map(|route| weight(route)).sum();
        self.purge_at = ROUTES_BEFORE_PURGE.max(self.table.len() * 2);
    }
}

fn weight(route: &Route) -> usize {
    ROUTE_OVERHEAD + size_of_val(&*route.plain) + size_of_val(&*route.groups)
}
