//! `publisher --ping`: how long a broker takes to answer.
//!
//! Owns the measurement and its output.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use pubsub_client::ClientError;

use crate::cli::report::Failure;

use super::sender::Sender;

/// Sends `count` PINGs, with a pause between, and prints each round trip and a summary.
pub(super) fn ping(
    publisher: &mut Sender,
    count: u64,
    pause: Duration,
    failed: impl Fn(ClientError) -> Failure,
) -> Result<(), Failure> {
    let print = |text: String| {
        let mut stdout = io::stdout();
        let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
        written.map_err(|error| Failure::output(&error))
    };
    let server = publisher.welcome().server.clone();
    let (mut least, mut most, mut sum) = (Duration::MAX, Duration::ZERO, Duration::ZERO);
    for number in 1..=count {
        let asked = Instant::now();
        publisher.flush().map_err(&failed)?;
        let took = asked.elapsed();
        (least, most, sum) = (least.min(took), most.max(took), sum + took);
        print(format!("{number}: {server} answered in {}", milliseconds(took)))?;
        if number < count {
            publisher.idle(pause).map_err(&failed)?;
        }
    }
    let mean = sum.div_f64(count.max(1) as f64);
    let [least, mean, most] = [least, mean, most].map(milliseconds);
    print(format!("{count} round trips: min {least}, mean {mean}, max {most}"))
}

fn milliseconds(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}
