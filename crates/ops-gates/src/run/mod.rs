//! A run from its first byte on disk to its last.

mod demand;
mod directory;
mod event;
mod proof;
mod scan;
mod schedule;
mod shelter;

pub use demand::Demands;
pub(crate) use directory::put;
pub use directory::{ATTESTATIONS, EVENTS, EVIDENCE, JUNIT, LOGS, SUMMARY, TAP, VERDICT};
pub use event::{Event, EventKind};
pub use proof::{EVIDENCE_KIND, verify};

use crate::error::{Error, ErrorKind};
use crate::gate::{Context, Parts, Results, Subject};
use crate::guardian::Guardian;
use crate::outcome::{Fault, Finding, Outcome};
use crate::plan::{Plan, PlannedGate};
use crate::policy::{self, Excuse, Policy};
use crate::process::{self, Masker};
use crate::record::{AttemptRecord, GateRecord, LogRef, RunRecord, Stopped};
use crate::report::{self, JunitFlavor};
use crate::subject::Resolved;
use crate::value::Span;
use directory::RunDirectory;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use ops_core::evidence::SigningKey;
use schedule::{Limits, Node};
use shelter::Shelter;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Gives the variables that every child process gets, such as `TRACEPARENT`. Called once a gate, within the gate's span.
pub type ChildEnvironment = Arc<dyn Fn() -> Vec<(String, String)> + Send + Sync>;

/// Sees every event, in order. It is called from within the run, so that it must be quick.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// How a plan is run.
#[derive(Clone)]
pub struct Options {
    /// How many gates run at once.
    pub jobs: usize,
    /// How long the processes of a gate have between SIGTERM and SIGKILL. A cancelled run ends soon after it.
    pub grace: Duration,
    /// Makes this process the parent of all orphans below it, so that a daemon which hides from its gate is found when
    /// the run ends. It changes the whole process for the rest of its life; for a program that does nothing else.
    pub adopt_orphans: bool,
    /// Moves this process into a control group (cgroup v2) of its own for the time of the run, where the system allows it, so
    /// that nothing that was started can hide. Of two runs at once in one process, the second goes without. It changes the
    /// whole process; for a program that does nothing else.
    pub cgroup: bool,
    /// A second process that ends all programs of the run where this one is killed (SIGKILL) or its run is dropped. Without
    /// it they go on when this process is killed.
    pub guardian: Option<Guardian>,
    /// Hides secrets in everything that is written.
    pub masker: Option<Masker>,
    /// What every child process gets.
    pub child_environment: Option<ChildEnvironment>,
    /// Sees every event.
    pub observer: Option<Observer>,
    /// Signs the evidence of the run. Without it there is a verdict, but nobody else can trust it.
    pub signing_key: Option<Arc<SigningKey>>,
    /// Which schema `junit.xml` follows.
    pub junit: JunitFlavor,
    /// The name and version of the program, for the record.
    pub tool: String,
    /// The trace that the logs of the run are part of, for the record.
    pub trace_id: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            grace: Duration::from_secs(2),
            adopt_orphans: false,
            cgroup: false,
            guardian: None,
            masker: None,
            child_environment: None,
            observer: None,
            signing_key: None,
            junit: JunitFlavor::default(),
            tool: concat!("ops-gates ", env!("CARGO_PKG_VERSION")).to_owned(),
            trace_id: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("jobs", &self.jobs)
            .field("grace", &self.grace)
            .field("adopt_orphans", &self.adopt_orphans)
            .field("cgroup", &self.cgroup)
            .field("guardian", &self.guardian)
            .field("signs", &self.signing_key.is_some())
            .field("tool", &self.tool)
            .field("trace_id", &self.trace_id)
            .finish_non_exhaustive()
    }
}

/// Runs plans.
#[derive(Debug, Clone, Default)]
pub struct Runner {
    options: Options,
}

impl Runner {
    /// A runner with these options.
    pub fn new(options: Options) -> Self {
        Self { options }
    }

    /// Runs a plan and leaves its record in a directory of its own, which is created.
    ///
    /// While it runs, and if it is killed or this future is dropped, `verdict.json` in the directory says BLOCKED. After
    /// a cancellation the record says interrupted; the returned record does too.
    ///
    /// # Errors
    /// [`ErrorKind::RunDirectory`] before anything runs; [`ErrorKind::EvidenceNotWritten`] where the record of a run
    /// could not be written, in which case BLOCKED stands on disk.
    pub async fn run(
        &self,
        plan: &Plan,
        directory: &Path,
        cancel: CancellationToken,
    ) -> Result<RunRecord, Error> {
        if self.options.adopt_orphans {
            process::adopt_orphans().map_err(|error| {
                Error::new(ErrorKind::RunDirectory, "cannot adopt orphaned processes").because(error)
            })?;
        }
        let options = &self.options;
        let mut shelter = Shelter::start(options, directory)?;
        let run_id = run_id();
        let started = Timestamp::now();
        let mut record =
            RunRecord::start(plan, run_id.clone(), options.tool.clone(), options.trace_id.clone(), started);
        let subject = look_at_subject(plan).await?;
        let authors = subject.as_ref().map(|subject| subject.authors.clone()).unwrap_or_default();
        record.subject = subject.as_ref().map(|subject| subject.subject.clone());
        record.artifacts = subject.as_ref().map(|subject| subject.artifacts.clone()).unwrap_or_default();
        let case = policy::Case {
            policies: plan.policies(),
            subject: record.subject.as_ref(),
            authors: &authors,
            now: started,
        };
        let (waived, refused) = policy::excuses(plan.waivers(), plan.directory(), &case);
        record.waivers_refused = refused;
        let directory = RunDirectory::create(directory, &record)?;
        shelter.stand(&run_id, options).await?;
        let log =
            Log { directory, seq: 0, last: String::new(), observer: options.observer.clone(), failure: None };
        let mut run = Run {
            options,
            plan,
            // What ends the run early must not end what the caller uses the token for besides.
            cancel: cancel.child_token(),
            results: Results::default(),
            shelter,
            subject: record.subject.clone(),
            waived,
            state: Mutex::new(Inner { record, log, started: HashMap::new() }),
        };
        run.emit(EventKind::RunStarted { run_id, gates: plan.gates().len() });
        let stopped = run.gates_in_time().await;
        let record = run.finish(stopped, subject.as_ref()).await;
        run.shelter.leave().await;
        record
    }
}

/// Looks at what is released, away from the tasks that must not wait.
async fn look_at_subject(plan: &Plan) -> Result<Option<Resolved>, Error> {
    let Some(look) = plan.look_at_subject() else { return Ok(None) };
    let looked = tokio::task::spawn_blocking(move || look().map(Some)).await;
    looked.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::SubjectNotProven, "the subject could not be looked at").because(error))
    })
}

/// One run under way. All of it is polled by one task, and no lock is held across an await.
struct Run<'a> {
    options: &'a Options,
    plan: &'a Plan,
    cancel: CancellationToken,
    results: Results,
    shelter: Shelter,
    subject: Option<Subject>,
    /// The gates that need not pass, because a person signed for it.
    waived: BTreeMap<String, Excuse>,
    state: Mutex<Inner>,
}

struct Inner {
    record: RunRecord,
    log: Log,
    started: HashMap<usize, Instant>,
}

struct Log {
    directory: RunDirectory,
    seq: u64,
    /// The digest of the last line.
    last: String,
    observer: Option<Observer>,
    failure: Option<Error>,
}

impl Log {
    fn emit(&mut self, kind: EventKind) {
        self.seq += 1;
        let event = Event { seq: self.seq, at: Timestamp::now(), previous: self.last.clone(), kind };
        match self.directory.append(&event) {
            Ok(digest) => self.last = digest,
            Err(error) => drop(self.failure.get_or_insert(error)),
        }
        if let Some(observer) = &self.observer {
            observer(&event);
        }
    }
}

impl Run<'_> {
    fn state(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().expect("nothing panics while it holds the lock")
    }

    fn emit(&self, kind: EventKind) {
        self.state().log.emit(kind);
    }

    /// Runs the gates within the time of the plan; says whether somebody or something ended the run before its end.
    async fn gates_in_time(&self) -> Option<Stopped> {
        let Some(limit) = self.plan.timeout() else {
            self.gates().await;
            return self.cancel.is_cancelled().then_some(Stopped::Interrupted);
        };
        let mut timed_out = false;
        let gates = self.gates();
        tokio::pin!(gates);
        tokio::select! {
            () = &mut gates => {}
            () = tokio::time::sleep(limit.get()) => {
                timed_out = !self.cancel.is_cancelled();
                self.cancel.cancel();
                gates.await;
            }
        }
        match (timed_out, self.cancel.is_cancelled()) {
            (true, _) => Some(Stopped::TimedOut(limit)),
            (false, true) => Some(Stopped::Interrupted),
            (false, false) => None,
        }
    }

    async fn gates(&self) {
        let (edges, urgencies) = (self.plan.edges(), self.plan.urgencies());
        let nodes: Vec<Node<'_>> = self
            .plan
            .gates()
            .iter()
            .zip(&edges)
            .zip(urgencies)
            .map(|((gate, needs), urgency)| Node {
                id: &gate.id,
                needs,
                urgency,
                group: gate.group.as_deref().and_then(|name| self.plan.groups().position(name)),
                exclusive: gate.exclusive,
            })
            .collect();
        let limits = Limits { jobs: self.options.jobs, groups: self.plan.groups().limits() };
        let start = |position: usize| self.gate(position);
        schedule::execute(&nodes, &limits, &self.cancel, start, |position, finding| {
            self.ended(position, finding)
        })
        .await;
    }

    /// Runs a gate, as often as its plan tries it.
    async fn gate(&self, position: usize) -> Finding {
        let gate = &self.plan.gates()[position];
        {
            let mut guard = self.state();
            let state = &mut *guard;
            state.started.insert(position, Instant::now());
            state.record.gates[position].started_at = Some(Timestamp::now());
            state.log.emit(EventKind::GateStarted { gate: gate.id.clone() });
        }
        let deadline = Instant::now() + gate.total.get();
        let mut number = 1;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Span::of(gate.timeout.get().min(left));
            let finding = self.attempt(position, number, timeout).await;
            let retry = gate.retry.as_ref().filter(|retry| {
                number < retry.attempts && retry.is_for(&finding.outcome) && !self.cancel.is_cancelled()
            });
            let pause = retry.map(|retry| retry.pause(number, random()));
            let Some(pause) = pause.filter(|pause| Instant::now() + *pause < deadline) else {
                return self.settled(gate, number, finding);
            };
            self.emit(EventKind::GateRetried {
                gate: gate.id.clone(),
                attempt: number,
                reason: self.masked(finding.reason),
                outcome: finding.outcome,
                pause_seconds: pause.as_secs_f64(),
            });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.cancel.cancelled() => return Finding::cancelled(),
            }
            number += 1;
        }
    }

    /// What a gate's last attempt means, with those before it.
    fn settled(&self, gate: &PlannedGate, attempts: u32, mut finding: Finding) -> Finding {
        if attempts == 1 {
            return finding;
        }
        let allowed = self.plan.policies().iter().all(Policy::allows_flaky);
        if finding.outcome.is_pass() && gate.required && !allowed {
            finding.outcome = Outcome::Warn;
            finding.code = "flaky";
        }
        finding.reason = format!("{} (attempt {attempts})", finding.reason);
        finding
    }

    /// One attempt, within its time.
    async fn attempt(&self, position: usize, number: u32, timeout: Span) -> Finding {
        let gate = &self.plan.gates()[position];
        let span = tracing::info_span!("gate", gate = gate.id, kind = gate.kind, attempt = number);
        let (log, log_name, marker) = {
            let state = self.state();
            let (log, name) = state.log.directory.log(&gate.id, number);
            (log, name, format!("{}/{}/{number}", state.record.run_id, gate.id))
        };
        let environment = span.in_scope(|| {
            self.options.child_environment.as_ref().map_or_else(Vec::new, |environment| environment())
        });
        let (began, started_at) = (Instant::now(), Timestamp::now());
        let context = Context::new(Parts {
            id: &gate.id,
            timeout,
            directory: self.plan.directory(),
            variables: self.plan.variables(),
            results: &self.results,
            objectives: self.plan.objectives(),
            subject: self.subject.as_ref(),
            environment: &environment,
            now: started_at,
            log: &log,
            masker: self.options.masker.as_ref(),
            marker,
            roots: self.shelter.roots(),
            grace: self.options.grace,
            cancel: &self.cancel,
        });
        let mut finding = check(gate, &context).instrument(span).await;
        let excerpt = context.finish().unwrap_or_else(|failed| {
            finding = failed;
            None
        });
        let mut state = self.state();
        let record = &mut state.record.gates[position];
        record.log = None;
        record.output = None;
        if let Some(excerpt) = excerpt {
            record.log = Some(LogRef { path: log_name, sha256: excerpt.sha256 });
            record.output = Some(excerpt.text).filter(|_| !finding.outcome.is_pass());
        }
        if gate.retry.is_some() {
            let attempt = AttemptRecord {
                outcome: finding.outcome.clone(),
                code: finding.code.to_owned(),
                reason: self.masked(finding.reason.clone()),
                started_at,
                duration_seconds: began.elapsed().as_secs_f64(),
                log: record.log.clone(),
            };
            record.attempts.push(attempt);
        }
        finding
    }

    /// Notes how a gate ended; says whether it opens what needs it.
    fn ended(&self, position: usize, finding: Finding) -> bool {
        let gate = &self.plan.gates()[position];
        let mut guard = self.state();
        let state = &mut *guard;
        let duration = state.started.get(&position).map(|start| start.elapsed().as_secs_f64());
        self.results.note(&gate.id, &finding);
        let reason = self.masked(finding.reason.clone());
        let excuse = self.excuse(gate, &finding, &reason);
        let opens = finding.outcome.is_pass() || excuse.is_some();
        let record = &mut state.record.gates[position];
        record.outcome = Some(finding.outcome.clone());
        record.code = Some(finding.code.to_owned());
        record.reason = Some(reason.clone());
        record.duration_seconds = duration;
        record.measurements = finding.measurements;
        record.thresholds = finding.thresholds;
        record.outputs =
            finding.outputs.into_iter().map(|(name, value)| (name, self.masked(value))).collect();
        record.excuse = excuse;
        // One attempt alone is the gate itself.
        if record.attempts.len() == 1 {
            record.attempts.clear();
        }
        tracing::info!(gate = gate.id, outcome = finding.outcome.word(), code = finding.code, "{reason}");
        state.log.emit(EventKind::GateEnded {
            gate: gate.id.clone(),
            required: gate.required,
            outcome: finding.outcome,
            code: finding.code.to_owned(),
            reason,
            duration_seconds: duration,
        });
        opens
    }

    /// Why a gate that did not pass does not block.
    fn excuse(&self, gate: &PlannedGate, finding: &Finding, reason: &str) -> Option<Excuse> {
        match &finding.outcome {
            Outcome::Pass | Outcome::Cancelled => None,
            // The runner alone skips, by a condition that was shown not to be so.
            Outcome::Skip if gate.when.is_some() && gate.may_be_skipped => {
                Some(Excuse::NotApplicable { evidence: reason.to_owned() })
            }
            _ if gate.may_be_waived => self.waived.get(&gate.id).cloned(),
            _ => None,
        }
    }

    fn masked(&self, text: String) -> String {
        let Some(masker) = &self.options.masker else { return text };
        let mut bytes = text.into_bytes();
        masker(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Writes everything that the verdict rests on, and the verdict last.
    async fn finish(
        &mut self,
        stopped: Option<Stopped>,
        subject: Option<&Resolved>,
    ) -> Result<RunRecord, Error> {
        let run_id = self.state().record.run_id.clone();
        let orphans = self.shelter.end(&run_id).await;
        // Who asks a run to stop that has already ended, stops nothing.
        let cut = |gate: &GateRecord| gate.outcome == Some(Outcome::Cancelled);
        let stopped = match stopped.filter(|_| self.state().record.gates.iter().any(cut)) {
            None => self.changed(subject).await.map(Stopped::SubjectChanged),
            stopped => stopped,
        };
        let state = self.state.get_mut().expect("nothing panics while it holds the lock");
        let record = &mut state.record;
        record.orphans_ended = orphans;
        record.finish(stopped, Timestamp::now());
        state.log.emit(EventKind::RunEnded { verdict: record.verdict, reason: record.reason.clone() });
        record.events_sha256.clone_from(&state.log.last);
        if let Some(failure) = state.log.failure.take() {
            return Err(failure);
        }
        let directory = &state.log.directory;
        directory.sync_events()?;
        directory.put(JUNIT, report::junit_as(record, self.options.junit).as_bytes())?;
        directory.put(TAP, report::tap(record).as_bytes())?;
        directory.put(SUMMARY, report::markdown(record).as_bytes())?;
        let verdict = directory::json(record).map_err(|error| {
            Error::new(ErrorKind::EvidenceNotWritten, "cannot serialise the verdict").because(error)
        })?;
        if let Some(key) = &self.options.signing_key {
            directory.put(EVIDENCE, &proof::sign(record, &verdict, key)?)?;
            for (name, envelope) in proof::attestations(record, key) {
                directory.put(&name, &envelope)?;
            }
        }
        if let Some(masker) = &self.options.masker {
            scan::scan(directory.path(), &verdict, masker)?;
        }
        directory.put(VERDICT, &verdict)?;
        Ok(record.clone())
    }

    /// In what the subject is no longer what was judged.
    async fn changed(&self, before: Option<&Resolved>) -> Option<String> {
        let before = before?;
        match look_at_subject(self.plan).await {
            Ok(Some(after)) if after == *before => None,
            Ok(_) => Some("its digests are no longer those of the start".to_owned()),
            Err(error) => Some(error.to_string()),
        }
    }
}

/// How long a check may go on after its time, to end the programs that it started.
const TIDYING: Duration = Duration::from_secs(10);

/// Runs a gate's check within the attempt's time, where the gate applies.
async fn check(gate: &PlannedGate, context: &Context<'_>) -> Finding {
    let look = async {
        if let Some(when) = &gate.when {
            let shown = when.look(context).await?;
            if !shown.applies {
                return Err(Finding::skipped(shown.evidence));
            }
        }
        match gate.gate.check(context).await {
            // A kind cannot excuse itself.
            told if told.outcome == Outcome::Skip => {
                Err(Finding::error(Fault::Internal, "skipped", "the check did not look at anything"))
            }
            told => Ok(told),
        }
    };
    let look = AssertUnwindSafe(look).catch_unwind();
    tokio::pin!(look);
    let told = |told: std::thread::Result<Result<Finding, Finding>>| match told {
        Ok(finding) => finding.unwrap_or_else(|finding| finding),
        Err(_) => Finding::error(Fault::Internal, "panic", "the check stopped by an error of its own"),
    };
    let finding = tokio::select! {
        finding = &mut look => return told(finding),
        () = tokio::time::sleep(context.timeout()) => Finding::timeout(Span::of(context.timeout())),
        () = context.cancelled().cancelled() => Finding::cancelled(),
    };
    if !context.has_programs() {
        return finding;
    }
    // The programs keep the same time, and are being ended; what is left of them is part of the finding.
    match tokio::time::timeout(TIDYING, look).await.map(told) {
        Ok(told) if matches!(told.outcome, Outcome::Error { .. } | Outcome::Cancelled) => told,
        _ => finding,
    }
}

/// A number between 0 and 1 that differs from run to run.
fn random() -> f64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let bits = std::collections::hash_map::RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// An id that sorts by time and is unique on every machine.
fn run_id() -> String {
    use std::hash::{BuildHasher as _, Hasher as _};
    // The standard library seeds this from the system's randomness.
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    format!("{time}-{:08x}{random:016x}", std::process::id())
}
