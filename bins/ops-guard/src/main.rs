//! The `ops-guard` command.

fn main() {}
