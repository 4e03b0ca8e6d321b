//! The names that NATS clients give to their subscriptions.
//!
//! Owns those names that are no plain numbers, each once, and how many subscriptions have it. A
//! plain number stands for itself and is not kept.

use std::collections::HashMap;
use std::rc::Rc;

use slab::Slab;
use smallvec::SmallVec;
use wire::Sid;

use super::registry::key;

/// Names that subscriptions have.
#[derive(Default)]
pub(super) struct Sids {
    kept: Slab<(Rc<[u8]>, u32)>,
    by_name: HashMap<Rc<[u8]>, u32>,
}

impl Sids {
    /// What stands for a name; nothing if it is none of a subscription.
    pub(super) fn find(&self, name: &[u8]) -> Option<Sid> {
        Sid::from_digits(name).or_else(|| self.by_name.get(name).copied().map(Sid::kept))
    }

    /// The same for a subscription that has it from now on.
    pub(super) fn keep(&mut self, name: &[u8]) -> Sid {
        if let Some(sid) = self.find(name) {
            if let Err(number) = sid.value() {
                self.kept[number as usize].1 += 1;
            }
            return sid;
        }
        let name: Rc<[u8]> = name.into();
        let number = key(self.kept.insert((name.clone(), 1)));
        self.by_name.insert(name, number);
        Sid::kept(number)
    }

    /// A subscription has it no more.
    pub(super) fn release(&mut self, sid: Sid) {
        let Err(number) = sid.value() else { return };
        let (_, subscriptions) = &mut self.kept[number as usize];
        *subscriptions -= 1;
        if *subscriptions == 0 {
            let (name, _) = self.kept.remove(number as usize);
            self.by_name.remove(&name);
        }
    }

    /// The name.
    pub(super) fn text(&self, sid: Sid) -> SmallVec<[u8; 16]> {
        match sid.value() {
            Ok(number) => digits(number),
            Err(kept) => SmallVec::from_slice(&self.kept[kept as usize].0),
        }
    }

    /// Its length, in bytes.
    pub(super) fn text_bytes(&self, sid: Sid) -> usize {
        match sid.value() {
            Ok(number) => number.checked_ilog10().map_or(1, |log| log as usize + 1),
            Err(kept) => self.kept[kept as usize].0.len(),
        }
    }
}

/// A number in decimal digits.
fn digits(number: u32) -> SmallVec<[u8; 16]> {
    let mut digits = SmallVec::new();
    let (mut rest, mut unit) = (number, 10_u32.pow(number.checked_ilog10().unwrap_or(0)));
    while unit > 0 {
        digits.push(b'0' + (rest / unit) as u8);
        (rest, unit) = (rest % unit, unit / 10);
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_as_long_as_a_subscription_has_it() {
        let mut sids = Sids::default();
        assert_eq!(sids.keep(b"12"), Sid::from_digits(b"12").unwrap());
        let first = sids.keep(b"a");
        assert_eq!((sids.keep(b"a"), sids.find(b"a")), (first, Some(first)));
        assert_ne!(sids.keep(b"012"), first);
        sids.release(first);
        assert_eq!(sids.text(first)[..], *b"a");
        for number in [0, 7, 10, 99, 1_000, (1 << 31) - 1_u32] {
            let sid = Sid::from_digits(number.to_string().as_bytes()).unwrap();
            assert_eq!(sids.text(sid)[..], *number.to_string().as_bytes());
            assert_eq!(sids.text_bytes(sid), number.to_string().len());
        }
        sids.release(first);
        assert_eq!((sids.find(b"a"), sids.kept.len(), sids.by_name.len()), (None, 1, 1));
    }
}
