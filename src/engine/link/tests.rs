//! A link by hand: what a hub is told and sent, and what becomes of what it says.

use std::io::IoSlice;

use wire::native::frame::Kind;

use super::*;
use crate::engine::rules::{OverflowPolicy, Rules};

/// A broker, a hub and a few clients, whose sockets take everything.
struct World {
    engine: Engine,
    now: Instant,
}

fn everything() -> LinkRules {
    let (export, import) = (Grants::everything(), Grants::everything());
    LinkRules { export, import, forward: Box::default() }
}

fn filters(list: &[&str]) -> Box<[Box<[u8]>]> {
    list.iter().map(|it| it.as_bytes().into()).collect()
}

fn some(allow: &[&str], deny: &[&str]) -> Grants {
    Grants { allow: filters(allow), deny: Vec::from(filters(deny)).into() }
}

impl World {
    fn new(link: LinkRules, change: impl FnOnce(&mut Rules)) -> World {
        let mut rules = Rules { max_connections: 100, ..Rules::of_a_test() };
        rules.link.policy = OverflowPolicy::Drop;
        change(&mut rules);
        let mut engine = Engine::new(rules, 100_000, "test".to_owned());
        let now = Instant::now();
        engine.set_link(Some(link), now);
        World { engine, now }
    }

    fn ordinary() -> World {
        World::new(everything(), |_| {})
    }

    /// A turn ends, and those that were closed are gone.
    fn end_turn(&mut self) {
        self.engine.budget.begin_turn();
        self.engine.end_turn(self.now);
        self.engine.take_shutdowns();
        self.engine.take_gone(self.now);
        self.engine.reap();
    }

    /// What was written to a connection since this was asked last.
    fn heard(&mut self, token: Token) -> String {
        self.end_turn();
        let mut bytes = Vec::new();
        while !self.engine.outbox(token).is_empty() {
            let mut slices = [IoSlice::new(&[]); 64];
            let (entries, count) = self.engine.outbox(token).gather(&mut slices);
            slices[..entries].iter().for_each(|slice| bytes.extend_from_slice(slice));
            self.engine.sent(token, count, self.now);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn client(&mut self) -> Token {
        let token = self.engine.accept(Role::NATS, "test", self.now);
        let options = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#;
        self.say(token, &format!("CONNECT {options}\r\n"));
        self.heard(token);
        token
    }

    fn native(&mut self, role: Role) -> Token {
        let token = self.engine.greeted(role, self.now);
        self.heard(token);
        token
    }

    fn say(&mut self, token: Token, lines: &str) {
        self.engine.hear(token, lines.as_bytes(), self.now);
    }

    fn dial(&mut self) -> Token {
        let connect = b"CONNECT {}\r\n".to_vec();
        self.greet(Hub { name: "H".to_owned(), connect, max_payload: 1 << 20 })
    }

    /// A hub that lets the broker in.
    fn greet(&mut self, hub: Hub) -> Token {
        let token = self.engine.join(hub, "hub", self.now);
        self.say(token, "INFO {\"connect_info\":true}\r\n");
        self.engine.take_link_events();
        token
    }

    /// A hub that has joined, and what it was told.
    fn joined(&mut self) -> (Token, String) {
        self.joined_behind(0)
    }

    /// The same behind so many messages that have waited for it.
    fn joined_behind(&mut self, waited: u64) -> (Token, String) {
        let hub = self.dial();
        let told = self.heard(hub);
        assert!(told.ends_with("PING\r\n"), "{told}");
        self.say(hub, "PONG\r\n");
        assert_eq!(self.engine.take_link_events(), [LinkEvent::Joined(waited)]);
        (hub, told)
    }

    /// A hub joins, says this, and is gone.
    fn lose_hub(&mut self, lines: &str) {
        let (hub, _) = self.joined();
        self.say(hub, lines);
        self.engine.connection_failed(hub);
        self.end_turn();
    }

    fn figures(&self) -> LinkFigures {
        self.engine.link_figures().unwrap()
    }
}

#[test]
fn a_hub_is_told_who_comes_and_what_is_wanted_and_then_asked() {
    let mut world = World::ordinary();
    let one = world.client();
    world.say(one, "SUB b 1\r\nSUB a.* 2\r\nSUB a.* 3\r\nSUB q g 4\r\nSUB q g 5\r\n");
    let two = world.native(Role::SUBSCRIBER);
    world.engine.hear_frame(two, Kind::Subscribe, (b"a.*", b""), world.now);
    let (_, told) = world.joined();
    let mut lines: Vec<_> = told.split("\r\n").collect();
    assert_eq!(lines.remove(0), "CONNECT {}");
    assert!(lines.remove(0).starts_with("LS+ $LDS."));
    assert_eq!(lines, ["LS+ b", "LS+ a.*", "LS+ q g 2", "PING", ""]);
    let figures = world.figures();
    assert!(figures.is_up && figures.told == 3 && figures.joins == 1);
}

#[test]
fn of_a_filter_the_first_and_the_last_subscriber_are_told_and_of_a_group_each_number() {
    let mut world = World::ordinary();
    let (hub, _) = world.joined();
    let one = world.client();
    for (said, told) in [
        ("SUB a 1\r\n", "LS+ a\r\n"),
        ("SUB a 2\r\nUNSUB 1\r\n", ""),
        ("UNSUB 2\r\n", "LS- a\r\n"),
        ("SUB a 3\r\nUNSUB 3\r\n", ""),
        ("SUB a g 4\r\n", "LS+ a g 1\r\n"),
        ("SUB a g 5\r\nSUB a g 6\r\n", "LS+ a g 3\r\n"),
        ("UNSUB 4\r\nSUB > 7\r\n", "LS+ > \r\nLS+ a g 2\r\n"),
        ("UNSUB 5\r\nUNSUB 6\r\n", "LS- a g\r\n"),
    ] {
        world.say(one, said);
        assert_eq!(world.heard(hub), told.replace("> \r", ">\r"), "{said}");
    }
    // What the hub wants itself is not told to it.
    world.say(hub, "LS+ wanted\r\nLS+ wanted g 3\r\n");
    assert_eq!(world.heard(hub), "");
}

#[test]
fn what_the_hub_wants_is_sent_once_with_reply_and_headers() {
    let mut world = World::ordinary();
    let (hub, _) = world.joined();
    world.say(hub, "LS+ a.*\r\nLS+ a.>\r\nLS+ a.b\r\n");
    let one = world.client();
    world.say(
        one,
        "PUB a.b 2\r\nhi\r\nPUB a.b r.x 2\r\nho\r\nHPUB a.c r 12 13\r\nNATS/1.0\r\n\r\n1\r\n",
    );
    world.say(one, "PUB other 1\r\n-\r\n");
    let sent =
        "LMSG a.b 2\r\nhi\r\nLMSG a.b r.x 2\r\nho\r\nHMSG a.c r 12 13\r\nNATS/1.0\r\n\r\n1\r\n";
    assert_eq!(world.heard(hub), sent);
    let two = world.native(Role::PUBLISHER);
    world.engine.hear_frame(two, Kind::Publish, (b"a.x", b"native"), world.now);
    assert_eq!(world.heard(hub), "LMSG a.x 6\r\nnative\r\n");
    world.say(hub, "LS- a.*\r\nLS- a.>\r\n");
    world.engine.hear_frame(two, Kind::Publish, (b"a.x", b"native"), world.now);
    assert_eq!(world.heard(hub), "");
    let figures = world.figures();
    assert_eq!((figures.messages_out, figures.heard, figures.lost), (4, 1, 0));
}

#[test]
fn what_the_hub_sends_reaches_subscribers_and_the_groups_that_it_names() {
    let mut world = World::ordinary();
    let (hub, _) = world.joined();
    let (plain, group) = (world.client(), world.client());
    let native = world.native(Role::SUBSCRIBER);
    world.engine.hear_frame(native, Kind::Subscribe, (b"a", b""), world.now);
    world.say(plain, "SUB a 1\r\n");
    world.say(group, "SUB a g 2\r\nSUB a h 3\r\n");
    world.heard(native);
    world.say(hub, "LS+ a\r\nLS+ a g 1\r\n");
    world.heard(hub);
    world.say(hub, "LMSG a r 1\r\nx\r\nLMSG a + r g 1\r\ny\r\n");
    world.say(hub, "HMSG a | h g none 12 13\r\nNATS/1.0\r\n\r\nz\r\n");
    let sent = "MSG a 1 r 1\r\nx\r\nMSG a 1 r 1\r\ny\r\nHMSG a 1 12 13\r\nNATS/1.0\r\n\r\nz\r\n";
    assert_eq!(world.heard(plain), sent);
    let last = "12 13\r\nNATS/1.0\r\n\r\nz\r\n";
    let sent = format!("MSG a 2 r 1\r\ny\r\nHMSG a 2 {last}HMSG a 3 {last}");
    assert_eq!(world.heard(group), sent);
    assert_eq!(world.heard(native).matches("az").count(), 1);
    assert_eq!(world.heard(hub), "", "nothing goes back");
    assert_eq!(world.figures().messages_in, 3);
}

#[test]
fn a_member_here_is_served_before_those_behind_the_hub() {
    let mut world = World::ordinary();
    let (hub, _) = world.joined();
    world.say(hub, "LS+ a g 5\r\nLS+ a h 1\r\nLS+ b g 1\r\nLS+ a\r\n");
    let (publisher, member) = (world.client(), world.client());
    world.say(publisher, "PUB a r 1\r\nx\r\nPUB b 1\r\ny\r\n");
    assert_eq!(world.heard(hub), "LMSG a + r g h 1\r\nx\r\nLMSG b | g 1\r\ny\r\n");
    world.say(member, "SUB a g 1\r\n");
    world.heard(hub);
    world.say(publisher, "PUB a 1\r\nx\r\n");
    assert_eq!(world.heard(hub), "LMSG a | h 1\r\nx\r\n");
    assert_eq!(world.heard(member), "MSG a 1 1\r\nx\r\n");
    // One that has no room is passed over.
    world.engine.blocked(member, world.now);
    world.say(publisher, &format!("PUB a 1000\r\n{}\r\n", "x".repeat(1_000)));
    world.heard(hub);
    world.say(publisher, "PUB a 1\r\nz\r\n");
    let heard = world.heard(hub);
    assert!(heard.ends_with("LMSG a | g h 1\r\nz\r\n"), "{heard}");
}

#[test]
fn a_stream_delivers_under_its_own_subject_and_is_acknowledged_in_short() {
    let mut world = World::ordinary();
    let (hub, _) = world.joined();
    let one = world.client();
    world.say(one, "SUB _INBOX.> 1\r\n");
    let ack = "$JS.ACK.S.c.1.2.3.4.5";
    world.say(hub, &format!("LMSG _INBOX.x {ack}@orders.new 2\r\nhi\r\n"));
    assert_eq!(world.heard(one), format!("MSG orders.new 1 {ack} 2\r\nhi\r\n"));
}

#[test]
fn requests_are_heard_while_the_hub_wants_them_and_nobody_hears_them_while_it_is_gone() {
    let mut world = World::ordinary();
    let (hub, _) = world.joined();
    let one = world.client();
    world.say(one, "SUB inbox 1\r\nPUB ask inbox 0\r\n\r\n");
    assert!(world.heard(one).contains("503"));
    world.say(hub, "LS+ ask\r\n");
    world.heard(hub);
    world.say(one, "PUB ask inbox 0\r\n\r\n");
    assert_eq!(world.heard(one), "");
    assert_eq!(world.heard(hub), "LMSG ask inbox 0\r\n\r\n");
    world.engine.connection_failed(hub);
    world.end_turn();
    assert_eq!(world.engine.take_link_events(), [LinkEvent::Ended(CloseReason::ConnectionLost)]);
    world.say(one, "PUB ask inbox 0\r\n\r\n");
    assert!(world.heard(one).contains("503"));
}

#[test]
fn what_a_hub_that_is_gone_would_want_is_counted_as_lost() {
    let mut world = World::ordinary();
    let (hub, _) = world.joined();
    world.say(hub, "LS+ a\r\nLS+ q g 1\r\n");
    let one = world.client();
    world.say(one, "PUB a 1\r\nx\r\n");
    world.heard(hub);
    assert_eq!(world.figures().unconfirmed, 1);
    world.say(one, "PUB a 1\r\ny\r\n");
    world.engine.connection_failed(hub);
    world.end_turn();
    let figures = world.figures();
    assert_eq!((figures.lost, figures.unconfirmed, figures.is_up), (1, 1, false));
    world.say(one, "PUB a 1\r\nz\r\nPUB a 1\r\nz\r\nPUB q 1\r\nz\r\nPUB other 1\r\n-\r\n");
    assert_eq!(world.figures().lost, 4);
    // One that does not join changes nothing.
    let other = world.dial();
    world.engine.connection_failed(other);
    world.end_turn();
    world.say(one, "PUB a 1\r\nz\r\n");
    assert_eq!(world.figures().lost, 5);
    let (hub, _) = {
        world.engine.take_link_events();
        world.joined()
    };
    for _ in 0..3 {
        world.end_turn();
    }
    world.say(one, "PUB a 1\r\nz\r\n");
    assert_eq!((world.figures().lost, world.heard(hub)), (5, String::new()));
    assert_eq!(world.engine.index.held(hub).subscriptions, 0);
}

#[test]
fn a_hub_is_asked_whether_it_has_taken_what_it_was_sent() {
    let mut world = World::ordinary();
    let (hub, _) = world.joined();
    world.say(hub, "LS+ a\r\n");
    let one = world.client();
    world.say(one, "PUB a 1\r\nx\r\n");
    assert_eq!(world.heard(hub), "LMSG a 1\r\nx\r\n");
    let due = world.engine.next_deadline().unwrap();
    assert!(due <= world.now + CONFIRM_TIME);
    world.now += CONFIRM_TIME;
    world.engine.expire(world.now);
    assert_eq!(world.heard(hub), "PING\r\n");
    world.say(one, "PUB a 1\r\ny\r\n");
    world.say(hub, "PONG\r\n");
    assert_eq!(world.figures().unconfirmed, 1);
}

#[test]
fn a_slow_hub_loses_messages_and_holds_nobody_up() {
    let mut world = World::ordinary();
    let (hub, _) = world.joined();
    world.say(hub, "LS+ a\r\n");
    let one = world.client();
    world.engine.blocked(hub, world.now);
    for _ in 0..10 {
        world.say(one, &format!("PUB a 300\r\n{}\r\n", "x".repeat(300)));
    }
    assert!(world.engine.would_hear(one));
    let figures = world.figures();
    assert_eq!((figures.messages_out, figures.lost), (3, 7));
    assert_eq!(world.heard(hub).matches("LMSG").count(), 3, "it is told no losses");
}

#[test]
fn messages_that_are_larger_than_the_hub_takes_are_not_sent() {
    let mut world = World::new(everything(), |_| {});
    let connect = b"CONNECT {}\r\n".to_vec();
    let hub = world.greet(Hub { name: "H".to_owned(), connect, max_payload: 5 });
    world.heard(hub);
    world.say(hub, "PONG\r\nLS+ a\r\nLS+ q g 1\r\n");
    let one = world.client();
    world.say(
        one,
        "PUB a 2\r\nhi\r\nPUB a 6\r\nlonger\r\nPUB a 5\r\nagain\r\nPUB q 6\r\nlonger\r\n",
    );
    assert_eq!(world.heard(hub), "LMSG a 2\r\nhi\r\nLMSG a 5\r\nagain\r\n");
    assert_eq!(world.figures().lost, 2);
}

#[test]
fn what_may_not_cross_does_not() {
    let export = some(&["out.>"], &["out.secret"]);
    let link = LinkRules { export, import: some(&["in.>"], &["in.secret"]), ..everything() };
    let mut world = World::new(link, |_| {});
    let one = world.client();
    world.say(one, "SUB in.a 1\r\nSUB in.secret 2\r\nSUB elsewhere 3\r\nSUB *.a 4\r\n");
    let (hub, told) = world.joined();
    let told: Vec<_> = told.split("\r\n").filter(|line| line.starts_with("LS+")).collect();
    assert_eq!(told[1..], ["LS+ in.a", "LS+ *.a"]);
    world.say(hub, "LS+ >\r\n");
    world.say(one, "PUB out.a 1\r\nx\r\nPUB out.secret 1\r\ny\r\nPUB else 1\r\nz\r\n");
    assert_eq!(world.heard(hub), "LMSG out.a 1\r\nx\r\n");
    let info = r#"{"connect_info":true,"export":{"deny":["out.b"]},"import":{"allow":["in.x"]}}"#;
    world.say(hub, &format!("INFO {info}\r\n"));
    world.say(one, "PUB out.a 1\r\nx\r\nPUB out.b 1\r\ny\r\nSUB in.y 5\r\nSUB in.x 6\r\n");
    assert_eq!(world.heard(hub), "LMSG out.a 1\r\nx\r\nLS+ in.x\r\n");
    world.heard(one);
    world.say(hub, "LMSG out.a 1\r\n-\r\nLMSG in.a 1\r\n+\r\n");
    assert_eq!(world.heard(one).matches("MSG in.a").count(), 2);
    assert_eq!(world.figures().not_carried, 1);
}

#[test]
fn what_is_forwarded_goes_out_though_nobody_asks() {
    let link = LinkRules { forward: filters(&["$KV.>"]), ..everything() };
    let mut world = World::new(link, |_| {});
    let (hub, _) = world.joined();
    world.say(hub, "LS- $KV.>\r\n");
    let one = world.client();
    world.say(one, "PUB $KV.b.k r 1\r\nx\r\n");
    assert_eq!(world.heard(hub), "LMSG $KV.b.k r 1\r\nx\r\n");
}

#[test]
fn what_is_not_carried_is_read_over_and_counted() {
    let mut world = World::new(everything(), |rules| rules.max_payload = 10);
    let (hub, _) = world.joined();
    let one = world.client();
    world.say(one, "SUB > 1\r\n");
    world.heard(hub);
    for bytes in [
        "LMSG a.* 1\r\nx\r\nLMSG a..b 1\r\nx\r\n",
        "LMSG large 20\r\n01234567890123456789\r\n",
        "LMSG large 20\r\n0123456789",
        "0123456789",
        "\r",
        "\nLMSG a 1\r\ny\r\n",
        "LS+ a..b\r\n",
    ] {
        world.say(hub, bytes);
    }
    assert_eq!(world.heard(one), "MSG a 1 1\r\ny\r\n");
    assert_eq!(world.figures().not_carried, 5);
}

#[test]
fn nothing_is_asked_for_before_the_hub_has_said_what_it_allows() {
    let mut world = World::ordinary();
    let one = world.client();
    world.say(one, "SUB a 1\r\nSUB b 2\r\nSUB a.* 3\r\n");
    let connect = b"CONNECT {}\r\n".to_vec();
    let hub = world.engine.join(
        Hub { name: "H".to_owned(), connect, max_payload: 1 << 20 },
        "hub",
        world.now,
    );
    assert!(!world.heard(hub).contains("PING"));
    world.say(hub, "INFO {\"connect_info\":true,\"import\":{\"allow\":[\"a\"]}}\r\n");
    assert_eq!(world.heard(hub), "LS+ a\r\nLS+ a.*\r\nPING\r\n");
}

#[test]
fn a_subject_with_a_wildcard_is_taken_by_its_letters_out_there() {
    let mut world = World::ordinary();
    let (hub, _) = world.joined();
    world.say(hub, "LS+ $JS.API.>\r\n");
    let one = world.client();
    world.say(one, "SUB inbox 1\r\nSUB $JS.> 2\r\n");
    world.heard(hub);
    world.say(one, "PUB $JS.API.CREATE.orders.> inbox 2\r\n{}\r\nPUB other.> inbox 1\r\nx\r\n");
    assert_eq!(world.heard(hub), "LMSG $JS.API.CREATE.orders.> inbox 2\r\n{}\r\n");
    let heard = world.heard(one);
    assert!(heard.starts_with("HMSG inbox 1") && heard.matches("MSG").count() == 1, "{heard}");
}

#[test]
fn a_hub_that_wants_more_than_can_be_kept_is_sent_everything() {
    let mut world = World::new(everything(), |rules| rules.link.max_subscriptions = 2);
    let (hub, _) = world.joined();
    world.say(hub, "LS+ a\r\nLS+ b\r\nLS+ c\r\nLS+ d\r\n");
    let one = world.client();
    world.say(one, "PUB d 1\r\nx\r\nPUB a 1\r\ny\r\n");
    assert_eq!(world.heard(hub), "LMSG d 1\r\nx\r\nLMSG a 1\r\ny\r\n");
}

#[test]
fn a_way_that_leads_back_ends_the_link() {
    let mut world = World::ordinary();
    let (hub, told) = world.joined();
    let mark = told.split("\r\n").find(|line| line.starts_with("LS+ $LDS.")).unwrap();
    world.say(hub, "LS+ $LDS.other\r\n");
    assert_eq!(world.engine.index.held(hub).subscriptions, 0);
    world.say(hub, &format!("{mark}\r\n"));
    assert_eq!(world.heard(hub), "-ERR 'Loop detected'\r\n");
}

#[test]
fn errors_are_passed_on_and_a_hub_that_does_not_answer_is_given_up() {
    let mut world = World::ordinary();
    let hub = world.dial();
    world.say(hub, "-ERR 'Authorization Violation'\r\n");
    let text = b"Authorization Violation"[..].into();
    let events = world.engine.take_link_events();
    assert_eq!(events, [LinkEvent::Error(text, HubError::Authorization)]);
    world.now = world.engine.next_deadline().unwrap();
    world.engine.expire(world.now);
    world.end_turn();
    let events = world.engine.take_link_events();
    assert_eq!(events, [LinkEvent::Ended(CloseReason::HelloTimeout)]);
}

#[test]
fn other_rules_end_the_link_and_none_end_it_for_good() {
    let mut world = World::ordinary();
    let (hub, _) = world.joined();
    world.say(hub, "LS+ a\r\n");
    world.engine.set_link(Some(everything()), world.now);
    assert!(world.figures().is_up, "they are the same");
    world.engine.set_link(None, world.now);
    world.end_turn();
    assert_eq!(world.engine.link_figures(), None);
    assert_eq!((world.engine.connections(), world.engine.index.subscriptions()), (0, 0));
}

/// A world whose publishers wait for the hub, and a publisher.
fn waiting_world(buffer: usize) -> (World, Token) {
    let mut world = World::new(everything(), |rules| {
        rules.link.policy = OverflowPolicy::Block;
        rules.link.outbox_bytes = buffer;
        rules.link.stall_timeout = Duration::from_secs(5);
        rules.min_rate_bytes_per_second = 0;
    });
    let publisher = world.client();
    (world, publisher)
}

#[test]
fn messages_wait_for_the_next_hub_under_block_and_are_sent_to_it_first() {
    let (mut world, publisher) = waiting_world(10_000);
    let (hub, _) = world.joined();
    world.say(hub, "LS+ a\r\nLS+ b g 1\r\n");
    world.say(publisher, "PUB a 1\r\n1\r\n");
    // It was not written: it waits like those that come later.
    world.engine.connection_failed(hub);
    world.end_turn();
    world.say(publisher, "PUB a r 1\r\n2\r\nPUB b 1\r\n3\r\nPUB c 1\r\n4\r\n");
    let figures = world.figures();
    assert_eq!((figures.waiting, figures.lost, figures.unconfirmed), (3, 0, 0));
    assert_eq!(world.heard(publisher), "", "it was heard");

    let hub = world.dial();
    world.say(hub, "LS+ c\r\n");
    world.say(publisher, "PUB c 1\r\n5\r\nPUB a 1\r\n6\r\n");
    let told = world.heard(hub);
    assert!(told.ends_with("PING\r\n"), "nothing is given to one that has not joined: {told}");
    world.engine.take_link_events();
    world.say(hub, "PONG\r\n");
    assert_eq!(world.engine.take_link_events(), [LinkEvent::Joined(4)]);
    world.say(publisher, "PUB c 1\r\n7\r\nPUB a 1\r\n8\r\n");
    let waited = "LMSG a 1\r\n1\r\nLMSG a r 1\r\n2\r\nLMSG b | g 1\r\n3\r\nLMSG a 1\r\n6\r\n";
    assert_eq!(world.heard(hub), format!("{waited}LMSG c 1\r\n7\r\n"));
    let figures = world.figures();
    assert_eq!((figures.waiting, figures.lost, figures.messages_out), (0, 0, 5));
}

#[test]
fn a_hub_that_is_away_is_waited_for_no_longer_than_for_one_that_is_slow() {
    let (mut world, publisher) = waiting_world(30);
    world.lose_hub("LS+ a\r\n");
    let lines = "PUB a 10\r\n0123456789\r\n".repeat(3);
    world.say(publisher, &lines);
    assert_eq!(world.figures().waiting, 1, "the second one finds no room");
    assert!(world.engine.is_waiting(publisher));
    world.now += Duration::from_secs(5);
    world.engine.expire(world.now);
    assert!(!world.engine.is_waiting(publisher), "it was waited for long enough");
    world.engine.resume(publisher, world.now);
    let figures = world.figures();
    assert_eq!((figures.waiting, figures.lost), (1, 2));
    // Nor is it from then on; what waits does.
    world.say(publisher, "PUB a 10\r\n0123456789\r\n");
    assert!(!world.engine.is_waiting(publisher));
    let (hub, _) = world.joined_behind(1);
    assert_eq!(world.heard(hub), "LMSG a 10\r\n0123456789\r\n");
    assert_eq!((world.figures().lost, world.figures().waiting), (3, 0));
}

#[test]
fn what_the_next_hub_does_not_take_is_lost() {
    let (mut world, publisher) = waiting_world(10_000);
    world.lose_hub("LS+ *\r\n");
    world.say(publisher, "PUB a 5\r\n12345\r\nPUB b 1\r\n2\r\nPUB a 1\r\n3\r\n");
    let connect = b"CONNECT {}\r\n".to_vec();
    let hub =
        world.engine.join(Hub { name: "H".to_owned(), connect, max_payload: 4 }, "hub", world.now);
    world.say(hub, "INFO {\"connect_info\":true,\"export\":{\"deny\":[\"b\"]}}\r\n");
    world.heard(hub);
    world.say(hub, "PONG\r\n");
    assert_eq!(world.heard(hub), "LMSG a 1\r\n3\r\n");
    assert_eq!((world.figures().lost, world.figures().waiting), (2, 0));
}

#[test]
fn what_waits_for_a_hub_when_the_broker_stops_was_not_delivered() {
    let (mut world, publisher) = waiting_world(10_000);
    world.lose_hub("LS+ a\r\n");
    world.say(publisher, "PUB a 1\r\n1\r\nPUB a 1\r\n2\r\n");
    world.engine.shut_down(world.now);
    assert_eq!(world.engine.stats().undelivered, 2);
    world.end_turn();
    assert_eq!(world.figures().lost, 2);
}

#[test]
fn nothing_more_waits_for_a_hub_when_the_policy_becomes_drop() {
    let (mut world, publisher) = waiting_world(10_000);
    world.lose_hub("LS+ a\r\n");
    world.say(publisher, "PUB a 1\r\n1\r\n");
    let mut rules = world.engine.rules.clone();
    rules.link.policy = OverflowPolicy::Drop;
    world.engine.set_rules(rules, world.now);
    world.say(publisher, "PUB a 1\r\n2\r\n");
    assert_eq!((world.figures().waiting, world.figures().lost), (1, 1));
    let (hub, _) = world.joined_behind(1);
    assert_eq!(world.heard(hub), "LMSG a 1\r\n1\r\n");
}

#[test]
fn what_the_hub_comes_to_allow_is_asked_for_then() {
    let mut world = World::ordinary();
    let client = world.client();
    world.say(client, "SUB a 1\r\nSUB b 2\r\n");
    let connect = b"CONNECT {}\r\n".to_vec();
    let hub = Hub { name: "H".to_owned(), connect, max_payload: 1 << 20 };
    let hub = world.engine.join(hub, "hub", world.now);
    world.say(hub, "INFO {\"connect_info\":true,\"import\":{\"allow\":[\"a\"]}}\r\n");
    let told = world.heard(hub);
    assert!(told.contains("LS+ a\r\n") && !told.contains("LS+ b\r\n"), "{told}");
    world.say(hub, "INFO {\"connect_info\":true}\r\n");
    assert_eq!(world.heard(hub), "LS+ b\r\n");
}
