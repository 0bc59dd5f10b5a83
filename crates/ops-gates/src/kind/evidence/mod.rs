//! Evidence of work that was done elsewhere: signed records, attestations, listings, reports of scanners.
//!
//! All of it is judged the same way: it must be there, be whole, be from whom it claims, be about this release, be
//! young enough by a time that stands *in* it (the time of a file proves nothing), and show that work was done.

mod attestation;
mod backup;
mod drill;
mod migrations;
mod records;
mod rehearsal;
mod secrets;
mod signed;
mod vulnerabilities;

pub use attestation::Attestation;
pub use backup::BackupFreshness;
pub use drill::DrillRecord;
pub use migrations::MigrationLint;
pub(super) use records::{envelope, files};
pub use rehearsal::Rehearsal;
pub use secrets::SecretScan;
pub use signed::{Evidence, Limits};
pub use vulnerabilities::{Advisory, Scanner, Severity, Vulnerabilities};
