//! Release gates that stay closed until everything is proven.
//!
//! A release is often let through by what did not happen: a check that was skipped, a tool that had no data, a job whose
//! dependency failed. Here a [`Plan`] lists [`Gate`]s; a [`Runner`] runs them; and the [`Verdict`] is PASSED only if every
//! required gate ended in [`Outcome::Pass`]. Everything else, from a failed check to a killed runner, leaves BLOCKED.
//!
//! ```
//! use ops_gates::{CancellationToken, Options, Plan, Runner, Verdict};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let plan = Plan::parse(
//!     r#"
//!     name = "release"
//!
//!     [[gate]]
//!     id = "smoke"
//!     kind = "command"
//!     run = ["echo", "42 tests passed"]
//!     expect_stdout = "tests passed"
//!     timeout = "10s"
//!
//!     [[gate]]
//!     id = "after-smoke"
//!     kind = "command"
//!     run = ["false"]
//!     needs = ["smoke"]
//!     required = false
//!     "#,
//!     "release.toml",
//! )?;
//! # let directory = tempfile::tempdir()?;
//! # let directory = directory.path().join("run");
//! let record = Runner::new(Options::default()).run(&plan, &directory, CancellationToken::new()).await?;
//! assert_eq!(record.verdict, Verdict::Passed);
//! assert_eq!(record.warnings, ["after-smoke"]);
//! # Ok(())
//! # }
//! ```
//!
//! # What a run leaves
//!
//! `verdict.json` says BLOCKED from the first moment and is replaced last. Beside it: `events.jsonl`, `junit.xml`,
//! `results.tap`, `summary.md`, one log a command in `logs/`, and, with a signing key, `evidence.json`: a DSSE envelope
//! around an in-toto statement, which [`verify`] checks offline. Where the plan names a subject, `attestations/` holds
//! the same for other tools.
//!
//! # What a gate may do
//!
//! A command gate gets a cleaned environment, no terminal and no standard input. When its time is over, or it has
//! exited, its whole process tree is ended: also processes in sessions of their own, double forks, and those that ignore
//! SIGTERM. A process that drops the environment as well is only found with [`Options::adopt_orphans`] or
//! [`Options::cgroup`]. Where the runner itself is killed, programs go on unless [`Options::guardian`] names one that ends
//! them. The other kinds only look. Linux only.

mod action;
mod condition;
pub mod drill;
mod error;
mod gate;
mod guardian;
pub mod history;
mod kind;
pub mod mitigate;
pub mod notify;
mod outcome;
mod plan;
mod policy;
mod process;
mod record;
pub mod report;
mod run;
pub mod stat;
mod subject;
mod value;
mod verdict;

pub use condition::When;
pub use error::{Error, ErrorKind, Problem};
pub use gate::{Context, Facts, Gate, Objectives, Subject, Wrong};
pub use guardian::{Guardian, REPORT as GUARDIAN_REPORT, stand_guard};
pub use kind::{
    Advisory, AfterWindow, Alertmanager, Amqp, Approval, Attestation, BackupFreshness, Benchmark, Better,
    Capacity, CapacityTool, ChangeRequest, ChangedFiles, Command, Compare, Cost, Day, Decision,
    DeploymentLog, Dns, DnsRecord, Documents, DrillRecord, Evidence, Freeze, GoodWindow, Grafana, Http,
    Kafka, Kinds, Latency, Limits, Llm, LogQuality, Loki, Measure, Metric, MigrationLint, Migrations,
    Mongodb, Nats, OnEmpty, Otlp, Pairs, PathRule, Phase, Postgres, Prometheus, Promql, Proposal,
    QueueLimits, Redis, RedisRole, Rehearsal, ReleaseNotes, RollbackPlan, S3, Sasl, Scanner, SecretScan,
    Severity, Slo, Starttls, Statuses, Suite, Tcp, Tls, Tool, ToolName, Vulnerabilities, Week, Window,
};
pub use outcome::{Fault, Finding, Outcome};
pub use plan::{Backoff, Class, DEFAULT_TIMEOUT, Plan, PlannedGate, ReadOptions, Retry, schema};
pub use policy::{Excuse, Policy, WAIVER_KIND, Waiver};
pub use process::Masker;
pub use record::{GateRecord, LogRef, PlanRef, RunRecord, SCHEMA, State};
pub use run::{
    ATTESTATIONS, ChildEnvironment, Demands, EVENTS, EVIDENCE, EVIDENCE_KIND, Event, EventKind, JUNIT, LOGS,
    Observer, Options, Runner, SUMMARY, TAP, VERDICT, verify,
};
pub use schemars;
pub use subject::SubjectKeys;
pub use tokio_util::sync::CancellationToken;
pub use value::{Span, Text, Threshold, VariableName, Variables};
pub use verdict::{Judged, Judgement, Standing, Verdict, judge};
