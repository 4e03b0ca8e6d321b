//! Which hub is dialled next.
//!
//! Owns the order: the nodes that a hub has told of, then those of the settings, again and again.
//! Must not dial, nor know when.

use crate::config::Server;

/// Nodes that a hub may tell of. A cluster has few; what is more is left out.
const MAX_LEARNT: usize = 64;

/// A hub to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Where it is.
    pub(super) server: Server,
    /// The host that its certificate has to be for: the one of the settings that has led to it.
    pub(super) tls_name: String,
}

/// All of them.
pub(super) struct Candidates {
    /// Learnt ones that are not configured, then those of the settings.
    all: Vec<Candidate>,
    learnt: usize,
    next: usize,
}

impl Candidates {
    /// Those of the settings, at least one.
    pub(super) fn new(configured: &[Server]) -> Candidates {
        assert!(!configured.is_empty(), "without a server there is no link");
        let of =
            |server: &Server| Candidate { server: server.clone(), tls_name: server.host.clone() };
        Candidates { all: configured.iter().map(of).collect(), learnt: 0, next: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The one whose turn it is.
    pub(super) fn next(&self) -> &Candidate {
        &self.all[self.next]
    }

    /// This one was dialled in vain: the one behind it comes next. One that is not among them any
    /// more has told of others, the first of which comes next.
    pub(super) fn failed(&mut self, current: &Candidate) {
        let place = self.all.iter().position(|candidate| candidate.server.is(&current.server));
        self.next = place.map_or(0, |place| (place + 1) % self.all.len());
    }

    /// The link to this one was lost: all others come before it.
    pub(super) fn lost(&mut self, current: &Candidate) {
        let is_current = |candidate: &Candidate| candidate.server.is(&current.server);
        self.next = self.all.iter().position(|candidate| !is_current(candidate)).unwrap_or(0);
    }

    /// The hub that was dialled as `through` tells of all nodes of its cluster, as `host:port`. The
    /// list takes the place of the one before. What is no such address is left out.
    pub(super) fn learn(&mut self, urls: &[String], through: &Candidate) {
        self.all.drain(..self.learnt);
        let mut learnt: Vec<Candidate> = Vec::new();
        for server in urls.iter().filter_map(|url| Server::parse(url)) {
            let is_known = |candidate: &Candidate| candidate.server.is(&server);
            if !self.all.iter().chain(&learnt).any(is_known) && learnt.len() < MAX_LEARNT {
                learnt.push(Candidate { server, tls_name: through.tls_name.clone() });
            }
        }
        self.learnt = learnt.len();
        self.all.splice(..0, learnt);
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(list: &[&str]) -> Candidates {
        Candidates::new(&list.iter().map(|it| Server::parse(it).unwrap()).collect::<Vec<_>>())
    }

    fn urls(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    /// The next ones, all of which are dialled in vain.
    fn in_vain(candidates: &mut Candidates, count: usize) -> Vec<String> {
        let next = |_| {
            let next = candidates.next().clone();
            candidates.failed(&next);
            next.server.to_string()
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn servers_of_the_settings_are_dialled_in_turn() {
        let mut two = candidates(&["a", "b:1"]);
        assert_eq!(in_vain(&mut two, 3), ["a:7422", "b:1", "a:7422"]);
        assert_eq!(in_vain(&mut candidates(&["a"]), 2), ["a:7422", "a:7422"]);
    }

    #[test]
    fn behind_a_loss_learnt_ones_come_first_and_the_lost_one_last() {
        let mut some = candidates(&["a", "b"]);
        let a = some.next().clone();
        some.learn(&urls(&["10.0.0.1:1", "A:7422", "10.0.0.2:1", "10.0.0.1:1"]), &a);
        some.lost(&a);
        let all = ["10.0.0.1:1", "10.0.0.2:1", "a:7422", "b:7422", "10.0.0.1:1"];
        assert_eq!(in_vain(&mut some, 5), all);
        some.lost(&a);
        let learnt = some.next().clone();
        assert_eq!((learnt.server.host.as_str(), learnt.tls_name.as_str()), ("10.0.0.1", "a"));
        some.lost(&learnt);
        assert_eq!(in_vain(&mut some, 1), ["10.0.0.2:1"]);
    }

    #[test]
    fn a_newer_list_takes_the_place_of_the_one_before() {
        let mut some = candidates(&["a"]);
        let a = some.next().clone();
        some.learn(&urls(&["b", "c"]), &a);
        some.learn(&urls(&["d", "", "no host:1", "x:0"]), &a);
        some.lost(&a);
        assert_eq!(in_vain(&mut some, 3), ["d:7422", "a:7422", "d:7422"]);
        some.learn(&[], &a);
        some.lost(&a);
        assert_eq!(in_vain(&mut some, 2), ["a:7422", "a:7422"], "it is the only one");
    }

    #[test]
    fn one_that_tells_of_others_and_lets_nobody_in_is_passed_over() {
        let mut some = candidates(&["a", "b"]);
        let a = some.next().clone();
        some.learn(&urls(&["c", "d"]), &a);
        some.failed(&a);
        assert_eq!(in_vain(&mut some, 4), ["b:7422", "c:7422", "d:7422", "a:7422"]);
        let c = Candidate { server: Server::parse("c").unwrap(), ..a };
        some.learn(&urls(&["d"]), &c);
        some.failed(&c);
        assert_eq!(in_vain(&mut some, 3), ["d:7422", "a:7422", "b:7422"], "it is not there now");
    }

    #[test]
    fn a_hub_that_tells_of_endless_nodes_is_heard_in_part() {
        let mut some = candidates(&["a"]);
        let a = some.next().clone();
        let many: Vec<_> = (1..=1_000).map(|port| format!("b:{port}")).collect();
        some.learn(&many, &a);
        assert_eq!(some.len(), MAX_LEARNT + 1);
        assert!(in_vain(&mut some, MAX_LEARNT + 1).contains(&"a:7422".to_owned()));
    }
}
