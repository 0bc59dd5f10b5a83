//! Secrets that change: the contract of providers, the watch under a clock that the tests turn, and real file events.

mod change;
pub(crate) mod contract;
mod fake;
mod files;
mod leases;
mod swaps;

use ops_secrets::rotate::Snapshot;

/// The text of a field.
fn text<'a>(snapshot: &'a Snapshot, member: &str, field: &str) -> &'a str {
    snapshot.get(member, field).unwrap().expose_secret()
}
