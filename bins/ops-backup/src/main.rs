//! The `ops-backup` command.

fn main() {}
