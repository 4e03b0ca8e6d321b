//! What one NATS client must hear, in its order, and whether it did.
//!
//! Owns the comparison. All that may differ is the order of the copies of one message, PINGs of the
//! broker in between, messages that the policy `drop` kept from it, and where a conversation ends.

use super::nats::{Copied, Heard};

/// What a client must hear.
#[derive(Debug)]
enum Item {
    Info,
    Ok,
    Pong,
    /// An error that begins so; the connection goes on.
    Error(String),
    /// All of these errors, in any order.
    Ended(Vec<String>),
    /// All copies of one message, in any order.
    Copies(Vec<Copied>),
    /// Nobody hears its request: any one of these.
    Unheard(Vec<Copied>),
}

/// All that a client must hear.
#[derive(Default)]
pub(super) struct Transcript {
    items: Vec<Item>,
    /// The message whose copies are the last item.
    last: Option<usize>,
    /// The most copies that it had of one message.
    pub(super) most_copies: usize,
}

/// What is known of how the conversation went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// It went on to the end, and the client has read all.
    pub(super) complete: bool,
    /// Messages may have been dropped.
    pub(super) may_drop: bool,
    /// How many were, if that is known.
    pub(super) dropped: Option<u64>,
}

impl Transcript {
    fn add(&mut self, item: Item) {
        self.last = None;
        self.items.push(item);
    }

    pub(super) fn info(&mut self) {
        self.add(Item::Info);
    }

    pub(super) fn ok(&mut self) {
        self.add(Item::Ok);
    }

    pub(super) fn pong(&mut self) {
        self.add(Item::Pong);
    }

    pub(super) fn error(&mut self, text: impl Into<String>) {
        self.add(Item::Error(text.into()));
    }

    /// Subscriptions have ended at once: these errors.
    pub(super) fn ended(&mut self, texts: Vec<String>) {
        self.add(Item::Ended(texts));
    }

    /// One of these; nothing if there are none.
    pub(super) fn unheard(&mut self, copies: Vec<Copied>) {
        if !copies.is_empty() {
            self.add(Item::Unheard(copies));
        }
    }

    /// A copy of the message in this place.
    pub(super) fn copied(&mut self, place: usize, copy: Copied) {
        match self.items.last_mut() {
            Some(Item::Copies(copies)) if self.last == Some(place) => copies.push(copy),
            _ => self.items.push(Item::Copies(vec![copy])),
        }
        self.last = Some(place);
        if let Some(Item::Copies(copies)) = self.items.last() {
            self.most_copies = self.most_copies.max(copies.len());
        }
    }

    /// Asserts that a client heard this.
    pub(super) fn check(&self, client: usize, heard: &[Heard], ending: Ending) {
        let mut search = Search {
            items: &self.items,
            left: Vec::new(),
            ended: Vec::new(),
            missed: 0,
            missing: 0,
        };
        let fatal = heard.len() - usize::from(matches!(heard.last(), Some(Heard::Error(_))));
        for (place, what) in heard.iter().enumerate() {
            if *what == Heard::Ping || search.finds(what) {
                if matches!(what, Heard::Message(..)) {
                    search.missed += std::mem::take(&mut search.missing);
                }
                continue;
            }
            // The error that ends a connection is the last word.
            let expected = (&search.left, search.items.first());
            assert!(place == fatal, "client {client} heard {what:?}, not {expected:?}");
            assert!(!ending.complete, "client {client}: {what:?}");
            return;
        }
        // Messages behind which another one came were kept from it; those at the end may be lost.
        let is_lossless = search.missed == 0 || ending.may_drop;
        assert!(is_lossless, "client {client} misses {} messages in between", search.missed);
        if !ending.complete {
            return;
        }
        search.skip_copies();
        assert!(search.items.is_empty(), "client {client} misses {:?}", search.items.first());
        assert!(search.ended.is_empty(), "client {client} misses {:?}", search.ended);
        let missed = search.missed + search.missing;
        assert!(ending.may_drop || missed == 0, "client {client} misses {missed} messages");
        let is_exact = ending.dropped.is_none_or(|dropped| dropped == missed);
        assert!(is_exact, "client {client} misses {missed} messages: {ending:?}");
    }
}

/// How far a transcript is found in what was heard.
struct Search<'a> {
    items: &'a [Item],
    /// Copies of the message at hand that were not heard yet.
    left: Vec<&'a Copied>,
    /// Errors told at once that were not heard yet.
    ended: Vec<&'a String>,
    /// Copies that were left out and another message came, and since the last message.
    missed: u64,
    missing: u64,
}

impl Search<'_> {
    /// Goes on to the next item that is none of copies.
    fn skip_copies(&mut self) {
        self.missing += std::mem::take(&mut self.left).len() as u64;
        while let Some((Item::Copies(copies), rest)) = self.items.split_first() {
            self.missing += copies.len() as u64;
            self.items = rest;
        }
    }

    /// Whether this comes next, or behind messages that are left out.
    fn finds(&mut self, heard: &Heard) -> bool {
        if let (Heard::Error(text), false) = (heard, self.ended.is_empty()) {
            let place = self.ended.iter().position(|it| *it == text);
            return place.map(|place| self.ended.swap_remove(place)).is_some();
        }
        if !self.ended.is_empty() {
            return false;
        }
        if let Heard::Message(copied, _) = heard {
            loop {
                if let Some(place) = self.left.iter().position(|left| *left == copied) {
                    self.left.swap_remove(place);
                    return true;
                }
                let Some((Item::Copies(copies), rest)) = self.items.split_first() else {
                    return false;
                };
                self.missing += self.left.len() as u64;
                self.left = copies.iter().collect();
                self.items = rest;
            }
        }
        self.skip_copies();
        if let (Heard::Error(_), Some((Item::Ended(texts), rest))) =
            (heard, self.items.split_first())
        {
            (self.ended, self.items) = (texts.iter().collect(), rest);
            return self.finds(heard);
        }
        let found = match (heard, self.items.first()) {
            (Heard::Info(_), Some(Item::Info))
            | (Heard::Ok, Some(Item::Ok))
            | (Heard::Pong, Some(Item::Pong)) => true,
            (Heard::Error(text), Some(Item::Error(begin))) => text.starts_with(begin.as_str()),
            (Heard::Unheard(copied), Some(Item::Unheard(any))) => any.contains(copied),
            _ => false,
        };
        if found {
            self.items = &self.items[1..];
        }
        found
    }
}
