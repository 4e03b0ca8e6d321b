//! The routes that topics share: equal sets of receivers are one object.
//!
//! Owns what all of them weigh, which the cache of topics counts against its limit. A route is let
//! go of with the last topic that leads to it. Must not know which topics those are.

use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use super::route::Route;
use super::table::Table;

/// What a route weighs beside its receivers, in bytes: itself, its place in the table, and the
/// allocator's.
const ROUTE_OVERHEAD: usize = 128;

/// Routes, each once, and how many topics lead to it.
#[derive(Default)]
pub(super) struct Routes {
    table: Table<(Rc<Route>, u32)>,
    bytes: usize,
    hasher: RandomState,
}

impl Routes {
    /// The one route with these receivers; one more topic leads to it.
    pub(super) fn share(&mut self, route: Route) -> Rc<Route> {
        let hash = self.hasher.hash_one(&route);
        if let Some((shared, topics)) = self.table.find_mut(hash, |(found, _)| **found == route) {
            *topics += 1;
            return shared.clone();
        }
        let route = Rc::new(route);
        self.bytes += weight(&route);
        self.table.insert(hash, (route.clone(), 1));
        route
    }

    /// A topic leads to it no more. What still uses it otherwise keeps it alive, unshared.
    pub(super) fn release(&mut self, route: &Rc<Route>) {
        let hash = self.hasher.hash_one(route);
        let is_it = |(found, _): &(Rc<Route>, u32)| Rc::ptr_eq(found, route);
        let Some((_, topics)) = self.table.find_mut(hash, is_it) else { return };
        *topics -= 1;
        if *topics == 0 {
            self.table.remove(hash, is_it);
            self.bytes -= weight(route);
        }
    }

    /// What all of them weigh, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

fn weight(route: &Route) -> usize {
    ROUTE_OVERHEAD + route.bytes()
}
