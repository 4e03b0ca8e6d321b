//! A snapshot in Prometheus' text format, version 0.0.4.
//!
//! Owns names, types and help of all metrics, and how a label is escaped. Names are an interface:
//! people's dashboards and alerts have them.

use std::fmt::{Display, Write as _};

use super::snapshot::{Snapshot, Topic, VERSION, is_c1};
use crate::engine::close_reason::CloseReason;
use crate::engine::link::LinkFigures;
use crate::engine::routing::counts::Published;

/// What the format is called.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics.
pub(super) fn render(snapshot: &Snapshot<'_>) -> String {
    let mut text = Text(String::with_capacity(16 << 10));
    traffic(&mut text, snapshot);
    connections(&mut text, snapshot);
    waiting(&mut text, snapshot);
    topics(&mut text, snapshot);
    if let Some(figures) = &snapshot.link {
        link(&mut text, figures);
    }
    turns(&mut text, snapshot);
    process(&mut text, snapshot);
    text.0
}

fn traffic(text: &mut Text, snapshot: &Snapshot<'_>) {
    let stats = snapshot.stats;
    text.counter("broker_messages_received_total", "Messages accepted.", stats.messages_in);
    text.counter("broker_received_bytes_total", "Bytes of them, as frames.", stats.bytes_in);
    text.counter(
        "broker_messages_delivered_total",
        "Messages put into outboxes, once for each receiver.",
        stats.deliveries,
    );
    text.counter("broker_sent_bytes_total", "Bytes that sockets took.", stats.bytes_out);
    text.counter(
        "broker_messages_dropped_total",
        "Messages that the policy drop kept from a receiver, once for each.",
        stats.dropped,
    );
    text.counter(
        "broker_messages_undelivered_total",
        "Messages still in an outbox when its connection ended.",
        stats.undelivered,
    );
}

fn connections(text: &mut Text, snapshot: &Snapshot<'_>) {
    let (stats, load) = (snapshot.stats, snapshot.load);
    let help = "Connections now: native publishers and subscribers, and NATS clients.";
    text.family("broker_connections", "gauge", help);
    text.labelled("broker_connections", "role", "publisher", load.crowd.publishers);
    text.labelled("broker_connections", "role", "subscriber", load.crowd.subscribers);
    text.labelled("broker_connections", "role", "client", load.crowd.clients);
    let help = "Connections accepted, refused ones included.";
    text.counter("broker_connections_accepted_total", help, stats.connections);
    let help = "Connections refused since there were max_connections.";
    text.counter("broker_connections_refused_total", help, stats.refused);
    let help = "Messages and subscriptions refused, since their user has no right to them.";
    text.counter("broker_denied_total", help, stats.denied);
    text.family("broker_disconnects_total", "counter", "Connections that ended, by close reason.");
    for (reason, count) in CloseReason::ALL.into_iter().zip(stats.closed) {
        text.labelled("broker_disconnects_total", "reason", reason.name(), count);
    }
    let help = "Subscriptions of all connections.";
    text.gauge("broker_subscriptions", help, snapshot.subscriptions);
    text.gauge("broker_filters", "Filters that are held.", snapshot.filters);
    let help = "Topics whose receivers are known.";
    text.gauge("broker_cached_topics", help, snapshot.cached_topics);
}

fn waiting(text: &mut Text, snapshot: &Snapshot<'_>) {
    let (stats, load) = (snapshot.stats, snapshot.load);
    let help = "Bytes that wait in outboxes, counted for each receiver.";
    text.gauge("broker_queued_bytes", help, load.queued_bytes);
    let help = "Bytes that in- and outboxes occupy.";
    text.gauge("broker_memory_bytes", help, snapshot.memory_bytes);
    let help = "The setting memory_bytes.";
    text.gauge("broker_memory_limit_bytes", help, load.memory_limit_bytes);
    let help = "Publishers that are not read now, by what they wait for.";
    text.family("broker_paused_publishers", "gauge", help);
    text.labelled("broker_paused_publishers", "cause", "subscriber", load.paused);
    text.labelled("broker_paused_publishers", "cause", "memory", load.waiting_for_memory);
    let help = "Times that a publisher had to wait for a full outbox.";
    text.counter("broker_pauses_total", help, stats.pauses);
    let help = "Times that reading stopped since memory_bytes was reached.";
    text.counter("broker_memory_pauses_total", help, stats.memory_pauses);
    let help = "Times that slices were copied out of sparse chunks.";
    text.counter("broker_compactions_total", help, stats.compactions);
    let help = "Whether the broker is shutting down.";
    text.gauge("broker_draining", help, u8::from(snapshot.draining));
}

fn topics(text: &mut Text, snapshot: &Snapshot<'_>) {
    type Figure = fn(Published) -> u64;
    let families: [(&str, &str, Figure); 2] = [
        (
            "broker_topic_messages_total",
            "Messages published to listed topics and filters, and to the busiest others.",
            |published| published.messages,
        ),
        ("broker_topic_bytes_total", "Bytes of them, as frames.", |published| published.bytes),
    ];
    for (name, help, figure) in families {
        let mut shown = snapshot.listed.iter().chain(&snapshot.busiest).peekable();
        if shown.peek().is_some() {
            text.family(name, "counter", help);
        }
        for Topic { name: topic, published } in shown {
            text.labelled(name, "topic", topic, figure(*published));
        }
    }
}

fn link(text: &mut Text, figures: &LinkFigures) {
    let help = "Whether a hub has let the broker in.";
    text.gauge("broker_link_up", help, u8::from(figures.is_up));
    text.counter("broker_link_joins_total", "Times that a hub has done so.", figures.joins);
    let help = "Messages queued for the hub.";
    text.counter("broker_link_messages_sent_total", help, figures.messages_out);
    text.counter("broker_link_sent_bytes_total", "Bytes of them.", figures.bytes_out);
    let help = "Messages that came from the hub.";
    text.counter("broker_link_messages_received_total", help, figures.messages_in);
    text.counter("broker_link_received_bytes_total", "Bytes of them.", figures.bytes_in);
    let help = "Messages for the hub that it did not get.";
    text.counter("broker_link_lost_messages_total", help, figures.lost);
    let help = "Messages sent to the hub, behind which it has not answered yet.";
    text.gauge("broker_link_unconfirmed_messages", help, figures.unconfirmed);
    let help = "Messages that wait for a hub to join.";
    text.gauge("broker_link_waiting_messages", help, figures.waiting);
    let help = "Messages and filters of the hub that break a rule here.";
    text.counter("broker_link_not_carried_total", help, figures.not_carried);
    text.gauge("broker_link_filters_told", "Filters that the hub was told of.", figures.told);
    text.gauge("broker_link_filters_heard", "Filters that the hub wants.", figures.heard);
}

fn turns(text: &mut Text, snapshot: &Snapshot<'_>) {
    let turns = snapshot.turns;
    text.counter("broker_turns_total", "Turns of the loop.", turns.count());
    let name = "broker_turn_duration_seconds";
    text.family(name, "histogram", "Time from waking up to waiting again.");
    for (end, count) in turns.buckets() {
        text.labelled(&format!("{name}_bucket"), "le", &end.to_string(), count);
    }
    text.labelled(&format!("{name}_bucket"), "le", "+Inf", turns.count());
    text.sample(&format!("{name}_sum"), turns.total().as_secs_f64());
    text.sample(&format!("{name}_count"), turns.count());
}

fn process(text: &mut Text, snapshot: &Snapshot<'_>) {
    text.family("broker_build_info", "gauge", "1, labelled with the version.");
    text.labelled("broker_build_info", "version", VERSION, 1);
    let help = "Requests to the monitor with a wrong name or secret.";
    text.counter("broker_monitor_unauthorized_total", help, snapshot.refused);
    let help = "TLS handshakes with the monitor that failed.";
    text.counter("broker_monitor_tls_failed_total", help, snapshot.failed_handshakes);
    if let Some(bytes) = snapshot.tls_bytes {
        let help = "Bytes that wait in TLS sessions, not counted in broker_memory_bytes.";
        text.gauge("broker_tls_bytes", help, bytes);
    }
    if let Some(days) = snapshot.certificate_days {
        let help = "Days until the broker's certificate ends.";
        text.gauge("broker_tls_certificate_expiry_days", help, days);
    }
    let process = &snapshot.process;
    if let Some(seconds) = process.cpu_seconds {
        text.counter("process_cpu_seconds_total", "User and system CPU time.", seconds);
    }
    let started = snapshot.started.unix_timestamp_nanos() as f64 / 1e9;
    text.gauge("process_start_time_seconds", "When the process began, since 1970.", started);
    let gauges = [
        ("process_resident_memory_bytes", "Resident memory.", process.resident_bytes),
        ("process_virtual_memory_bytes", "Virtual memory.", process.virtual_bytes),
        ("process_open_fds", "Open file descriptors.", process.open_fds),
        ("process_max_fds", "File descriptors that may be open.", process.max_fds),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            text.gauge(name, help, value);
        }
    }
}

/// The text as far as it is written.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, value);
    }

    fn sample(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn labelled(&mut self, name: &str, label: &str, text: &str, value: impl Display) {
        let text = without_c1(text).replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let _ = writeln!(self.0, "{name}{{{label}=\"{text}\"}} {value}");
    }
}

/// The text with control characters that a terminal would obey written out, as in `\u{9b}`. Two
/// texts stay two: what looks like that already has its backslash written out.
fn without_c1(text: &str) -> String {
    if !text.contains(is_c1) {
        return text.replace(r"\u{", r"\u{5c}u{");
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.replace(r"\u{", r"\u{5c}u{").chars() {
        if is_c1(character) {
            let _ = write!(out, "{}", character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_hold_anything_else() {
        let mut text = Text(String::new());
        text.labelled("m", "topic", "a\"b\\c.é\nd", 1);
        assert_eq!(text.0, "m{topic=\"a\\\"b\\\\c.é\\nd\"} 1\n");
    }

    #[test]
    fn control_characters_are_written_out_and_nothing_is_mistaken_for_them() {
        assert_eq!(without_c1("a\u{9b}b"), r"a\u{9b}b");
        assert_eq!(without_c1(r"a\u{9b}b"), r"a\u{5c}u{9b}b");
        assert_eq!(without_c1("é\\"), "é\\");
    }

    #[test]
    fn a_family_opens_with_help_and_type() {
        let mut text = Text(String::new());
        text.counter("a_total", "What it is.", 7);
        assert_eq!(text.0, "# HELP a_total What it is.\n# TYPE a_total counter\na_total 7\n");
    }
}
