//! The engine and its turn over sockets that are none, fed by any bytes on several connections.
//!
//! The input is a script: a world (limits, policy), then steps, each of which makes a client
//! connect, send, read, end or break, lets time pass, or tells the broker to stop. Clients send
//! well-formed frames or, through the other door, lines, and any bytes. What a client receives must
//! be whole frames in a valid order, and when all have gone nothing may be held.

use std::time::Duration;

use arbitrary::{Result, Unstructured};
use broker::engine::rules::{OverflowPolicy, ReceiverRules, Rules};
use broker::engine::sessions::connection::Role;
use wire::native::frame::{Kind, encode};

mod nats;
mod world;

pub use world::Received;
use world::World;

const HOUR: Duration = Duration::from_secs(3_600);
/// Clients that a script may have.
const MAX_CLIENTS: usize = 12;
const TOPICS: [&[u8]; 8] = [b"a", b"b", b"a.b", b"a.c", b"a.b.c", b"", b"a..b", b"\x1b"];
const FILTERS: [&[u8]; 10] =
    [b"a", b"b", b"a.*", b"*.b", b">", b"a.>", b"*", b">.a", b"a.b.c", b"*.*.*"];
const GROUPS: [&[u8]; 4] = [b"", b"", b"g", b"*"];
const POLICIES: [OverflowPolicy; 3] =
    [OverflowPolicy::Block, OverflowPolicy::Drop, OverflowPolicy::Disconnect];

/// Runs a script.
pub fn check(data: &[u8]) {
    let mut input = Unstructured::new(data);
    // A script that ends in the middle of a step ends with the step before.
    // The last byte says what holds for NATS clients; it may be a step as well.
    let nats = data.last().map_or(0, |last| usize::from(*last));
    let _ = play(&mut input, nats);
}

fn play(input: &mut Unstructured<'_>, nats: usize) -> Result<()> {
    let max_connections = *input.choose(&[2, 5, 100])?;
    let max_payload = *input.choose(&[20, 300, 3_000])?;
    let max_subscriptions = *input.choose(&[1, 3, 100])?;
    let outbox_bytes = *input.choose(&[1, 60, 300, 100_000])?;
    let memory_bytes = *input.choose(&[20_000, 100_000, 10_000_000])?;
    let policy = *input.choose(&POLICIES)?;
    let stall_timeout = *input.choose(&[Duration::from_secs(1), HOUR])?;
    let native = ReceiverRules { max_subscriptions, outbox_bytes, policy, stall_timeout };
    let rules = Rules {
        max_connections,
        max_payload,
        native,
        nats: ReceiverRules {
            policy: POLICIES[nats % 3],
            outbox_bytes: [1, 60, 300, 100_000][nats / 3 % 4],
            ..native
        },
        link: native,
        memory_bytes,
        min_rate_bytes_per_second: *input.choose(&[0, 100])?,
        hello: *input.choose(&[Duration::from_secs(2), HOUR])?,
        heartbeat: *input.choose(&[Duration::ZERO, Duration::from_secs(3), HOUR])?,
    };
    let read_bytes = *input.choose(&[64, 256, 1_000])?;
    let mut world = World::new(rules, read_bytes);
    let played = steps(input, &mut world);
    world.end();
    played
}

fn steps(input: &mut Unstructured<'_>, world: &mut World) -> Result<()> {
    while !input.is_empty() {
        let step = input.int_in_range(0..=15u8)?;
        let Some(last) = world.clients().checked_sub(1) else {
            connect(input, world)?;
            continue;
        };
        let client = input.int_in_range(0..=last)?;
        match step {
            0 if last + 1 < MAX_CLIENTS && !world.is_stopping() => connect(input, world)?,
            15 if last + 1 < MAX_CLIENTS && !world.is_stopping() => {
                world.connects(Role::NATS);
            }
            1..=8 => {
                let bytes = sent(input, world.role(client))?;
                world.sends(client, &bytes);
            }
            9 | 10 => world.reads(client, *input.choose(&[1, 10, 100, 100_000])?),
            11 => world.ends_input(client),
            12 => world.breaks(client),
            13 if input.ratio(1, 8)? => world.shuts_down(),
            13 => world.passes(Duration::from_millis(*input.choose(&[10, 500, 1_500, 60_000])?)),
            _ => world.turn(),
        }
    }
    Ok(())
}

fn connect(input: &mut Unstructured<'_>, world: &mut World) -> Result<()> {
    let client = world.connects(*input.choose(&[Role::PUBLISHER, Role::SUBSCRIBER])?);
    if input.ratio(9, 10)? {
        world.sends(client, &hello());
    }
    Ok(())
}

fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(Kind::Hello, 0, b"fuzz", b"version=1\n", &mut bytes);
    bytes
}

/// What a client sends in one step: frames of its role, or anything.
fn sent(input: &mut Unstructured<'_>, role: Role) -> Result<Vec<u8>> {
    if role == Role::NATS {
        return nats::sent(input);
    }
    let mut bytes = Vec::new();
    match (input.int_in_range(0..=9u8)?, role.may_publish) {
        (0, _) => {
            let count = input.int_in_range(0..=40usize)?.min(input.len());
            bytes.extend_from_slice(input.bytes(count)?);
        }
        (1, _) => encode(Kind::Ping, 0, b"", input.choose(&[b"".as_slice(), b"p"])?, &mut bytes),
        (2, _) => encode(Kind::Pong, 0, b"", b"", &mut bytes),
        (_, true) => {
            let topic = *input.choose(&TOPICS)?;
            let payload = vec![b'x'; *input.choose(&[0, 1, 20, 100, 300, 3_000])?];
            for _ in 0..*input.choose(&[1, 1, 3, 20])? {
                encode(Kind::Publish, 0, topic, &payload, &mut bytes);
            }
        }
        (3, false) => {
            let (filter, group) = (*input.choose(&FILTERS)?, *input.choose(&GROUPS)?);
            encode(Kind::Unsubscribe, 0, filter, group, &mut bytes);
        }
        (_, false) => {
            let (filter, group) = (*input.choose(&FILTERS)?, *input.choose(&GROUPS)?);
            encode(Kind::Subscribe, 0, filter, group, &mut bytes);
        }
    }
    // Cut off, so that the next step goes on in the middle of a frame.
    if input.ratio(1, 8)? {
        bytes.truncate(input.int_in_range(0..=bytes.len())?);
    }
    Ok(bytes)
}

/// Plays only who connects and what is sent, each step to its end, in a world without limits that
/// matter. `piece` says how many of so many bytes the next read takes. Returns what each client
/// received: it may not depend on the pieces.
pub fn deliveries(data: &[u8], piece: &mut dyn FnMut(usize) -> usize) -> Vec<Received> {
    let native = ReceiverRules {
        max_subscriptions: 3,
        outbox_bytes: 1 << 30,
        policy: OverflowPolicy::Block,
        stall_timeout: HOUR,
    };
    let rules = Rules {
        max_connections: 100,
        max_payload: 300,
        native,
        nats: native,
        link: native,
        memory_bytes: 1 << 30,
        min_rate_bytes_per_second: 0,
        hello: HOUR,
        heartbeat: Duration::ZERO,
    };
    let mut world = World::new(rules, 1_000);
    let mut input = Unstructured::new(data);
    let _ = talk(&mut input, &mut world, piece);
    world.received()
}

fn talk(
    input: &mut Unstructured<'_>,
    world: &mut World,
    piece: &mut dyn FnMut(usize) -> usize,
) -> Result<()> {
    for role in [Role::SUBSCRIBER, Role::PUBLISHER, Role::SUBSCRIBER, Role::PUBLISHER] {
        let client = world.connects(role);
        world.sends_in_pieces(client, &hello(), piece);
    }
    for _ in 0..2 {
        world.connects(Role::NATS);
    }
    while !input.is_empty() {
        let client = input.int_in_range(0..=world.clients() - 1)?;
        let mut bytes = Vec::new();
        for _ in 0..input.int_in_range(1..=4u8)? {
            bytes.extend(sent(input, world.role(client))?);
        }
        world.sends_in_pieces(client, &bytes, piece);
    }
    Ok(())
}
