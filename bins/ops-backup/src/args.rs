//! The command line of `ops-backup`.

use clap::{ArgGroup, Args as ClapArgs, Parser, Subcommand};
use ops_cli::{CommonArgs, Flag};
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  ops-backup key new /etc/ops/backup.key
  ops-backup --repo /backups --key-file /etc/ops/backup.key init
  ops-backup --repo /backups --postgres 'host=/run/postgresql user=postgres' backup
  ops-backup --repo /backups restore --to /srv/pg15 --target-time 2026-11-21T09:30:00Z --plan
  ops-backup --repo /backups rehearse --assert \"orders=shop:SELECT count(*) > 0 FROM orders=t\"
  ops-backup --repo /backups expire --keep-daily 7 --keep-weekly 4 --plan

In postgresql.conf:
  archive_command = 'ops-backup --config /etc/ops/ops.toml wal push %p'

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
    /// The repository: a folder, or s3://bucket/prefix, gs://bucket/prefix, az://container/prefix
    #[arg(long, global = true, value_name = "PLACE")]
    pub(crate) repo: Option<String>,
    /// The key of an encrypted repository; `key new` makes one
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<String>,
    /// The server, as a libpq URL or key=value pairs
    #[arg(long, global = true, value_name = "CONNECTION")]
    pub(crate) postgres: Option<String>,
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Create a repository, encrypted where a key is given
    #[command(after_help = "Examples:
  ops-backup --repo /backups --key-file /etc/ops/backup.key init
  OPS_BACKUP_PASSPHRASE_FILE=/run/secrets/backup ops-backup --repo s3://bucket/shop init")]
    Init,
    /// Keys of an encrypted repository: make, list, add, remove
    #[command(subcommand)]
    Key(KeyAction),
    /// Back up a running server, or a directory tree
    Backup(BackupArgs),
    /// Show the backups, the moments that can be restored, and the jobs
    #[command(after_help = "Examples:
  ops-backup --repo /backups list
  ops-backup --repo /backups list --format json")]
    List,
    /// Show or write what `list` shows as metrics for Prometheus
    Metrics(MetricsArgs),
    /// Read the repository back and check it: hashes, references, WAL without gaps
    Verify(VerifyArgs),
    /// Restore a backup, to the latest moment or to a target
    Restore(RestoreArgs),
    /// Give up the backups that no rule keeps, and free what they alone need
    Expire(ExpireArgs),
    /// Restore into a scratch directory, start it, prove it, remove it, and sign a record
    Rehearse(RehearseArgs),
    /// Archive and fetch WAL files
    #[command(subcommand)]
    Wal(WalAction),
    /// Keys and records of rehearsals
    #[command(subcommand)]
    Evidence(EvidenceAction),
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyAction {
    /// Write a new random key into a file; the repository is not touched
    New {
        /// The file; it must not exist
        file: PathBuf,
    },
    /// List the keys that open the repository
    List,
    /// Add a second way in: another key file or passphrase that opens the same repository
    #[command(group(ArgGroup::new("new").required(true)), after_help = "Example, a new passphrase beside the key file:
  ops-backup --repo /backups --key-file backup.key key add --new-passphrase-file emergency.txt")]
    Add {
        /// A key file made by `key new`
        #[arg(long, value_name = "FILE", group = "new")]
        new_key_file: Option<PathBuf>,
        /// A file that holds a passphrase
        #[arg(long, value_name = "FILE", group = "new")]
        new_passphrase_file: Option<PathBuf>,
    },
    /// Remove a way in; what it opened before, its holder may have copied
    Remove {
        /// The id, as `key list` shows it
        id: String,
    },
}

/// The arguments of `backup`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  ops-backup --postgres 'host=/run/postgresql user=postgres' backup --throttle 50
  ops-backup --postgres 'host=db.example user=backup dbname=postgres sslmode=require' backup --remote
  ops-backup backup --from-standby --primary 'host=db1 user=backup dbname=postgres'
  ops-backup backup --tree /etc --name etc")]
pub(crate) struct BackupArgs {
    /// A note that the server shows while the backup runs, and writes into backup_label
    #[arg(long, value_name = "TEXT", conflicts_with = "tree")]
    pub(crate) label: Option<String>,
    /// Read and hash every file, also those whose time and size say that they are unchanged
    #[arg(long)]
    pub(crate) check_all: bool,
    /// Read no more than so many megabytes a second from the source
    #[arg(long, value_name = "MB/S")]
    pub(crate) throttle: Option<f64>,
    /// zstd:LEVEL, lz4 or none [default: the setting `compression`, zstd:3]
    #[arg(long, value_name = "METHOD")]
    pub(crate) compression: Option<String>,
    /// Run even where another backup of the same source is running
    #[arg(long)]
    pub(crate) concurrent: bool,
    /// Take everything through the server's replication protocol, and nothing from its files: for managed servers and other
    /// machines. The role needs REPLICATION, and pg_hba.conf a line for the database `replication`
    #[arg(long, conflicts_with = "tree")]
    pub(crate) remote: bool,
    /// With --remote, whether the server sends only the pages that changed since the last backup: auto, never or require.
    /// Needs PostgreSQL 17 and summarize_wal = on; the backup is complete either way
    #[arg(long, value_name = "WHEN", default_value = "auto", requires = "remote")]
    pub(crate) incremental: String,
    /// With --remote, read everything again, and compare, where the last backup that did so is older than this
    #[arg(long, value_name = "AGE", default_value = "7d", requires = "remote")]
    pub(crate) whole_after: String,
    /// With --remote, how the server compresses what it sends: auto, none, lz4 or zstd. auto is the best that the server
    /// knows, and none where it is on this machine. Needs PostgreSQL 15
    #[arg(long, value_name = "METHOD", default_value = "auto", requires = "remote")]
    pub(crate) wire_compression: String,
    /// The server is a standby, and the backup is to be taken from it
    #[arg(long, conflicts_with = "tree")]
    pub(crate) from_standby: bool,
    /// The primary of that standby, which is asked to end its WAL segment with pg_switch_wal(): without it, a backup beside
    /// an idle primary waits in vain [default: the setting `primary`]
    #[arg(long, value_name = "CONNECTION", requires = "from_standby")]
    pub(crate) primary: Option<String>,
    /// Back up this directory tree instead of a server
    #[arg(long, value_name = "DIR", requires = "name")]
    pub(crate) tree: Option<PathBuf>,
    /// What the tree is called; its backups build on one another
    #[arg(long, value_name = "NAME", requires = "tree")]
    pub(crate) name: Option<String>,
    /// A path below the tree that is left out
    #[arg(long, value_name = "PATH", requires = "tree")]
    pub(crate) exclude: Vec<PathBuf>,
}

/// The arguments of `metrics`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example, for the textfile collector of node_exporter:
  ops-backup metrics --write /var/lib/node_exporter/ops_backup.prom")]
pub(crate) struct MetricsArgs {
    /// Write them into this file, which is replaced at once
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
}

/// The arguments of `verify`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  ops-backup verify                        everything
  ops-backup verify --max-age 7d           what was not proven within a week
  ops-backup verify --sample 10%           a tenth, chosen at random; it proves no backup whole")]
pub(crate) struct VerifyArgs {
    /// Verify this backup alone
    #[arg(long, value_name = "ID")]
    pub(crate) backup: Option<String>,
    /// Read only this share of the packs and WAL files, for example 10%
    #[arg(long, value_name = "SHARE")]
    pub(crate) sample: Option<String>,
    /// Leave out what an earlier run has proven within this time, for example 7d
    #[arg(long, value_name = "AGE")]
    pub(crate) max_age: Option<String>,
}

/// Where recovery stops.
#[derive(Debug, Default, ClapArgs)]
#[group(id = "target", multiple = false)]
pub(crate) struct TargetArgs {
    /// Stop at this moment; a zone is needed, for example 2026-11-21T09:30:00Z
    #[arg(long, value_name = "TIME", help_heading = "Recovery target")]
    pub(crate) target_time: Option<String>,
    /// Stop at this position of the WAL, for example 0/3000148
    #[arg(long, value_name = "LSN", help_heading = "Recovery target")]
    pub(crate) target_lsn: Option<String>,
    /// Stop after this transaction
    #[arg(long, value_name = "XID", help_heading = "Recovery target")]
    pub(crate) target_xid: Option<u32>,
    /// Stop at this point, made with pg_create_restore_point()
    #[arg(long, value_name = "NAME", help_heading = "Recovery target")]
    pub(crate) target_name: Option<String>,
    /// Stop as soon as the backup is consistent
    #[arg(long, help_heading = "Recovery target")]
    pub(crate) immediate: bool,
}

/// Which backup, where the newest that fits is not meant.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct WhichArgs {
    /// Use this backup instead of the newest that fits
    #[arg(long, value_name = "ID")]
    pub(crate) backup: Option<String>,
    /// The system identifier of the cluster, where the repository holds several
    #[arg(long, value_name = "IDENTIFIER")]
    pub(crate) cluster: Option<String>,
}

/// The arguments of `restore`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  ops-backup restore --to /srv/pg15 --plan                              see it all before
  ops-backup restore --to /srv/pg15 --target-time 2026-11-21T09:30:00Z
  ops-backup restore --to /srv/pg15 --delta                             write only what differs
  ops-backup restore --to /srv/etc --tree etc")]
pub(crate) struct RestoreArgs {
    /// The directory to restore into; absent or empty, or with --delta one of the same cluster
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) which: WhichArgs,
    /// Restore the directory tree of this name, and no cluster
    #[arg(long, value_name = "NAME", conflicts_with_all = ["cluster", "target", "databases", "tablespaces", "tablespaces_into", "target_timeline", "target_action"])]
    pub(crate) tree: Option<String>,
    /// The timeline to follow: latest, current (of the backup) or its number
    #[arg(long, value_name = "TIMELINE", default_value = "latest", help_heading = "Recovery target")]
    pub(crate) target_timeline: String,
    /// What the server does at the target: promote, pause or shutdown
    #[arg(long, value_name = "ACTION", default_value = "promote", help_heading = "Recovery target")]
    pub(crate) target_action: String,
    /// Write only what differs from an existing data directory of the same cluster
    #[arg(long)]
    pub(crate) delta: bool,
    /// With --delta: the server of that directory crashed, and its state says so
    #[arg(long, requires = "delta")]
    pub(crate) after_crash: bool,
    /// Restore only these databases; the others must be dropped afterwards
    #[arg(long = "database", value_name = "NAME")]
    pub(crate) databases: Vec<String>,
    /// Put a tablespace somewhere else
    #[arg(long = "tablespace", value_name = "OID=DIR")]
    pub(crate) tablespaces: Vec<String>,
    /// Put all other tablespaces into directories below this one, which is made where it is absent; they are named by their OID
    #[arg(long, value_name = "DIR")]
    pub(crate) tablespaces_into: Option<PathBuf>,
    /// Only show what would be done
    #[arg(long)]
    pub(crate) plan: bool,
}

/// The arguments of `expire`; what is not given stands in the settings.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "A backup stays if any rule keeps it. The newest, the newest good and the newest verified backup stay always.

Examples:
  ops-backup expire --keep-within 7d --keep-weekly 4 --keep-monthly 12 --plan
  ops-backup expire --keep-last 3 --wal 2       only the two newest can be restored to any moment"
)]
pub(crate) struct ExpireArgs {
    /// Keep so many of the newest backups
    #[arg(long, value_name = "N", help_heading = "Rules")]
    pub(crate) keep_last: Option<u32>,
    /// Keep every backup that is not older, for example 7d
    #[arg(long, value_name = "AGE", help_heading = "Rules")]
    pub(crate) keep_within: Option<String>,
    /// Keep the last backup of so many days
    #[arg(long, value_name = "N", help_heading = "Rules")]
    pub(crate) keep_daily: Option<u32>,
    /// Keep the last backup of so many weeks
    #[arg(long, value_name = "N", help_heading = "Rules")]
    pub(crate) keep_weekly: Option<u32>,
    /// Keep the last backup of so many months
    #[arg(long, value_name = "N", help_heading = "Rules")]
    pub(crate) keep_monthly: Option<u32>,
    /// Keep the last backup of so many years
    #[arg(long, value_name = "N", help_heading = "Rules")]
    pub(crate) keep_yearly: Option<u32>,
    /// From which backups on all WAL is kept: all, a number of the newest backups, or an age such as 14d
    #[arg(long, value_name = "WHICH", help_heading = "Rules")]
    pub(crate) wal: Option<String>,
    /// Remove what was given up only after this time, for example 24h
    #[arg(long, value_name = "AGE", help_heading = "Rules")]
    pub(crate) grace: Option<String>,
    /// Only show what would be done
    #[arg(long)]
    pub(crate) plan: bool,
}

/// The arguments of `rehearse`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:
  ops-backup rehearse --target-time 2026-11-21T09:30:00Z --assert \"orders=shop:SELECT count(*) > 0 FROM orders=t\"")]
pub(crate) struct RehearseArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) which: WhichArgs,
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
    #[command(after_help = "In postgresql.conf:
  archive_command = 'ops-backup --config /etc/ops/ops.toml wal push %p'

Where `wal serve` runs for the server, it does the work; else this command does it itself. Without the service a
passphrase costs time and 19 MiB of memory for each file; a key file opens the repository at once.")]
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
        /// Where the segment is not complete, write what `wal receive` has of it: for recovery after a disaster alone
        #[arg(long)]
        tail: bool,
    },
    /// Stay beside the server: store WAL ahead of archive_command, fetch it ahead of restore_command, watch the disk
    Serve(ServeArgs),
    /// Look for gaps in the archive, and say which moments can be restored
    Check(CheckArgs),
    /// Receive WAL from a replication slot as it is written, so that a disaster costs seconds and not a segment
    Receive(ReceiveArgs),
}

/// The arguments of `wal serve`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  ops-backup --config /etc/ops/ops.toml wal serve --data-directory /var/lib/postgresql/15/main
  ops-backup wal serve --data-directory /srv/pg15 --listen 127.0.0.1:9464

Run it as the user of the server. archive_command and restore_command stay as they are: `wal push` and `wal fetch` find
the service by the directory of the file, and do the work themselves where there is none.")]
pub(crate) struct ServeArgs {
    /// The data directory of the server
    #[arg(long, value_name = "DIR")]
    pub(crate) data_directory: PathBuf,
    /// Store so many files at the same time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) uploads: u8,
    /// Fetch so many segments ahead of recovery
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(0..=64))]
    pub(crate) prefetch: u8,
    /// zstd:LEVEL, lz4 or none [default: the setting `compression`, zstd:3]
    #[arg(long, value_name = "METHOD")]
    pub(crate) compression: Option<String>,
    /// Warn so long before what waits to be archived has filled the disk
    #[arg(long, value_name = "AGE", default_value = "2h")]
    pub(crate) warn_before_full: String,
    /// Answer /metrics, /live and /ready here; whoever reaches it reads them
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<std::net::SocketAddr>,
}

/// The arguments of `wal check`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  ops-backup wal check
  ops-backup wal check --max-age 5m        also fail where the newest segment was stored longer ago

Exit codes: 0 every backup leads to the newest WAL, 20 a gap cuts one or the archive is behind, 22 there is no WAL.")]
pub(crate) struct CheckArgs {
    /// The cluster with this system identifier alone
    #[arg(long, value_name = "IDENTIFIER")]
    pub(crate) cluster: Option<String>,
    /// Fail where the newest segment of a cluster was stored longer ago than this, for example 5m
    #[arg(long, value_name = "AGE")]
    pub(crate) max_age: Option<String>,
}

/// The arguments of `wal receive`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  ops-backup --postgres 'host=db1,db2 user=replicator target_session_attrs=read-write' wal receive --create-slot
  ops-backup wal receive --slot ops_backup --listen 127.0.0.1:9465

The role needs REPLICATION, and a line `host replication …` in pg_hba.conf. It runs until it is told to stop, and goes on
where it was. The server keeps its WAL for the slot and may fill its disk: set max_slot_wal_keep_size, and drop the slot
where nobody receives any more. archive_command may store into the same repository.")]
pub(crate) struct ReceiveArgs {
    /// The physical replication slot
    #[arg(long, value_name = "NAME", default_value = "ops_backup")]
    pub(crate) slot: String,
    /// Make the slot where there is none
    #[arg(long)]
    pub(crate) create_slot: bool,
    /// Store what has come after this time at the latest, for example 500ms
    #[arg(long, value_name = "TIME", default_value = "800ms")]
    pub(crate) flush_interval: String,
    /// Warn where the server keeps more megabytes than this for the slot
    #[arg(long, value_name = "MB", default_value_t = 1024)]
    pub(crate) warn_lag: u32,
    /// zstd:LEVEL, lz4 or none [default: the setting `compression`, zstd:3]
    #[arg(long, value_name = "METHOD")]
    pub(crate) compression: Option<String>,
    /// Receive from the cluster with this system identifier alone
    #[arg(long, value_name = "IDENTIFIER")]
    pub(crate) cluster: Option<String>,
    /// Answer /metrics, /live and /ready here; whoever reaches it reads them
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<std::net::SocketAddr>,
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
        let mut flags = vec![
            Flag::given("backup.repo", "--repo", self.repo.clone()),
            Flag::given("backup.key_file", "--key-file", self.key_file.clone()),
            Flag::given("backup.postgres", "--postgres", self.postgres.clone()),
        ];
        match &self.action {
            Some(Action::Backup(args)) => flags.extend([
                Flag::given("backup.read_limit_mb", "--throttle", args.throttle),
                Flag::given("backup.compression", "--compression", args.compression.clone()),
                Flag::given("backup.primary", "--primary", args.primary.clone()),
            ]),
            Some(Action::Expire(args)) => flags.extend([
                Flag::given("backup.retention.keep_last", "--keep-last", args.keep_last),
                Flag::given("backup.retention.keep_within", "--keep-within", args.keep_within.clone()),
                Flag::given("backup.retention.keep_daily", "--keep-daily", args.keep_daily),
                Flag::given("backup.retention.keep_weekly", "--keep-weekly", args.keep_weekly),
                Flag::given("backup.retention.keep_monthly", "--keep-monthly", args.keep_monthly),
                Flag::given("backup.retention.keep_yearly", "--keep-yearly", args.keep_yearly),
                Flag::given("backup.retention.wal", "--wal", args.wal.clone()),
                Flag::given("backup.retention.grace", "--grace", args.grace.clone()),
            ]),
            _ => {}
        }
        flags.into_iter().flatten().collect()
    }
}
