//! The bytes of an HTTP response.
//!
//! Owns status lines and headers. Must not know what a body is about.

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// How a time is written in HTTP.
const DATE: &[BorrowedFormatItem<'static>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);
/// What may be loaded by a response that is no page: nothing.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

/// How a request turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    ContentTooLarge,
    UriTooLong,
    HeadersTooLarge,
    Unavailable,
    VersionNotSupported,
}

impl Status {
    /// Its code and its words.
    fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::Unauthorized => "401 Unauthorized",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::RequestTimeout => "408 Request Timeout",
            Status::ContentTooLarge => "413 Content Too Large",
            Status::UriTooLong => "414 URI Too Long",
            Status::HeadersTooLarge => "431 Request Header Fields Too Large",
            Status::Unavailable => "503 Service Unavailable",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }

    /// A header that only this status has.
    fn header(self) -> &'static str {
        match self {
            Status::Unauthorized => "WWW-Authenticate: Basic realm=\"broker\"\r\n",
            Status::MethodNotAllowed => "Allow: GET, HEAD\r\n",
            Status::Unavailable => "Retry-After: 5\r\n",
            _ => "",
        }
    }
}

/// A body, and what it is.
pub(super) struct Body {
    pub(super) status: Status,
    pub(super) content_type: &'static str,
    /// What a browser may load for it, if it is a page.
    pub(super) policy: Option<&'static str>,
    pub(super) bytes: Vec<u8>,
}

impl Body {
    /// A line of text.
    pub(super) fn text(status: Status, text: &str) -> Body {
        let bytes = format!("{text}\n").into_bytes();
        Body { status, content_type: "text/plain; charset=utf-8", policy: None, bytes }
    }

    /// What a status says of itself.
    pub(super) fn of(status: Status) -> Body {
        Body::text(status, status.line())
    }
}

/// The whole response. `head`: without its body. `keep`: another request may follow.
pub(super) fn render(body: &Body, head: bool, keep: bool, now: OffsetDateTime) -> Vec<u8> {
    let Body { status, content_type, policy, bytes } = body;
    let text = format!(
        "HTTP/1.1 {}\r\nDate: {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
         Referrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n\
         Content-Security-Policy: {}\r\n{}{}\r\n",
        status.line(),
        // Only a year beyond 9999 could not be written.
        now.format(DATE).unwrap_or_default(),
        bytes.len(),
        policy.unwrap_or(NOTHING),
        status.header(),
        if keep { "" } else { "Connection: close\r\n" },
    );
    let mut response = text.into_bytes();
    if !head {
        response.extend_from_slice(bytes);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(body: &Body, head: bool, keep: bool) -> String {
        String::from_utf8(render(body, head, keep, OffsetDateTime::UNIX_EPOCH)).unwrap()
    }

    #[test]
    fn head_has_the_headers_of_the_body_that_it_does_not_have() {
        let body = Body::text(Status::Ok, "hello");
        let (whole, head) = (rendered(&body, false, true), rendered(&body, true, true));
        assert_eq!(whole.strip_suffix("hello\n"), Some(&*head));
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"));
        assert!(head.contains("\r\nContent-Length: 6\r\n") && head.ends_with("\r\n\r\n"));
    }

    #[test]
    fn nothing_is_cached_guessed_or_shared() {
        let head = rendered(&Body::of(Status::NotFound), true, true);
        for line in [
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
        ] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
        }
        assert!(!head.contains("Access-Control") && !head.contains("Connection"), "{head}");
    }

    #[test]
    fn a_refusal_says_what_would_help_and_that_it_is_the_last() {
        let not_allowed = rendered(&Body::of(Status::MethodNotAllowed), false, false);
        assert!(not_allowed.contains("\r\nAllow: GET, HEAD\r\nConnection: close\r\n\r\n405 "));
        let busy = rendered(&Body::of(Status::Unavailable), false, false);
        assert!(busy.contains("\r\nRetry-After: 5\r\n"));
    }
}
