//! WAL push and fetch.
