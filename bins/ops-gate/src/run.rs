//! The subcommands: options from arguments and settings, one library call, an exit.

use crate::args::{Action, Args, Settings};
use crate::progress::Progress;
use crate::render;
use ops_cli::{Context, Exit, Failure};
use ops_core::evidence::{SigningKey, VerifyingKey};
use ops_gates::{
    Error, ErrorKind, Kinds, Masker, Options, Plan, Policy, ReadOptions, RunRecord, Runner, Standing,
    Subject, Waiver,
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
        Some(Action::Run { plan, run_dir, .. }) => run_plan(&plan, run_dir, &context).await,
        Some(Action::Plan { plan }) => {
            render::plan(&load(&plan, &context)?, context.format).map_err(stdout)?;
            Ok(Exit::Done)
        }
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
        Some(Action::Verify { run_dir, key }) => verify(&run_dir, &key, &context),
    }
}

async fn run_plan(
    plan: &Path,
    run_dir: Option<PathBuf>,
    context: &Context<Settings>,
) -> Result<Exit, Failure> {
    let plan = load(plan, context)?;
    let directory = run_dir.unwrap_or_else(|| context.settings.gate.runs.join(directory_name()));
    let progress = Progress::start();
    let options = options(&plan, context, &progress)?;
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
    Ok(exit(&record))
}

fn options(plan: &Plan, context: &Context<Settings>, progress: &Progress) -> Result<Options, Failure> {
    let settings = &context.settings.gate;
    let masker = context.masker.clone();
    let masker: Masker = Arc::new(move |bytes: &mut Vec<u8>| masker.mask(bytes));
    let child_environment =
        || ops_telemetry::child_env().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let mut options = Options {
        grace: Duration::from_secs(settings.grace_seconds),
        // This process does nothing else, and must leave nothing behind.
        adopt_orphans: true,
        masker: Some(masker),
        child_environment: Some(Arc::new(child_environment)),
        observer: Some(progress.observer()),
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

fn verify(directory: &Path, keys: &[PathBuf], context: &Context<Settings>) -> Result<Exit, Failure> {
    let keys: Result<Vec<VerifyingKey>, _> = keys.iter().map(|path| VerifyingKey::from_file(path)).collect();
    let keys = keys.map_err(|error| Failure::from_error(Exit::Input, &error))?;
    let record = ops_gates::verify(directory, &keys).map_err(|error| {
        failure(&error)
            .hint("deploy only what `ops-gate verify` accepts; run the gates again with `--signing-key`")
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

fn load(path: &Path, context: &Context<Settings>) -> Result<Plan, Failure> {
    let options = ReadOptions { kinds: Kinds::standard(), policies: policies(context)? };
    let plan = Plan::load(path, &options).map_err(|error| match error.problems() {
        [only] => only.hint.iter().fold(failure(&error), |failure, hint| failure.hint(hint)),
        problems => problems.iter().fold(failure(&error), |failure, problem| {
            let hint = problem.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
            let place = if problem.file.is_some() { String::new() } else { format!("{}:", path.display()) };
            failure.hint(format!("{place}{problem}{hint}"))
        }),
    })?;
    context.masker.register_all(plan.secrets().map(|(name, value)| (name, value.expose_secret())));
    for name in context.masker.unmaskable() {
        tracing::warn!("the value of {name} is too short or too long to be masked in output");
    }
    Ok(plan)
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
