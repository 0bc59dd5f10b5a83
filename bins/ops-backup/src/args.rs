//! The command line of `ops-backup`, and its settings.

use clap::{Args as ClapArgs, Parser, Subcommand};
use ops_cli::{CommonArgs, Flag, LogSettings};
use ops_secrets::Secret;
use serde::Deserialize;
use std::path::PathBuf;

/// The defaults of every setting.
pub(crate) const DEFAULTS: &str = r#"
[backup]
repo = ""
postgres = ""
password = ""
postgres_bin = ""
workers = 2
compression_level = 3
archive_timeout_seconds = 60
server_user = "postgres"
signing_key = ""
evidence_dir = ""

[backup.s3]
endpoint = ""
region = "us-east-1"
access_key_id = ""
secret_access_key = ""
path_style = true
allow_http = false
"#;

/// Everything that `ops-backup` can be told.
#[derive(Debug, Deserialize)]
pub(crate) struct Settings {
    /// The table `[backup]`.
    pub(crate) backup: BackupSettings,
    /// The table `[log]`; read by the common code.
    #[expect(dead_code, reason = "declared so that its keys are known; the common code reads it")]
    pub(crate) log: LogSettings,
}

/// The table `[backup]`.
#[derive(Debug, Deserialize)]
pub(crate) struct BackupSettings {
    /// A folder, or `s3://bucket/prefix`.
    pub(crate) repo: String,
    /// The server to back up, as a libpq URL or `key=value` pairs.
    pub(crate) postgres: String,
    /// Its password.
    pub(crate) password: Secret,
    /// The folder of PostgreSQL's programs; empty finds the installed one of the right major.
    pub(crate) postgres_bin: String,
    /// Readers that copy, hash and compress at once.
    pub(crate) workers: usize,
    /// zstd level.
    pub(crate) compression_level: i32,
    /// How long a backup waits for its last WAL segment to be archived.
    pub(crate) archive_timeout_seconds: u64,
    /// When run as root: who owns restored files and runs rehearsal servers.
    pub(crate) server_user: String,
    /// The private key that signs rehearsal records.
    pub(crate) signing_key: String,
    /// Where rehearsal records are written.
    pub(crate) evidence_dir: String,
    /// How to reach an S3 server.
    pub(crate) s3: S3Settings,
}

/// The table `[backup.s3]`.
#[derive(Debug, Deserialize)]
pub(crate) struct S3Settings {
    /// The URL of the server; empty for Amazon's own.
    pub(crate) endpoint: String,
    /// The region.
    pub(crate) region: String,
    /// The access key's id.
    pub(crate) access_key_id: String,
    /// The access key's secret.
    pub(crate) secret_access_key: Secret,
    /// Put the bucket into the path and not into the host name.
    pub(crate) path_style: bool,
    /// Allow `http://` endpoints.
    pub(crate) allow_http: bool,
}

const EXAMPLES: &str = "Examples:
  ops-backup --repo /backups init
  ops-backup --repo /backups --postgres 'host=/run/postgresql user=postgres' backup
  ops-backup --repo /backups restore --to /srv/pg15 --target-time 2026-11-21T09:30:00Z --plan
  ops-backup --repo /backups rehearse --assert \"orders=shop:SELECT count(*) > 0 FROM orders=t\"

In postgresql.conf:
  archive_command = 'ops-backup --repo /backups wal push %p'

Exit codes:
  0 done and proven         20 does not verify, rehearsal failed, target unreachable
  22 nothing to check       64 usage           65 bad input
  69 no answer              73 cannot create   74 I/O error
  75 try again              78 configuration   130 interrupted
  wal fetch alone: 1 the file is proven absent, 126 failed: recovery must stop";

/// Back up PostgreSQL, archive its WAL, restore to a moment, and prove it by rehearsal
#[derive(Debug, Parser)]
#[command(name = "ops-backup", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// The repository: a folder, or s3://bucket/prefix
    #[arg(long, global = true, value_name = "PLACE")]
    pub(crate) repo: Option<String>,
    /// The server, as a libpq URL or key=value pairs
    #[arg(long, global = true, value_name = "CONNECTION")]
    pub(crate) postgres: Option<String>,
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Create a repository
    Init,
    /// Take a full backup of a running server
    Backup,
    /// List the backups
    List,
    /// Read every object back and check it: hashes, references, WAL without gaps
    Verify,
    /// Restore a backup into an empty directory, to the latest moment or to a target
    Restore(RestoreArgs),
    /// Restore into a scratch directory, start it, prove it, remove it, and sign a record
    Rehearse(RehearseArgs),
    /// Archive and fetch WAL files
    #[command(subcommand)]
    Wal(WalAction),
    /// Keys and records of rehearsals
    #[command(subcommand)]
    Evidence(EvidenceAction),
}

/// Where recovery stops.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct TargetArgs {
    /// Stop at this moment; a zone is needed, for example 2026-11-21T09:30:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "immediate")]
    pub(crate) target_time: Option<String>,
    /// Stop as soon as the backup is consistent
    #[arg(long)]
    pub(crate) immediate: bool,
    /// Use this backup instead of the newest that fits
    #[arg(long, value_name = "ID")]
    pub(crate) backup: Option<String>,
}

/// The arguments of `restore`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RestoreArgs {
    /// The directory to restore into; absent or empty
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Put a tablespace somewhere else; needed once for each tablespace
    #[arg(long = "tablespace", value_name = "OID=DIR")]
    pub(crate) tablespaces: Vec<String>,
    /// Only show what would be done
    #[arg(long)]
    pub(crate) plan: bool,
}

/// The arguments of `rehearse`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RehearseArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// A query that must give one value: NAME=DATABASE:QUERY=VALUE (the last `=` separates the value; a boolean is `t` or `f`)
    #[arg(long = "assert", value_name = "ASSERTION")]
    pub(crate) assertions: Vec<String>,
    /// Measure lost WAL against this position, for example 0/3000148
    #[arg(long, value_name = "LSN")]
    pub(crate) wanted_lsn: Option<String>,
    /// Where the scratch directory is made
    #[arg(long, value_name = "DIR", default_value = "/tmp")]
    pub(crate) scratch: PathBuf,
    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) budget: u64,
}

/// What to do with WAL.
#[derive(Debug, Subcommand)]
pub(crate) enum WalAction {
    /// Archive one file; for archive_command
    Push {
        /// The file, as %p gives it
        path: PathBuf,
    },
    /// Fetch one file; for restore_command
    Fetch {
        /// Its name, as %f gives it
        name: String,
        /// Where to write it, as %p gives it
        to: PathBuf,
    },
}

/// What to do with evidence.
#[derive(Debug, Subcommand)]
pub(crate) enum EvidenceAction {
    /// Make a key pair: DIR/signing.pem and DIR/signing.pub.pem
    Key {
        /// The folder
        dir: PathBuf,
    },
    /// Check the signature of a record and show it
    Verify {
        /// The record
        file: PathBuf,
        /// The public key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

impl Args {
    /// The flags that override settings.
    pub(crate) fn overrides(&self) -> Vec<Flag> {
        let repo = Flag::given("backup.repo", "--repo", self.repo.clone());
        let postgres = Flag::given("backup.postgres", "--postgres", self.postgres.clone());
        repo.into_iter().chain(postgres).collect()
    }
}
