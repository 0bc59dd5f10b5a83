//! The tests of this crate against real PostgreSQL servers and real stores.

mod end_to_end;
mod support;
mod wal;
