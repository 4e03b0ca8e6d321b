//! The operating system's limits on this process.
//!
//! Owns the limit of file descriptors, and that nobody else reads the memory; neither must fail,
//! since the broker still runs without. And the flags that open files without waiting for them.

use log::{debug, warn};
use rlimit::Resource;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// open(2), as asm-generic/fcntl.h has it.
pub(crate) const O_NONBLOCK: i32 = 0o4000;
pub(crate) const O_NOCTTY: i32 = 0o400;

/// Descriptors beside those of the clients: listeners, poll, signals, log, standard streams.
const OWN_DESCRIPTORS: u64 = 64;

/// Raises the limit of open descriptors to what `max_connections` needs, as far as the process
/// may, and says so if it does not fit.
pub fn raise_descriptors(max_connections: usize) {
    let wanted = max_connections as u64 + OWN_DESCRIPTORS;
    let Ok((soft, hard)) = Resource::NOFILE.get() else {
        return;
    };
    if soft >= wanted {
        return;
    }
    let raised = wanted.min(hard);
    if Resource::NOFILE.set(raised, hard).is_ok() {
        debug!("limit of open descriptors raised from {soft} to {raised}");
    }
    if raised < wanted {
        warn!(
            "max_connections is {max_connections}, but only {raised} descriptors may be open: \
             raise LimitNOFILE or `ulimit -n` to {wanted}, or lower max_connections"
        );
    }
}

/// Makes the process one that leaves no core dump, and whose memory other processes of the same
/// user cannot read, for good. To be called before secrets are read.
pub fn keep_secrets() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!("core dumps cannot be forbidden ({error}); they may hold secrets: `ulimit -c 0`");
    }
}
