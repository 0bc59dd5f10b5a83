//! Restore: [`plan`] decides and shows everything, [`apply`] does it.
//!
//! # Order, and what a crash leaves
//! 1. A marker with the identity of what is being restored.
//! 2. Directories and files, in the order of their paths, several files at a time.
//! 3. The settings of recovery, and the manifest for `pg_verifybackup`.
//! 4. One barrier for each file system, which makes all of it durable.
//! 5. `pg_control` under its own name, its directory made durable, and the marker removed.
//!
//! A restore that was killed leaves a directory without `pg_control`, which no server starts from. One that fails or is
//! cancelled empties the directories again.

mod apply;
mod choose;
mod plan;
mod target;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use apply::{Restored, apply};
pub use choose::Replay;
pub(crate) use choose::choose;
pub use plan::{PlanSummary, RestorePlan, plan};
pub use target::RestoreTarget;

use crate::postgres::lsn::SystemIdentifier;
use crate::postgres::recovery::{RecoveryTarget, TargetAction, TargetTimeline};

/// What is restored, and to which moment.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The backup to use; otherwise the newest one that can reach the target.
    pub backup: Option<String>,
    /// The cluster to restore, where the repository holds backups of several.
    pub system_identifier: Option<SystemIdentifier>,
    /// The directory tree to restore, by its name.
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
    /// New places for tablespaces by OID; the others go back to where they were.
    pub tablespaces: BTreeMap<u32, PathBuf>,
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
            tablespaces: BTreeMap::new(),
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
