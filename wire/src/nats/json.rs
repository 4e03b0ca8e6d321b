//! Reading JSON: whether bytes are an object at all, and the values of its fields.
//!
//! Owns what counts as an object and as a text. Must not know any field.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

/// Whether the bytes are one JSON object with nothing behind it. Texts in it need not be Unicode:
/// clients in other languages can send what is not, and it must not keep them from connecting.
pub(crate) fn is_object(json: &[u8]) -> bool {
    let text = String::from_utf8_lossy(json);
    let mut reader = serde_json::Deserializer::from_str(&text);
    reader.deserialize_map(AnyObject).is_ok() && reader.end().is_ok()
}

struct AnyObject;

impl<'de> Visitor<'de> for AnyObject {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Reads a value; `null` leaves what is there.
pub(crate) fn set<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    to: &mut T,
) -> Result<(), A::Error> {
    if let Some(value) = map.next_value::<Option<T>>()? {
        *to = value;
    }
    Ok(())
}

/// The same for a text.
pub(crate) fn set_text<'de, A: MapAccess<'de>>(
    map: &mut A,
    to: &mut String,
) -> Result<(), A::Error> {
    if let Some(Text(text)) = map.next_value()? {
        *to = text;
    }
    Ok(())
}

/// A text that may hold what is not Unicode. The bytes are known to be JSON, so this one may be
/// read without a check.
pub(crate) struct Text(pub(crate) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_bytes(Lossy)
    }
}

struct Lossy;

impl Visitor<'_> for Lossy {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text, E> {
        Ok(Text(String::from_utf8_lossy(bytes).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::is_object;

    #[test]
    fn an_object_is_all_there_is() {
        for json in ["{}", " {\"a\":[1,{},1e999],\"port\":\"\\ud800\"} ", "{\"a\":1,\"a\":2}"] {
            assert!(is_object(json.as_bytes()), "{json}");
        }
        assert!(is_object(b"{\"\xFF\":\"\xFF\"}"));
        for json in
            ["", "{", "[]", "1", "null", "{}x", "{1:2}", "x", "{\"a\":\"\u{1}\"}", "{\"\n\":1}"]
        {
            assert!(!is_object(json.as_bytes()), "{json:?}");
        }
    }

    #[test]
    fn depth_costs_nothing() {
        let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(is_object(deep(2_000).as_bytes()));
    }
}
