//! Drills: a fault is put into a running system on purpose, must be *seen*, is taken out again, and the time until all is
//! well is measured against the objective.
//!
//! Order of steps, and what each leaves:
//! 1. `drill.json` says that nothing is shown yet. The checks run; where they do not pass, nothing is injected.
//! 2. The fault goes in. From here on it is taken back whatever happens: by the last step, by a cancellation, by a panic, by
//!    dropping the future. After SIGKILL of this process its guardian does it, where the options name one; `drill.json`
//!    says how to do it by hand.
//! 3. The checks must stop passing within a time. A fault that nobody sees proves nothing: inconclusive.
//! 4. The fault is taken out, and the checks must pass so often in a row. The recovery time ends with the first of these.
//! 5. `report.md`, `evidence.json` (kind `chaos-drill`), and `drill.json` last.
//!
//! The checks are the gates of a plan, run as always; each of their runs is kept below `checks/`.

mod fault;
mod plan;
mod record;

pub use fault::{BlockPort, Commands, Fault, Fill, Kill, Pause, StopContainer};
pub use plan::Drill;
pub use record::{DRILL_KIND, DrillOutcome, DrillRecord, Phase, Probe};

use crate::error::{Error, ErrorKind};
use crate::guardian::Guard;
use crate::plan::Plan;
use crate::record::{RunRecord, State};
use crate::run::{self, EVIDENCE, Options, Runner};
use crate::verdict::{Standing, Verdict};
use fault::Injected;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The file that says how a drill ended.
pub const DRILL: &str = "drill.json";
/// The report for people.
pub const REPORT: &str = "report.md";

/// Carries a drill out, and leaves its record in a directory of its own, which is created.
///
/// # Errors
/// [`ErrorKind::RunDirectory`] before anything happens, and [`ErrorKind::EvidenceNotWritten`] where the record could not
/// be written; the fault is taken back in any case. A drill that failed is no error: the record says so.
pub async fn carry_out(
    drill: &Drill,
    options: &Options,
    directory: &Path,
    cancel: CancellationToken,
) -> Result<DrillRecord, Error> {
    let mut under_way = UnderWay::start(drill, options, directory, cancel)?;
    let (outcome, code, reason) = match under_way.all().await {
        Ok(shown) => shown,
        Err(Stop::Error(error)) => return Err(error),
        Err(Stop::Ended(outcome, code, reason)) => (outcome, code, reason),
    };
    under_way.finish(outcome, code, reason)
}

/// Why a drill goes no further.
enum Stop {
    Ended(DrillOutcome, &'static str, String),
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

type Shown = (DrillOutcome, &'static str, String);

struct UnderWay<'a> {
    drill: &'a Drill,
    options: &'a Options,
    directory: PathBuf,
    cancel: CancellationToken,
    record: DrillRecord,
    /// The clock of the drill, which does not jump.
    began: Instant,
}

impl<'a> UnderWay<'a> {
    fn start(
        drill: &'a Drill,
        options: &'a Options,
        directory: &Path,
        cancel: CancellationToken,
    ) -> Result<Self, Error> {
        let cannot = |error| Error::io(ErrorKind::RunDirectory, "create drill directory", directory, error);
        std::fs::create_dir_all(directory).map_err(cannot)?;
        // Of two drills that want the directory at once, one creates this.
        std::fs::create_dir(directory.join("checks")).map_err(cannot)?;
        let record = DrillRecord::start(drill, options, Timestamp::now());
        let began = Instant::now();
        let under_way = Self { drill, options, directory: directory.to_path_buf(), cancel, record, began };
        under_way.save()?;
        Ok(under_way)
    }

    async fn all(&mut self) -> Result<Shown, Stop> {
        let before = self.probe(Phase::Before).await?;
        if before.verdict != Verdict::Passed {
            return Err(inconclusive("no-steady-state", format!("nothing was injected: {}", before.reason)));
        }
        // Written before the fault is: whoever finds a killed drill knows what to take back.
        let fault =
            self.drill.fault.aim(self.drill.directory()).map_err(|reason| errored("fault", reason))?;
        self.record.undo_by_hand = fault.undo_by_hand();
        self.record.injected_at = Some(Timestamp::now());
        self.save()?;
        let guard = self.guard().await?;
        let injected_at = Instant::now();
        tracing::info!(drill = self.record.name, "injecting: {}", self.record.fault);
        let log = self.directory.join("fault.log");
        let mut injected = Injected::new(fault, self.options.masker.clone(), log, guard);
        if let Err(reason) = injected.inject().await {
            let undone = injected.take_back().await;
            self.record.rolled_back = Some(undone.is_ok());
            return Err(errored("inject", format!("the fault could not be injected: {reason}")));
        }
        let seen = self.impact(injected_at).await;
        // However that ended: the fault goes out before anything else is thought about.
        let removed_at = if injected.is_over_at_once() { injected_at } else { Instant::now() };
        let undone = injected.take_back().await;
        self.record.rolled_back = Some(undone.is_ok());
        tracing::info!(drill = self.record.name, "the fault was taken back: {}", undone.is_ok());
        injected.close().await;
        if let Err(reason) = undone {
            return Err(errored("rollback", format!("the fault could not be taken back: {reason}")));
        }
        seen?;
        self.recovery(injected_at, removed_at).await
    }

    /// Who takes the fault back where we are killed.
    async fn guard(&self) -> Result<Option<Guard>, Error> {
        let Some(guardian) = &self.options.guardian else { return Ok(None) };
        let mut guard = guardian.start(&self.directory)?;
        guard.is_standing().await?;
        Ok(Some(guard))
    }

    /// Waits until the checks see the fault, and keeps it for as long as the drill says.
    async fn impact(&mut self, injected_at: Instant) -> Result<(), Stop> {
        let deadline = injected_at + self.drill.impact_within.get();
        loop {
            let probe = self.probe_until(Phase::Fault, deadline).await?;
            if probe.is_some_and(|probe| saw_the_fault(&probe)) {
                break;
            }
            if Instant::now() >= deadline {
                let within = self.drill.impact_within;
                return Err(inconclusive("no-impact", format!("no check saw the fault within {within}")));
            }
            self.pause(self.drill.interval.get()).await?;
        }
        self.measure("impact_seen_seconds", injected_at.elapsed());
        match self.drill.hold {
            Some(hold) => self.pause(hold.get()).await,
            None => Ok(()),
        }
    }

    async fn recovery(&mut self, injected_at: Instant, removed_at: Instant) -> Result<Shown, Stop> {
        let deadline = removed_at + self.drill.give_up_after();
        let mut good = 0;
        let mut first_good = removed_at;
        while good < self.drill.good_checks {
            let probe = self.probe_until(Phase::Recovery, deadline).await?;
            match probe {
                Some(probe) if probe.verdict == Verdict::Passed => {
                    if good == 0 {
                        first_good = Instant::now();
                    }
                    good += 1;
                }
                _ => good = 0,
            }
            if good < self.drill.good_checks {
                if Instant::now() >= deadline {
                    let after = self.drill.give_up_after().as_secs();
                    return Err(Stop::Ended(
                        DrillOutcome::Failed,
                        "not-recovered",
                        format!(
                            "the checks did not pass {} times in a row within {after} s",
                            self.drill.good_checks
                        ),
                    ));
                }
                self.pause(self.drill.interval.get()).await?;
            }
        }
        let recovery = first_good - removed_at;
        self.measure("recovery_time_seconds", recovery);
        self.measure("outage_seconds", first_good - injected_at);
        let (seconds, rto) = (recovery.as_secs_f64(), self.drill.rto);
        if recovery > rto.get() {
            let reason = format!("recovered after {seconds:.2} s, the objective is {rto}");
            return Ok((DrillOutcome::Failed, "rto", reason));
        }
        Ok((DrillOutcome::Passed, "ok", format!("recovered after {seconds:.2} s, within {rto}")))
    }

    fn measure(&mut self, name: &str, time: Duration) {
        self.record.measurements.insert(name.to_owned(), time.as_secs_f64());
    }

    /// Runs the checks once; none where the time was over before they had ended.
    async fn probe_until(&mut self, phase: Phase, deadline: Instant) -> Result<Option<RunRecord>, Stop> {
        let token = self.cancel.child_token();
        let left = deadline.saturating_duration_since(Instant::now());
        let record = {
            let probe = self.run(phase, token.clone());
            tokio::pin!(probe);
            tokio::select! {
                record = &mut probe => record?,
                () = tokio::time::sleep(left) => {
                    token.cancel();
                    probe.await?
                }
            }
        };
        self.note(phase, &record);
        if self.cancel.is_cancelled() {
            return Err(interrupted());
        }
        Ok((record.state == State::Finished).then_some(record))
    }

    async fn probe(&mut self, phase: Phase) -> Result<RunRecord, Stop> {
        let record = self.run(phase, self.cancel.child_token()).await?;
        self.note(phase, &record);
        if self.cancel.is_cancelled() {
            return Err(interrupted());
        }
        Ok(record)
    }

    async fn run(&self, phase: Phase, token: CancellationToken) -> Result<RunRecord, Error> {
        let directory =
            self.directory.join("checks").join(format!("{:04}-{phase}", self.record.probes.len()));
        // A server that the drill started again must not end with the run that happens to go on.
        let options = Options {
            adopt_orphans: false,
            cgroup: false,
            signing_key: None,
            observer: None,
            ..self.options.clone()
        };
        Runner::new(options).run(self.checks(), &directory, token).await
    }

    fn checks(&self) -> &'a Plan {
        &self.drill.checks
    }

    fn note(&mut self, phase: Phase, record: &RunRecord) {
        self.record.probes.push(Probe {
            phase,
            ended_at_seconds: self.began.elapsed().as_secs_f64(),
            verdict: record.verdict,
            reason: record.reason.clone(),
        });
    }

    async fn pause(&self, time: Duration) -> Result<(), Stop> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.cancel.cancelled() => Err(interrupted()),
        }
    }

    fn save(&self) -> Result<(), Error> {
        self.put(DRILL, &self.record.to_json())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.directory.join(name);
        run::put(&self.directory, name, bytes)
            .map_err(|error| Error::io(ErrorKind::EvidenceNotWritten, "write", &path, error))
    }

    fn finish(mut self, outcome: DrillOutcome, code: &str, reason: String) -> Result<DrillRecord, Error> {
        self.record.finish(outcome, code, self.masked(reason), Timestamp::now());
        self.put(REPORT, self.record.markdown().as_bytes())?;
        if let Some(key) = &self.options.signing_key {
            self.put(EVIDENCE, &self.record.sign(key)?)?;
        }
        self.save()?;
        Ok(self.record)
    }

    fn masked(&self, text: String) -> String {
        let Some(masker) = &self.options.masker else { return text };
        let mut bytes = text.into_bytes();
        masker(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Whether a check was looked at and did not pass; one that never ran saw nothing.
fn saw_the_fault(record: &RunRecord) -> bool {
    matches!(record.standing(), Standing::Blocked | Standing::CouldNotJudge)
}

fn inconclusive(code: &'static str, reason: String) -> Stop {
    Stop::Ended(DrillOutcome::Inconclusive, code, reason)
}

fn errored(code: &'static str, reason: String) -> Stop {
    Stop::Ended(DrillOutcome::Error, code, reason)
}

fn interrupted() -> Stop {
    Stop::Ended(DrillOutcome::Interrupted, "interrupted", "the drill was interrupted".to_owned())
}
