//! The command line of `ops-guard`, and its settings.

use clap::{Args as ClapArgs, Parser, Subcommand};
use ops_cli::{CommonArgs, Flag, LogSettings, SourceSettings};
use ops_secrets::Secret;
use serde::Deserialize;
use std::path::PathBuf;

/// The defaults of every setting.
pub(crate) const DEFAULTS: &str = "
[guard]
# The name of a built-in policy, or the path of a policy file.
policy = \"app\"
# The server, as a libpq URL or `key=value` pairs. It may have a password in it, and is masked as a whole.
url = \"\"
# The password, where the URL has none.
password = \"\"
";

/// Everything that `ops-guard` can be told.
#[derive(Debug, Deserialize)]
pub(crate) struct Settings {
    /// The table `[guard]`.
    pub(crate) guard: GuardSettings,
    /// The table `[log]`; read by the common code.
    #[expect(dead_code, reason = "declared so that its keys are known; the common code reads it")]
    pub(crate) log: LogSettings,
    /// The table `[secrets]`, as far as all binaries share it; read by the common code.
    #[expect(dead_code, reason = "declared so that its keys are known; the common code reads it")]
    pub(crate) secrets: SourceSettings,
}

/// The table `[guard]`.
#[derive(Debug, Deserialize)]
pub(crate) struct GuardSettings {
    pub(crate) policy: String,
    pub(crate) url: Secret,
    pub(crate) password: Secret,
}

const EXAMPLES: &str = "Examples:
  ops-guard check migrations/*.sql
  echo 'DELETE FROM orders' | ops-guard check -
  ops-guard check --policy migration --format json release.sql
  ops-guard check --policy shop.toml
  ops-guard exec --preview --url postgresql://shop_app@db.example/shop -c 'DELETE FROM orders WHERE id = 7'
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
    /// Run SQL through the guard: judged before, observed before it lasts
    Exec(Box<ExecArgs>),
    /// Examine the role that an application uses, and print the script that makes it safe
    Doctor(DoctorArgs),
    /// Tell what each statement would do, why, and what the policy says to it
    Explain(ExplainArgs),
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
            Some(Action::Explain(explain)) => explain.text.policy.clone(),
            Some(Action::Exec(exec)) => exec.text.policy.clone(),
            Some(Action::Approve(approve)) => approve.policy.clone(),
            _ => None,
        };
        let url = match &self.action {
            Some(Action::Doctor(doctor)) => doctor.url.clone(),
            Some(Action::Explain(explain)) => explain.url.clone(),
            Some(Action::Exec(exec)) => exec.url.clone(),
            _ => None,
        };
        let policy = Flag::given("guard.policy", "--policy", policy);
        policy.into_iter().chain(Flag::given("guard.url", "--url", url)).collect()
    }
}

/// The SQL that a command takes, and what it is judged by.
#[derive(Debug, ClapArgs)]
#[command(group = clap::ArgGroup::new("text").required(true))]
pub(crate) struct TextArgs {
    /// Take this text
    #[arg(short = 'c', long, group = "text", value_name = "SQL")]
    pub(crate) command: Option<String>,
    /// Take the text of this file
    #[arg(short = 'f', long, group = "text", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// `-` takes standard input
    #[arg(group = "text", value_name = "-", value_parser = ["-"])]
    pub(crate) stdin: Option<String>,
    /// The policy to judge by: a name, or a TOML file
    #[arg(long, value_name = "NAME_OR_FILE")]
    pub(crate) policy: Option<String>,
}

const EXEC_NOTES: &str = "Examples:
  ops-guard exec --url postgresql://shop_app@db.example/shop -c 'SELECT count(*) FROM orders'
  ops-guard exec --preview -c 'DELETE FROM customers WHERE id = 7'
  ops-guard exec --undo keep.t42 -c 'DELETE FROM orders WHERE placed < now() - interval $$1 year$$'
  ops-guard exec -f repair.sql --approval ok.json --approvers approvers.toml --audit audit.jsonl

Several statements run in one transaction: all of them last, or none. What a statement does is observed before it lasts, \
cascades, triggers and deferred triggers included, and rolled back where the policy does not allow it.

Exit codes: 0 done, 20 a statement was denied, needs an approval or was rolled back, 22 there was no statement, 64 usage, \
65 a file cannot be read or the server refuses the statement, 69 the server does not answer, 74 the audit log cannot be written, \
78 configuration.";

/// The arguments of `exec`.
#[derive(Debug, ClapArgs)]
#[command(after_help = EXEC_NOTES)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) text: TextArgs,
    /// The server and the role, as a libpq URL or key=value pairs
    #[arg(long, value_name = "CONNECTION")]
    pub(crate) url: Option<String>,
    /// Run each statement, show what it does, and undo it
    #[arg(long, conflicts_with_all = ["undo", "each", "approval"])]
    pub(crate) preview: bool,
    /// Keep the rows that a DELETE or UPDATE removes or changes in tables guard_undo_NAME_…, and print what puts them back
    #[arg(long, value_name = "[SCHEMA.]NAME", conflicts_with = "each")]
    pub(crate) undo: Option<String>,
    /// Run every statement in a transaction of its own
    #[arg(long)]
    pub(crate) each: bool,
    /// An approval to present; may be given several times
    #[arg(long, value_name = "FILE", requires = "approvers", requires = "audit")]
    pub(crate) approval: Vec<PathBuf>,
    /// The people whose approvals count
    #[arg(long, value_name = "FILE", requires = "audit")]
    pub(crate) approvers: Option<PathBuf>,
    /// The audit log that gets every use of an approval, before the statement is sent
    #[arg(long, value_name = "FILE", requires = "approvers")]
    pub(crate) audit: Option<PathBuf>,
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
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) text: TextArgs,
    /// The server to look names up on, as a libpq URL or key=value pairs; a setting alone does not connect
    #[arg(long, value_name = "CONNECTION")]
    pub(crate) url: Option<String>,
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
    /// The policy that the statement is to run under, to show what it says: a name, or a TOML file
    #[arg(long, value_name = "NAME_OR_FILE")]
    pub(crate) policy: Option<String>,
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
