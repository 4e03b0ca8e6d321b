//! What a filter in the syntax of another broker was probably meant to be.
//!
//! Owns the text of the hint. Such a filter is valid all the same: `#` and `+` are ordinary
//! characters here.

/// A hint to the user about a filter that looks like one of another broker's. `#hello` and the like
/// are ordinary topics and get none.
pub fn hint(filter: &str) -> Option<String> {
    let of_mqtt = |token: &str| matches!(token, "#" | "+");
    let is_glob = |token: &str| token.len() > 1 && token.contains(['*', '>']);
    let with_slashes = filter.contains('/') && filter.split('/').any(of_mqtt);
    if with_slashes || filter.split('.').any(of_mqtt) || filter.split('.').any(is_glob) {
        return Some(format!(
            "\"{filter}\" has no wildcard: a token between dots that is * matches any one token, \
             and a last token > one or more, as in orders.*.eu and orders.>"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::hint;

    #[test]
    fn wildcards_of_others_are_noticed_and_topics_are_not() {
        for filter in ["a.#", "#", "a.+.b", "a/+/b", "a/#", "a*", "a.b*", "a>", "**", "a.*x"] {
            assert!(hint(filter).is_some_and(|text| text.contains(filter)), "{filter}");
        }
        for filter in ["#hello", "a.b", "*", ">", "a.*.b", "a.>", "a/b", "c++", "1+1", "a.#b"] {
            assert_eq!(hint(filter), None, "{filter}");
        }
    }
}
