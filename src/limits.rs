//! The operating system's limits on this process.
//!
//! Owns the limit of file descriptors, which must not fail, since with fewer the broker still runs;
//! and the flags that open files without waiting for them.

use log::{debug, warn};
use rlimit::Resource;

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
