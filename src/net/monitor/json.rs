//! Snapshots and connections as JSON.
//!
//! Owns the names of the fields, which are an interface: people's scripts and the page have them.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::snapshot::{Snapshot, Topic, VERSION, is_c1};
use super::topic_rates::Rate;
use crate::engine::inspect::{Named, Unread, View};

/// What the format is called.
pub(super) const CONTENT_TYPE: &str = "application/json";

#[derive(Serialize)]
struct Connections<'a> {
    time: String,
    /// How many there are in all, and how many of them are below.
    total: usize,
    shown: usize,
    connections: Vec<Connection<'a>>,
}

#[derive(Serialize)]
struct Connection<'a> {
    id: &'a str,
    address: &'a str,
    role: String,
    protocol: &'static str,
    state: &'static str,
    since: String,
    subscriptions: usize,
    /// Those of them that are shown, and how many are not, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    filters: Option<Vec<Filter<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filters_not_shown: Option<usize>,
    queued_bytes: usize,
    highest_queued_bytes: usize,
    messages: u64,
    bytes: u64,
    /// What it sent, if `messages` are those to it though it does both.
    published_messages: Option<u64>,
    published_bytes: Option<u64>,
    dropped: u64,
    /// Why it is not read, if it is not.
    paused_by: Option<&'static str>,
    /// Some of the subscribers that it waits for, and how many they are.
    waits_for: Vec<Peer<'a>>,
    waits_for_count: usize,
    /// Publishers that wait for it.
    waiting_publishers: usize,
}

#[derive(Serialize)]
struct Filter<'a> {
    filter: Cow<'a, str>,
    group: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct Peer<'a> {
    id: &'a str,
    address: &'a str,
}

/// Connections, of which there are `total`, as they are at `now`.
pub(super) fn connections(views: &[View<'_>], total: usize, now: OffsetDateTime) -> Vec<u8> {
    let connections: Vec<_> = views.iter().map(|view| connection(view, now)).collect();
    let shown = connections.len();
    bytes(&Connections { time: iso(now), total, shown, connections })
}

fn connection<'a>(view: &'a View<'_>, now: OffsetDateTime) -> Connection<'a> {
    let (paused_by, named, waits_for_count) = match &view.unread {
        None => (None, &[][..], 0),
        Some(Unread::Subscribers { named, count }) => (Some("subscribers"), &named[..], *count),
        Some(Unread::Memory) => (Some("memory"), &[][..], 0),
        Some(Unread::Answers) => (Some("answers"), &[][..], 0),
    };
    let filter = |&(filter, group): &(&'a [u8], Option<&'a [u8]>)| Filter {
        filter: String::from_utf8_lossy(filter),
        group: group.map(String::from_utf8_lossy),
    };
    let shown = view.filters.as_ref();
    Connection {
        id: view.id,
        address: view.address,
        role: view.role.to_string(),
        protocol: view.role.protocol.name(),
        state: view.state,
        since: iso(now - view.age),
        subscriptions: view.subscriptions,
        filters: shown.map(|filters| filters.iter().map(filter).collect()),
        filters_not_shown: shown.map(|filters| view.subscriptions.saturating_sub(filters.len())),
        queued_bytes: view.queued,
        highest_queued_bytes: view.highest_queue,
        messages: view.traffic.messages,
        bytes: view.traffic.bytes,
        published_messages: view.published.map(|published| published.messages),
        published_bytes: view.published.map(|published| published.bytes),
        dropped: view.dropped,
        paused_by,
        waits_for: named.iter().map(|&Named { id, address }| Peer { id, address }).collect(),
        waits_for_count,
        waiting_publishers: view.waiters,
    }
}

#[derive(Serialize)]
struct Stats<'a> {
    version: &'static str,
    uptime_seconds: f64,
    draining: bool,
    messages_received: u64,
    received_bytes: u64,
    messages_delivered: u64,
    sent_bytes: u64,
    messages_dropped: u64,
    messages_undelivered: u64,
    publishers: usize,
    subscribers: usize,
    clients: usize,
    paused_publishers: usize,
    subscriptions: usize,
    queued_bytes: usize,
    memory_bytes: usize,
    memory_limit_bytes: usize,
    /// `null`: there is to be none.
    link: Option<LinkStats>,
    topics: Vec<TopicStats<'a>>,
}

#[derive(Serialize)]
struct LinkStats {
    up: bool,
    joins: u64,
    messages_sent: u64,
    messages_received: u64,
    lost: u64,
}

#[derive(Serialize)]
struct TopicStats<'a> {
    topic: &'a str,
    listed: bool,
    messages: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Topics<'a> {
    time: String,
    topics: Vec<RatedTopic<'a>>,
}

#[derive(Serialize)]
struct RatedTopic<'a> {
    #[serde(flatten)]
    counted: TopicStats<'a>,
    messages_per_second: Option<f64>,
    bytes_per_second: Option<f64>,
}

/// The topics that are shown, with the rate of each.
pub(super) fn topics(
    snapshot: &Snapshot<'_>,
    rates: &[Option<Rate>],
    now: OffsetDateTime,
) -> Vec<u8> {
    let listed = snapshot.listed.iter().map(|found| topic(found, true));
    let counted = listed.chain(snapshot.busiest.iter().map(|found| topic(found, false)));
    let topics = counted.zip(rates).map(|(counted, rate)| RatedTopic {
        counted,
        messages_per_second: rate.map(|rate| rate.messages),
        bytes_per_second: rate.map(|rate| rate.bytes),
    });
    bytes(&Topics { time: iso(now), topics: topics.collect() })
}

/// What the page draws.
pub(super) fn stats(snapshot: &Snapshot<'_>) -> Vec<u8> {
    let (stats, load) = (snapshot.stats, snapshot.load);
    let listed = snapshot.listed.iter().map(|found| topic(found, true));
    let topics = listed.chain(snapshot.busiest.iter().map(|found| topic(found, false))).collect();
    bytes(&Stats {
        version: VERSION,
        uptime_seconds: seconds(snapshot.uptime),
        draining: snapshot.draining,
        messages_received: stats.messages_in,
        received_bytes: stats.bytes_in,
        messages_delivered: stats.deliveries,
        sent_bytes: stats.bytes_out,
        messages_dropped: stats.dropped,
        messages_undelivered: stats.undelivered,
        publishers: load.crowd.publishers,
        subscribers: load.crowd.subscribers,
        clients: load.crowd.clients,
        paused_publishers: load.paused + load.waiting_for_memory,
        subscriptions: snapshot.subscriptions,
        queued_bytes: load.queued_bytes,
        memory_bytes: snapshot.memory_bytes,
        memory_limit_bytes: load.memory_limit_bytes,
        link: snapshot.link.map(|figures| LinkStats {
            up: figures.is_up,
            joins: figures.joins,
            messages_sent: figures.messages_out,
            messages_received: figures.messages_in,
            lost: figures.lost,
        }),
        topics,
    })
}

fn topic(found: &Topic, listed: bool) -> TopicStats<'_> {
    let Topic { name, published } = found;
    TopicStats { topic: name, listed, messages: published.messages, bytes: published.bytes }
}

/// The line of JSON that a value is.
pub(super) fn bytes(value: &impl Serialize) -> Vec<u8> {
    // Only maps with odd keys, or types that refuse, could fail.
    let mut text = serde_json::to_string(value).expect("these types are plain");
    text.push('\n');
    if !text.contains(is_c1) {
        return text.into_bytes();
    }
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        // JSON allows them as they are; a terminal that shows them obeys them.
        if is_c1(character) {
            bytes.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
        } else {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    bytes
}

/// To the millisecond.
fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1e3
}

fn iso(time: OffsetDateTime) -> String {
    let time = time.truncate_to_millisecond();
    // Only a year beyond 9999 could not be written.
    time.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sessions::connection::{Role, Traffic};

    fn view<'a>(id: &'a str, unread: Option<Unread<'a>>) -> View<'a> {
        View {
            role: Role::PUBLISHER,
            state: "open",
            id,
            address: "[::1]:7",
            age: Duration::from_secs(60),
            subscriptions: 2,
            filters: None,
            queued: 3,
            highest_queue: 4,
            traffic: Traffic { messages: 5, bytes: 6, ..Traffic::default() },
            published: None,
            dropped: 7,
            unread,
            waiters: 8,
        }
    }

    #[test]
    fn a_connection_says_who_since_when_and_whom_it_waits_for() {
        let unread = Unread::Subscribers {
            named: vec![Named { id: "slow", address: "10.0.0.1:2" }],
            count: 12,
        };
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_millis(61_500);
        let text = String::from_utf8(connections(&[view("p", Some(unread))], 9, now)).unwrap();
        assert_eq!(
            text,
            "{\"time\":\"1970-01-01T00:01:01.5Z\",\"total\":9,\"shown\":1,\"connections\":[{\
             \"id\":\"p\",\"address\":\"[::1]:7\",\"role\":\"publisher\",\
             \"protocol\":\"native\",\"state\":\"open\",\
             \"since\":\"1970-01-01T00:00:01.5Z\",\"subscriptions\":2,\"queued_bytes\":3,\
             \"highest_queued_bytes\":4,\"messages\":5,\"bytes\":6,\
             \"published_messages\":null,\"published_bytes\":null,\"dropped\":7,\
             \"paused_by\":\"subscribers\",\
             \"waits_for\":[{\"id\":\"slow\",\"address\":\"10.0.0.1:2\"}],\
             \"waits_for_count\":12,\"waiting_publishers\":8}]}\n"
        );
    }

    #[test]
    fn what_a_nats_client_sent_is_told_beside_what_it_was_sent() {
        let published = Some(Traffic { messages: 11, bytes: 12, ..Traffic::default() });
        let view = View { role: Role::NATS, published, ..view("c", None) };
        let bytes = connections(&[view], 1, OffsetDateTime::UNIX_EPOCH);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let first = &value["connections"][0];
        let words = ["role", "protocol"].map(|name| first[name].as_str());
        assert_eq!(words, [Some("client"), Some("nats")]);
        let names = ["messages", "bytes", "published_messages", "published_bytes"];
        let figures = names.map(|name| first[name].as_u64());
        assert_eq!(figures, [5, 6, 11, 12].map(Some));
    }

    #[test]
    fn filters_are_shown_with_their_groups_and_how_many_are_not() {
        let filters: Vec<(&[u8], Option<&[u8]>)> = vec![(b"a.*", Some(b"g"))];
        let view = View { filters: Some(filters), subscriptions: 3, ..view("s", None) };
        let bytes = connections(&[view], 1, OffsetDateTime::UNIX_EPOCH);
        let text = String::from_utf8_lossy(&bytes);
        let expected = "\"filters\":[{\"filter\":\"a.*\",\"group\":\"g\"}],\
                        \"filters_not_shown\":2,";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn ids_are_escaped() {
        let id = "a\"b\\c</script>é\u{9b}";
        let bytes = connections(&[view(id, None)], 1, OffsetDateTime::UNIX_EPOCH);
        assert!(String::from_utf8_lossy(&bytes).contains("é\\u009b"), "nothing drives a terminal");
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["connections"][0]["id"], id);
        assert_eq!(value["connections"][0]["paused_by"], serde_json::Value::Null);
    }
}
