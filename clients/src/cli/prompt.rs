//! The prompt on a terminal: whether it is shown, and its removal before anything else is written.
//!
//! Owns the state that all writers to the terminal share. What they write is up to them.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use super::input::is_in_foreground;

/// Shown where commands are typed.
pub(super) const PROMPT: &[u8] = b"> ";
/// Back to the start of the line, and clear it.
pub(super) const CLEAR_LINE: &[u8] = b"\r\x1b[K";

/// Whether the terminal's last line is a prompt.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// Whether commands are typed on the terminal that is also written to, and it is ours.
pub(super) fn is_wanted() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal() && is_in_foreground(io::stdin())
}

/// Shows it.
pub(super) fn show() -> io::Result<()> {
    SHOWN.store(true, Ordering::Relaxed);
    let mut stdout = io::stdout();
    stdout.write_all(PROMPT).and_then(|()| stdout.flush())
}

/// A line was typed after it: the cursor is at the start of a line now.
pub(super) fn was_answered() {
    SHOWN.store(false, Ordering::Relaxed);
}

/// Removes it from the screen. Returns whether it was shown.
pub(super) fn clear() -> bool {
    let shown = SHOWN.swap(false, Ordering::Relaxed);
    if shown {
        let mut stdout = io::stdout();
        // If standard output is closed, there is no line to clear.
        let _ = stdout.write_all(CLEAR_LINE).and_then(|()| stdout.flush());
    }
    shown
}
