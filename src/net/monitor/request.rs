//! From the bytes of an HTTP request to what is asked for.
//!
//! Owns the limits of a request and the status that each breach is answered with. Must not know
//! where bytes come from nor what the answer looks like.

use std::fmt;

use data_encoding::BASE64;
use httparse::{EMPTY_HEADER, Error, Header, Status as Parsed};

use super::nats;
use super::response::Status;

/// Bytes of a request, from its method to the empty line behind its headers.
pub(super) const MAX_REQUEST_BYTES: usize = 8 << 10;
/// Header lines of a request.
const MAX_HEADERS: usize = 64;
/// Connections that one answer lists at most, and if nothing is said.
pub(super) const MAX_LIMIT: usize = 500;
const DEFAULT_LIMIT: usize = 100;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `/`, for a person.
    Page,
    /// `/metrics`, for Prometheus.
    Metrics,
    /// `/healthz`, for what restarts or balances.
    Health,
    /// `/connections`, at most so many, with their filters or without.
    Connections { limit: usize, filters: bool },
    /// `/topics`, with rates.
    Topics,
    /// `/stats`, for the page.
    Stats,
    /// What the tools of NATS ask for.
    Nats(nats::Asked),
}

/// What a client shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// Nothing, as browsers do until they are asked.
    Nothing,
    /// A name and a secret (HTTP Basic).
    Basic(Basic),
    /// What is neither.
    Other,
}

/// A user's name and secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Basic {
    pub(super) user: String,
    pub(super) secret: String,
}

// Written by hand so that no secret is ever shown.
impl fmt::Debug for Basic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Basic").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A request that was understood as HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// What is asked for, or why it is not given.
    pub(super) wanted: Result<Endpoint, Status>,
    /// Only the head of the answer is wanted.
    pub(super) head: bool,
    /// The client may send another one behind it.
    pub(super) keep: bool,
    pub(super) shown: Shown,
}

/// Cuts a request from the front of `bytes`; also how many of them it took. `None`: it is not
/// whole.
///
/// # Errors
/// The status that tells why nothing behind it can be understood either.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Status> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(&bytes[..bytes.len().min(MAX_REQUEST_BYTES)]) {
        Ok(Parsed::Complete(length)) => length,
        Ok(Parsed::Partial) if bytes.len() < MAX_REQUEST_BYTES => return Ok(None),
        Ok(Parsed::Partial) if request.version.is_none() => return Err(Status::UriTooLong),
        Ok(Parsed::Partial) | Err(Error::TooManyHeaders) => return Err(Status::HeadersTooLarge),
        Err(Error::Version) => return Err(Status::VersionNotSupported),
        Err(_) => return Err(Status::BadRequest),
    };
    let is_1_1 = request.version == Some(1);
    let method = request.method.unwrap_or_default();
    let is_known = matches!(method, "GET" | "HEAD");
    let has_body = match check_headers(request.headers, is_1_1) {
        // With such a method it is the method that is wrong; the body is not read all the same.
        Err(Status::ContentTooLarge) if !is_known => true,
        checked => checked.map(|()| false)?,
    };
    let wanted = match is_known {
        true => endpoint(request.path.unwrap_or_default()),
        false => Err(Status::MethodNotAllowed),
    };
    let keep = is_1_1 && !has_body && !asks_to_close(request.headers);
    let shown = shown(request.headers);
    Ok(Some((Request { wanted, head: method == "HEAD", keep, shown }, length)))
}

fn shown(headers: &[Header<'_>]) -> Shown {
    let mut all = values(headers, "authorization");
    match (all.next(), all.next()) {
        (None, _) => Shown::Nothing,
        (Some(value), None) => basic(value).map_or(Shown::Other, Shown::Basic),
        (Some(_), Some(_)) => Shown::Other,
    }
}

fn basic(value: &[u8]) -> Option<Basic> {
    let (scheme, rest) = value.split_at_checked("Basic ".len())?;
    let encoded = rest.trim_ascii_start();
    let bytes = BASE64.decode(encoded).ok().filter(|_| scheme.eq_ignore_ascii_case(b"Basic "))?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, secret) = text.split_once(':')?;
    Some(Basic { user: user.into(), secret: secret.into() })
}

/// Whether the headers leave no doubt where the request ends, and who it is for.
fn check_headers(headers: &[Header<'_>], is_1_1: bool) -> Result<(), Status> {
    let hosts = values(headers, "host").count();
    if hosts > 1 || (hosts == 0 && is_1_1) {
        return Err(Status::BadRequest);
    }
    // A body is of no use to any of these requests, so none is read.
    if values(headers, "transfer-encoding").next().is_some() {
        return Err(Status::ContentTooLarge);
    }
    for length in values(headers, "content-length") {
        if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
            return Err(Status::BadRequest);
        }
        if length.iter().any(|digit| *digit != b'0') {
            return Err(Status::ContentTooLarge);
        }
    }
    Ok(())
}

fn asks_to_close(headers: &[Header<'_>]) -> bool {
    let close = |word: &[u8]| word.trim_ascii().eq_ignore_ascii_case(b"close");
    values(headers, "connection").any(|value| value.split(|byte| *byte == b',').any(close))
}

fn values<'a>(headers: &'a [Header<'_>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let named = move |header: &&Header<'_>| header.name.eq_ignore_ascii_case(name);
    headers.iter().filter(named).map(|header| header.value.trim_ascii())
}

fn endpoint(target: &str) -> Result<Endpoint, Status> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    // A proxy may send the whole address.
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => path,
    };
    Ok(match path {
        "/" => Endpoint::Page,
        "/metrics" => Endpoint::Metrics,
        "/healthz" => Endpoint::Health,
        "/connections" => Endpoint::Connections { limit: limit(query)?, filters: filters(query)? },
        "/topics" => Endpoint::Topics,
        "/stats" => Endpoint::Stats,
        _ => Endpoint::Nats(nats::parse(path, query).unwrap_or(Err(Status::NotFound))?),
    })
}

/// Whether `filters=` is 1, and not 0.
fn filters(query: &str) -> Result<bool, Status> {
    match query.split('&').find_map(|pair| pair.strip_prefix("filters=")) {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err(Status::BadRequest),
    }
}

/// The number behind `limit=`, or the largest there is if it is larger.
fn limit(query: &str) -> Result<usize, Status> {
    let given = query.split('&').find_map(|pair| pair.strip_prefix("limit="));
    let Some(digits) = given else { return Ok(DEFAULT_LIMIT) };
    if digits.is_empty() || digits.len() > 18 || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return Err(Status::BadRequest);
    }
    let number: u64 = digits.parse().map_err(|_| Status::BadRequest)?;
    Ok(usize::try_from(number).map_or(MAX_LIMIT, |number| number.min(MAX_LIMIT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(text: &str) -> Result<Endpoint, Status> {
        parse(text.as_bytes()).and_then(|found| found.expect("it is whole").0.wanted)
    }

    fn get(target: &str) -> Result<Endpoint, Status> {
        wanted(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    fn connections(limit: usize, filters: bool) -> Endpoint {
        Endpoint::Connections { limit, filters }
    }

    #[test]
    fn filters_are_asked_for_by_a_1() {
        assert_eq!(get("/connections?filters=1"), Ok(connections(DEFAULT_LIMIT, true)));
        assert_eq!(get("/connections?limit=5&filters=1"), Ok(connections(5, true)));
        assert_eq!(get("/connections?filters=0"), Ok(connections(DEFAULT_LIMIT, false)));
        for query in ["filters=", "filters=2", "filters=true"] {
            assert_eq!(get(&format!("/connections?{query}")), Err(Status::BadRequest), "{query}");
        }
    }

    #[test]
    fn each_path_is_known_and_no_other() {
        assert_eq!(get("/"), Ok(Endpoint::Page));
        assert_eq!(get("/?x=1"), Ok(Endpoint::Page));
        assert_eq!(get("/metrics"), Ok(Endpoint::Metrics));
        assert_eq!(get("/healthz"), Ok(Endpoint::Health));
        assert_eq!(get("/healthz?js-enabled-only=true"), Ok(Endpoint::Health));
        assert_eq!(get("/varz"), Ok(Endpoint::Nats(nats::Asked::Varz)));
        assert_eq!(get("/topics"), Ok(Endpoint::Topics));
        assert_eq!(get("/stats"), Ok(Endpoint::Stats));
        assert_eq!(get("/connections"), Ok(connections(DEFAULT_LIMIT, false)));
        assert_eq!(get("http://broker:9100/metrics"), Ok(Endpoint::Metrics));
        assert_eq!(get("http://broker:9100"), Ok(Endpoint::Page));
        for other in ["/metrics/", "/../etc/passwd", "/Metrics", "*", "//", "/favicon.ico"] {
            assert_eq!(get(other), Err(Status::NotFound), "{other}");
        }
    }

    #[test]
    fn limits_are_whole_numbers_and_bounded() {
        let rows = [
            ("limit=5", Ok(5)),
            ("a=b&limit=0", Ok(0)),
            ("limit=501", Ok(MAX_LIMIT)),
            ("limit=999999999999999999", Ok(MAX_LIMIT)),
            ("limited=5", Ok(DEFAULT_LIMIT)),
            ("limit=", Err(Status::BadRequest)),
            ("limit=-1", Err(Status::BadRequest)),
            ("limit=9999999999999999999", Err(Status::BadRequest)),
        ];
        for (query, expected) in rows {
            let found = get(&format!("/connections?{query}"));
            assert_eq!(found, expected.map(|limit| connections(limit, false)), "{query}");
        }
    }

    #[test]
    fn every_breach_has_its_status() {
        let host = "Host: x\r\n";
        let rows = [
            (format!("POST / HTTP/1.1\r\n{host}\r\n"), Status::MethodNotAllowed),
            (
                format!("POST / HTTP/1.1\r\n{host}Content-Length: 1\r\n\r\nx"),
                Status::MethodNotAllowed,
            ),
            (format!("get / HTTP/1.1\r\n{host}\r\n"), Status::MethodNotAllowed),
            ("GET / HTTP/1.1\r\n\r\n".into(), Status::BadRequest),
            (format!("GET / HTTP/1.1\r\n{host}{host}\r\n"), Status::BadRequest),
            (format!("GET / HTTP/2.0\r\n{host}\r\n"), Status::VersionNotSupported),
            (format!("GET /\r\n{host}\r\n"), Status::BadRequest),
            (format!("GET / HTTP/1.1\r\n{host}no colon\r\n\r\n"), Status::BadRequest),
            (
                format!("GET / HTTP/1.1\r\n{host}Content-Length: 1\r\n\r\nx"),
                Status::ContentTooLarge,
            ),
            (format!("GET / HTTP/1.1\r\n{host}Content-Length: +1\r\n\r\n"), Status::BadRequest),
            (
                format!("GET / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n"),
                Status::ContentTooLarge,
            ),
            (
                format!("GET / HTTP/1.1\r\n{host}{}\r\n", "a: b\r\n".repeat(MAX_HEADERS)),
                Status::HeadersTooLarge,
            ),
            (format!("GET /{} HTTP/1.1", "x".repeat(MAX_REQUEST_BYTES)), Status::UriTooLong),
            (
                format!("GET / HTTP/1.1\r\na: {}", "x".repeat(MAX_REQUEST_BYTES)),
                Status::HeadersTooLarge,
            ),
            ("\0\0\0\u{10}\u{1}\0\0\u{2}p1version=1\n".into(), Status::BadRequest),
        ];
        for (text, expected) in rows {
            assert_eq!(wanted(&text), Err(expected), "{text:.80}");
        }
    }

    #[test]
    fn a_request_is_found_however_it_is_split_and_whatever_is_behind_it() {
        let text = b"HEAD /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\nGET / HTTP/1.1\r\n";
        let whole = text.len() - 16;
        for end in 0..whole {
            assert_eq!(parse(&text[..end]), Ok(None), "{end}");
        }
        let shown = Shown::Nothing;
        let request = Request { wanted: Ok(Endpoint::Metrics), head: true, keep: true, shown };
        for end in whole..=text.len() {
            assert_eq!(parse(&text[..end]), Ok(Some((request.clone(), whole))));
        }
    }

    #[test]
    fn a_name_and_a_secret_are_found_and_nothing_else_is_taken_for_them() {
        let shown = |lines: &str| {
            let text = format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
            parse(text.as_bytes()).unwrap().unwrap().0.shown
        };
        let is = |user: &str, secret: &str| {
            Shown::Basic(Basic { user: user.into(), secret: secret.into() })
        };
        assert_eq!(shown(""), Shown::Nothing);
        // ann:hush, ann:hu:sh, :
        assert_eq!(shown("Authorization: Basic YW5uOmh1c2g=\r\n"), is("ann", "hush"));
        assert_eq!(shown("authorization: bAsIc  YW5uOmh1OnNo\r\n"), is("ann", "hu:sh"));
        assert_eq!(shown("Authorization: Basic Og==\r\n"), is("", ""));
        for bad in
            ["", "Basic", "Basic ", "Basic YW5u", "Basic YW5uOmh1c2g", "Basic /w==", "Bearer x"]
        {
            assert_eq!(shown(&format!("Authorization: {bad}\r\n")), Shown::Other, "{bad}");
        }
        let twice = "Authorization: Basic YW5uOmh1c2g=\r\n".repeat(2);
        assert_eq!(shown(&twice), Shown::Other);
        assert!(!format!("{:?}", is("ann", "hush")).contains("hush"));
    }

    #[test]
    fn a_connection_is_kept_unless_asked_otherwise() {
        let kept = |text: &str| parse(text.as_bytes()).unwrap().unwrap().0.keep;
        assert!(kept("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(kept("GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"));
        assert!(!kept("GET / HTTP/1.1\r\nHost: x\r\nConnection: foo, Close\r\n\r\n"));
        assert!(!kept("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"));
        assert!(!kept("GET / HTTP/1.0\r\n\r\n"));
    }
}
