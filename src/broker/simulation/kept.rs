//! Scripts that failed once, shrunk, so that they never fail again.
