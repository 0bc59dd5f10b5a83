//! `restore`: plan, then apply.

use super::{Answered, Job};
use crate::args::RestoreArgs;
use crate::failed::failed;
use crate::progress::Reporter;
use crate::render::Answer;
use crate::{open, parse};
use ops_backup::restore::{self, Owner};
use ops_backup::{AfterCrash, RestoreOptions, RestoreTarget};
use ops_cli::{Exit, Failure};

pub(super) async fn run(args: &RestoreArgs, job: &Job<'_>) -> Answered {
    let options = options(args, job)?;
    let after_crash = if args.after_crash { AfterCrash::Accepted } else { AfterCrash::Refused };
    let target = match args.delta {
        true => RestoreTarget::check_delta(&args.to, after_crash),
        false => RestoreTarget::check(&args.to),
    };
    let target = target.map_err(|error| failed(&error))?;
    let repository = open::repository(job.settings).await?;
    let plan = restore::plan(&repository, target, options).await.map_err(|error| failed(&error))?;
    if args.plan {
        return Ok((Answer::Plan(Box::new(plan.summary())), Exit::Done));
    }
    let is_cluster = plan.backup().postgres().is_some();
    let summary = plan.summary();
    let to_drop = summary.databases.map(|selection| selection.to_drop).unwrap_or_default();
    for warning in &summary.warnings {
        tracing::warn!("{warning}");
    }
    let reporter = Reporter::watch(&job.monitor);
    let done = restore::apply(&repository, plan, &job.monitor).await;
    drop(reporter);
    let done = done.map_err(|error| failed(&error))?;
    Ok((Answer::Restored { done, is_cluster, to_drop }, Exit::Done))
}

fn options(args: &RestoreArgs, job: &Job<'_>) -> Result<RestoreOptions, Failure> {
    Ok(RestoreOptions {
        backup: args.which.backup.clone(),
        system_identifier: parse::cluster(args.which.cluster.as_ref())?,
        tree: args.tree.clone(),
        target: parse::target(&args.target)?,
        timeline: parse::timeline(&args.target_timeline)?,
        action: parse::action(&args.target_action)?,
        restore_command: open::restore_command(job.settings, job.context.config_file.as_deref())?,
        tablespaces: parse::tablespaces(&args.tablespaces)?,
        tablespaces_into: args.tablespaces_into.clone(),
        databases: args.databases.clone(),
        owner: open::server_user(job.settings)?.map(|(uid, gid)| Owner { uid, gid }),
        workers: job.settings.workers.max(1),
    })
}
