//! A run from its first byte on disk to its last.

mod demand;
mod directory;
mod event;
mod proof;
mod scan;
mod schedule;

pub use demand::Demands;
pub(crate) use directory::put;
pub use directory::{ATTESTATIONS, EVENTS, EVIDENCE, JUNIT, LOGS, SUMMARY, TAP, VERDICT};
pub use event::{Event, EventKind};
pub use proof::{EVIDENCE_KIND, verify};

use crate::error::{Error, ErrorKind};
use crate::gate::{Context, Parts, Results};
use crate::outcome::{Finding, Outcome};
use crate::plan::{Plan, PlannedGate};
use crate::process::{self, Masker};
use crate::record::{LogRef, RunRecord};
use crate::report::{self, JunitFlavor};
use directory::RunDirectory;
use jiff::Timestamp;
use ops_core::evidence::SigningKey;
use schedule::Node;

use std::collections::HashMap;
use std::fmt;
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
        let run_id = run_id();
        let options = &self.options;
        let record = RunRecord::start(
            plan,
            run_id.clone(),
            options.tool.clone(),
            options.trace_id.clone(),
            Timestamp::now(),
        );
        let directory = RunDirectory::create(directory, &record)?;
        let log = Log { directory, seq: 0, observer: options.observer.clone(), failure: None };
        let mut run = Run {
            options,
            plan,
            cancel,
            results: Results::default(),
            state: Mutex::new(Inner { record, log, started: HashMap::new() }),
        };
        run.emit(EventKind::RunStarted { run_id, gates: plan.gates().len() });
        run.gates().await;
        run.finish().await
    }
}

/// One run under way. All of it is polled by one task, and no lock is held across an await.
struct Run<'a> {
    options: &'a Options,
    plan: &'a Plan,
    cancel: CancellationToken,
    results: Results,
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
    observer: Option<Observer>,
    failure: Option<Error>,
}

impl Log {
    fn emit(&mut self, kind: EventKind) {
        self.seq += 1;
        let event = Event { seq: self.seq, at: Timestamp::now(), kind };
        if let Err(error) = self.directory.append(&event) {
            self.failure.get_or_insert(error);
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

    async fn gates(&self) {
        let edges = self.plan.edges();
        let nodes: Vec<Node<'_>> =
            self.plan.gates().iter().zip(&edges).map(|(gate, needs)| Node { id: &gate.id, needs }).collect();
        let start = |position: usize| self.gate(position);
        schedule::execute(&nodes, self.options.jobs, &self.cancel, start, |position, finding| {
            self.ended(position, finding)
        })
        .await;
    }

    async fn gate(&self, position: usize) -> Finding {
        let gate = &self.plan.gates()[position];
        let span = tracing::info_span!("gate", gate = gate.id, kind = gate.kind);
        let (log, log_name, marker) = {
            let mut guard = self.state();
            let state = &mut *guard;
            state.started.insert(position, Instant::now());
            state.record.gates[position].started_at = Some(Timestamp::now());
            state.log.emit(EventKind::GateStarted { gate: gate.id.clone() });
            let (log, name) = state.log.directory.log(&gate.id);
            (log, name, format!("{}/{}", state.record.run_id, gate.id))
        };
        let environment = span.in_scope(|| {
            self.options.child_environment.as_ref().map_or_else(Vec::new, |environment| environment())
        });
        let context = Context::new(Parts {
            id: &gate.id,
            timeout: gate.timeout,
            directory: self.plan.directory(),
            variables: self.plan.variables(),
            results: &self.results,
            objectives: self.plan.objectives(),
            subject: self.plan.subject(),
            environment: &environment,
            now: Timestamp::now(),
            log: &log,
            masker: self.options.masker.as_ref(),
            marker,
            grace: self.options.grace,
            cancel: &self.cancel,
        });
        let mut finding = check(gate, &context).instrument(span).await;
        let excerpt = context.finish().unwrap_or_else(|failed| {
            finding = failed;
            None
        });
        self.results.note(&gate.id, &finding);
        if let Some(excerpt) = excerpt {
            let gate = &mut self.state().record.gates[position];
            gate.log = Some(LogRef { path: log_name, sha256: excerpt.sha256 });
            gate.output = Some(excerpt.text).filter(|_| !finding.outcome.is_pass());
        }
        finding
    }

    fn ended(&self, position: usize, finding: Finding) {
        let mut guard = self.state();
        let state = &mut *guard;
        let duration = state.started.get(&position).map(|start| start.elapsed().as_secs_f64());
        let reason = self.masked(finding.reason);
        let gate = &mut state.record.gates[position];
        gate.outcome = Some(finding.outcome.clone());
        gate.code = Some(finding.code.to_owned());
        gate.reason = Some(reason.clone());
        gate.duration_seconds = duration;
        gate.measurements = finding.measurements;
        let (id, required) = (gate.id.clone(), gate.required);
        tracing::info!(gate = id, outcome = finding.outcome.word(), code = finding.code, "{reason}");
        state.log.emit(EventKind::GateEnded {
            gate: id,
            required,
            outcome: finding.outcome,
            code: finding.code.to_owned(),
            reason,
            duration_seconds: duration,
        });
    }

    fn masked(&self, text: String) -> String {
        let Some(masker) = &self.options.masker else { return text };
        let mut bytes = text.into_bytes();
        masker(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Writes everything that the verdict rests on, and the verdict last.
    async fn finish(&mut self) -> Result<RunRecord, Error> {
        let orphans = if self.options.adopt_orphans { process::end_unmarked_orphans().await } else { 0 };
        let state = self.state.get_mut().expect("nothing panics while it holds the lock");
        let record = &mut state.record;
        record.orphans_ended = orphans;
        let interrupted = record.gates.iter().any(|gate| gate.outcome == Some(Outcome::Cancelled));
        record.finish(interrupted, Timestamp::now());
        state.log.emit(EventKind::RunEnded { verdict: record.verdict, reason: record.reason.clone() });
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
}

/// How long a check may go on after its time, to end the programs that it started.
const TIDYING: Duration = Duration::from_secs(10);

/// Runs a gate's check within the gate's time.
async fn check(gate: &PlannedGate, context: &Context<'_>) -> Finding {
    let mut check = gate.gate.check(context);
    let finding = tokio::select! {
        finding = &mut check => return finding,
        () = tokio::time::sleep(gate.timeout.get()) => Finding::timeout(gate.timeout),
        () = context.cancelled().cancelled() => Finding::cancelled(),
    };
    if !context.has_programs() {
        return finding;
    }
    // The programs keep the same time, and are being ended; what is left of them is part of the finding.
    match tokio::time::timeout(TIDYING, check).await {
        Ok(told) if matches!(told.outcome, Outcome::Error { .. } | Outcome::Cancelled) => told,
        _ => finding,
    }
}

/// An id that sorts by time and is unique on every machine.
fn run_id() -> String {
    use std::hash::{BuildHasher as _, Hasher as _};
    // The standard library seeds this from the system's randomness.
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    format!("{time}-{:08x}{random:016x}", std::process::id())
}
