//! `restore`: plan, then apply.

use super::{Answered, Job};
use crate::args::RestoreArgs;
use crate::failed::failed;
use crate::open::{self, Give};
use crate::parse;
use crate::progress::Reporter;
use crate::render::Answer;
use ops_backup::restore::{self, Owner};
use ops_backup::{AfterCrash, Error, ErrorKind, RecoveryTarget, RestoreOptions, RestoreTarget, TargetAction};
use ops_cli::{Exit, Failure};

pub(super) async fn run(args: &RestoreArgs, job: &Job<'_>) -> Answered {
    let options = options(args, job)?;
    let after_crash = if args.after_crash { AfterCrash::Accepted } else { AfterCrash::Refused };
    let target = match args.delta {
        true => RestoreTarget::check_delta(&args.to, after_crash),
        false => RestoreTarget::check(&args.to),
    };
    let target = target.map_err(|error| refused(&error, args))?;
    let repository = open::repository(job.settings).await?;
    let plan =
        restore::plan(&repository, target, options).await.map_err(|error| not_planned(&error, args))?;
    if args.plan {
        return Ok((Answer::Plan(Box::new(plan.summary())), Exit::Done));
    }
    let summary = plan.summary();
    let next = summary.replay.is_some().then_some(summary.action);
    let to_drop = summary.databases.map(|selection| selection.to_drop).unwrap_or_default();
    for warning in &summary.warnings {
        tracing::warn!("{warning}");
    }
    let reporter = Reporter::watch(&job.monitor);
    let done = restore::apply(&repository, plan, &job.monitor).await;
    drop(reporter);
    let done = done.map_err(|error| refused(&error, args))?;
    Ok((Answer::Restored { done, next, to_drop }, Exit::Done))
}

/// The data directory was accepted before: what is in the way is the place of a tablespace, or another cluster.
fn not_planned(error: &Error, args: &RestoreArgs) -> Failure {
    let failure = failed(error);
    match (error.kind(), args.delta) {
        (ErrorKind::BadTarget, false) => failure.hint(
            "--tablespace OID=DIR and --tablespaces-into DIR put a tablespace elsewhere; nothing was changed",
        ),
        _ => failure,
    }
}

/// A directory that cannot be restored into has a way out that depends on what was asked for.
fn refused(error: &Error, args: &RestoreArgs) -> Failure {
    let failure = failed(error);
    match (error.kind(), args.delta, args.after_crash) {
        (ErrorKind::BadTarget, false, _) => failure.hint(
            "name a directory that is absent or empty; or add --delta where it is a stopped data directory of the \
             same cluster, or a restore that was not finished; nothing was changed",
        ),
        (ErrorKind::BadTarget, true, false) => failure.hint(
            "give the data directory of the same cluster with its server stopped; where that has crashed, and surely runs \
             nowhere, add --after-crash; nothing was changed",
        ),
        _ => failure,
    }
}

fn options(args: &RestoreArgs, job: &Job<'_>) -> Result<RestoreOptions, Failure> {
    let (target, action) = (parse::target(&args.target)?, parse::action(&args.target_action)?);
    if target == RecoveryTarget::Latest && action != TargetAction::Promote {
        let failure = Failure::new(Exit::Usage, "--target-action needs a target");
        return Err(failure.hint("at the end of the WAL PostgreSQL always opens for writing"));
    }
    let (config, profile) = (job.context.config_file.as_deref(), job.context.profile);
    let command = |give| open::restore_command(job.settings, config, profile, give);
    Ok(RestoreOptions {
        backup: args.which.backup.clone(),
        system_identifier: parse::cluster(args.which.cluster.as_ref())?,
        tree: args.tree.clone(),
        target,
        timeline: parse::timeline(&args.target_timeline)?,
        action,
        restore_command: command(Give::Segments)?,
        restore_command_with_tail: Some(command(Give::Tail)?),
        tablespaces: parse::tablespaces(&args.tablespaces)?,
        tablespaces_into: args.tablespaces_into.clone(),
        databases: args.databases.clone(),
        owner: open::server_user(job.settings)?.map(|(uid, gid)| Owner { uid, gid }),
        workers: job.settings.workers.max(1),
    })
}
