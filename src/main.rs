//! The broker daemon: parse, load, run, map the result to an exit code; nothing else.

fn main() {}
