//! The `ops-secrets` command.

fn main() {}
