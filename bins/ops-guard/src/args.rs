//! The command line of `ops-guard`, and its settings.

use clap::{Args as ClapArgs, Parser, Subcommand};
use ops_cli::{CommonArgs, Flag, LogSettings};
use ops_secrets::Secret;
use serde::Deserialize;
use std::path::PathBuf;

/// The defaults of every setting.
pub(crate) const DEFAULTS: &str = "[guard]\npolicy = \"app\"\nurl = \"\"\npassword = \"\"\n";

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
    /// The server, as a libpq URL or `key=value` pairs. It may have a password in it, and is masked as a whole.
    pub(crate) url: Secret,
    /// The password, where the URL has none.
    pub(crate) password: Secret,
}

const EXAMPLES: &str = "Examples:
  ops-guard check migrations/*.sql
  echo 'DELETE FROM orders' | ops-guard check -
  ops-guard check --policy migration --format json release.sql
  ops-guard check --policy shop.toml
  ops-guard doctor --url postgresql://shop_app@db.example/shop
  ops-guard explain -c 'DELETE FROM orders WHERE id = 7'
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
    /// Examine the role that an application uses, and print the script that makes it safe
    Doctor(DoctorArgs),
    /// Tell what each statement would do, why, and what the policy says to it
    Explain(ExplainArgs),
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
            Some(Action::Explain(explain)) => explain.policy.clone(),
            _ => None,
        };
        let url = match &self.action {
            Some(Action::Doctor(doctor)) => doctor.url.clone(),
            Some(Action::Explain(explain)) => explain.url.clone(),
            _ => None,
        };
        let policy = Flag::given("guard.policy", "--policy", policy);
        policy.into_iter().chain(Flag::given("guard.url", "--url", url)).collect()
    }
}

const DOCTOR_NOTES: &str = "Examples:
  ops-guard doctor --url postgresql://shop_app@db.example/shop
  ops-guard doctor --script > fix.sql && psql -X -v ON_ERROR_STOP=1 -U postgres -d shop -f fix.sql

Connect as the role that the application uses. The password: OPS_GUARD_PASSWORD, OPS_GUARD_PASSWORD_FILE, `password` under \
[guard], the URL, or PGPASSWORD.

Exit codes: 0 nothing to refuse, 20 an application should not use this role, 21 something essential could not be judged, \
64 usage, 69 the server does not answer, 78 configuration.";

/// The arguments of `doctor`.
#[derive(Debug, ClapArgs)]
#[command(after_help = DOCTOR_NOTES)]
pub(crate) struct DoctorArgs {
    /// The server and the role, as a libpq URL or key=value pairs
    #[arg(long, value_name = "CONNECTION")]
    pub(crate) url: Option<String>,
    /// Print only the SQL that ends what was found
    #[arg(long)]
    pub(crate) script: bool,
}

const EXPLAIN_NOTES: &str = "Examples:
  ops-guard explain -c 'DELETE FROM orders WHERE placed < now()'
  ops-guard explain -f release.sql --policy migration
  ops-guard explain --url postgresql://shop_app@db.example/shop -c 'DELETE FROM customers WHERE id = 7'

With --url the names are looked up: triggers, rules, views, functions and foreign keys are seen for what they run, and the \
rows are estimated. Nothing is changed; planning may run functions that are declared immutable.

Exit codes: 0 every statement may run, 20 one is denied or needs an approval, 22 there was no statement, 64 usage, \
65 a file cannot be read, 69 the server does not answer, 78 configuration.";

/// The arguments of `explain`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXPLAIN_NOTES)]
#[command(group = clap::ArgGroup::new("text").required(true))]
pub(crate) struct ExplainArgs {
    /// Explain this text
    #[arg(short = 'c', long, group = "text", value_name = "SQL")]
    pub(crate) command: Option<String>,
    /// Explain the text of this file
    #[arg(short = 'f', long, group = "text", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// `-` explains standard input
    #[arg(group = "text", value_name = "-", value_parser = ["-"])]
    pub(crate) stdin: Option<String>,
    /// The policy to judge by: a name, or a TOML file
    #[arg(long, value_name = "NAME_OR_FILE")]
    pub(crate) policy: Option<String>,
    /// The server to look names up on, as a libpq URL or key=value pairs; a setting alone does not connect
    #[arg(long, value_name = "CONNECTION")]
    pub(crate) url: Option<String>,
}
