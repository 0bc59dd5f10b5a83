//! Garbage collection: in two phases, mark and sweep, with a grace time between them. Decides by the log, never by a clock.
//!
//! # What is kept
//! The *roots* ([`Roots`]) are the backups that exist, the jobs that run, the abandoned jobs that the next backup of their
//! source can resume, and everything that those jobs named as bases when they began, and the bases of abandoned jobs
//! among these. A root that is or was a backup keeps its manifest and the packs that this names; a root that is a job
//! keeps all of its own packs and parts.
//!
//! # Order of steps, and what a crash leaves
//! 1. *Survey*: list the owners of packs, then read the log, then the manifests of the roots. Garbage is what was
//!    listed and no root keeps. A list that misses something leaves garbage for the next time.
//! 2. *Mark*: write the list of the garbage to `condemned/<n>`, then append the `condemn` record, if the roots of the newest
//!    state are all among those of the survey; otherwise survey again. A crash between the two leaves a list that nobody
//!    refers to, which a later sweep removes.
//! 3. *Sweep*, once the grace time is over: remove what the list names, append the `sweep` record, remove the list. A crash
//!    in between is repeated: removing twice does no harm.
//!
//! # Why this is right
//! The rule of the writer: a manifest refers to packs of its own job and to those that its bases, as named in `begin`,
//! refer to. Take any pack that a `condemn` record at position *m* names. No backup refers to it at *m*, since no root keeps
//! it. Could one refer to it later?
//! - A job that *runs at m* is a root, and its bases are: its own packs and all that it may refer to are kept.
//! - A job that *begins after m* names bases that exist or are abandoned then. Those were roots at *m*, or began after
//!   *m* themselves, and the same holds for them. An abandoned job that was no root at *m* is named by the `condemn`
//!   record and cannot be a base from then on.
//! - A job that was *abandoned before m* never commits, even if it still runs: its `commit` is refused. What it
//!   goes on to write belongs to no root, and is found by a later survey.
//!
//! So a condemned object never comes to be needed again, and the sweep need not ask when it happens. What meets what:
//! - *expire ∥ begin*: whichever is first in the log. A base that expires later stays a root while the job runs.
//! - *expire ∥ commit*: a commit adds roots; the retention is decided again for the newest state ([`crate::expire`]).
//! - *mark ∥ begin, commit, abandon, expire*: the record is appended only where its survey covers the newest roots.
//! - *mark ∥ mark*: both may name one object; it is removed twice.
//! - *sweep ∥ sweep*: the same; the second `sweep` record is not written.
//! - *a reader ∥ expire, mark, sweep*: a restore that began before its backup expired has the grace time to end; after it,
//!   it fails with a missing object, never with wrong data.
//! - *a list ∥ everything*: an owner in the list that the log does not know has ended, because a job writes nothing
//!   before its `begin`, and the log is read after the list.

mod condemned;
mod keep;
mod mark;
mod roots;
mod sweep;
#[cfg(test)]
mod tests;

use jiff::SignedDuration;

pub(crate) use mark::Marked;
#[cfg(test)]
use mark::Survey;
pub(crate) use roots::Roots;

/// How long garbage waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    /// From the `condemn` record until its objects are removed.
    pub(crate) grace: SignedDuration,
    /// From the `abandon` record until nothing can resume the job.
    pub(crate) resumable: SignedDuration,
}
