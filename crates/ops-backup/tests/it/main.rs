//! The tests of this crate against real PostgreSQL servers and real stores.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it like the test itself")]

#[cfg(feature = "azure")]
mod azure;
#[cfg(any(feature = "gcs", feature = "s3"))]
mod cloud;
#[cfg(any())]
mod clusters;
#[cfg(any())]
mod damage;
#[cfg(any())]
mod end_to_end;
mod faults;
mod faulty;
#[cfg(any())]
mod majors;
#[cfg(any())]
mod rehearse;
#[cfg(all(feature = "s3", any()))]
mod s3;
mod store;
#[cfg(any())]
mod support;
#[cfg(any())]
mod targets;
mod wal;
