//! Messages that reach nobody, from clients that want to be told of requests which nobody hears.
//!
//! Owns the way of such a run, message by message. Must not answer: that is done by `sessions`.

use std::time::Instant;

use super::messages::Message;
use super::run::Run;
use super::runs::Outcome;
use crate::engine::buffers::chunk::Slice;
use crate::engine::routing::Route;
use crate::engine::sessions::requests::Stop;
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

impl Engine {
    /// Whether any receiver of a route is there to be given a message of this publisher.
    pub(super) fn is_heard(&self, publisher: Token, route: &Route) -> bool {
        let echo = self.connections[publisher.index()].wants_echo();
        let hears = |token: Token| {
            self.connections[token.index()].is_given_messages() && (echo || token != publisher)
        };
        let mut plain = route.plain.iter().flat_map(|audience| &audience.receivers);
        let mut members = route.groups.iter().flat_map(|group| self.index.members(group));
        plain.any(|token| hears(*token)) || members.any(|member| hears(member.token))
    }

    /// Accepts the messages of a run that nobody hears, and tells the client of each request.
    pub(super) fn process_unheard(
        &mut self,
        token: Token,
        source: &Slice,
        run: &Run,
        route: &Route,
        at: &mut usize,
        now: Instant,
    ) -> Outcome {
        self.connections[token.index()].showed_life(now);
        while *at < run.end {
            let message = Message::at(&source.bytes()[*at..run.end], run.protocol);
            let Ok(sid) = self.sid_for_reply(token, message.reply) else {
                return Outcome::Stopped(Stop::Yield);
            };
            // Its receivers may have left while it waited for them.
            self.end_wait(token);
            self.answer_done(token, 1);
            self.note_published(token, 1, message.length);
            self.note_unheard_lost(route);
            self.journal.delivered(token, 1, 0);
            if run.is_reply {
                self.take_reply(token, source, *run);
            }
            self.answer_unheard(token, message.topic, message.reply, sid);
            self.budget.charge(budget::FRAME);
            *at += message.length;
            if *at < run.end && self.budget.is_share_used() {
                return Outcome::Stopped(Stop::Yield);
            }
        }
        Outcome::Done
    }
}
