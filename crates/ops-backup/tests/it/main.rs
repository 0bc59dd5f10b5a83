//! The tests of this crate against real PostgreSQL servers and real stores.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it like the test itself")]

#[cfg(feature = "azure")]
mod azure;
mod changes;
#[cfg(any(feature = "gcs", feature = "s3"))]
mod cloud;
mod clusters;
mod crashes;
mod damage;
mod delta;
mod end_to_end;
mod engines;
mod exhaustive;
mod expire;
mod faults;
mod faulty;
mod format;
mod fuzz;
mod gaps;
mod incremental;
mod keys;
mod load;
mod majors;
mod mistakes;
mod network;
mod postgres;
mod receive;
mod referees;
mod rehearse;
mod resume;
#[cfg(feature = "s3")]
mod s3;
mod service;
mod standby;
mod store;
mod stranger;
mod summaries;
mod support;
mod tail;
mod targets;
mod updates;
mod wal;
mod wire;
