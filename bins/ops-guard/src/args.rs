//! The command line of `ops-guard`, and its settings.

use clap::{Args as ClapArgs, Parser, Subcommand};
use ops_cli::{CommonArgs, Flag, LogSettings};
use serde::Deserialize;
use std::path::PathBuf;

/// The defaults of every setting.
pub(crate) const DEFAULTS: &str = "[guard]\npolicy = \"app\"\n";

/// Everything that `ops-guard` can be told.
#[derive(Debug, Deserialize)]
pub(crate) struct Settings {
    /// The table `[guard]`.
    pub(crate) guard: GuardSettings,
    /// The table `[log]`; read by the common code.
    #[expect(dead_code, reason = "declared so that its keys are known; the common code reads it")]
    pub(crate) log: LogSettings,
}

/// The table `[guard]`.
#[derive(Debug, Deserialize)]
pub(crate) struct GuardSettings {
    /// The name of a built-in policy, or the path of a policy file.
    pub(crate) policy: String,
}

const EXAMPLES: &str = "Examples:
  ops-guard check migrations/*.sql
  echo 'DELETE FROM orders' | ops-guard check -
  ops-guard check --policy migration --format json release.sql
  ops-guard check --policy shop.toml
  ops-guard check --policy shop.toml --principal shop_app --at 2026-11-21T23:00:00+01:00 nightly.sql

Policies: read-only, app (default), migration, break-glass, or a policy file, whose tests are run first.

Exit codes: 0 every statement is allowed, perhaps within limits, or the policy only reports; 20 one is denied or needs \
an approval, 22 there was no statement and no test, 64 usage, 65 a file cannot be read or a test of the policy fails.";

/// Judge SQL by what it would do, before a server sees it
#[derive(Debug, Parser)]
#[command(name = "ops-guard", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Judge every statement of the files, without a server
    Check(CheckArgs),
}

/// The arguments of `check`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CheckArgs {
    /// Files of SQL; `-` is standard input
    ///
    /// Without any, only the tests of the policy are run.
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The policy to judge by: a name, or a TOML file
    #[arg(long, value_name = "NAME_OR_FILE")]
    pub(crate) policy: Option<String>,
    /// Judge for sessions of this role
    ///
    /// Without it rules that refuse certain roles refuse, and rules that allow something to certain roles do not allow
    /// it; the same goes for --database and --at.
    #[arg(long, value_name = "ROLE")]
    pub(crate) principal: Option<String>,
    /// Judge for sessions in this database
    #[arg(long, value_name = "NAME")]
    pub(crate) database: Option<String>,
    /// Judge for this time, for example 2026-11-21T23:00:00+01:00
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<jiff::Timestamp>,
}

impl Args {
    /// The flags that override settings.
    pub(crate) fn overrides(&self) -> Vec<Flag> {
        let policy = match &self.action {
            Some(Action::Check(check)) => check.policy.clone(),
            None => None,
        };
        Flag::given("guard.policy", "--policy", policy).into_iter().collect()
    }
}
