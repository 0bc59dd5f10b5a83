//! `verify`.

use super::{Answered, Job};
use crate::args::VerifyArgs;
use crate::failed::failed;
use crate::progress::Reporter;
use crate::render::Answer;
use crate::{open, parse};
use ops_backup::{VerifyOptions, verify};
use ops_cli::Exit;

pub(super) async fn run(args: VerifyArgs, job: &Job<'_>) -> Answered {
    let age = args.max_age.as_deref().map(|text| parse::age("--max-age", text)).transpose()?;
    let options = VerifyOptions {
        workers: job.settings.workers.max(1),
        backup: args.backup,
        sample: args.sample.as_deref().map(parse::share).transpose()?,
        max_age: age.map(|age| age.unsigned_abs()),
        ..VerifyOptions::default()
    };
    let repository = open::writable_repository(job.settings).await?;
    let reporter = Reporter::watch(&job.monitor);
    let report = verify(&repository, &options, &job.monitor).await;
    drop(reporter);
    let report = report.map_err(|error| failed(&error))?;
    let exit = match (report.problems.is_empty(), report.is_proven()) {
        (false, _) => Exit::No,
        (true, true) => Exit::Done,
        (true, false) => Exit::Nothing,
    };
    Ok((Answer::Verified(report), exit))
}
