//! Which user a client is: when it logs in, and when the users change.
//!
//! Owns what either means for a connection. Who a client is by what it shows is told by `access`;
//! how it shows that, by its protocol.

use std::rc::Rc;
use std::time::Instant;

use log::debug;
use wire::nats::error_text::Because;
use wire::topic::validate_topic;

use super::connection::State;
use super::protocol::{Protocol, Refusal};
use crate::engine::access::{Credentials, Grant, User, Users};
use crate::engine::close_reason::CloseReason;
use crate::engine::token::Token;
use crate::engine::{Engine, budget};

impl Engine {
    /// Other users from now on; `None`: all clients may do all. A client whose user is not there
    /// any more is disconnected, and one whose user may subscribe to less loses what it may not
    /// have. Returns whether they are others. Call it between turns, and end the turn behind it.
    ///
    /// All of that is done at once, however much it is: no message that is processed from now on
    /// comes to one who has lost the right to it. It is charged to the turn that is begun, so that
    /// nothing else is served behind it in that turn if it was much.
    pub fn set_users(&mut self, users: Option<Users>, now: Instant) -> bool {
        let users = users.map(Rc::new);
        if self.access.users() == users.as_ref() {
            return false;
        }
        self.access.set_users(users.clone());
        self.index.forget_permits();
        let tokens = self.tokens();
        self.budget.charge_turn(tokens.len() as u64 * budget::LOOK);
        for token in tokens {
            let connection = &mut self.connections[token.index()];
            if !connection.is_talking() || connection.role.protocol == Protocol::Leaf {
                continue;
            }
            // One who came before there were users has shown nothing that was looked at: who it is
            // from now on is found in the same way when they change again.
            connection.is_anonymous |= connection.user.is_none();
            let has_begun = connection.state == State::Open;
            let user = match (&users, &connection.user) {
                (None, _) => None,
                (Some(users), Some(user)) if !connection.is_anonymous => users.named(&user.name),
                (Some(users), _) => {
                    users.identify(&Credentials::default(), connection.known_peer())
                }
            };
            match (&users, user.cloned()) {
                (Some(_), None) if has_begun => self.close(token, CloseReason::Revoked, now),
                (_, user) => self.become_user(token, user),
            }
        }
        true
    }

    /// Whether NATS clients have to log in before anything else.
    pub(crate) fn must_log_in(&self) -> bool {
        self.access.users().is_some_and(|users| !users.has_anonymous())
    }

    /// A client says who it is, or shows nothing.
    ///
    /// # Errors
    /// Why it may not come in.
    pub(super) fn log_in(
        &mut self,
        token: Token,
        credentials: &Credentials<'_>,
    ) -> Result<(), CloseReason> {
        let Some(users) = self.access.users().cloned() else { return Ok(()) };
        let hashes = users.hashes_for(credentials).max(1) as u64;
        self.budget.charge(hashes * budget::LOG_IN);
        if !credentials.key.is_empty() {
            self.budget.charge(budget::SIGNATURE);
        }
        let connection = &mut self.connections[token.index()];
        let user = users.identify(credentials, connection.known_peer());
        let user = user.ok_or(CloseReason::Unauthorized)?.clone();
        connection.is_anonymous = credentials.is_nothing();
        let is_another = connection.user.as_ref().is_none_or(|before| before.name != user.name);
        if is_another && !self.access.has_room_for(&user) {
            return Err(CloseReason::TooManyOfUser);
        }
        self.become_user(token, Some(user));
        Ok(())
    }

    /// A connection is a user's from now on, or nobody's.
    fn become_user(&mut self, token: Token, user: Option<Rc<User>>) {
        let connection = &mut self.connections[token.index()];
        if connection.user == user {
            // Equal, but maybe of another table.
            connection.user = user;
            return;
        }
        let before = std::mem::replace(&mut connection.user, user.clone());
        before.inspect(|user| self.access.left(user));
        if let Some(user) = &user {
            self.access.arrived(user);
            debug!("{} is user {:?}", self.connections[token.index()], user.name);
        }
        let denied = user.as_ref().map(|user| &user.rights.subscribe.deny);
        self.index.withhold(token, denied.filter(|denied| !denied.is_empty()));
        // Publishers may give a member of its groups now what it was not to be given.
        self.wake_groups_of(token);
        if let Some(user) = user {
            self.end_what_is_not_granted(token, &user);
        }
    }

    /// The connection is not a user's any more, as it has ended.
    pub(super) fn log_out(&mut self, token: Token) {
        if let Some(user) = self.connections[token.index()].user.take() {
            self.access.left(&user);
        }
    }

    /// Ends the subscriptions that a user may not have, and tells of each.
    fn end_what_is_not_granted(&mut self, token: Token, user: &User) {
        let held = self.index.subscribed_by(token);
        let ending = held.filter(|it| !is_granted(user, it.filter, it.group));
        // As they end, their names go.
        let ending =
            ending.map(|it| (it.id, it.encoding, it.filter.to_vec(), it.group.map(Vec::from)));
        let ending: Vec<_> = ending.collect();
        let grants =
            user.rights.subscribe.len() + user.rights.groups.as_ref().map_or(0, |it| it.len());
        let each = budget::LOOK + grants as u64 * budget::GRANT;
        self.budget.charge_turn(self.index.held(token).subscriptions as u64 * each);
        for (id, encoding, filter, group) in ending {
            let sid = self.index.sid_text(encoding);
            self.end_subscription(id);
            let because = Some(Because::Revoked(&sid));
            let refusal = Refusal::MayNotSubscribe { group: group.as_deref(), because };
            self.refuse(token, &filter, refusal);
        }
    }

    /// Whether the user of a connection may subscribe to a filter, in a queue group or without.
    pub(super) fn may_subscribe(&self, token: Token, filter: &[u8], group: Option<&[u8]>) -> bool {
        let user = self.connections[token.index()].user.as_ref();
        user.is_none_or(|user| is_granted(user, filter, group))
    }

    /// A subscription that its user may not have is refused.
    pub(super) fn refuse_subscription(
        &mut self,
        token: Token,
        filter: &[u8],
        group: Option<&[u8]>,
    ) {
        self.stats.denied += 1;
        self.refuse(token, filter, Refusal::MayNotSubscribe { group, because: None });
    }

    /// A message that its publisher may not publish is refused.
    pub(super) fn refuse_message(&mut self, token: Token, topic: &[u8]) {
        let user = self.connections[token.index()].user.as_ref();
        let is_granted = user.is_none_or(|user| user.rights.publish.has(topic));
        assert!(!is_granted || validate_topic(topic).is_err(), "a valid message is no request");
        self.stats.denied += 1;
        // It may have waited for its receivers while its user could still publish it.
        self.end_wait(token);
        self.refuse(token, topic, Refusal::MayNotPublish);
    }
}

fn is_granted(user: &User, filter: &[u8], group: Option<&[u8]>) -> bool {
    user.rights.subscribe.of(filter) != Grant::Refused
        && group.is_none_or(|group| user.rights.has_group(group))
}
