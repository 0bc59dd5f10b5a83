//! Signed evidence: what was done, on what, with which result, in a form that anyone can verify offline.
//!
//! A [`Record`] becomes an in-toto statement inside a DSSE [`Envelope`], signed with ed25519. Records that
//! belong together form a [`chain`], so that nobody can change, drop or reorder one unseen.
//!
//! ```
//! use ops_core::evidence::{Envelope, Outcome, Record, SigningKey, Subject};
//!
//! let now = "2026-11-21T06:00:00Z".parse()?;
//! let record = Record {
//!     kind: "restore-rehearsal".into(),
//!     outcome: Outcome::Passed,
//!     tool: "ops-backup 0.1.0".into(),
//!     started_at: now,
//!     finished_at: now,
//!     subjects: vec![Subject::of_bytes("backup.manifest", b"the manifest's bytes")],
//!     measurements: [("recovery_time_seconds".into(), 12.5)].into(),
//!     ..Record::default()
//! };
//! let key = SigningKey::generate()?;
//! let envelope = Envelope::sign(&record, &key)?;
//! let verified = Envelope::from_json(&envelope.to_json())?.verify(&[key.verifying_key()])?;
//! assert_eq!(verified, record);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A record is meant to be shown: never put a secret's value in one.

pub mod chain;
mod envelope;
mod key;
mod record;
mod statement;

pub use crate::digest::sha256_hex;
pub use envelope::{Envelope, PAYLOAD_TYPE, Signature};
pub use key::{SigningKey, VerifyingKey};
pub use record::{Check, Outcome, Record, Subject};
pub use statement::{PREDICATE_TYPE, STATEMENT_TYPE};
