//! The tests of this crate against real PostgreSQL servers and real stores.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it like the test itself")]

mod changes;
mod clusters;
#[cfg(any())]
mod damage;
mod end_to_end;
mod engines;
#[cfg(any())]
mod faults;
mod majors;
mod postgres;
#[cfg(any())]
mod rehearse;
#[cfg(any())]
mod s3;
#[cfg(any())]
mod store;
mod support;
#[cfg(any())]
mod targets;
#[cfg(any())]
mod wal;
