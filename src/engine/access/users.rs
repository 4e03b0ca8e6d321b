//! The users, and how a client shows that it is one of them.
//!
//! Owns the table. Whoever changes it makes another one.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::rc::Rc;

use super::credentials::{PublicKey, Secret};
use super::grants::{Filters, Grants};
use wire::topic::matches;

/// All users.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Users {
    by_name: BTreeMap<Box<str>, Rc<User>>,
    anonymous: Option<Rc<User>>,
    has_responders: bool,
    /// How many tokens all of them have.
    tokens: usize,
}

/// A user: who it is, and what it may do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Its name, for people and for those who give it.
    pub name: String,
    /// Its secrets: any of them will do.
    pub secrets: Vec<Secret>,
    /// Secrets that are given without a name.
    pub tokens: Vec<Secret>,
    /// The keys by which it signs.
    pub keys: Vec<PublicKey>,
    /// Names in client certificates that are its own.
    pub certificates: Vec<String>,
    /// User ids of processes behind a Unix socket that are its own.
    pub uids: Vec<u32>,
    /// Connections that it may have at a time; `None`: any number.
    pub max_connections: Option<usize>,
    /// What it may do.
    pub rights: Rights,
    /// Its place among distinct grants to publish.
    pub(crate) place: usize,
}

/// What a user may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// Topics that it may publish to.
    pub publish: Grants,
    /// Topics that it may receive.
    pub subscribe: Grants,
    /// Queue groups that it may join, as filters; `None`: any.
    pub groups: Option<Filters>,
    /// It may publish to the reply of each message that it was given, once.
    pub allow_responses: bool,
}

impl Rights {
    /// Whether a queue group may be joined.
    pub fn has_group(&self, group: &[u8]) -> bool {
        let of = |groups: &Filters| groups.iter().any(|filter| matches(filter, group));
        self.groups.as_ref().is_none_or(of)
    }
}

/// What is known of the other side of a connection, whatever it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// The user id of the process, behind a Unix socket.
    pub uid: Option<u32>,
    /// Names in its certificate, if that was checked.
    pub certificate: Vec<String>,
}

impl Peer {
    /// Of whom nothing is known.
    pub(crate) const UNKNOWN: &Peer = &Peer { uid: None, certificate: Vec::new() };
}

/// What a client shows of itself. What it does not is empty.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// A user's name.
    pub user: &'a str,
    /// That user's secret.
    pub secret: &'a str,
    /// A secret without a name.
    pub token: &'a str,
    /// A public key, as text.
    pub key: &'a str,
    /// The nonce that it was given, signed by that key.
    pub signature: &'a str,
    /// The nonce that it was given.
    pub nonce: &'a str,
}

impl Credentials<'_> {
    /// Whether it shows nothing.
    pub fn is_nothing(&self) -> bool {
        let credentials = [self.user, self.secret, self.token, self.key, self.signature];
        credentials.iter().all(|it| it.is_empty())
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest is secret.
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Users {
    /// A table of users, whose names differ. Clients that show nothing get the rights of
    /// `anonymous`, if that names one.
    pub fn new(users: Vec<User>, anonymous: Option<&str>) -> Users {
        let mut by_name: BTreeMap<_, Rc<User>> = BTreeMap::new();
        let mut distinct: HashMap<Grants, usize> = HashMap::new();
        for mut user in users {
            let next = distinct.len();
            user.place = *distinct.entry(user.rights.publish.clone()).or_insert(next);
            by_name.insert(user.name.as_str().into(), Rc::new(user));
        }
        let anonymous = anonymous.and_then(|name| by_name.get(name).cloned());
        let has_responders = by_name.values().any(|user| user.rights.allow_responses);
        let tokens = by_name.values().map(|user| user.tokens.len()).sum();
        Users { by_name, anonymous, has_responders, tokens }
    }

    /// Whether clients that show nothing may come in.
    pub fn has_anonymous(&self) -> bool {
        self.anonymous.is_some()
    }

    /// The user of this name.
    pub fn named(&self, name: &str) -> Option<&Rc<User>> {
        self.by_name.get(name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Whether any user may publish to the replies of what it was given.
    pub(crate) fn has_responders(&self) -> bool {
        self.has_responders
    }

    /// How often something is hashed at most to identify a client by what it shows: each secret has
    /// a salt of its own.
    pub(crate) fn hashes_for(&self, credentials: &Credentials<'_>) -> usize {
        let of_user = self.named(credentials.user).map_or(0, |user| user.secrets.len());
        if credentials.token.is_empty() { of_user } else { self.tokens }
    }

    /// Whether any user signs.
    pub fn has_keys(&self) -> bool {
        self.by_name.values().any(|user| !user.keys.is_empty())
    }

    /// Who a client is, by what it shows and what is known of it. One that shows anything must be
    /// right in that; only one that shows nothing is who its certificate or its process says, or
    /// anonymous.
    pub fn identify(&self, credentials: &Credentials<'_>, peer: &Peer) -> Option<&Rc<User>> {
        let mut users = self.by_name.values();
        if let Some(key) = PublicKey::parse(credentials.key)
            && let Some(user) = self.by_name.values().find(|user| user.keys.contains(&key))
        {
            return key
                .has_signed(credentials.nonce.as_bytes(), credentials.signature)
                .then_some(user);
        }
        if !credentials.token.is_empty() {
            let token = credentials.token.as_bytes();
            return users.find(|user| user.tokens.iter().any(|it| it.is(token)));
        }
        if !credentials.user.is_empty() {
            let user = self.named(credentials.user)?;
            let is_right = user.secrets.iter().any(|it| it.is(credentials.secret.as_bytes()));
            let is_known = credentials.secret.is_empty() && user.is(peer);
            return (is_right || is_known).then_some(user);
        }
        if !(credentials.key.is_empty() && credentials.secret.is_empty()) {
            return None;
        }
        users.find(|user| user.is(peer)).or(self.anonymous.as_ref())
    }
}

impl User {
    /// Whether this user is on the other side, as far as that is known without its word.
    fn is(&self, peer: &Peer) -> bool {
        peer.uid.is_some_and(|uid| self.uids.contains(&uid))
            || peer.certificate.iter().any(|name| self.certificates.contains(name))
    }

    /// Whether it may publish to all topics.
    pub(crate) fn publishes_all(&self) -> bool {
        self.rights.publish.is_everything()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> User {
        User { name: name.to_owned(), ..User::default() }
    }

    fn users() -> Users {
        let alice = User {
            secrets: ["old", "new"].map(|it| Secret::of(it.as_bytes()).unwrap()).into(),
            uids: vec![1_000],
            ..user("alice")
        };
        let robot = User {
            tokens: vec![Secret::of(b"token").unwrap()],
            certificates: vec!["robot.example".to_owned()],
            ..user("robot")
        };
        Users::new(vec![alice, robot, user("guest")], Some("guest"))
    }

    #[test]
    fn a_client_is_who_it_shows_to_be_or_nobody() {
        let users = users();
        let known = |uid, name: &str| Peer {
            uid,
            certificate: Some(name.to_owned()).filter(|it| !it.is_empty()).into_iter().collect(),
        };
        let is = |credentials: Credentials<'_>, peer: Peer| {
            users.identify(&credentials, &peer).map(|user| user.name.clone()).unwrap_or_default()
        };
        let nobody = Peer::default;
        let named = |user, secret| Credentials { user, secret, ..Credentials::default() };
        assert_eq!(is(named("alice", "old"), nobody()), "alice");
        assert_eq!(is(named("alice", "new"), nobody()), "alice");
        assert_eq!(is(named("alice", "other"), nobody()), "");
        assert_eq!(is(named("alice", ""), nobody()), "");
        assert_eq!(is(named("alice", ""), known(Some(1_000), "")), "alice");
        assert_eq!(is(named("robot", ""), known(Some(1_000), "")), "", "that is another one");
        assert_eq!(is(named("nobody", "old"), nobody()), "");
        assert_eq!(is(named("", "old"), nobody()), "", "a secret without a name is no token");
        let token = |token| Credentials { token, ..Credentials::default() };
        assert_eq!(is(token("token"), nobody()), "robot");
        assert_eq!(is(token("old"), known(Some(1_000), "")), "", "wrong is wrong");
        assert_eq!(is(Credentials { key: "U", ..Credentials::default() }, nobody()), "");
        assert_eq!(is(Credentials::default(), nobody()), "guest");
        assert_eq!(is(Credentials::default(), known(None, "robot.example")), "robot");
        assert_eq!(is(Credentials::default(), known(Some(1_000), "")), "alice");
        let strict = Users::new(vec![user("guest")], None);
        assert_eq!(strict.identify(&Credentials::default(), &nobody()), None);
    }

    #[test]
    fn equal_grants_to_publish_have_one_place() {
        let with = |name, allow: &str| {
            let mut it = user(name);
            it.rights.publish.allow = [allow.as_bytes().into()].into();
            it
        };
        let users = Users::new(vec![with("a", "x"), with("b", "y"), with("c", "x")], None);
        let place = |name| users.named(name).unwrap().place;
        assert_eq!((place("a"), place("b"), place("c")), (0, 1, 0));
    }

    #[test]
    fn groups_are_granted_by_filters() {
        let none = Rights::default();
        let some =
            Rights { groups: Some([Box::from(&b"billing.*"[..])].into()), ..Rights::default() };
        assert!(none.has_group(b"any"));
        assert!(some.has_group(b"billing.a") && !some.has_group(b"billing"));
    }
}
