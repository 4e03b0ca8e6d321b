//! In which bytes a receiver wants its messages.
//!
//! Owns the list of encodings. Must not encode: that is done where the bytes lie.

/// The form in which a receiver wants its messages. Receivers with equal encodings share the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Encoding {
    /// PUBLISH frames of the native protocol: the bytes that a native publisher sent.
    Native,
    /// MSG of the NATS protocol, and HMSG where there are headers that the receiver takes.
    Nats {
        /// The receiver's name for its subscription.
        sid: Sid,
        /// Whether the receiver takes headers; they are cut off for it otherwise.
        headers: bool,
    },
    /// LMSG of a link to a NATS hub, and HMSG where there are headers.
    Leaf,
}

/// The name that a NATS client has given to a subscription, as a number: one in decimal digits, as
/// nearly all are, stands for itself. Others are numbered by whoever keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sid(u32);

/// From here on numbers stand for names that are kept elsewhere.
const KEPT: u32 = 1 << 31;

impl Sid {
    /// The name, if it is a number in its shortest form, below 2^31.
    pub fn from_digits(name: &[u8]) -> Option<Sid> {
        let is_shortest = name.first().is_some_and(|first| *first != b'0') || name == b"0";
        if !is_shortest || name.len() > 10 || !name.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let value = name.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
        u32::try_from(value).ok().filter(|value| *value < KEPT).map(Sid)
    }

    /// The name that is kept under a number, below 2^31.
    ///
    /// # Panics
    /// If the number is larger.
    pub fn kept(number: u32) -> Sid {
        assert!(number < KEPT, "names are numbered from 0");
        Sid(KEPT | number)
    }

    /// The number that the name is, or else the one that it is kept under.
    ///
    /// # Errors
    /// The number that the name is kept under.
    pub fn value(self) -> Result<u32, u32> {
        if self.0 < KEPT { Ok(self.0) } else { Err(self.0 & !KEPT) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_their_shortest_form_stand_for_themselves() {
        for (name, value) in [("0", 0), ("7", 7), ("10", 10), ("2147483647", (1 << 31) - 1)] {
            assert_eq!(Sid::from_digits(name.as_bytes()).map(Sid::value), Some(Ok(value)));
        }
        for name in ["", "00", "01", "-1", "+1", "1x", "2147483648", "99999999999", "a"] {
            assert_eq!(Sid::from_digits(name.as_bytes()), None, "{name:?}");
        }
        assert_eq!(Sid::kept(7).value(), Err(7));
    }
}
