//! Makes a failing script small: the same failure is easier to understand in ten actions than in
//! a thousand.
//!
//! Owns the search. Must not know what actions mean, beyond which numbers in them may be smaller.

use std::cell::Cell;
use std::panic::{catch_unwind, set_hook, take_hook};
use std::sync::Once;

use super::hub;
use super::nats::{Line, Sent};
use super::script::{Action, Said, Script};
use super::world::{Trace, play};

/// Scripts that are tried at most.
const MOST_TRIES: usize = 4_000;

thread_local! {
    /// This thread's panics are expected, and not told.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Whether playing a script panics.
pub(super) fn fails(script: &Script) -> bool {
    try_to_play(script).is_none()
}

/// Plays a script; nothing if that panics, without a word about it.
pub(super) fn try_to_play(script: &Script) -> Option<Trace> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let tell = take_hook();
        set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                tell(panic);
            }
        }));
    });
    QUIET.set(true);
    let trace = catch_unwind(|| play(script)).ok();
    QUIET.set(false);
    trace
}

/// The smallest script that could be found which fails, too.
pub(super) fn shrink(script: Script, fails: &dyn Fn(&Script) -> bool) -> Script {
    let mut search = Search { best: script, fails, tries: 0 };
    search.cut_the_end();
    let mut before = usize::MAX;
    while search.best.actions.len() < before {
        before = search.best.actions.len();
        search.leave_out_parts();
        search.simplify();
    }
    search.best
}

struct Search<'a> {
    best: Script,
    fails: &'a dyn Fn(&Script) -> bool,
    tries: usize,
}

impl Search<'_> {
    fn take_if_it_fails(&mut self, actions: Vec<Action>) -> bool {
        let script = Script { setup: self.best.setup.clone(), actions };
        self.tries += 1;
        let better = self.tries <= MOST_TRIES && (self.fails)(&script);
        if better {
            self.best = script;
        }
        better
    }

    /// By halves, as what fails mostly fails at once.
    fn cut_the_end(&mut self) {
        let (mut good, mut bad) = (0, self.best.actions.len());
        while good + 1 < bad {
            let middle = good.midpoint(bad);
            let shorter = self.best.actions[..middle].to_vec();
            if self.take_if_it_fails(shorter) { bad = middle } else { good = middle }
        }
    }

    /// Delta debugging: leaves out ever smaller parts.
    fn leave_out_parts(&mut self) {
        let mut part = self.best.actions.len() / 2;
        while part > 0 {
            let mut at = 0;
            while at < self.best.actions.len() {
                let mut actions = self.best.actions.clone();
                actions.drain(at..(at + part).min(actions.len()));
                if !self.take_if_it_fails(actions) {
                    at += part;
                }
            }
            part /= 2;
        }
    }

    /// Makes single actions plainer.
    fn simplify(&mut self) {
        for at in 0..self.best.actions.len() {
            let Some(plainer) = plainer(self.best.actions[at]) else { continue };
            let mut actions = self.best.actions.clone();
            actions[at] = plainer;
            self.take_if_it_fails(actions);
        }
    }
}

fn plainer(action: Action) -> Option<Action> {
    let plainer = match action {
        Action::Turn(_) => Action::Turn(0),
        Action::Say(name, Said::Publish(topic, number, _)) => {
            Action::Say(name, Said::Publish(topic, number, 8))
        }
        Action::Say(name, Said::Nats(Line::Pub(sent))) => {
            let length = sent.length.min(8);
            let sent = Sent { length, headers: sent.headers.map(|_| 12), reply: None, ..sent };
            Action::Say(name, Said::Nats(Line::Pub(sent)))
        }
        Action::Say(name, Said::Hub(hub::Line::Message(sent, groups))) => {
            let sent = Sent { length: sent.length.min(8), headers: None, reply: None, ..sent };
            Action::Say(name, Said::Hub(hub::Line::Message(sent, groups)))
        }
        Action::Read(name, _) => Action::Read(name, 1 << 20),
        _ => return None,
    };
    (plainer != action).then_some(plainer)
}

/// A script as Rust, to be kept as a test.
pub(super) fn as_rust(script: &Script) -> String {
    let setup = format!("{:#?}", script.setup);
    let actions: Vec<_> =
        script.actions.iter().map(|action| format!("    {action:?},\n")).collect();
    let actions = actions.concat();
    format!("let setup = {setup};\nlet actions = vec![\n{actions}];\n")
}
