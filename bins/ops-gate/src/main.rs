//! The `ops-gate` command.

fn main() {}
