//! The command line of `ops-gate`, and its settings.

use clap::{Parser, Subcommand};
use ops_cli::{CommonArgs, Flag, LogSettings};
use serde::Deserialize;
use std::path::PathBuf;

/// The defaults of every setting.
pub(crate) const DEFAULTS: &str = r#"
[gate]
jobs = 0
grace_seconds = 2
runs = "ops-gate-runs"
signing_key = ""
policy = ""
policy_sha256 = ""
"#;

/// Everything that `ops-gate` can be told.
#[derive(Debug, Deserialize)]
pub(crate) struct Settings {
    /// The table `[gate]`.
    pub(crate) gate: GateSettings,
    /// The table `[log]`; read by the common code.
    #[expect(dead_code, reason = "declared so that its keys are known; the common code reads it")]
    pub(crate) log: LogSettings,
}

/// The table `[gate]`.
#[derive(Debug, Deserialize)]
pub(crate) struct GateSettings {
    /// How many gates run at once; 0 is one for each processor.
    pub(crate) jobs: usize,
    /// How long the processes of a gate have between SIGTERM and SIGKILL.
    pub(crate) grace_seconds: u64,
    /// Where each run gets a directory of its own.
    pub(crate) runs: PathBuf,
    /// The private key that signs the evidence of a run; empty leaves it unsigned.
    pub(crate) signing_key: PathBuf,
    /// A policy that counts whatever the plan names; empty for none.
    pub(crate) policy: PathBuf,
    /// The digest that the policy must have; empty takes any.
    pub(crate) policy_sha256: String,
}

const EXAMPLES: &str = "Examples:
  ops-gate plan release.toml                       show what would run, and in which order
  ops-gate run release.toml                        run it; exit 0 only if every required gate passed
  ops-gate run release.toml --format json --run-dir out/gates --signing-key gate.pem
  ops-gate verify out/gates --key gate.pub.pem     before a deployment: is it proven, and unchanged?

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
    },
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
    },
}

impl Args {
    /// The settings that were given as flags.
    pub(crate) fn overrides(&self) -> Vec<Flag> {
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
