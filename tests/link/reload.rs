//! Proves that SIGHUP ends the link if it changes what the link goes by, and only then.

use crate::support::process::ini;
use crate::support::{Broker, Hub, TempDir};
use crate::{at, secret, settings};

/// A broker in a directory whose settings can change.
fn start(dir: TempDir, settings: &[(&str, &str)]) -> Broker {
    dir.write("config.ini", &ini(settings));
    Broker::run(dir, &["-s", "0", "-p", "0"])
}

#[test]
fn other_settings_end_the_link_and_it_is_dialled_anew() {
    let hub = Hub::start();
    let server = at(&hub);
    let broker = start(TempDir::new(), &settings(&server, &[]));
    let link = hub.accept();
    broker.log().wait_for_count("link: joined", 1);
    broker.reload(&settings(&server, &[("link.cluster", "other")]));
    link.wait_for_end();
    let link = hub.accept();
    assert_eq!(link.connect()["cluster"], "other");
    broker.log().wait_for_count("link: joined", 2);
    // It was not lost.
    assert!(!broker.log().so_far().iter().any(|line| line.contains("[WARN]")));
}

#[test]
fn a_secret_that_has_changed_is_used() {
    let hub = Hub::start();
    let server = at(&hub);
    let dir = TempDir::new();
    let file = secret(&dir, "token", "one");
    let more = [("link.secret_file", &*file)];
    let broker = start(dir, &settings(&server, &more));
    let link = hub.accept();
    assert_eq!(link.connect()["auth_token"], "one");
    broker.dir.write("token", "two");
    broker.reload(&settings(&server, &more));
    link.wait_for_end();
    assert_eq!(hub.accept().connect()["auth_token"], "two");
}

#[test]
fn other_settings_of_other_things_leave_it_alone() {
    let hub = Hub::start();
    let server = at(&hub);
    let broker = start(TempDir::new(), &settings(&server, &[]));
    let link = hub.accept();
    broker.log().wait_for("it is joined", |line| line.contains("link: joined"));
    broker.reload(&settings(&server, &[("timeouts.heartbeat", "29")]));
    broker.log().wait_for("the reload", |line| line.contains("reloaded: timeouts.heartbeat"));
    // What is wrong changes nothing.
    broker.reload(&settings(&server, &[("link.secret_file", "none")]));
    broker.log().wait_for("the mistake", |line| line.contains("[link] secret_file = none"));
    link.confirm();
    assert!(!hub.is_dialled());
}

#[test]
fn a_link_can_be_switched_off_and_on() {
    let hub = Hub::start();
    let server = at(&hub);
    let broker = start(TempDir::new(), &settings("", &[]));
    broker.reload(&settings(&server, &[]));
    let link = hub.accept();
    broker.log().wait_for_count("link: joined", 1);
    broker.reload(&settings("", &[]));
    link.wait_for_end();
    assert!(!hub.is_dialled());
    broker.reload(&settings(&server, &[]));
    let _link = hub.accept();
    broker.log().wait_for_count("link: joined", 2);
}

#[test]
fn an_attempt_that_is_under_way_is_given_up() {
    let (silent, hub) = (Hub::start(), Hub::start());
    let (first, second) = (at(&silent), at(&hub));
    let broker = start(TempDir::new(), &settings(&first, &[]));
    let _waiting = silent.accept_silent();
    broker.reload(&settings(&second, &[]));
    let _link = hub.accept();
    broker.log().wait_for_count("link: joined", 1);
}
