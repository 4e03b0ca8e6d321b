//! Why a benchmark failed, sorted by its exit code.

use std::fmt;

/// Why there is no good report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The command line is not valid.
    Usage(String),
    /// Something failed during the run.
    Failed(String),
}

/// Why a run, or a thread of it, was stopped before its end.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The bytes were not only messages, so they must not be counted by length.
    Misread,
    /// Something failed.
    Failed(Failure),
}

impl Failure {
    /// A failure during the run.
    pub(crate) fn new(text: impl Into<String>) -> Failure {
        Failure::Failed(text.into())
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Stopped {
        Stopped::Failed(failure)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) | Failure::Failed(text) => f.write_str(text),
        }
    }
}
