//! Verify: read everything that is stored and prove it by hash; find what is missing.
//!
//! # What is proven
//! - Every pack that a backup needs hashes to its name, every frame decrypts and decompresses, and every block in it has
//!   the hash that the backup expects of it.
//! - Every listing, piece and manifest can be read, and what it refers to is there.
//! - Every record of the log, every key, every other object is what was sealed in its place.
//! - Every WAL file has the content, size and position that its name says, and no segment is missing from the begin of
//!   each backup on, except for those that were given up on purpose.
//!
//! # Memory
//! Packs are taken in batches of some gigabytes. For each batch the listings and pieces that refer to its packs are read,
//! and only the places and hashes in those packs are kept: as much for one backup as for a thousand.
//!
//! # Ledger
//! What was proven, and when, is written down in the repository, so that a later run can leave out what was read within
//! [`VerifyOptions::max_age`]. What is left out must still be there, with its size.
//!
//! A crash leaves at most a ledger that nobody reads yet. The result counts once its record is in the log.

mod gather;
mod ledger;
mod objects;
mod packs;
mod report;
mod wal;

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

pub use report::{Problem, VerifyReport};

use crate::error::{Error, ErrorKind, Result};
use crate::monitor::{Meter, Monitor, Phase};
use crate::repo::Repository;
use crate::repo::catalog::Backup;
use crate::repo::content::Manifest;
use crate::repo::log::{Event, Proof, State};
use crate::repo::pack::PackTable;
use ledger::Ledger;
use report::Findings;

/// What is verified, and how fast.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Only this backup and its WAL; otherwise everything.
    pub backup: Option<String>,
    /// How many objects are read and hashed at a time. Each takes about 40 MB.
    pub workers: usize,
    /// Leaves out packs and WAL files that an earlier run has proven within this time, as the ledger says.
    pub max_age: Option<Duration>,
    /// The share of the packs and WAL files that are read, from 0 to 1; the rest must be there. The run proves no backup
    /// whole then.
    pub sample: Option<f64>,
    /// Chooses the sample; random where it is `None`. The same number chooses the same objects.
    pub seed: Option<u64>,
    /// Whether the result is written into the repository, for `list`, `expire` and the next run.
    pub record: bool,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        VerifyOptions {
            backup: None,
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            max_age: None,
            sample: None,
            seed: None,
            record: true,
        }
    }
}

/// Verifies the repository.
///
/// # Errors
/// Only where it could not be judged: `Storage` where an object cannot be read, `Cancelled`; `NotFound` for a named backup,
/// `Configuration` for a sample that is no share. Damage is in the report.
#[tracing::instrument(skip_all)]
pub async fn verify(
    repository: &Repository,
    options: &VerifyOptions,
    monitor: &Monitor,
) -> Result<VerifyReport> {
    if options.sample.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
        return Err(Error::new(ErrorKind::Configuration, "a sample is a share above 0 and up to 1"));
    }
    monitor.phase(Phase::Prepare, 0);
    monitor.until_cancelled(run(repository, options, monitor)).await
}

/// A backup with its manifest, where that could be read.
struct Subject {
    backup: Backup,
    manifest: Option<Manifest>,
}

/// What all parts of a run share.
struct Run<'a> {
    repository: &'a Repository,
    options: &'a VerifyOptions,
    state: State,
    subjects: Vec<Subject>,
    packs: PackTable,
    selection: Selection,
    meter: Arc<Meter>,
}

async fn run(repository: &Repository, options: &VerifyOptions, monitor: &Monitor) -> Result<VerifyReport> {
    let state = repository.state().await?;
    let backups: Vec<Backup> = match &options.backup {
        Some(id) => vec![repository.backup(id).await?],
        None => repository.backups().await?,
    };
    let mut findings = Findings::default();
    let packs = PackTable::default();
    let mut subjects = Vec::new();
    for backup in backups {
        let manifest = repository.read_manifest(&backup.id, Some(&backup.manifest), &packs).await;
        let object = format!("backups/{}/manifest", backup.id);
        let manifest = findings.keep(manifest, &object, [&backup.id])?;
        subjects.push(Subject { backup, manifest });
    }
    let ledger = Ledger::read(repository, &mut findings).await?;
    let selection = Selection::new(options, ledger.clone());
    let meter = Arc::new(Meter::new(monitor));
    let run = Run { repository, options, state, subjects, packs, selection, meter };
    if options.backup.is_none() {
        objects::check(&run, &mut findings).await?;
    }
    let mut ledger = ledger;
    let coverage = packs::check(&run, monitor, &mut ledger, &mut findings).await?;
    wal::check(&run, &mut ledger, &mut findings).await?;
    conclude(run, coverage, ledger, findings).await
}

/// Writes the result down, and makes the report of it.
async fn conclude(
    run: Run<'_>,
    coverage: packs::Coverage,
    ledger: Ledger,
    mut findings: Findings,
) -> Result<VerifyReport> {
    let Run { repository, options, subjects, .. } = run;
    // What expired meanwhile may have lost objects rightly.
    let now = repository.state().await?;
    findings.forget(|id| !now.backups.contains_key(id));
    let proofs: Vec<Proof> = subjects
        .iter()
        .filter(|subject| now.backups.contains_key(&subject.backup.id))
        .map(|subject| Proof {
            backup: subject.backup.id.clone(),
            complete: !coverage.partial.contains(&subject.backup.id),
            problems: findings.against(&subject.backup.id),
        })
        .collect();
    let backups: Vec<String> = proofs.iter().map(|proof| proof.backup.clone()).collect();
    let complete = proofs.iter().all(|proof| proof.complete);
    if options.record {
        ledger.write(repository).await?;
        if !proofs.is_empty() {
            let event = Event::Verify { proofs };
            repository.append(|_| Ok(Some(event.clone()))).await?;
        }
    }
    Ok(findings.report(backups, complete))
}

/// Which objects are read in this run.
struct Selection {
    ledger: Ledger,
    not_before: Option<Timestamp>,
    share: Option<f64>,
    seed: u64,
}

/// Why an object is read, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Read,
    /// An earlier run has proven it.
    Proven,
    /// It is not in the sample.
    LeftOut,
}

impl Selection {
    fn new(options: &VerifyOptions, ledger: Ledger) -> Self {
        let not_before = options.max_age.map(|age| {
            let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
            Timestamp::now().checked_sub(age).unwrap_or(Timestamp::MIN)
        });
        let seed = options.seed.unwrap_or_else(crate::repo::random);
        Selection { ledger, not_before, share: options.sample, seed }
    }

    fn choose(&self, path: &str) -> Choice {
        let proven = self.ledger.proven(path);
        if self.not_before.zip(proven).is_some_and(|(not_before, proven)| proven >= not_before) {
            return Choice::Proven;
        }
        let Some(share) = self.share else { return Choice::Read };
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes()).update(path.as_bytes());
        let draw = u32::from_le_bytes(hasher.finalize().as_bytes()[..4].try_into().expect("four bytes"));
        if f64::from(draw) < share * f64::from(u32::MAX) { Choice::Read } else { Choice::LeftOut }
    }
}

#[cfg(test)]
mod tests;
