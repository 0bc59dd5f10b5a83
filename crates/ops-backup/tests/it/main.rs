//! The tests of this crate against real PostgreSQL servers and real stores.

mod clusters;
mod damage;
mod end_to_end;
mod faults;
mod store;
mod support;
mod targets;
mod wal;
