//! Why a benchmark came to nothing, sorted by the exit code that it means.

use std::fmt;

/// Why there is no good report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command line asks for what cannot be.
    Usage(String),
    /// Something went wrong on the way.
    Failed(String),
}

impl Failure {
    /// A failure on the way.
    pub(crate) fn new(text: impl Into<String>) -> Failure {
        Failure::Failed(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) | Failure::Failed(text) => f.write_str(text),
        }
    }
}
