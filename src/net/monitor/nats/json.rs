//! Answers for the tools of NATS, as JSON.
//!
//! Owns the names and types of the fields, which are nats-server's. What the broker does not know
//! is left out where tools take that, and is 0 elsewhere.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wire::nats::MAX_CONTROL_LINE_BYTES;
use wire::nats::info::{GO, PROTOCOL};

use super::Moment;
use super::query::Shown;
use crate::engine::Engine;
use crate::engine::close_reason::CloseReason;
use crate::engine::inspect::clients::{Client, Listed, Part};
use crate::engine::sessions::protocol::Protocol;
use crate::net::monitor::json::bytes;

/// What there is none of: clusters and the like.
#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
struct Varz<'a> {
    server_id: &'a str,
    server_name: &'a str,
    version: &'static str,
    proto: u8,
    go: &'static str,
    host: &'a str,
    port: u16,
    max_connections: usize,
    /// Nanoseconds; so are all times that are numbers, but for those of connecting, in seconds.
    ping_interval: i64,
    ping_max: u8,
    auth_timeout: u8,
    max_control_line: usize,
    max_payload: usize,
    max_pending: usize,
    cluster: Nothing,
    gateway: Nothing,
    leaf: Nothing,
    jetstream: Nothing,
    tls_timeout: u8,
    write_deadline: i64,
    start: String,
    now: String,
    uptime: String,
    mem: u64,
    cores: usize,
    cpu: f64,
    connections: usize,
    total_connections: u64,
    routes: u8,
    remotes: u8,
    leafnodes: u8,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    slow_consumers: u64,
    subscriptions: usize,
    http_req_stats: Nothing,
    config_load_time: String,
}

/// The whole broker, native clients included.
pub(super) fn varz(engine: &Engine, moment: &Moment, cpu: f64, memory_bytes: u64) -> Vec<u8> {
    let (stats, rules, identity) = (engine.stats(), engine.rules(), engine.identity());
    bytes(&Varz {
        server_id: &identity.server_id,
        server_name: engine.id(),
        version: Engine::nats_version(),
        proto: PROTOCOL,
        go: GO,
        host: &identity.host,
        port: identity.port,
        max_connections: rules.max_connections,
        ping_interval: nanoseconds(rules.heartbeat_of(Protocol::Nats)),
        ping_max: Protocol::Nats.max_pings(),
        auth_timeout: 0,
        max_control_line: MAX_CONTROL_LINE_BYTES,
        max_payload: rules.max_payload,
        max_pending: rules.nats.outbox_bytes,
        cluster: Nothing {},
        gateway: Nothing {},
        leaf: Nothing {},
        jetstream: Nothing {},
        tls_timeout: 0,
        write_deadline: nanoseconds(rules.nats.stall_timeout),
        start: wall(moment.started),
        now: wall(moment.wall),
        uptime: uptime(moment.uptime),
        mem: memory_bytes,
        cores: moment.cores,
        cpu,
        connections: engine.connections(),
        total_connections: stats.connections,
        routes: 0,
        remotes: 0,
        leafnodes: 0,
        in_msgs: stats.messages_in,
        out_msgs: stats.deliveries,
        in_bytes: stats.bytes_in,
        out_bytes: stats.bytes_out,
        slow_consumers: stats.closed[CloseReason::SlowConsumer as usize],
        subscriptions: engine.index_sizes().subscriptions,
        http_req_stats: Nothing {},
        config_load_time: wall(moment.configured),
    })
}

#[derive(Serialize)]
struct Connz<'a> {
    server_id: &'a str,
    now: String,
    num_connections: usize,
    total: usize,
    offset: usize,
    limit: usize,
    connections: Vec<Connection<'a>>,
}

/// Round-trip times are not measured, and so `rtt` is missing.
#[derive(Serialize)]
struct Connection<'a> {
    cid: u32,
    kind: &'static str,
    #[serde(rename = "type")]
    protocol: &'static str,
    ip: String,
    port: u16,
    start: String,
    last_activity: String,
    uptime: String,
    idle: String,
    pending_bytes: usize,
    in_msgs: u64,
    out_msgs: u64,
    in_bytes: u64,
    out_bytes: u64,
    subscriptions: usize,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    lang: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions_list: Option<Vec<Cow<'a, str>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions_list_detail: Option<Vec<Subscription<'a>>>,
}

#[derive(Serialize)]
struct Subscription<'a> {
    subject: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qgroup: Option<Cow<'a, str>>,
    sid: Cow<'a, str>,
    msgs: u64,
    cid: u32,
}

/// NATS clients, and which part of how many they are.
pub(super) fn connz(
    clients: &[Client<'_>],
    shown: Shown,
    (part, total): (Part, usize),
    engine: &Engine,
    moment: &Moment,
) -> Vec<u8> {
    bytes(&Connz {
        server_id: &engine.identity().server_id,
        now: wall(moment.wall),
        num_connections: clients.len(),
        total,
        offset: part.skip,
        limit: part.limit,
        connections: clients.iter().map(|client| connection(client, shown, moment)).collect(),
    })
}

fn connection<'a>(client: &'a Client<'_>, shown: Shown, moment: &Moment) -> Connection<'a> {
    // What is no address and port names where it comes from in another way.
    let address = client.address.parse::<SocketAddr>().ok();
    let ip = address.map_or_else(|| client.address.to_owned(), |it| it.ip().to_string());
    let (lang, version) = client.library.split_once(' ').unwrap_or((client.library, ""));
    let listed = client.listed.as_deref().unwrap_or_default();
    let filters = || listed.iter().map(|it| String::from_utf8_lossy(it.filter)).collect();
    Connection {
        cid: client.number,
        kind: "Client",
        protocol: "nats",
        ip,
        port: address.map_or(0, |it| it.port()),
        start: wall(moment.wall - client.age),
        last_activity: wall(moment.wall - client.idle),
        uptime: uptime(client.age),
        idle: uptime(client.idle),
        pending_bytes: client.queued,
        in_msgs: client.published.messages,
        out_msgs: client.delivered.messages,
        in_bytes: client.published.bytes,
        out_bytes: client.delivered.bytes,
        subscriptions: client.subscriptions,
        name: client.name,
        lang,
        version,
        subscriptions_list: (shown == Shown::Filters).then(filters),
        subscriptions_list_detail: (shown == Shown::Details)
            .then(|| listed.iter().map(subscription).collect()),
    }
}

fn subscription<'a>(listed: &'a Listed<'_>) -> Subscription<'a> {
    Subscription {
        subject: String::from_utf8_lossy(listed.filter),
        qgroup: listed.group.map(String::from_utf8_lossy),
        sid: String::from_utf8_lossy(&listed.sid),
        msgs: listed.delivered,
        cid: listed.connection,
    }
}

#[derive(Serialize)]
struct Subsz<'a> {
    server_id: &'a str,
    now: String,
    num_subscriptions: usize,
    num_cache: usize,
    num_inserts: u8,
    num_removes: u8,
    num_matches: u8,
    cache_hit_rate: f64,
    max_fanout: u8,
    avg_fanout: f64,
    total: usize,
    offset: usize,
    limit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscriptions_list: Option<Vec<Subscription<'a>>>,
}

/// Subscriptions of all clients, native ones included; a part of them, if that was asked for.
pub(super) fn subsz(
    listed: Option<&[Listed<'_>]>,
    part: Part,
    engine: &Engine,
    moment: &Moment,
) -> Vec<u8> {
    let sizes = engine.index_sizes();
    bytes(&Subsz {
        server_id: &engine.identity().server_id,
        now: wall(moment.wall),
        num_subscriptions: sizes.subscriptions,
        num_cache: sizes.cached_topics,
        num_inserts: 0,
        num_removes: 0,
        num_matches: 0,
        cache_hit_rate: 0.0,
        max_fanout: 0,
        avg_fanout: 0.0,
        total: listed.map_or(0, |_| sizes.subscriptions),
        offset: part.skip,
        limit: part.limit,
        subscriptions_list: listed.map(|all| all.iter().map(subscription).collect()),
    })
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

/// Whether clients may be sent here.
pub(in crate::net::monitor) fn health(is_ok: bool) -> Vec<u8> {
    bytes(&Health { status: if is_ok { "ok" } else { "unavailable" } })
}

fn wall(time: OffsetDateTime) -> String {
    // Only a year beyond 9999 could not be written.
    time.format(&Rfc3339).unwrap_or_default()
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Whole seconds, as in `1y2d3h4m5s`: from the largest unit of which there is one.
fn uptime(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let units = [
        (days / 365, days / 365, 'y'),
        (days, days % 365, 'd'),
        (hours, hours % 24, 'h'),
        (minutes, minutes % 60, 'm'),
        (u64::MAX, seconds % 60, 's'),
    ];
    let shown = units.into_iter().filter(|(all, _, _)| *all > 0);
    shown.map(|(_, rest, unit)| format!("{rest}{unit}")).collect()
}

#[cfg(test)]
mod tests;
