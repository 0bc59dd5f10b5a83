//! The subcommands: options from arguments and settings, one library call, an exit.

use crate::approve;
use crate::args::{Action, Args, Junit};
use crate::ci::Ci;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::{drill, guardian, history, mitigate, notify, render, watch};
use ops_cli::{Context, Exit, Failure};
use ops_core::evidence::{SigningKey, VerifyingKey, sha256_hex};
use ops_gates::report::JunitFlavor;
use ops_gates::{
    Demands, Error, ErrorKind, Kinds, Masker, Observer, Options, Plan, Policy, ReadOptions, RunRecord,
    Runner, Standing, Subject, Waiver,
};
use secrecy::ExposeSecret as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const TOOL: &str = concat!("ops-gate ", env!("CARGO_PKG_VERSION"));

pub(crate) async fn run(args: Args, context: Context<Settings>) -> Result<Exit, Failure> {
    match args.action {
        None => {
            Err(Failure::new(Exit::Usage, "no command given")
                .hint("`ops-gate --help` lists them with examples"))
        }
        Some(Action::Run { plan, run_dir, junit_flavor, ci, watch, every, .. }) => {
            let shown = Shown { junit: junit_flavor, ci };
            if watch.is_empty() && every.is_none() {
                return run_plan(&plan, run_dir, &shown, &context).await;
            }
            watched(&plan, &watch, every.map(ops_gates::Span::get), &shown, &context).await
        }
        Some(Action::Drill(args)) => {
            let drill = drill::load(&args.drill, &read_options(&context)?)?;
            register(&drill.checks, &context);
            let options = options(&drill.checks, None, &context)?;
            let directory = args
                .dir
                .unwrap_or_else(|| context.settings.gate.runs.join(format!("drill-{}", directory_name())));
            drill::drill(&drill, &options, &directory, args.dry_run, &context).await
        }
        Some(Action::History(args)) => history::history(args, &context),
        Some(Action::Mitigate(action)) => {
            let prepare = |checks: &Plan| {
                register(checks, &context);
                options(checks, None, &context)
            };
            mitigate::run(action, &context, read_options(&context)?, &prepare).await
        }
        Some(Action::Report(args)) => history::report(args, &context),
        Some(Action::Plan { plan }) => {
            render::plan(&load(&plan, &context)?, context.format).map_err(stdout)?;
            Ok(Exit::Done)
        }
        Some(Action::Approve(args)) => approve::run(args, context.format),
        Some(Action::Schema) => {
            render::schema(&ops_gates::schema(&Kinds::standard())).map_err(stdout)?;
            Ok(Exit::Done)
        }
        Some(Action::Waive { gate, commit, subject, reason, time, approver, key, output }) => {
            let digest = [("gitCommit".to_owned(), commit)].into();
            let now = jiff::Timestamp::now();
            let waiver = Waiver {
                gate,
                subject: Subject { name: subject, digest },
                reason,
                approver,
                expires_at: now + time.get(),
            };
            waive(&waiver, now, &key, &output)
        }
        Some(Action::Verify { run_dir, key, subject, commit, max_age, policy }) => {
            let demands = Demands {
                subject: subject.or_else(|| commit.map(|commit| format!("gitCommit:{commit}"))),
                max_age: max_age.map(ops_gates::Span::get),
                plan_sha256: None,
                policy_sha256: policy.as_deref().map(digest_of).transpose()?,
            };
            verify(&run_dir, &key, &demands, &context)
        }
    }
}

/// For whom a run is shown, beside the answer.
struct Shown {
    junit: Junit,
    ci: Ci,
}

/// Runs the plan again and again, each time into a directory of its own. What is wrong with a plan that is being edited is
/// told, and waited for.
async fn watched(
    plan: &Path,
    paths: &[PathBuf],
    every: Option<Duration>,
    shown: &Shown,
    context: &Context<Settings>,
) -> Result<Exit, Failure> {
    let mut paths = paths.to_vec();
    paths.push(plan.to_path_buf());
    // As a walk from the current directory names it.
    let runs = Path::new(".").join(&context.settings.gate.runs);
    loop {
        let end = run_plan(plan, None, shown, context).await;
        if let Err(failure) = &end {
            tracing::error!("{failure}");
        }
        if !watch::wait(&paths, &runs, every, &context.stop.token()).await {
            return end;
        }
    }
}

async fn run_plan(
    plan: &Path,
    run_dir: Option<PathBuf>,
    shown: &Shown,
    context: &Context<Settings>,
) -> Result<Exit, Failure> {
    let plan = load(plan, context)?;
    let runs = context.settings.gate.runs.clone();
    let directory = run_dir.unwrap_or_else(|| runs.join(directory_name()));
    let progress = Progress::start(&plan);
    let mut options = options(&plan, Some(progress.observer()), context)?;
    options.junit = match shown.junit {
        Junit::Jenkins => JunitFlavor::Jenkins,
        Junit::Ant => JunitFlavor::Ant,
    };
    let token = context.stop.token();
    let record = Runner::new(options).run(&plan, &directory, token).await.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::RunDirectory => {
                "give another directory with `--run-dir`; the evidence of a run is never overwritten"
            }
            _ => "verdict.json in the run directory still says BLOCKED",
        };
        failure(&error).hint(hint)
    })?;
    drop(progress);
    render::run(&record, &directory, context.format).map_err(stdout)?;
    shown.ci.show(&record);
    notify::tell(&context.settings.gate.notify, runs, &record).await;
    Ok(exit(&record))
}

fn options(plan: &Plan, observer: Option<Observer>, context: &Context<Settings>) -> Result<Options, Failure> {
    let settings = &context.settings.gate;
    let masker = context.masker.clone();
    let masker: Masker = Arc::new(move |bytes: &mut Vec<u8>| masker.mask(bytes));
    let child_environment =
        || ops_telemetry::child_env().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut options = Options {
        grace: Duration::from_secs(settings.grace_seconds),
        // This process does nothing else, and must leave nothing behind.
        adopt_orphans: true,
        cgroup: settings.cgroup,
        guardian: Some(guardian::ourselves()),
        masker: Some(masker),
        child_environment: Some(Arc::new(child_environment)),
        observer,
        signing_key: signing_key(&settings.signing_key)?,
        tool: TOOL.to_owned(),
        trace_id: Some(context.trace.trace_id.to_string()),
        ..Options::default()
    };
    if let Some(jobs) = Some(settings.jobs).filter(|jobs| *jobs > 0).or(plan.jobs()) {
        options.jobs = jobs;
    }
    Ok(options)
}

/// Reads the signing key before anything runs: a run that cannot be signed at its end would be wasted.
fn signing_key(path: &Path) -> Result<Option<Arc<SigningKey>>, Failure> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let key = SigningKey::from_file(path).map_err(|error| {
        Failure::from_error(Exit::Config, &error).hint("`ops-gate --help` shows how to make a key pair")
    })?;
    Ok(Some(Arc::new(key)))
}

/// The digest of a file that must be the one that counted.
fn digest_of(path: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(path)
        .map_err(|error| Failure::new(Exit::Input, format!("cannot read {}: {error}", path.display())))?;
    Ok(sha256_hex(&bytes))
}

fn verify(
    directory: &Path,
    keys: &[PathBuf],
    demands: &Demands,
    context: &Context<Settings>,
) -> Result<Exit, Failure> {
    let keys: Result<Vec<VerifyingKey>, _> = keys.iter().map(|path| VerifyingKey::from_file(path)).collect();
    let keys = keys.map_err(|error| Failure::from_error(Exit::Input, &error))?;
    let record = ops_gates::verify(directory, &keys).map_err(|error| {
        failure(&error)
            .hint("deploy only what `ops-gate verify` accepts; run the gates again with `--signing-key`")
    })?;
    demands.check(&record, jiff::Timestamp::now()).map_err(|error| {
        failure(&error).hint("the evidence is sound, but it does not allow this deployment")
    })?;
    render::verified(&record, directory, context.format).map_err(stdout)?;
    Ok(exit(&record))
}

/// Signs a waiver into a new file.
fn waive(waiver: &Waiver, now: jiff::Timestamp, key: &Path, output: &Path) -> Result<Exit, Failure> {
    let key = SigningKey::from_file(key).map_err(|error| Failure::from_error(Exit::Input, &error))?;
    let bytes = waiver.sign(&key, now, TOOL).map_err(|error| failure(&error))?;
    let written = std::fs::File::create_new(output).and_then(|mut file| file.write_all(&bytes));
    written.map_err(|error| {
        Failure::new(Exit::CannotCreate, format!("cannot write {}: {error}", output.display()))
    })?;
    render::waived(waiver, output).map_err(stdout)?;
    Ok(Exit::Done)
}

/// The policy of whoever runs the gates.
fn policies(context: &Context<Settings>) -> Result<Vec<Policy>, Failure> {
    let settings = &context.settings.gate;
    if settings.policy.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    let digest = Some(settings.policy_sha256.as_str()).filter(|digest| !digest.is_empty());
    Ok(vec![Policy::load(&settings.policy, digest).map_err(|error| failure(&error))?])
}

fn read_options(context: &Context<Settings>) -> Result<ReadOptions, Failure> {
    Ok(ReadOptions { kinds: Kinds::standard(), policies: policies(context)? })
}

fn load(path: &Path, context: &Context<Settings>) -> Result<Plan, Failure> {
    let plan = Plan::load(path, &read_options(context)?).map_err(|error| match error.problems() {
        [only] => only.hint.iter().fold(failure(&error), |failure, hint| failure.hint(hint)),
        problems => problems.iter().fold(failure(&error), |failure, problem| {
            let hint = problem.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
            let place = if problem.file.is_some() { String::new() } else { format!("{}:", path.display()) };
            failure.hint(format!("{place}{problem}{hint}"))
        }),
    })?;
    register(&plan, context);
    Ok(plan)
}

/// Makes the secrets of a plan known to the masker.
fn register(plan: &Plan, context: &Context<Settings>) {
    context.masker.register_all(plan.secrets().map(|(name, value)| (name, value.expose_secret())));
    for name in context.masker.unmaskable() {
        tracing::warn!("the value of {name} is too short or too long to be masked in output");
    }
}

fn failure(error: &Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::PlanInvalid | ErrorKind::PlanUnreadable | ErrorKind::PolicyInvalid => Exit::Input,
        ErrorKind::SubjectNotProven => Exit::No,
        ErrorKind::RunDirectory => Exit::CannotCreate,
        ErrorKind::NotVerified => Exit::No,
        _ => Exit::Io,
    };
    Failure::from_error(exit, error)
}

fn stdout(error: std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("cannot write to stdout: {error}"))
}

fn exit(record: &RunRecord) -> Exit {
    match record.standing() {
        Standing::Passed => Exit::Done,
        Standing::Blocked => Exit::No,
        Standing::CouldNotJudge => Exit::Unjudged,
        Standing::NothingRan => Exit::Nothing,
    }
}

/// A directory name that no other run has, and that sorts by time.
fn directory_name() -> String {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:013}-{}", since_epoch.as_millis(), std::process::id())
}
