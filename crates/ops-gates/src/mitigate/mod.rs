//! Mitigations: something reversible that is done to a running system while it suffers, only as a policy allows.
//!
//! A file of mitigations ([`Mitigations`]) lists what may be done at all. Each has an undo, two states that are known beforehand, and
//! a longest time. [`plan`] aims and changes nothing; [`apply`] does it; [`undo`] takes it back from the record alone; [`list`] tells
//! what is in place, and which of it is overdue. Nothing is taken back by itself when its time is over: `list` says so.
//!
//! Order of steps of [`apply`], under the lock of the root directory, and what a crash leaves after each:
//! 1. A directory of its own. Nothing was done; `list` does not see it.
//! 2. The state is read, and must be the one without the mitigation.
//! 3. `mitigation.json` says `applying`, and has the undo. Nothing was done; `undo` finds that, and says so.
//! 4. The audit log has it. As before.
//! 5. The change. A file has the old text or the new one, never half; a command may be half-way, and its `undo` is then run.
//! 6. The state is read, the audit log has it, the record says `applied`. Until then it says `applying`, and `undo` works.
//! 7. `verify`, or the plan of `checks`, each run of which lies in `checks/`. Where it does not succeed, and where step 5 or 6 failed, all is taken back at once.
//!
//! [`undo`] does nothing where the state is the old one already, and refuses where it is neither: then somebody else has changed it.

mod policy;
mod record;
mod target;

pub use policy::{Commands, Flag, Mitigation, Mitigations, Throttle};
pub use record::{AUDIT, MITIGATION, Phase, Record};

use crate::error::{Error, ErrorKind};
use crate::plan::{Plan, ReadOptions};
use crate::process::Masker;
use crate::run::{Options, Runner};
use crate::value::Span;
use crate::verdict::Verdict;
use jiff::Timestamp;
use record::{Begin, audit};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use target::{Place, Seen, Target};
use tokio_util::sync::CancellationToken;

/// The pause between two tries of `verify`.
const PAUSE: Duration = Duration::from_millis(500);

/// Who wants it, and why.
#[derive(Clone, Default)]
pub struct Request {
    /// Why; it stands in the record and in the audit log.
    pub reason: String,
    /// Who, as the system knows them. It is noted, and proves nothing.
    pub actor: String,
    /// For how long; the longest time that the policy allows where it is absent.
    pub time: Option<Span>,
    /// Hides secrets in what commands write.
    pub masker: Option<Masker>,
    /// How a plan of `checks` is read and run; a signing key and an observer are not used.
    pub read: ReadOptions,
    /// See `read`.
    pub options: Options,
    /// Is told of each step when it is on disk.
    pub observer: Option<Arc<dyn Fn(Step) + Send + Sync>>,
}

/// A step that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The directory is there.
    Claimed,
    /// The record is there, with the undo.
    Recorded,
    /// The audit log has it.
    Audited,
    /// The change is made.
    Changed,
    /// The audit log says so.
    AuditedApplied,
    /// The record says so.
    Applied,
    /// The change is taken back.
    TakenBack,
    /// The audit log says so.
    AuditedUndone,
    /// The record says so.
    Undone,
}

/// What would be done. Nothing was yet.
#[derive(Debug)]
pub struct Planned<'a> {
    mitigations: &'a Mitigations,
    mitigation: &'a Mitigation,
    target: Target,
    time: Span,
    checks: Option<Plan>,
}

/// How a mitigation ended up.
#[derive(Debug)]
pub struct Applied {
    /// Its directory.
    pub directory: PathBuf,
    /// Its record.
    pub record: Record,
    /// Why it was taken back at once, where it was.
    pub taken_back: Option<String>,
}

/// What is on disk below a root directory.
#[derive(Debug)]
pub struct Listing {
    /// Each mitigation that was begun, with its directory, oldest first.
    pub mitigations: Vec<(PathBuf, Record)>,
    /// What could not be read, or does not fit.
    pub problems: Vec<Error>,
}

/// Says what would be done, and changes nothing. The state of a command is only read when it is done.
///
/// # Errors
/// [`ErrorKind::MitigationRefused`], where the policy does not allow it, or the state is not the one without it;
/// [`ErrorKind::PlanInvalid`] and [`ErrorKind::PlanUnreadable`], where its `checks` are no plan.
pub fn plan<'a>(mitigations: &'a Mitigations, name: &str, request: &Request) -> Result<Planned<'a>, Error> {
    let mitigation = mitigations.get(name)?;
    if request.reason.trim().is_empty() {
        return Err(refused(name, "a reason is needed, for those who find it"));
    }
    let time = request.time.unwrap_or(mitigation.max_duration);
    if time > mitigation.max_duration {
        return Err(refused(name, &format!("it may stay for {}, not for {time}", mitigation.max_duration)));
    }
    let target = Target::aim(mitigation, mitigations.directory()).map_err(|why| refused(name, &why))?;
    let checks = mitigation.checks.as_ref();
    let checks =
        checks.map(|file| Plan::load(&mitigations.directory().join(file), &request.read)).transpose()?;
    Ok(Planned { mitigations, mitigation, target, time, checks })
}

/// Does what was planned, and leaves its record in a directory of its own below the root.
///
/// # Errors
/// [`ErrorKind::Busy`] where another one is being done or undone; [`ErrorKind::MitigationRefused`] where the state is not the one
/// without it; [`ErrorKind::EvidenceNotWritten`] before anything was done where the record cannot be written;
/// [`ErrorKind::MitigationFailed`] where it could neither be done nor taken back.
pub async fn apply(
    planned: Planned<'_>,
    root: &Path,
    request: &Request,
    cancel: CancellationToken,
) -> Result<Applied, Error> {
    let cannot = |error| Error::io(ErrorKind::RunDirectory, "create mitigation directory", root, error);
    std::fs::create_dir_all(root).map_err(cannot)?;
    let _lock = lock(root).await?;
    let now = Timestamp::now();
    let name = planned.mitigation.name.as_str();
    let directory = claim(root, name, now).map_err(cannot)?;
    request.told(Step::Claimed);
    let log = directory.join("mitigation.log");
    let place = Place::logging(planned.mitigations.directory(), &log, request.masker.as_ref(), cancel)?;
    let seen = planned.target.seen(&place).await;
    let why = match seen {
        Ok(Seen::Off) => None,
        Ok(Seen::On) => Some("it is in place already; nobody knows who did that".to_owned()),
        Ok(Seen::Other(what)) => Some(format!("its state is `{what}`, neither of the two")),
        Err(error) => Some(error),
    };
    if let Some(why) = why {
        let _ = std::fs::remove_file(&log).and_then(|()| std::fs::remove_dir(&directory));
        return Err(refused(name, &why));
    }
    let mut record = Record::begin(Begin {
        name,
        summary: planned.to_string(),
        reason: request.reason.trim().to_owned(),
        actor: request.actor.clone(),
        policy: (planned.mitigations.name().to_owned(), planned.mitigations.sha256().to_owned()),
        now,
        time: planned.time,
        directory: planned.mitigations.directory().to_path_buf(),
        target: planned.target,
    });
    record.save(&directory)?;
    request.told(Step::Recorded);
    audit(root, &directory, &record, "applying", &request.actor)?;
    request.told(Step::Audited);
    let under_way = UnderWay { root, directory: &directory, request };
    let taken_back =
        match under_way.bring_about(&mut record, planned.mitigation, planned.checks.as_ref(), &place).await {
            Ok(()) => None,
            Err(why) => {
                // A cancellation stops what is being done, not what takes it back.
                let place = Place { cancel: CancellationToken::new(), ..place };
                under_way.take_back(&mut record, &place).await.map_err(|error| {
                    let message = format!("mitigation `{name}` failed: {why}; and {error}");
                    Error::new(ErrorKind::MitigationFailed, message)
                })?;
                Some(why)
            }
        };
    Ok(Applied { directory, record, taken_back })
}

/// Takes a mitigation back, from its directory alone. Returns its record, and whether there was anything left to take back.
///
/// # Errors
/// [`ErrorKind::MitigationRefused`] where the state is not what the mitigation left; [`ErrorKind::Busy`];
/// [`ErrorKind::RunUnreadable`] without a record; [`ErrorKind::MitigationFailed`] where it could not be taken back.
pub async fn undo(directory: &Path, request: &Request) -> Result<(Record, bool), Error> {
    let absolute = std::path::absolute(directory)
        .map_err(|error| Error::io(ErrorKind::RunUnreadable, "find", directory, error))?;
    let root = absolute.parent().unwrap_or(&absolute).to_path_buf();
    Record::load(&absolute)?;
    let _lock = lock(&root).await?;
    // Read again: until now somebody else may have taken it back.
    let mut record = Record::load(&absolute)?;
    if record.phase == Phase::Undone {
        return Ok((record, false));
    }
    let log = (1..).map(|number| absolute.join(format!("undo-{number}.log"))).find(|log| !log.exists());
    let log = log.unwrap_or_else(|| absolute.join("undo.log"));
    let place = Place::logging(&record.directory, &log, request.masker.as_ref(), CancellationToken::new())?;
    let under_way = UnderWay { root: &root, directory: &absolute, request };
    let changed = under_way.take_back(&mut record, &place).await?;
    Ok((record, changed))
}

/// Reads all that was begun below a root directory, and checks the audit log.
///
/// # Errors
/// [`ErrorKind::RunUnreadable`], where there is no such directory.
pub fn list(root: &Path) -> Result<Listing, Error> {
    let unreadable = |error| Error::io(ErrorKind::RunUnreadable, "read mitigations", root, error);
    let mut listing = Listing { mitigations: Vec::new(), problems: Vec::new() };
    for entry in std::fs::read_dir(root).map_err(unreadable)? {
        let directory = entry.map_err(unreadable)?.path();
        // One without a record was broken off before anything was done.
        if directory.join(MITIGATION).exists() {
            match Record::load(&directory) {
                Ok(record) => listing.mitigations.push((directory, record)),
                Err(error) => listing.problems.push(error),
            }
        }
    }
    listing.mitigations.sort_by(|a, b| a.0.cmp(&b.0));
    let any = !listing.mitigations.is_empty() || root.join(AUDIT).exists();
    if any && let Err(error) = record::verify_audit(root) {
        listing.problems.push(error);
    }
    Ok(listing)
}

struct UnderWay<'a> {
    root: &'a Path,
    directory: &'a Path,
    request: &'a Request,
}

impl UnderWay<'_> {
    async fn bring_about(
        &self,
        record: &mut Record,
        mitigation: &Mitigation,
        checks: Option<&Plan>,
        place: &Place,
    ) -> Result<(), String> {
        record.target.put(true, place).await?;
        self.request.told(Step::Changed);
        if record.target.seen(place).await? != Seen::On {
            return Err("the state afterwards is not the one with the mitigation".to_owned());
        }
        let said = |error: Error| error.to_string();
        audit(self.root, self.directory, record, "applied", &self.request.actor).map_err(said)?;
        self.request.told(Step::AuditedApplied);
        record.phase = Phase::Applied;
        record.save(self.directory).map_err(said)?;
        self.request.told(Step::Applied);
        if mitigation.verify.is_empty() && checks.is_none() {
            return Ok(());
        }
        let deadline = Instant::now() + mitigation.verify_within.get();
        for number in 1.. {
            let helps = match checks {
                Some(checks) => self.check(checks, number, place).await,
                None => place.run(&mitigation.verify).await.map(drop),
            };
            let Err(why) = helps else { break };
            if place.cancel.is_cancelled() || Instant::now() >= deadline {
                record.verified = Some(false);
                return Err(format!("it did not help: {why}"));
            }
            tokio::time::sleep(PAUSE).await;
        }
        record.verified = Some(true);
        record.save(self.directory).map_err(said)
    }

    /// Runs the plan of checks once.
    async fn check(&self, checks: &Plan, number: u32, place: &Place) -> Result<(), String> {
        let directory = self.directory.join("checks").join(format!("{number:04}"));
        // A server that the mitigation started must not end with the run that happens to go on.
        let options = Options {
            adopt_orphans: false,
            signing_key: None,
            observer: None,
            masker: self.request.masker.clone(),
            ..self.request.options.clone()
        };
        let record = Runner::new(options).run(checks, &directory, place.cancel.clone()).await;
        let record = record.map_err(|error| error.to_string())?;
        if record.verdict == Verdict::Passed { Ok(()) } else { Err(record.reason) }
    }

    /// Takes it back, where it is or may be in place; says whether there was anything to do.
    async fn take_back(&self, record: &mut Record, place: &Place) -> Result<bool, Error> {
        let failed = |name: &str, undo: &str, why: &str| {
            let message = format!("mitigation `{name}` could not be taken back: {why}; by hand: {undo}");
            Error::new(ErrorKind::MitigationFailed, message)
        };
        let (name, by_hand) = (record.name.clone(), record.undo_by_hand.clone());
        let seen = record.target.seen(place).await.map_err(|why| failed(&name, &by_hand, &why))?;
        let is_half_way = record.phase == Phase::Applying && record.target.can_be_half_way();
        let changed = match seen {
            Seen::Off => false,
            Seen::Other(what) if !is_half_way => {
                audit(self.root, self.directory, record, "undo-refused", &self.request.actor)?;
                let why = format!(
                    "its state is `{what}`, which the mitigation did not leave; somebody else changed it"
                );
                return Err(refused(&name, &why));
            }
            Seen::On | Seen::Other(_) => {
                record.target.put(false, place).await.map_err(|why| failed(&name, &by_hand, &why))?;
                let seen = record.target.seen(place).await.map_err(|why| failed(&name, &by_hand, &why))?;
                if seen != Seen::Off {
                    return Err(failed(&name, &by_hand, "the state afterwards is not the one before"));
                }
                true
            }
        };
        self.request.told(Step::TakenBack);
        // The log before the record: a second undo then finds the old state, and writes both again.
        audit(self.root, self.directory, record, "undone", &self.request.actor)?;
        self.request.told(Step::AuditedUndone);
        record.phase = Phase::Undone;
        record.undone_at = Some(Timestamp::now());
        record.save(self.directory)?;
        self.request.told(Step::Undone);
        Ok(changed)
    }
}

impl Request {
    fn told(&self, step: Step) {
        tracing::debug!(?step, "mitigation");
        if let Some(observer) = &self.observer {
            observer(step);
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("reason", &self.reason)
            .field("actor", &self.actor)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Planned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mitigation {}: {}; now for {}", self.mitigation.name, self.mitigation, self.time)
    }
}

impl Planned<'_> {
    /// The plan of its checks. Its secrets are to be made known to the masker.
    pub fn checks(&self) -> Option<&Plan> {
        self.checks.as_ref()
    }

    /// What a person would type to take it back.
    pub fn undo_by_hand(&self) -> String {
        self.target.undo_by_hand()
    }
}

/// Creates a directory whose name sorts by time; a clock may give the same millisecond twice.
fn claim(root: &Path, name: &str, now: Timestamp) -> std::io::Result<PathBuf> {
    let mut number = 1;
    loop {
        let again = if number == 1 { String::new() } else { format!("-{number}") };
        let directory = root.join(format!("{:013}-{name}{again}", now.as_millisecond()));
        match std::fs::create_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            created => return created.map(|()| directory),
        }
    }
}

async fn lock(root: &Path) -> Result<File, Error> {
    let path = root.join(".lock");
    let file = File::options().create(true).append(true).open(&path);
    let file = file.map_err(|error| Error::io(ErrorKind::RunDirectory, "open lock", &path, error))?;
    // A program that another thread is just starting has a copy of our files, and so of the lock, for a moment.
    for _ in 0..100 {
        if file.try_lock().is_ok() {
            return Ok(file);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let message = format!("another mitigation is being done or undone in {}", root.display());
    Err(Error::new(ErrorKind::Busy, message))
}

fn refused(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::MitigationRefused, format!("mitigation `{name}` is refused: {why}"))
}
