//! What tools of NATS ask for, from a path and a query.
//!
//! Owns the names of parameters, and the limits of a list. Parameters that nothing here depends on
//! are ignored, as `auth=1` is: nobody has to show who they are.

use crate::engine::inspect::clients::{Order, Part};
use crate::net::monitor::response::Status;

/// Connections or subscriptions that one answer lists at most, and if nothing is said.
pub(super) const MAX_LIMIT: usize = 1_024;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net::monitor) enum Asked {
    /// `/varz`: the broker.
    Varz,
    /// `/connz`: its NATS clients.
    Connz { which: Which, shown: Shown },
    /// `/subsz`: its subscriptions, as a number or listed.
    Subsz { part: Part, listed: bool },
}

/// Which clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net::monitor) enum Which {
    /// The one with this number.
    One(u64),
    /// Those that are connected.
    Open(Order, Part),
    /// Those that are not any more. Nothing is kept of them.
    Closed(Part),
}

/// What is shown of a client's subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net::monitor) enum Shown {
    /// How many they are.
    Nothing,
    /// Their filters.
    Filters,
    /// All that is known of each.
    Details,
}

/// What a path asks for; `None`: it is none of NATS' paths.
pub(in crate::net::monitor) fn parse(path: &str, query: &str) -> Option<Result<Asked, Status>> {
    Some(match path {
        "/varz" => Ok(Asked::Varz),
        "/connz" => connz(query),
        "/subsz" | "/subscriptionsz" => subsz(query),
        _ => return None,
    })
}

fn connz(query: &str) -> Result<Asked, Status> {
    let (order, part) = (order(query)?, part(query)?);
    let is_closed = match value(query, "state") {
        None | Some("open" | "any" | "all") => false,
        Some("closed") => true,
        Some(_) => return Err(Status::BadRequest),
    };
    let which = match value(query, "cid") {
        Some(digits) => Which::One(digits.parse().map_err(|_| Status::BadRequest)?),
        None if is_closed => Which::Closed(part),
        None => Which::Open(order, part),
    };
    let shown = match value(query, "subs") {
        Some("detail") => Shown::Details,
        Some(text) if is_true(text)? => Shown::Filters,
        _ => Shown::Nothing,
    };
    Ok(Asked::Connz { which, shown })
}

fn subsz(query: &str) -> Result<Asked, Status> {
    let listed = value(query, "subs").map_or(Ok(false), is_true)?;
    Ok(Asked::Subsz { part: part(query)?, listed })
}

fn order(query: &str) -> Result<Order, Status> {
    Ok(match value(query, "sort") {
        // What is not known of any client leaves them as they are.
        None | Some("cid" | "start" | "rtt" | "stop" | "reason") => Order::Number,
        Some("subs") => Order::Subscriptions,
        Some("pending") => Order::Queued,
        Some("msgs_to") => Order::MessagesTo,
        Some("msgs_from") => Order::MessagesFrom,
        Some("bytes_to") => Order::BytesTo,
        Some("bytes_from") => Order::BytesFrom,
        Some("last") => Order::LastActive,
        Some("idle") => Order::Idle,
        Some("uptime") => Order::Youngest,
        Some(_) => return Err(Status::BadRequest),
    })
}

/// As nats-server has it: what is below the first is the first, and no limit is the largest.
fn part(query: &str) -> Result<Part, Status> {
    let number = |key| match value(query, key) {
        None => Ok(0),
        Some(text) => text.parse::<i64>().map_err(|_| Status::BadRequest),
    };
    let (skip, limit) = (number("offset")?, number("limit")?);
    let limit = usize::try_from(limit).unwrap_or(0);
    let limit = if limit == 0 { MAX_LIMIT } else { limit.min(MAX_LIMIT) };
    Ok(Part { skip: usize::try_from(skip).unwrap_or(0), limit })
}

/// The words for yes and no that nats-server takes.
fn is_true(text: &str) -> Result<bool, Status> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Status::BadRequest),
    }
}

/// What stands behind `key=` for the first time, unless that is nothing.
fn value<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(name, _)| *name == key).map(|(_, value)| value);
    values.next().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Part = Part { skip: 0, limit: MAX_LIMIT };

    fn open(order: Order, part: Part, shown: Shown) -> Result<Asked, Status> {
        Ok(Asked::Connz { which: Which::Open(order, part), shown })
    }

    fn asked(query: &str) -> Result<Asked, Status> {
        parse("/connz", query).expect("the path is known")
    }

    #[test]
    fn the_paths_are_those_of_nats_server() {
        assert_eq!(parse("/varz", "x=1"), Some(Ok(Asked::Varz)));
        let subsz = Some(Ok(Asked::Subsz { part: ALL, listed: false }));
        assert_eq!((parse("/subsz", ""), parse("/subscriptionsz", "subs=0")), (subsz, subsz));
        for other in ["/routez", "/jsz", "/varz/", "/Varz", "/"] {
            assert_eq!(parse(other, ""), None, "{other}");
        }
    }

    #[test]
    fn what_nats_top_asks_for_is_understood() {
        let rows = [
            ("cid", Order::Number),
            ("subs", Order::Subscriptions),
            ("pending", Order::Queued),
            ("msgs_to", Order::MessagesTo),
            ("msgs_from", Order::MessagesFrom),
            ("bytes_to", Order::BytesTo),
            ("bytes_from", Order::BytesFrom),
            ("last", Order::LastActive),
            ("idle", Order::Idle),
            ("uptime", Order::Youngest),
        ];
        for (name, order) in rows {
            let found = asked(&format!("limit=5&sort={name}&subs=1"));
            assert_eq!(found, open(order, Part { skip: 0, limit: 5 }, Shown::Filters), "{name}");
        }
    }

    #[test]
    fn parts_are_bounded_and_what_is_no_number_is_refused() {
        let rows = [
            ("", ALL),
            ("limit=0&offset=", ALL),
            ("limit=-1&offset=-2", ALL),
            ("limit=999999999999999999", ALL),
            ("offset=7&limit=3&limit=4", Part { skip: 7, limit: 3 }),
        ];
        for (query, part) in rows {
            assert_eq!(asked(query), open(Order::Number, part, Shown::Nothing), "{query}");
        }
        for query in ["limit=x", "offset=1.5", "limit=9999999999999999999", "sort=foo", "subs=2"] {
            assert_eq!(asked(query), Err(Status::BadRequest), "{query}");
        }
    }

    #[test]
    fn one_client_and_those_that_are_gone_can_be_asked_for() {
        let (one, closed) = (Which::One(7), Which::Closed(ALL));
        let (shown, nothing) = (Shown::Details, Shown::Nothing);
        let found = asked("cid=7&subs=detail&auth=1");
        assert_eq!(found, Ok(Asked::Connz { which: one, shown }));
        assert_eq!(asked("state=closed"), Ok(Asked::Connz { which: closed, shown: nothing }));
        assert_eq!(asked("state=all"), open(Order::Number, ALL, nothing));
        for query in ["cid=x", "cid=-1", "state=foo"] {
            assert_eq!(asked(query), Err(Status::BadRequest), "{query}");
        }
    }
}
