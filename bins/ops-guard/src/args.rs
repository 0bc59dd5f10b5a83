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
    /// Make a key pair for approvals or for a signed audit log
    Keygen(KeygenArgs),
    /// Sign a permission for somebody else's role, or show one
    Approve(Box<ApproveArgs>),
    /// Verify, show or recover an audit log
    #[command(subcommand)]
    Audit(AuditAction),
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
            _ => None,
        };
        Flag::given("guard.policy", "--policy", policy).into_iter().collect()
    }
}

/// The arguments of `keygen`.
#[derive(Debug, ClapArgs)]
pub(crate) struct KeygenArgs {
    /// The new file for the private key; only its owner can read it
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// The new file for the public key
    #[arg(long, value_name = "FILE")]
    pub(crate) public: PathBuf,
}

const APPROVE_EXAMPLES: &str = "Examples:
  ops-guard approve -f cleanup.sql --for app --database shop --rows 500 --expires-in 30m \\
      --reason 'test rows of October' --ticket OPS-7 --approver alice --key alice.pem --out approval.json
  ops-guard approve --table public.ledger --effect delete-all --for app …
  ops-guard approve --show approval.json --approvers approvers.toml

Effects: insert, update, update-all, delete, delete-all, truncate, lock-table, schema-change, rewrite, schema-drop, drop-table.

Exit codes: 0 signed, or shown and good, 20 not confirmed, or shown and refused, 21 shown without approvers to check
against, 64 usage, 65 a statement, a key or an approval cannot be used, 73 the approval cannot be created.";

/// The arguments of `approve`.
#[derive(Debug, ClapArgs)]
#[command(after_help = APPROVE_EXAMPLES)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct ApproveArgs {
    /// Approve this statement, byte for byte
    #[arg(short = 'c', long, group = "what", value_name = "SQL")]
    pub(crate) command: Option<String>,
    /// Approve the statement in this file, byte for byte, its last line end included
    #[arg(short = 'f', long, group = "what", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Approve a class of effects on this table, named with its schema
    #[arg(long, group = "what", requires = "effect", value_name = "SCHEMA.TABLE")]
    pub(crate) table: Option<String>,
    /// The class of effects on the table
    #[arg(long, requires = "table")]
    pub(crate) effect: Option<String>,
    /// Approve a whole session, whatever it does
    #[arg(long, group = "what")]
    pub(crate) break_glass: bool,
    /// Show an approval instead of signing one
    #[arg(long, group = "what", value_name = "FILE")]
    pub(crate) show: Option<PathBuf>,
    /// Check what is shown against these approvers
    #[arg(long, requires = "show", value_name = "FILE")]
    pub(crate) approvers: Option<PathBuf>,
    /// The role that may use the approval
    #[arg(long = "for", value_name = "ROLE", required_unless_present = "show")]
    pub(crate) principal: Option<String>,
    /// The one database in which it holds
    #[arg(long, value_name = "NAME")]
    pub(crate) database: Option<String>,
    /// Why; it stands in the audit log for good
    #[arg(long, value_name = "TEXT", required_unless_present = "show")]
    pub(crate) reason: Option<String>,
    /// Where the matter is discussed
    #[arg(long, value_name = "TEXT", required_unless_present = "show")]
    pub(crate) ticket: Option<String>,
    /// How long it holds, at most 24 hours: 30m, 2h
    #[arg(long, value_name = "TIME", required_unless_present = "show")]
    pub(crate) expires_in: Option<String>,
    /// The name of who approves, as in the approvers' file
    #[arg(long, value_name = "NAME", required_unless_present = "show")]
    pub(crate) approver: Option<String>,
    /// The private key of who approves
    #[arg(long, value_name = "FILE", required_unless_present = "show")]
    pub(crate) key: Option<PathBuf>,
    /// The most rows that a statement may add, change and remove
    #[arg(long, value_name = "NUMBER")]
    pub(crate) rows: Option<u64>,
    /// The most rows of any one table
    #[arg(long, value_name = "NUMBER")]
    pub(crate) rows_per_table: Option<u64>,
    /// The most tables
    #[arg(long, value_name = "NUMBER")]
    pub(crate) tables: Option<u64>,
    /// The new file for the approval
    #[arg(long, value_name = "FILE", required_unless_present = "show")]
    pub(crate) out: Option<PathBuf>,
    /// Sign without asking
    #[arg(long)]
    pub(crate) yes: bool,
}

/// What to do with an audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditAction {
    /// Find any edit, gap, move or cut
    Verify(AuditVerifyArgs),
    /// Print the entries, and verify them
    Show(AuditShowArgs),
    /// Move aside what a crash left within a line, and record that
    Recover(AuditRecoverArgs),
}

const VERIFY_NOTES: &str =
    "Without --head or --key, a log that was written anew together with its head looks whole.

Exit codes: 0 intact, 20 broken, 22 intact and empty, 65 a file cannot be opened, 74 a file cannot be read.";

/// The arguments of `audit verify`.
#[derive(Debug, ClapArgs)]
#[command(after_help = VERIFY_NOTES)]
pub(crate) struct AuditVerifyArgs {
    /// The log; its head lies beside it
    #[arg(value_name = "LOG")]
    pub(crate) log: PathBuf,
    /// A head that was kept elsewhere; the log may be longer by now
    #[arg(long, value_name = "NUMBER:DIGEST")]
    pub(crate) head: Option<String>,
    /// A public key that must have signed the head; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
}

/// The arguments of `audit show`.
#[derive(Debug, ClapArgs)]
pub(crate) struct AuditShowArgs {
    /// The log
    #[arg(value_name = "LOG")]
    pub(crate) log: PathBuf,
}

/// The arguments of `audit recover`.
#[derive(Debug, ClapArgs)]
pub(crate) struct AuditRecoverArgs {
    /// The log
    #[arg(value_name = "LOG")]
    pub(crate) log: PathBuf,
    /// The private key that signs the head, where it is signed
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}
