//! `rehearse`: the proof that a restore works, and its signed record.

use super::evidence::signer;
use super::{Answered, Job};
use crate::args::RehearseArgs;
use crate::failed::failed;
use crate::open::{self, Give};
use crate::parse;
use crate::progress::Reporter;
use crate::render::Answer;
use ops_backup::rehearse::{Assertion, RunAs};
use ops_backup::{RehearseOptions, list, rehearse};
use ops_cli::{Exit, Failure};
use ops_core::evidence::Outcome;
use std::time::Duration;

pub(super) async fn run(args: &RehearseArgs, job: &Job<'_>) -> Answered {
    let Job { settings, context, monitor } = job;
    let repository = open::repository(settings).await?;
    let inventory = list(&repository).await.map_err(|error| failed(&error))?;
    let cluster = parse::cluster(args.which.cluster.as_ref())?;
    let is_meant = |id| cluster.is_none_or(|cluster| cluster == id);
    let Some(newest) = inventory.clusters.iter().rfind(|known| is_meant(known.cluster.system_identifier))
    else {
        return Err(Failure::new(Exit::Nothing, "there is no backup to rehearse")
            .hint("`ops-backup backup` takes one"));
    };
    let signer = signer(settings)?;
    let (config, profile) = (context.config_file.as_deref(), context.profile);
    let command = |give| open::restore_command(settings, config, profile, give);
    let programs = open::programs(settings, newest.cluster.major)?;
    let mut options = RehearseOptions::new(&args.scratch, programs, command(Give::Segments)?);
    options.restore_command_with_tail = Some(command(Give::Tail)?);
    options.backup = args.which.backup.clone();
    options.system_identifier = cluster;
    options.target = parse::target(&args.target)?;
    options.run_as = open::server_user(settings)?.map(|(uid, gid)| RunAs { uid, gid });
    options.environment =
        ops_telemetry::child_env().into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    options.assertions = args.assertions.iter().map(|text| assertion(text)).collect::<Result<_, _>>()?;
    options.budget = Some(Duration::from_secs(args.budget));
    options.trace_id = context.trace.trace_id.to_string();
    options.wanted.lsn = args.wanted_lsn.as_deref().map(parse::lsn).transpose()?;
    let reporter = Reporter::watch(monitor);
    let done = rehearse(&repository, &options, monitor).await;
    drop(reporter);
    let done = done.map_err(|error| failed(&error))?;
    let evidence = signer.map(|signer| signer.write(&done.record)).transpose()?;
    let exit = match done.record.outcome {
        Outcome::Passed => Exit::Done,
        Outcome::Failed => Exit::No,
        Outcome::Error => Exit::Unjudged,
    };
    Ok((Answer::Rehearsed { record: Box::new(done.record), evidence }, exit))
}

/// `NAME=DATABASE:QUERY=VALUE`: the first `=`, the first `:`, the last `=`.
fn assertion(text: &str) -> Result<Assertion, Failure> {
    let parse = || {
        let (name, rest) = text.split_once('=')?;
        let (database, rest) = rest.split_once(':')?;
        let (query, expect) = rest.rsplit_once('=')?;
        let owned = |text: &str| text.to_owned();
        Some(Assertion {
            name: owned(name),
            database: owned(database),
            query: owned(query),
            expect: owned(expect),
        })
    };
    parse().filter(|assertion| !assertion.name.is_empty() && !assertion.query.is_empty()).ok_or_else(|| {
        let failure = Failure::new(Exit::Usage, format!("`{text}` is no assertion"));
        failure.hint(
            "write NAME=DATABASE:QUERY=VALUE, for example orders=shop:SELECT count(*) > 0 FROM orders=t",
        )
    })
}
