//! ops-cli.
