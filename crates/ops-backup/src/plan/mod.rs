//! What to do, decided from plain values: no store, no server, no clock.

pub mod retention;
pub(crate) mod wal;
