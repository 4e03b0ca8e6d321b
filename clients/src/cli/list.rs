//! `subscriber --list`: the topics and the subscriptions of each client, from the broker's monitor.
//!
//! Owns the order and the format of the two lists. `monitor` makes the requests.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::args::SubscriberArgs;
use super::escape::{push_harmless, push_harmless_json};
use super::monitor::{self, Monitor};
use super::report::{Failure, say};

/// As many connections as the monitor lists at once.
const CONNECTIONS: &str = "/connections?filters=1&limit=500";

/// One line of a table; the first one is its head.
type Row = Vec<String>;

/// Prints both lists.
pub(super) fn list(program: &str, args: &SubscriberArgs) -> Result<(), Failure> {
    let monitor = Monitor::find(args.monitor.as_deref(), &args.connection)?;
    let topics = monitor.get("/topics")?;
    let connections = monitor.get(CONNECTIONS)?;
    let (topics, listeners) = (monitor::items(&topics, "topics"), listeners(&connections));
    let mut out = Vec::new();
    if args.json {
        for value in topics.iter().chain(&listeners) {
            push_harmless_json(&mut out, &value.to_string());
            out.push(b'\n');
        }
    } else {
        push_table(&mut out, &topic_rows(topics));
        out.push(b'\n');
        push_table(&mut out, &listener_rows(&listeners));
    }
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(&out)
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::output(&error))?;
    if let Some(text) = what_is_missing(&connections) {
        say(program, &text);
    }
    Ok(())
}

/// Each subscription with its client, those to the same filter together.
fn listeners(connections: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    for connection in monitor::items(connections, "connections") {
        for subscription in monitor::items(connection, "filters") {
            found.push(json!({
                "filter": subscription["filter"],
                "group": subscription["group"],
                "id": connection["id"],
                "address": connection["address"],
            }));
        }
    }
    found.sort_by_cached_key(|one| ["filter", "group", "id", "address"].map(|key| text(one, key)));
    found
}

fn topic_rows(topics: &[Value]) -> Vec<Row> {
    let head = ["TOPIC", "MESSAGES", "A SECOND"].map(str::to_owned).to_vec();
    let row = |topic: &Value| {
        let rate = topic["messages_per_second"].as_f64();
        let rate = rate.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
        vec![text(topic, "topic"), topic["messages"].to_string(), rate]
    };
    [head].into_iter().chain(topics.iter().map(row)).collect()
}

fn listener_rows(listeners: &[Value]) -> Vec<Row> {
    let head = ["FILTER", "GROUP", "SUBSCRIBER", "ADDRESS"].map(str::to_owned).to_vec();
    let row = |one: &Value| {
        let group = if one["group"].is_null() { "-".to_owned() } else { text(one, "group") };
        vec![text(one, "filter"), group, text(one, "id"), text(one, "address")]
    };
    [head].into_iter().chain(listeners.iter().map(row)).collect()
}

/// What the monitor did not show, in a line.
fn what_is_missing(connections: &Value) -> Option<String> {
    let number = |value: &Value, key: &str| value[key].as_u64().unwrap_or_default();
    let all = monitor::items(connections, "connections");
    let filters: u64 = all.iter().map(|one| number(one, "filters_not_shown")).sum();
    let unseen = number(connections, "total").saturating_sub(number(connections, "shown"));
    (filters + unseen > 0).then(|| {
        format!("not all is shown: {unseen} connections and {filters} filters are left out")
    })
}

/// A field that is text, made harmless for a terminal.
fn text(value: &Value, key: &str) -> String {
    let mut out = Vec::new();
    push_harmless(&mut out, value[key].as_str().unwrap_or_default().as_bytes());
    String::from_utf8_lossy(&out).into_owned()
}

/// Appends rows with aligned columns.
fn push_table(out: &mut Vec<u8>, rows: &[Row]) {
    let columns = rows.first().map_or(0, Vec::len);
    let length = |cell: &String| cell.chars().count();
    let width = |column: usize| rows.iter().map(|row| length(&row[column])).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        out.extend_from_slice(line.trim_end().as_bytes());
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_stand_together_and_below_each_other() {
        let connections = json!({ "total": 3, "shown": 2, "connections": [
            { "id": "b", "address": "1.2.3.4:5", "filters_not_shown": 2, "filters": [
                { "filter": "z", "group": null }, { "filter": "a.*", "group": "g" } ] },
            { "id": "a\u{1b}", "address": "1.2.3.4:6", "filters_not_shown": 0, "filters": [
                { "filter": "z", "group": null } ] },
        ] });
        let mut out = Vec::new();
        push_table(&mut out, &listener_rows(&listeners(&connections)));
        let expected = "FILTER  GROUP  SUBSCRIBER  ADDRESS\n\
                        a.*     g      b           1.2.3.4:5\n\
                        z       -      a\\x1b       1.2.3.4:6\n\
                        z       -      b           1.2.3.4:5\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
        let missing = what_is_missing(&connections).unwrap();
        assert!(missing.contains("1 connections and 2 filters"), "{missing}");
    }
}
