//! The audit log: what was refused, approved and run, in a file to which lines are only added and none can be changed,
//! dropped or moved unseen.
//!
//! A line is one JSON object ([`Recorded`]). It has the SHA-256 of the line before it, and `<log>.head` names the number and
//! the digest of the last one. [`AuditLog::append`] returns when the line is durable, so an entry that is written before a
//! statement is sent is there whatever happens next. [`verify`] reads it all again.
//!
//! ```
//! use ops_core::audit::{self, AuditLog, Entry, Event};
//! use ops_core::guard::Policy;
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("audit.jsonl");
//! let log = AuditLog::open(&path)?;
//! let (sql, now) = ("DELETE FROM ledger", "2026-11-21T06:00:00Z".parse()?);
//! let verdict = Policy::app().judge(sql);
//! let entry = Entry::new(Event::Refused, now)
//!     .in_session("app", "shop", "4bf92f3577b34da6a3ce929d0e0e4736")
//!     .about(sql, &verdict, &verdict.statements[0]);
//! let head = log.append(entry)?;
//! let report = audit::verify(&path, Some(&head), &[])?;
//! assert!(report.is_intact() && report.entries == 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a crash leaves behind
//!
//! Everything happens under an exclusive lock on the log, in this order; whatever is cut off after a step is what the
//! next opener finds.
//!
//! | step | a crash after it leaves | which is |
//! |---|---|---|
//! | the first head (number 0), durable | a head without a log | a new log |
//! | the empty log, durable | an empty log | a new log |
//! | a part of a line | bytes behind the line that the head names | [torn](crate::ErrorKind::TornLog): nothing is written until [`recover`] |
//! | the line, durable | a head that is behind by one line | accepted; the next append writes the head first |
//! | `<log>.head.new`, durable | the same, and a file that is written over | accepted |
//! | the rename to `<log>.head`, durable | everything | whole |
//!
//! A head that is behind by more, ahead of the log, missing or of another digest is no crash: the log is broken.
//! [`recover`] copies the torn bytes to `<log>.torn-<number>`, cuts them off, and appends a line that says so. While that file
//! is there and its line is not, the log stays torn, so that an interrupted recovery is finished and not forgotten.
//!
//! # What it cannot show
//!
//! Whoever can write the log and its head can write both anew. Keep a head elsewhere (each append returns it), sign the
//! head with a key that the writer of the files does not have, or give the log a second [`AuditSink`]. A line that the head
//! does not name yet, because of a crash, is not covered by a signature.

mod chain;
mod entry;
mod head;
mod lines;
mod log;
mod recover;
mod verify;

pub use chain::Head;
pub use entry::{ApprovalUse, Body, Entry, Event, Observed, Outcome, Recorded, RecordedEvent, TornBytes};
pub use log::{AuditLog, AuditLogOptions, AuditSink};
pub use recover::{Recovery, recover};
pub use verify::{Fault, FaultKind, HeadState, Report, read, verify};
