//! Restore rehearsal: proves that a backup restores, by restoring it and starting PostgreSQL on the copy.
//!
//! [`rehearse`] restores into a scratch directory, has stock `pg_verifybackup` compare the files, starts a server of
//! the same major version that is locked away from the world, replays WAL to the target, opens the copy for writing,
//! and asks `pg_amcheck` and the caller's [`Assertion`]s. What happened becomes an evidence
//! [`Record`], **also when the rehearsal fails**. The server is stopped and the directory removed however it ends,
//! also when this process is killed.
//!
//! The server listens on a socket in a private directory only. It does not archive, replicate or subscribe, and it
//! runs no command of the original but the given `restore_command`. It does not read the restored `postgresql.conf`,
//! so it starts as well where the original kept its configuration elsewhere.
//!
//! | check | passes when |
//! |---|---|
//! | `restore` | every file could be fetched and had its checksum |
//! | `pg_verifybackup` | the restored files are those of the backup manifest |
//! | `start` | the server became consistent and answered |
//! | `replay` | it reached the target, or for the latest target the end of the archive |
//! | `promote` | it left recovery and takes writes |
//! | `pg_amcheck` | no table or B-tree index is corrupt |
//! | `assertion:<name>` | the answer is the expected one |
//! | `time_budget` | present only where the budget was exceeded, and then failed |
//!
//! [`Measurements`] says what each number means.

mod lockdown;
mod measure;
mod options;
mod process;
mod record;
mod referees;
mod run;
mod scratch;
mod server;

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use ops_core::evidence::{Outcome, Record};

pub use measure::Measurements;
pub use options::{Assertion, Keep, RehearseOptions, Requirement, RunAs, Wanted};

use crate::error::{Error, ErrorKind, Result};
use crate::monitor::Monitor;
use crate::repo::Repository;
use crate::repo::log::Event;
use process::Launcher;
use record::Journal;
use run::Run;
use scratch::Scratch;

/// The result of a rehearsal that was carried out, whether it passed or not.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rehearsal {
    /// The evidence: outcome, checks, measurements. Not signed yet.
    pub record: Record,
    /// The measurements of the record, typed.
    pub measurements: Measurements,
    /// The directory with the restored cluster and the server's log, where it was to be kept.
    pub kept: Option<PathBuf>,
}

/// Rehearses the restore of the newest backup that can reach the target.
///
/// Cancel through `monitor` rather than by dropping the future: then this returns once all is cleaned up.
///
/// # Errors
/// `Cancelled`; `NotFound` where no backup has the name that is asked for; `Configuration` where the request cannot work on
/// this machine; an error of the repository where not
/// even a backup could be looked up. A backup that does not restore is no error: it gives a record that says so.
pub async fn rehearse(
    repository: &Repository,
    options: &RehearseOptions,
    monitor: &Monitor,
) -> Result<Rehearsal> {
    options.check()?;
    let mut journal = Journal::begin(options);
    let backup = match run::choose(repository, options).await {
        Ok(backup) => backup,
        // No backup of that name is nothing to judge.
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
        Err(error) if record::tells_of_the_backup(error.kind()) => {
            journal.about_repository(repository).await?;
            journal.error("restore", &error);
            return Ok(conclude(journal, options, None));
        }
        Err(error) => return Err(error),
    };
    let Some(facts) = backup.postgres() else {
        return Err(Error::new(ErrorKind::Configuration, "only backups of PostgreSQL can be rehearsed"));
    };
    journal.about(repository, &backup, facts).await?;

    let scratch = Scratch::create(&options.scratch, options.run_as, options.keep)?;
    let launcher = Launcher { options, scratch: &scratch };
    check_major(&launcher, facts.cluster.major).await?;
    let (limited, stop) = monitor.child();
    let run = Run { repository, backup: &backup, facts, launcher, monitor: &limited };
    let result = {
        let mut phases = pin!(run.phases(&mut journal));
        match tokio::time::timeout(options.budget.unwrap_or(Duration::MAX), &mut phases).await {
            Ok(result) => result,
            Err(_) => {
                // The phase must end by itself: the threads of a restore still write.
                stop.cancel();
                phases.await
            }
        }
    };
    let kept = scratch.close().await?;
    // Any other error is a check in the journal by now.
    if result.is_err_and(|error| error.kind() == ErrorKind::Cancelled) {
        monitor.check()?;
        let budget = options.budget.unwrap_or_default();
        journal
            .failed("time_budget", format!("not done within {budget:?}, ended in phase {}", journal.phase));
    }
    let rehearsal = conclude(journal, options, kept);
    remember(repository, &backup.id, &rehearsal).await;
    Ok(rehearsal)
}

/// Tells the repository, for `list`. The evidence is the record; where this fails the rehearsal is as good as before.
async fn remember(repository: &Repository, backup: &str, rehearsal: &Rehearsal) {
    let passed = match rehearsal.record.outcome {
        Outcome::Passed => true,
        Outcome::Failed => false,
        // This machine could not judge.
        _ => return,
    };
    let recovery = rehearsal.measurements.recovery_time().unwrap_or_default();
    let event =
        Event::Rehearse { backup: backup.to_owned(), passed, recovery_seconds: recovery.as_secs_f64() };
    if let Err(error) = repository.append(|_| Ok(Some(event.clone()))).await {
        tracing::warn!(%error, "the repository could not be told of the rehearsal");
    }
}

fn conclude(journal: Journal, options: &RehearseOptions, kept: Option<PathBuf>) -> Rehearsal {
    let measurements = journal.measurements;
    Rehearsal { record: journal.finish(options), measurements, kept }
}

async fn check_major(launcher: &Launcher<'_>, wanted: u32) -> Result<()> {
    let found = referees::installed_major(launcher).await?;
    if found == wanted {
        return Ok(());
    }
    let bin_dir = launcher.options.bin_dir.display();
    let message = format!("{bin_dir} holds PostgreSQL {found}, but the backup is of PostgreSQL {wanted}");
    Err(Error::new(ErrorKind::Configuration, message))
}
