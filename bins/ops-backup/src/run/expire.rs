//! `expire`: plan, then apply.

use super::{Answered, Job};
use crate::args::ExpireArgs;
use crate::failed::failed;
use crate::progress::Reporter;
use crate::render::Answer;
use crate::settings::RetentionSettings;
use crate::{open, parse};
use jiff::Timestamp;
use ops_backup::{Retention, WalRetention, expire};
use ops_cli::{Exit, Failure};

pub(super) async fn run(args: &ExpireArgs, job: &Job<'_>) -> Answered {
    let policy = policy(&job.settings.retention)?;
    let grace = job.settings.retention.grace.clone();
    let repository = open::writable_repository(job.settings).await?;
    let plan = expire::plan(&repository, &policy, Timestamp::now()).await.map_err(|error| failed(&error))?;
    if args.plan {
        return Ok((Answer::ExpirePlan { plan: Box::new(plan.summary().clone()), grace }, Exit::Done));
    }
    let reporter = Reporter::watch(&job.monitor);
    let done = expire::apply(&repository, plan, &job.monitor).await;
    drop(reporter);
    let done = done.map_err(|error| failed(&error))?;
    Ok((Answer::Expired { done, grace }, Exit::Done))
}

fn policy(settings: &RetentionSettings) -> Result<Retention, Failure> {
    let count = |count: u32| Some(count).filter(|count| *count > 0);
    let within = match settings.keep_within.as_str() {
        "" => None,
        text => Some(parse::age("keep_within", text)?),
    };
    let policy = Retention {
        last: count(settings.keep_last),
        within,
        daily: count(settings.keep_daily),
        weekly: count(settings.keep_weekly),
        monthly: count(settings.keep_monthly),
        yearly: count(settings.keep_yearly),
        wal: wal(&settings.wal)?,
        grace: parse::age("grace", &settings.grace)?,
        resumable: parse::age("resumable", &settings.resumable)?,
        ..Retention::default()
    };
    if policy.is_empty() {
        let failure = Failure::new(Exit::Usage, "no rule says which backups to keep");
        return Err(failure.hint(
            "give one, for example --keep-daily 7 --keep-weekly 4, or set them under [backup.retention] in ops.toml",
        ));
    }
    Ok(policy)
}

fn wal(text: &str) -> Result<WalRetention, Failure> {
    match (text, text.parse::<u32>()) {
        ("all", _) => Ok(WalRetention::All),
        (_, Ok(count)) if count > 0 => Ok(WalRetention::Last(count)),
        _ => parse::age("wal", text).map(WalRetention::Within).map_err(|_| {
            Failure::new(Exit::Usage, format!("wal: `{text}` says not which WAL to keep"))
                .hint("accepted are all, a number of the newest backups such as 2, and an age such as 14d")
        }),
    }
}
