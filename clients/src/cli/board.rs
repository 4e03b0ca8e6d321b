//! The subscriptions of the subscriber program, shared by the thread that receives and the one that
//! executes commands.
//!
//! Owns the wanted subscriptions, which outlive a connection and are made again on the next.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pubsub_client::{ClientError, Subscriber, Subscriptions};

use crate::command::{Command, Subscription};

use super::report::Failure;

/// The shared part. `state` is held while commands are sent, which may have to wait until the
/// receiving thread reads; so that thread must not lock it except for a new connection.
pub(super) struct Board {
    state: Mutex<State>,
    quitting: Mutex<bool>,
    quit: Condvar,
    failed: AtomicBool,
}

struct State {
    wanted: Vec<Subscription>,
    /// Where to send, while there is a connection.
    sender: Option<Subscriptions>,
}

impl Board {
    /// With these subscriptions from the start.
    pub(super) fn new(wanted: Vec<Subscription>) -> Board {
        Board {
            state: Mutex::new(State { wanted, sender: None }),
            quitting: Mutex::new(false),
            quit: Condvar::new(),
            failed: AtomicBool::new(false),
        }
    }

    /// Makes all wanted subscriptions on a new connection.
    pub(super) fn attach(&self, subscriber: &mut Subscriber) -> Result<(), ClientError> {
        let mut state = lock(&self.state);
        for wanted in &state.wanted {
            subscriber.subscribe(&wanted.filter, wanted.group.as_deref())?;
        }
        state.sender = Some(subscriber.subscriptions());
        Ok(())
    }

    /// The connection has ended.
    pub(super) fn detach(&self) {
        lock(&self.state).sender = None;
    }

    /// Executes `sub`, `unsub` and `quit`; without a connection, subscriptions take effect on the
    /// next.
    pub(super) fn execute(&self, command: &Command) {
        let mut state = lock(&self.state);
        let sender = state.sender.clone();
        match command {
            Command::Subscribe(wanted) => {
                if !state.wanted.contains(wanted) {
                    state.wanted.push(wanted.clone());
                }
                // If sending fails, the receiving thread gets the reason.
                let _ = sender.map(|to| to.subscribe(&wanted.filter, wanted.group.as_deref()));
            }
            Command::Unsubscribe(ended) => {
                state.wanted.retain(|wanted| wanted != ended);
                let _ = sender.map(|to| to.unsubscribe(&ended.filter, ended.group.as_deref()));
            }
            Command::Quit => {
                drop(state);
                self.quit();
            }
            Command::Publish { .. } => {
                unreachable!("the parser gives a subscriber no messages to send")
            }
        }
    }

    /// Ends the program, whatever the receiving thread is waiting for.
    pub(super) fn quit(&self) {
        *lock(&self.quitting) = true;
        self.quit.notify_all();
        if let Some(sender) = &lock(&self.state).sender {
            sender.close();
        }
    }

    /// Whether the program is to end.
    pub(super) fn is_quitting(&self) -> bool {
        *lock(&self.quitting)
    }

    /// Waits for this long, or until the program is to end.
    pub(super) fn sleep(&self, time: Duration) {
        let quitting = lock(&self.quitting);
        let waited = (self.quit).wait_timeout_while(quitting, time, |quitting| !*quitting);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// A command failed, which the exit code is to show.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// How the program ends when nothing else went wrong.
    pub(super) fn outcome(&self) -> Result<(), Failure> {
        if self.failed.load(Ordering::Relaxed) { Err(Failure::Reported) } else { Ok(()) }
    }
}

/// Locks; what the mutexes here guard is consistent even if a thread panicked while it held one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
