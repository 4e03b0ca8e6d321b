//! Replies that a client may publish to although its user may not: each once.
//!
//! Owns which are open. There is no clock in here: the oldest are forgotten when there are many.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// Open replies of one connection; beyond it the oldest is forgotten.
const MAX_OPEN: usize = 65_536;
/// Used ones that may stand between the open ones, beyond as many as those.
const MAX_USED: usize = 64;

/// The open replies of a connection.
#[derive(Default)]
pub(crate) struct Replies {
    /// Each with its number.
    open: HashMap<Rc<[u8]>, u64>,
    /// By number, with some that were used.
    order: VecDeque<(u64, Rc<[u8]>)>,
    next: u64,
}

impl Replies {
    /// Whether a topic may be published to.
    pub(crate) fn has(&self, topic: &[u8]) -> bool {
        self.open.contains_key(topic)
    }

    /// A message was delivered that wants its reply there.
    pub(crate) fn note(&mut self, reply: &[u8]) {
        if self.has(reply) {
            return;
        }
        let reply: Rc<[u8]> = reply.into();
        self.next += 1;
        self.open.insert(reply.clone(), self.next);
        self.order.push_back((self.next, reply));
        while self.open.len() > MAX_OPEN
            && let Some((number, reply)) = self.order.pop_front()
        {
            if self.open.get(&reply) == Some(&number) {
                self.open.remove(&reply);
            }
        }
        if self.order.len() > 2 * self.open.len() + MAX_USED {
            let open = &self.open;
            self.order.retain(|(number, reply)| open.get(reply) == Some(number));
        }
    }

    /// It was published to.
    pub(crate) fn take(&mut self, topic: &[u8]) {
        self.open.remove(topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reply_is_open_once_and_the_oldest_are_forgotten() {
        let mut replies = Replies::default();
        replies.note(b"a");
        replies.note(b"a");
        assert!(replies.has(b"a"));
        replies.take(b"a");
        assert!(!replies.has(b"a"), "once");
        replies.note(b"a");
        for number in 0..MAX_OPEN as u32 - 1 {
            replies.note(&number.to_be_bytes());
        }
        assert!(replies.has(b"a"), "what was used before is not the oldest");
        replies.note(b"one more");
        assert!(!replies.has(b"a") && replies.has(b"one more"));
        assert_eq!(replies.open.len(), MAX_OPEN);
        for number in 0..MAX_OPEN as u32 {
            replies.take(&number.to_be_bytes());
            replies.note(b"x");
            replies.take(b"x");
        }
        assert!(replies.order.len() <= 2 * replies.open.len() + MAX_USED + 2, "used ones go");
    }
}
