//! `backup`: of a server, by its files or over the network, or of a directory tree.

use super::{Answered, Job};
use crate::args::BackupArgs;
use crate::failed::failed;
use crate::progress::Reporter;
use crate::render::Answer;
use crate::{open, parse};
use ops_backup::{
    BackupOptions, ChangeDetection, Engine, Error, ErrorKind, PostgresEngine, RemoteEngine, TakenFrom,
    TreeEngine, backup,
};
use ops_cli::{Exit, Failure};
use std::time::Duration;

pub(super) async fn run(args: &BackupArgs, job: &Job<'_>) -> Answered {
    let options = options(args, job)?;
    let engine = engine(args, job)?;
    let repository = open::writable_repository(job.settings).await?;
    let reporter = Reporter::watch(&job.monitor);
    let done = backup(&repository, engine.as_ref(), &options, &job.monitor).await;
    drop(reporter);
    let done = done.map_err(|error| worded(args, job, &error))?;
    // The backup is kept, because an older good one may be gone; but it is no success, of this one or of those before.
    let lost =
        done.postgres().and_then(|facts| facts.audit.as_ref()).is_some_and(|audit| audit.stale_pages > 0);
    let exit = if done.bad_pages > 0 || lost { Exit::No } else { Exit::Done };
    Ok((Answer::Backup(Box::new(done)), exit))
}

fn options(args: &BackupArgs, job: &Job<'_>) -> Result<BackupOptions, Failure> {
    let settings = job.settings;
    Ok(BackupOptions {
        workers: settings.workers.max(1),
        compression: parse::compression(&settings.compression)?,
        bytes_per_second: parse::rate("read_limit_mb", settings.read_limit_mb)?.map(u64::from),
        change_detection: if args.check_all { ChangeDetection::Hash } else { ChangeDetection::Metadata },
        allow_concurrent: args.concurrent,
        ..BackupOptions::default()
    })
}

fn engine(args: &BackupArgs, job: &Job<'_>) -> Result<Box<dyn Engine>, Failure> {
    if let (Some(root), Some(name)) = (&args.tree, &args.name) {
        // The record of the backup is read elsewhere.
        let root = std::path::absolute(root).map_err(|error| {
            Failure::new(Exit::Usage, format!("--tree {} is no path: {error}", root.display()))
        })?;
        let mut engine = TreeEngine::new(name, &root);
        engine.exclude = args.exclude.clone();
        return Ok(Box::new(engine));
    }
    let trace_id = job.context.trace.trace_id.to_string();
    let server = open::server(job.settings, &trace_id)?;
    let taken_from = if args.from_standby {
        TakenFrom::Standby { primary: open::primary(job.settings, &trace_id)? }
    } else {
        TakenFrom::Primary
    };
    let archive_timeout = Duration::from_secs(job.settings.archive_timeout_seconds);
    if args.remote {
        let mut engine = RemoteEngine::new(server);
        (engine.taken_from, engine.archive_timeout) = (taken_from, archive_timeout);
        engine.incremental = parse::incremental(&args.incremental)?;
        engine.wire_compression = parse::wire_compression(&args.wire_compression)?;
        engine.whole_after = parse::age("--whole-after", &args.whole_after)?.unsigned_abs();
        if let Some(label) = &args.label {
            engine.label.clone_from(label);
        }
        return Ok(Box::new(engine));
    }
    let mut engine = PostgresEngine::new(server);
    (engine.taken_from, engine.archive_timeout) = (taken_from, archive_timeout);
    if let Some(label) = &args.label {
        engine.label.clone_from(label);
    }
    Ok(Box::new(engine))
}

/// Words a failure with what may be done about it for this kind of backup.
fn worded(args: &BackupArgs, job: &Job<'_>, error: &Error) -> Failure {
    let failure = failed(error);
    match error.kind() {
        ErrorKind::WrongRole if args.from_standby => {
            failure.hint("without --from-standby the backup is taken from a primary")
        }
        ErrorKind::WrongRole => failure.hint("--from-standby takes the backup from this standby"),
        ErrorKind::Timeout if args.from_standby && job.settings.primary.is_empty() => failure.hint(
            "a standby cannot end a WAL segment, and its primary may be idle: name the primary with --primary",
        ),
        ErrorKind::Postgres if args.remote => failure.hint(
            "--remote needs a role with REPLICATION, a line `host replication ROLE ADDRESS scram-sha-256` in \
             pg_hba.conf, and a free one of max_wal_senders",
        ),
        ErrorKind::Configuration if !args.remote && args.tree.is_none() => {
            failure.hint("--remote takes the backup without access to the server's files")
        }
        _ => failure,
    }
}
