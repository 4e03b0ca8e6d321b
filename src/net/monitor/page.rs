//! The page that a person looks at.
//!
//! Owns what a browser may do with it: run this one script, apply this one style sheet, and ask
//! this broker for figures. Everything else is forbidden.

/// The page.
pub(super) const HTML: &str = include_str!("page.html");
/// What the format is called.
pub(super) const CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// What the page may load. The hashes are of its one style sheet and its one script; a test says
/// what they must be when the page has changed.
pub(super) const POLICY: &str = concat!(
    "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; ",
    "frame-ancestors 'none'; ",
    "style-src 'sha256-a+8asaNMPBsdguLsrthfsluNT+bkmwbSurrE9kwsHXE='; ",
    "script-src 'sha256-D3qMI0Rzv7uBRfZPbk0t5uGBbgstUmmpKR33bIJzt5g='"
);

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// What stands between a tag and its end; there is one of each.
    fn inside(tag: &str) -> &'static str {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        assert_eq!(HTML.matches(&open).count(), 1, "{tag}");
        let (_, rest) = HTML.split_once(&open).unwrap();
        rest.split_once(&close).unwrap().0
    }

    #[test]
    fn the_policy_allows_the_style_sheet_and_the_script_of_the_page() {
        for tag in ["style", "script"] {
            let hash = STANDARD.encode(hmac_sha256::Hash::hash(inside(tag).as_bytes()));
            let source = format!("{tag}-src 'sha256-{hash}'");
            assert!(POLICY.contains(&source), "the page has changed, POLICY must say {source}");
        }
    }

    #[test]
    fn the_page_needs_nothing_from_anywhere_and_takes_strings_as_text() {
        for word in
            ["http:", "https:", "innerHTML", "outerHTML", "insertAdjacent", "eval(", "style="]
        {
            let found = HTML.replace("http://www.w3.org/2000/svg", "").contains(word);
            assert!(!found, "{word} has no place in the page");
        }
    }
}
