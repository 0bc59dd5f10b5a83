//! Backup, WAL archive, point-in-time restore, verification and restore rehearsal for PostgreSQL, into any object store.
//!
//! A backup that has not been restored is not a backup. This crate takes full online backups of a running cluster,
//! archives its WAL, restores both to any moment, and proves it.
//!
//! - [`Repository`]: where backups and WAL lie. [`location::open`] leads to its store.
//! - [`backup()`]: copies a running cluster in parallel, by its files ([`PostgresEngine`]) or over the network
//!   ([`RemoteEngine`]), from the primary or a standby; the copy exists once its commit object does.
//! - [`wal::push`] and [`wal::fetch`]: what `archive_command` and `restore_command` call; [`wal::service`] makes them cheap.
//! - [`audit_wal()`]: which moments can be restored, and which gap keeps others from it.
//! - [`restore::plan`] and [`restore::apply`]: into a [`RestoreTarget`], which only a directory that is safe to
//!   write to can become.
//! - [`expire::plan`] and [`expire::apply`]: give up what a [`Retention`] does not keep, each backup with its reason.
//! - [`verify()`]: reads everything that is stored and re-hashes it. [`list()`]: what there is.
//! - [`Monitor`]: progress and cancellation of every job.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use ops_backup::{BackupOptions, Key, Monitor, PostgresEngine, RecoveryTarget, Repository};
//! use ops_backup::{RestoreOptions, RestoreTarget, backup, location, restore};
//! use ops_core::connection::ConnectionSettings;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let store = location::open("/var/backups/shop", &location::LocationOptions::default())?;
//! let key = Key::from_file_bytes(&std::fs::read("/etc/ops/backup.key")?)?;
//! let repository = Repository::open_or_create(store, Some(&key)).await?;
//!
//! let server = ConnectionSettings::parse("postgresql://postgres@localhost/postgres")?;
//! let engine = PostgresEngine::new(server);
//! let taken = backup(&repository, &engine, &BackupOptions::default(), &Monitor::default()).await?;
//! assert_eq!(taken.bad_pages, 0, "the source is damaged: {:?}", taken.bad_page_examples);
//!
//! let options = RestoreOptions {
//!     target: RecoveryTarget::Time("2026-11-21T05:00:00Z".parse()?),
//!     restore_command: "ops-backup --config /etc/ops/ops.toml wal fetch %f %p".to_owned(),
//!     ..RestoreOptions::default()
//! };
//! let target = RestoreTarget::check(Path::new("/var/lib/postgresql/restored"))?;
//! let plan = restore::plan(&repository, target, options).await?;
//! restore::apply(&repository, plan, &Monitor::default()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Features: `s3`, `gcs` and `azure` add the object stores of that name, and everything that speaks their protocols.

mod engine;
mod error;
mod job;
pub mod metrics;
mod monitor;
mod plan;
pub mod postgres;
pub mod rehearse;
mod repo;
mod transfer;
pub mod wal;

pub use engine::{
    Engine, IncrementalUse, PostgresEngine, RemoteEngine, TakenFrom, TreeEngine, WireCompression,
};
pub use error::{Error, ErrorKind};
pub use job::audit::{self, WalAudit, audit_wal};
pub use job::backup::{BackupOptions, BaseChoice, ChangeDetection, backup};
pub use job::expire::{self, ExpirePlan};
pub use job::list::{self, Inventory, list};
pub use job::restore::{self, AfterCrash, RestoreOptions, RestoreTarget};
pub use job::verify::{Problem, VerifyOptions, VerifyReport, verify};
pub use monitor::{Monitor, Phase, Progress};
pub use plan::retention::{self, Candidate, Decision, Retention, WalRetention};
pub use postgres::{Cluster, Lsn, RecoveryTarget, SystemIdentifier, TargetAction, TargetTimeline};
pub use rehearse::{Rehearsal, RehearseOptions, rehearse};
pub use repo::catalog::Backup;
pub use repo::compress::Compression;
pub use repo::keys::{Key, KeyInfo, KeyKind};
pub use repo::{Repository, RetryPolicy, catalog, location};
