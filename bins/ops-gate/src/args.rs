//! The command line of `ops-gate`.

use crate::approve::ApproveArgs;
use crate::ci::Ci;
use crate::drill::DrillArgs;
use crate::history::{HistoryArgs, ReportArgs};
use crate::mitigate::MitigateAction;
use clap::{Parser, Subcommand, ValueEnum};
use ops_cli::{CommonArgs, Flag};
use ops_gates::Span;
use std::path::PathBuf;

/// Which schema `junit.xml` follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Junit {
    /// As Jenkins, GitLab and most others read it
    #[default]
    Jenkins,
    /// As Ant wrote it first, for servers that validate by that schema
    Ant,
}

const EXAMPLES: &str = "Examples:
  ops-gate plan release.toml                       show what would run, and in which order
  ops-gate run release.toml                        run it; exit 0 only if every required gate passed
  ops-gate run release.toml --format json --run-dir out/gates --signing-key gate.pem
  ops-gate verify out/gates --key gate.pub.pem     before a deployment: is it proven, and unchanged?
  ops-gate verify out/gates --key gate.pub.pem --subject sha256:… --max-age 1d
  ops-gate history                                 pass rates, flaky gates, the last green run
  ops-gate report --html health.html               the week on one page
  ops-gate drill redis-killed.toml                 put a fault in, and measure the recovery
  ops-gate mitigate run checkout-off --policy mitigations.toml --reason 'errors' --apply
  ops-gate mitigate list                           what is in place; exit 20 if something is overdue

A plan:
  name = \"release\"

  [[gate]]
  id = \"smoke\"
  kind = \"command\"            # or http, postgres, evidence
  run = [\"./smoke-test\", \"--fast\"]
  timeout = \"2m\"

A key pair:
  openssl genpkey -algorithm ed25519 -out gate.pem
  openssl pkey -in gate.pem -pubout -out gate.pub.pem

Exit codes:
  0 passed, 20 blocked or does not verify, 21 could not judge, 22 nothing ran, 64 usage, 65 bad plan,
  73 cannot create the run directory, 74 evidence not written, 78 configuration, 130 interrupted,
  143 terminated";

/// Run release gates that stay closed until everything is proven
#[derive(Debug, Parser)]
#[command(name = "ops-gate", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Run a plan, and leave its verdict and evidence in a directory
    Run {
        /// The plan
        plan: PathBuf,
        /// Leave everything in this directory, which must not hold a run yet [default: a new one in ./ops-gate-runs]
        #[arg(long, value_name = "DIR")]
        run_dir: Option<PathBuf>,
        /// Run so many gates at once [default: one for each processor]
        #[arg(long, value_name = "N")]
        jobs: Option<usize>,
        /// Sign the evidence with this private key (ed25519, PKCS#8 PEM)
        #[arg(long, value_name = "FILE")]
        signing_key: Option<PathBuf>,
        /// Demand what this policy requires, whatever the plan says
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// Which schema junit.xml follows
        #[arg(long, value_enum, default_value_t, value_name = "FLAVOR")]
        junit_flavor: Junit,
        /// Show the run as this platform does
        #[arg(long, value_enum, default_value_t, value_name = "PLATFORM")]
        ci: Ci,
        /// Run again when something below these paths changes [default: the current directory]
        #[arg(long, value_name = "PATH", num_args = 0.., default_missing_value = ".", conflicts_with = "run_dir")]
        watch: Vec<PathBuf>,
        /// Run again after this time, such as `5m`
        #[arg(long, value_name = "TIME", conflicts_with = "run_dir")]
        every: Option<Span>,
    },
    /// Sign a yes or no about a commit or artifact, for a gate of kind `approval` or `window`
    Approve(ApproveArgs),
    /// Put a fault into a system, see it, take it back, and measure the recovery
    Drill(DrillArgs),
    /// Tell from past runs: pass rates, flaky gates, durations, the last green run
    History(HistoryArgs),
    /// Do something reversible to a running system, only as a policy allows, and take it back
    #[command(subcommand)]
    Mitigate(MitigateAction),
    /// Make the health report of a week, or of another time
    Report(ReportArgs),
    /// Print the JSON Schema of plans, for an editor
    Schema,
    /// Sign a waiver: one gate need not pass, for one commit, for a while. A policy says who may
    Waive {
        /// The gate
        gate: String,
        /// The full name of the commit that it is for
        #[arg(long, value_name = "COMMIT")]
        commit: String,
        /// The name of the subject, as the plan has it
        #[arg(long, value_name = "NAME")]
        subject: String,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// How long it holds, such as `2d`
        #[arg(long = "for", value_name = "TIME")]
        time: ops_gates::Span,
        /// Your name, as the policy has it
        #[arg(long, value_name = "NAME")]
        approver: String,
        /// Your private key (ed25519, PKCS#8 PEM)
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Where the waiver goes; the plan names it in `waivers`
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Check a plan, and show its gates in the order in which they would run
    Plan {
        /// The plan
        plan: PathBuf,
    },
    /// Verify a run directory: who signed it, that nothing in it changed, and that it passed
    Verify {
        /// The directory that a run left
        run_dir: PathBuf,
        /// A public key that may have signed; may be given several times
        #[arg(long, value_name = "FILE", required = true)]
        key: Vec<PathBuf>,
        /// What is deployed, as `algorithm:hex`; the run must be about exactly this
        #[arg(long, value_name = "DIGEST", conflicts_with = "commit")]
        subject: Option<String>,
        /// The full name of the commit that is deployed; the run must be about exactly this
        #[arg(long, value_name = "COMMIT")]
        commit: Option<String>,
        /// How long ago the run may have ended, such as `1d`
        #[arg(long, value_name = "TIME")]
        max_age: Option<Span>,
        /// A policy that must have counted in the run, in exactly this text
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
}

impl Args {
    /// The settings that were given as flags.
    pub(crate) fn overrides(&self) -> Vec<Flag> {
        if let Some(Action::Drill(drill)) = &self.action {
            let key = drill.signing_key.as_ref().map(|path| path.display());
            return Flag::given("gate.signing_key", "--signing-key", key).into_iter().collect();
        }
        let Some(Action::Run { jobs, signing_key, policy, .. }) = &self.action else { return Vec::new() };
        let key = signing_key.as_ref().map(|path| path.display());
        let policy = policy.as_ref().map(|path| path.display());
        let given = [
            Flag::given("gate.jobs", "--jobs", *jobs),
            Flag::given("gate.signing_key", "--signing-key", key),
            Flag::given("gate.policy", "--policy", policy),
        ];
        given.into_iter().flatten().collect()
    }
}
