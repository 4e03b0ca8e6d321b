//! Proves that the monitor listens everywhere, and rests behind its work.

use std::net::{SocketAddr, TcpStream};

use mio::Poll;

use super::*;

/// A monitor of an engine without clients, on a free port.
fn monitor(poll: &Poll, start: Instant) -> (Monitor, Engine) {
    let mut config = Config::default();
    config.monitor.address = Some("127.0.0.1:0".into());
    let mut engine = Engine::new(config.rules(), 1_024, "b".into());
    let monitor = Monitor::new(&config, poll.registry(), &mut engine, start).unwrap();
    (monitor.unwrap(), engine)
}

#[test]
fn all_addresses_of_a_name_are_accepted_from() {
    let (mut poll, start) = (Poll::new().unwrap(), Instant::now());
    let (mut monitor, engine) = monitor(&poll, start);
    monitor.listeners.clear();
    let addresses = [([127, 0, 0, 1], 0), ([127, 0, 0, 2], 0)].map(SocketAddr::from);
    monitor.listeners = listen(&addresses[..], poll.registry()).unwrap();
    let address = |listener: &Listener| listener.socket.local_addr().unwrap();
    let bound: Vec<_> = monitor.listeners.iter().map(address).collect();
    assert!(bound.len() == 2 && bound[0].port() == bound[1].port(), "{bound:?}");
    let _clients: Vec<_> = bound.into_iter().map(|at| TcpStream::connect(at).unwrap()).collect();
    let mut events = Events::with_capacity(8);
    while !monitor.listeners.iter().all(|listener| listener.ready) {
        poll.poll(&mut events, None).unwrap();
        monitor.note(&events);
    }
    monitor.turn(poll.registry(), &engine, start);
    assert_eq!(monitor.connections.iter().flatten().count(), 2);
    assert!(!monitor.is_waited_for());
}

#[test]
fn work_is_followed_by_a_rest_that_is_waited_for_only_if_there_is_more_to_do() {
    let (mut poll, start) = (Poll::new().unwrap(), Instant::now());
    let (mut monitor, engine) = monitor(&poll, start);
    let ms = Duration::from_millis;
    let taken = |monitor: &Monitor| monitor.connections.iter().flatten().count();
    monitor.turn_took(ms(3), ms(2), start);
    assert_eq!(monitor.deadline(), None, "an idle monitor is no reason to wake up");
    let _client = TcpStream::connect(monitor.listeners[0].socket.local_addr().unwrap()).unwrap();
    let mut events = Events::with_capacity(8);
    poll.poll(&mut events, None).unwrap();
    monitor.note(&events);
    assert!(!monitor.is_busy() && monitor.deadline() == Some(start + ms(3 + 18)));
    monitor.turn(poll.registry(), &engine, start + ms(20));
    monitor.turn_took(ms(1), ms(0), start + ms(20));
    assert_eq!((taken(&monitor), monitor.deadline()), (0, Some(start + ms(21))));
    monitor.turn(poll.registry(), &engine, start + ms(21));
    assert_eq!(taken(&monitor), 1);
    monitor.turn_took(ms(5_000), ms(5_000), start + ms(21));
    assert_eq!(monitor.rests_until, Some(start + ms(5_021) + MAX_REST));
}
