//! Roles in a load whose every message is accounted for: publishers that number and confirm,
//! readers of all speeds that keep a ledger, clients that connect and disconnect at random.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::connections::{connect, reset};
use super::frame::{Frame, hello, kind, ping, pong, subscribe};
use super::numbered::{self, Ledger, Random};
use super::{Broker, Event, PATIENCE, Peer};

/// A reader that gets this topic has received all messages before it.
pub(crate) const END: &[u8] = b"load.end";
/// Messages between two confirmations.
const BATCHES: usize = 16;
const BATCH: u64 = 32;

/// What a publisher has done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) stream: u32,
    /// Messages written to the socket.
    pub(crate) written: u64,
    /// Those that the broker has confirmed.
    pub(crate) confirmed: u64,
}

/// Topic of a stream of numbered messages.
pub(crate) fn topic(stream: u32) -> String {
    format!("load.stream.{stream}")
}

/// Publishes numbered messages, so many bytes a second at most, until it is told to stop or the
/// broker says GOODBYE.
pub(crate) fn publisher(broker: &Broker, stream: u32, rate: u64, stop: &AtomicBool) -> Sent {
    let mut peer = broker.publisher();
    let mut random = Random::new(u64::from(stream) + 1);
    let mut sent = Sent { stream, written: 0, confirmed: 0 };
    let (start, mut bytes) = (Instant::now(), 0_u64);
    let topic = topic(stream);
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..BATCHES {
            let mut batch = Vec::new();
            for number in sent.written..sent.written + BATCH {
                let filling = random_size(&mut random);
                batch.extend(numbered::message(topic.as_bytes(), stream, number, filling));
            }
            if peer.try_send(&batch).is_err() {
                // Some of them may have arrived.
                sent.written += BATCH;
                return sent;
            }
            sent.written += BATCH;
            bytes += batch.len() as u64;
            let due = Duration::from_secs_f64(bytes as f64 / rate as f64);
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
        if !is_confirmed(&mut peer) {
            return sent;
        }
        sent.confirmed = sent.written;
    }
    sent
}

/// Mostly small messages, now and then a large one.
fn random_size(random: &mut Random) -> usize {
    let rare = random.below(64) == 0;
    let limits = [16, 200, 1_000, 4_000];
    let limit = if rare { 100_000 } else { limits[random.below(4) as usize] };
    random.below(limit) as usize
}

/// Whether the broker confirms all up to here; otherwise it has sent GOODBYE, or has stopped.
fn is_confirmed(peer: &mut Peer) -> bool {
    if peer.try_send(&ping(b"all?")).is_err() {
        return false;
    }
    loop {
        match peer.next(3 * PATIENCE) {
            Event::Frame(frame) if frame.kind == kind::PONG => return true,
            Event::Frame(frame) if frame.kind == kind::PING => {}
            Event::Frame(frame) if frame.kind == kind::GOODBYE => return false,
            Event::Closed(_) | Event::Reset => return false,
            other => panic!("PONG or GOODBYE was due: {other:?}"),
        }
    }
}

/// How a reader reads.
#[derive(Clone, Copy, Default)]
pub(crate) struct Habit {
    /// At most so many bytes a second.
    pub(crate) rate: Option<u64>,
    /// From time to time it does not read: how often, for how long.
    pub(crate) pauses: Option<(Duration, Duration)>,
}

/// How a reader's connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The message on [`END`] arrived.
    End,
    /// GOODBYE arrived, and nothing after it.
    Goodbye,
}

/// Reads to the end, and passes each message to `take`.
pub(crate) fn read(mut peer: Peer, habit: Habit, mut take: impl FnMut(&Frame)) -> Ending {
    let (start, mut bytes, mut paused_at) = (Instant::now(), 0_u64, Instant::now());
    loop {
        let frame = match peer.next(3 * PATIENCE) {
            Event::Frame(frame) => frame,
            other => panic!("a frame was due: {other:?}"),
        };
        match frame.kind {
            kind::PING => peer.send(&pong(&frame.body)),
            kind::GOODBYE => {
                peer.expect_close();
                return Ending::Goodbye;
            }
            _ if frame.topic == END => return Ending::End,
            _ => take(&frame),
        }
        bytes += frame.body.len() as u64;
        if let Some(rate) = habit.rate {
            let due = Duration::from_secs_f64(bytes as f64 / rate as f64);
            // Without catching up for times in which nothing arrived.
            thread::sleep(due.saturating_sub(start.elapsed()).min(Duration::from_secs(1)));
        }
        if let Some((every, lasting)) = habit.pauses
            && paused_at.elapsed() > every
        {
            thread::sleep(lasting);
            paused_at = Instant::now();
        }
    }
}

/// Reads to the end into a ledger.
pub(crate) fn reader(peer: Peer, habit: Habit) -> (Ledger, Ending) {
    let mut ledger = Ledger::default();
    let ending = read(peer, habit, |message| ledger.take(message));
    (ledger, ending)
}

/// How often each message reached any member of a queue group.
#[derive(Default)]
pub(crate) struct GroupLedger(Mutex<BTreeMap<u32, Vec<u8>>>);

impl GroupLedger {
    pub(crate) fn take(&self, message: &Frame) {
        let (stream, number) = numbered::check(message);
        let mut streams = self.0.lock().expect("no member panics in here");
        let times = streams.entry(stream).or_default();
        let number = number as usize;
        if times.len() <= number {
            times.resize(number + 1, 0);
        }
        times[number] = times[number].saturating_add(1);
    }

    /// Messages that arrived, those of `sent` that did not, and those that arrived more than once.
    pub(crate) fn account(&self, sent: &[Sent]) -> (u64, u64, u64) {
        let streams = self.0.lock().expect("no member panics in here");
        let (mut came, mut lost, mut doubled) = (0, 0, 0);
        for Sent { stream, confirmed, .. } in sent {
            let times = streams.get(stream).map_or(&[][..], Vec::as_slice);
            let once = times.iter().filter(|times| **times > 0).count() as u64;
            came += once;
            lost += confirmed.saturating_sub(once);
            doubled += times.iter().filter(|times| **times > 1).count() as u64;
        }
        (came, lost, doubled)
    }
}

/// Connects again and again until it is told to stop: subscribes to everything and reads a little,
/// or nothing; ends by FIN or by a reset, sometimes in the middle of a frame. Returns the number of
/// connections.
pub(crate) fn erratic_client(
    broker: &Broker,
    seed: u64,
    pause: Duration,
    stop: &AtomicBool,
) -> u64 {
    let mut random = Random::new(seed);
    let mut visits = 0;
    while !stop.load(Ordering::Relaxed) {
        let _ = connect_briefly(broker, &mut random);
        visits += 1;
        thread::sleep(pause);
    }
    visits
}

/// One connection. The broker may have stopped, which is an error that the caller ignores.
fn connect_briefly(broker: &Broker, random: &mut Random) -> std::io::Result<()> {
    let greeting = hello(b"erratic", b"version=1\n");
    let publishes = random.below(3) == 0;
    let address = if publishes { broker.publishers } else { broker.subscribers };
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(Duration::from_millis(20)))?;
    stream.write_all(&greeting)?;
    if publishes {
        // Were it delivered, a ledger would find it damaged.
        let whole = numbered::message(topic(0).as_bytes(), 0, 0, 3_000);
        let cut = 1 + random.below(whole.len() as u64 - 1) as usize;
        stream.write_all(&whole[..cut])?;
    } else {
        stream.write_all(&subscribe(b"load.>", b""))?;
        let mut buffer = vec![0; 64 << 10];
        for _ in 0..random.below(20) {
            if stream.read(&mut buffer)? == 0 {
                break;
            }
        }
    }
    if random.below(2) == 0 {
        reset(&stream);
    }
    Ok(())
}
