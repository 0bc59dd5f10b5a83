//! Restore: [`plan`] decides and shows everything, [`apply`] does it.
//!
//! # Order, and what a crash leaves
//! 1. A note of what is being restored, with a lock, durable before anything else.
//! 2. In an existing data directory (delta): WAL that is nowhere else is copied aside; then `pg_control` is removed, and
//!    that made durable; then everything that is not in the backup is removed.
//! 3. Directories and files, in the order of their paths, several files at a time. Of files that are there, only blocks
//!    whose hash differs are written.
//! 4. The settings of recovery, and the manifest for `pg_verifybackup`.
//! 5. One barrier for each file system, which makes all of it durable.
//! 6. `pg_control` under its own name, its directory made durable, and the note removed.
//!
//! From 2 to 6 there is no `pg_control`, so no server starts from what a killed restore leaves; a delta restore goes on
//! with it. A restore into an empty directory that fails or is cancelled empties it again.

mod apply;
mod choose;
mod databases;
mod live;
mod marker;
mod plan;
mod saved_wal;
mod survey;
mod target;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use apply::{Restored, apply};
pub use choose::Replay;
pub(crate) use choose::{choose, tail};
pub use databases::Selection;
pub use plan::{PlanSummary, RestorePlan, Space, plan};
pub use saved_wal::SavedWal;
pub use survey::Removal;
pub use target::{AfterCrash, RestoreTarget};

use crate::postgres::lsn::SystemIdentifier;
use crate::postgres::recovery::{RecoveryTarget, TargetAction, TargetTimeline};

/// What is restored, and to which moment.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The backup to use; otherwise the newest one that can reach the target.
    pub backup: Option<String>,
    /// The cluster to restore, where the repository holds backups of several; backups of trees do not count.
    pub system_identifier: Option<SystemIdentifier>,
    /// The directory tree to restore, by its name; it may be left out where the repository holds this tree alone.
    pub tree: Option<String>,
    /// Where replay stops.
    pub target: RecoveryTarget,
    /// The timeline that replay follows.
    pub timeline: TargetTimeline,
    /// What the server does at the target.
    pub action: TargetAction,
    /// The command with which the server gets WAL, with `%f` and `%p`. It must exit with 1 only where a file is
    /// proven absent, and above 125 for every other failure.
    pub restore_command: String,
    /// The command that also gives a segment which is not complete ([`tail::fetch`](crate::wal::tail::fetch)). It takes the
    /// place of the other one where the archive ends with such a segment; without it the archive ends before.
    pub restore_command_with_tail: Option<String>,
    /// New places for tablespaces by OID; the others go back to where they were.
    pub tablespaces: BTreeMap<u32, PathBuf>,
    /// A directory below which each tablespace without a place of its own gets one, named by its OID. It is made where it is
    /// absent.
    pub tablespaces_into: Option<PathBuf>,
    /// The databases to restore, by name or OID, with those that initdb makes; all where it is empty. The others become
    /// shells without content, and must be dropped once the server runs.
    pub databases: Vec<String>,
    /// The user and group that will own the files; only root can set them.
    pub owner: Option<Owner>,
    /// How many threads decompress and write.
    pub workers: usize,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        RestoreOptions {
            backup: None,
            system_identifier: None,
            tree: None,
            target: RecoveryTarget::default(),
            timeline: TargetTimeline::default(),
            action: TargetAction::default(),
            restore_command: String::new(),
            restore_command_with_tail: None,
            tablespaces: BTreeMap::new(),
            tablespaces_into: None,
            databases: Vec::new(),
            owner: None,
            workers: std::thread::available_parallelism().map_or(2, usize::from),
        }
    }
}

/// A user and a group by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}
