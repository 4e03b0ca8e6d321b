//! What is known to be doubtful about a benchmark's figures.
//!
//! Owns the limits beyond which a figure is doubtful, and the texts of the warnings.

use serde_json::{Value, json};

use crate::bench::figures::Figures;
use crate::bench::plan::{Amount, Plan};
use crate::bench::protocol::Protocol;
use crate::bench::report::cell;

/// A broker that used less than so much of a core was waiting for its clients.
const BUSY_CORES: f64 = 0.9;
/// The share of a core, or of all of them, that counts as fully used.
const FULL: f64 = 0.9;
/// A shorter run is dominated by its start and end.
const SHORT_SECONDS: f64 = 0.5;
/// The share of the messages on schedule that counts as all.
const REACHED: f64 = 0.99;
/// On schedule, messages written this much later than due make latency the program's own.
const LATE_US: f64 = 1_000.0;

/// What is doubtful about one run.
pub(crate) fn of_run(
    plan: &Plan,
    machine: &Value,
    figures: &Figures,
    is_cut_short: bool,
) -> Vec<String> {
    let cores = machine["cores"].as_f64().unwrap_or(1.0);
    let found = [
        slower_side(plan, figures, cores),
        off_schedule(plan, figures),
        out_of_reach(plan, figures).filter(|_| !is_cut_short),
        more_than_ours(figures),
    ];
    found.into_iter().flatten().collect()
}

/// Whether this program or the machine, and not the broker, was the limit.
fn slower_side(plan: &Plan, figures: &Figures, cores: f64) -> Option<String> {
    if plan.rate.is_some() || figures.broker_cores.is_some_and(|busy| busy >= BUSY_CORES) {
        return None;
    }
    if figures.seconds < SHORT_SECONDS {
        let short = "the run was too short to tell whether the broker was the slower side";
        return Some(format!("{short}; use more --messages, or --seconds"));
    }
    let own = figures.own_cores;
    let thread = figures.busiest_thread_cores;
    let broker = figures.broker_cores.unwrap_or(0.0);
    let others = figures.other_cores.unwrap_or(0.0);
    let who = if thread >= FULL {
        format!("a thread of bench-publisher was at its limit ({thread:.2} of a core)")
    } else if own + broker + others >= FULL * cores {
        format!(
            "the machine was full ({cores} cores: bench-publisher {own:.2}, others {others:.2})"
        )
    } else if figures.broker_cores.is_some() && plan.requests.is_none() {
        format!("the broker waited for its clients (bench-publisher used {own:.2} cores)")
    } else {
        return None;
    };
    let broker = match figures.broker_cores {
        Some(busy) => format!("the broker used only {busy:.2} of a core"),
        None => "the broker's CPU is unknown".to_owned(),
    };
    Some(format!("{who}; {broker}, so the figures are less than it can do"))
}

fn off_schedule(plan: &Plan, figures: &Figures) -> Option<String> {
    let rate = plan.rate?;
    let late = figures.send_late_p99_us.filter(|late| *late > LATE_US)?;
    Some(format!(
        "messages were written up to {:.1} ms (p99) after they were due for {rate}/s; latency \
         contains that",
        late / 1e3
    ))
}

/// Whether fewer messages were sent than the schedule has for the time.
fn out_of_reach(plan: &Plan, figures: &Figures) -> Option<String> {
    let (rate, Amount::Time(time)) = (plan.rate?, plan.amount) else { return None };
    let planned = rate * time.as_secs_f64();
    (figures.published as f64 <= REACHED * planned).then(|| {
        format!(
            "{rate}/s were out of reach: {} of {planned:.0} messages were sent in the time",
            figures.published
        )
    })
}

/// What differs from an earlier report besides its figures.
pub(crate) fn load_difference(plan: &Plan, machine: &Value, earlier: &Value) -> Option<String> {
    // Neither changes what is measured.
    const BESIDE: [&str; 2] = ["runs", "seed"];
    let options = plan.to_json();
    let options = options.as_object().into_iter().flatten();
    let options = options.filter(|(name, _)| !BESIDE.contains(&name.as_str()));
    // Reports without a protocol are older than the choice.
    let native = json!(Protocol::Native.name());
    let options = options.map(|(name, now)| match &earlier["options"][name] {
        Value::Null if name == "protocol" => (name.as_str(), now, &native),
        then => (name.as_str(), now, then),
    });
    let machine =
        ["cpu", "cores", "optimized"].map(|name| (name, &machine[name], &earlier["machine"][name]));
    let differing = options.chain(machine).filter(|(_, now, then)| now != then);
    let told = |value: &Value| if value.is_null() { "none".to_owned() } else { cell(value) };
    let texts =
        differing.map(|(name, now, then)| format!("{name} {} then, {} now", told(then), told(now)));
    let texts: Vec<_> = texts.collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

fn more_than_ours(figures: &Figures) -> Option<String> {
    let more = figures.delivered.checked_sub(figures.expected).filter(|more| *more > 0)?;
    (figures.expected > 0).then(|| {
        format!("{more} messages more came than were published; who else publishes to bench.>?")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_that_name_no_protocol_are_of_the_native_one() {
        let machine = json!({});
        let plan = Plan::example();
        let mut earlier = json!({"options": plan.to_json()});
        earlier["options"].as_object_mut().unwrap().remove("protocol");
        assert_eq!(load_difference(&plan, &machine, &earlier), None);
        let nats = Plan { protocol: Protocol::Nats, ..plan };
        let expected = Some("protocol native then, nats now".to_owned());
        assert_eq!(load_difference(&nats, &machine, &earlier), expected);
    }
}
