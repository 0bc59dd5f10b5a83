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
    /// The name of a built-in policy.
    pub(crate) policy: String,
}

const EXAMPLES: &str = "Examples:
  ops-guard check migrations/*.sql
  echo 'DELETE FROM orders' | ops-guard check -
  ops-guard check --policy migration --format json release.sql

Policies: read-only, app (default), migration, break-glass.

Exit codes: 0 every statement is allowed, 20 one is denied, 22 there was no statement, 64 usage, 65 a file cannot be read.";

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
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The policy to judge by
    #[arg(long, value_name = "NAME")]
    pub(crate) policy: Option<String>,
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
