//! `scan`: options from arguments, one library call, reports, an exit.

use crate::args::{ScanArgs, Settings, named};
use crate::given::{read, referred};
use crate::{render, sarif};
use ops_cli::{Context, Exit, Failure};
use ops_secrets::Secret;
use ops_secrets::scan::{Baseline, Error, ErrorKind, Options, Report, Suppressions, Target, Verdict};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The file of suppressions where nobody names one.
const SUPPRESSIONS: &str = ".ops-secrets.toml";

pub(crate) async fn run(args: ScanArgs, context: Context<Settings>) -> Result<Exit, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let options = options(&args, &context, Arc::clone(&stop)).await?;
    let target = target(&args)?;
    let token = context.stop.token();
    let watch = tokio::spawn(async move {
        token.cancelled().await;
        stop.store(true, Ordering::Relaxed);
    });
    let span = tracing::Span::current();
    let work = move || span.in_scope(|| ops_secrets::scan::scan(target, options));
    let report = tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Failure::new(Exit::Bug, "the scan was stopped by a panic"))?
        .map_err(|error| failure(&error))?;
    watch.abort();
    write(&args, &report, &context)?;
    Ok(match report.verdict {
        _ if args.write_baseline.is_some() && report.gaps.is_empty() => Exit::Done,
        Verdict::Clean => Exit::Done,
        Verdict::Found => Exit::No,
        Verdict::Nothing => Exit::Nothing,
        // A verdict that this program does not know is no judgement.
        _ => Exit::Unjudged,
    })
}

fn write(args: &ScanArgs, report: &Report, context: &Context<Settings>) -> Result<(), Failure> {
    let create = |path: &Path, text: &str| {
        std::fs::write(path, text).map_err(|error| {
            Failure::new(Exit::CannotCreate, format!("{} cannot be written: {error}", path.display()))
        })
    };
    if let Some(path) = &args.sarif {
        create(path, &sarif::document(report, args.strict))?;
    }
    if let Some(path) = &args.write_baseline {
        let baseline = Baseline::new(report.findings.iter().map(|finding| finding.fingerprint.clone()));
        create(path, &baseline.to_json())?;
    }
    let written = if args.github {
        render::github(report, args.strict)
    } else {
        render::report(report, args.strict, context.format)
    };
    written.map_err(|error| Failure::new(Exit::Io, format!("cannot write to stdout: {error}")))
}

fn target(args: &ScanArgs) -> Result<Target, Failure> {
    let path = args.path.clone();
    if path == Path::new("-") {
        if args.history || args.staged || args.since.is_some() {
            return Err(Failure::new(Exit::Usage, "standard input has neither a history nor an index"));
        }
        return Ok(Target::Stream(Box::new(std::io::stdin())));
    }
    Ok(match &args.since {
        Some(revision) => Target::Since(path, revision.clone()),
        None if args.history => Target::History(path),
        None if args.staged => Target::Staged(path),
        None => Target::Tree(path),
    })
}

async fn options(
    args: &ScanArgs,
    context: &Context<Settings>,
    stop: Arc<AtomicBool>,
) -> Result<Options, Failure> {
    let default = Some(args.path.join(SUPPRESSIONS)).filter(|path| path.is_file());
    let suppressions = match args.suppressions.clone().or(default) {
        Some(path) => Suppressions::load(&path).map_err(|error| failure(&error))?,
        None => Suppressions::default(),
    };
    let baseline = match &args.baseline {
        Some(path) => Baseline::load(path).map_err(|error| failure(&error))?,
        None => Baseline::default(),
    };
    let exclude = args.exclude.iter().map(|text| {
        glob::Pattern::new(text)
            .map_err(|error| Failure::new(Exit::Usage, format!("--exclude {text} is no pattern: {error}")))
    });
    let fingerprint_key =
        args.fingerprint_key.as_deref().map(|path| read("the fingerprint key", path)).transpose()?;
    Ok(Options {
        known: known(args, context).await?,
        suppressions,
        baseline,
        fingerprint_key,
        ignored: args.ignored,
        exclude: exclude.collect::<Result<_, _>>()?,
        strict: args.strict,
        largest: args.max_size as usize * 1024 * 1024,
        stop: Some(stop),
        ..Options::default()
    })
}

/// The values that may stand nowhere; the masker learns them too, so that no log line has one.
async fn known(args: &ScanArgs, context: &Context<Settings>) -> Result<Vec<(String, Secret)>, Failure> {
    let mut known = Vec::new();
    for name in &args.known_env {
        let value = std::env::var(name).map_err(|_| {
            Failure::new(Exit::Input, format!("the variable {name} is not set, or is no text"))
        })?;
        known.push((name.clone(), Secret::from(value)));
    }
    for word in &args.known_file {
        let (name, path) =
            named(word).ok_or_else(|| Failure::new(Exit::Usage, "--known-file takes NAME=PATH"))?;
        known.push((name.to_owned(), read(name, Path::new(path))?));
    }
    known.extend(referred(&args.known_secret, "--known-secret", context).await?);
    for (name, value) in &known {
        context.masker.register(name, value.expose_secret());
    }
    Ok(known)
}

fn failure(error: &Error) -> Failure {
    let (exit, hint) = match error.kind() {
        ErrorKind::NotARepository => (Exit::Input, "scan a folder without --history, --staged or --since"),
        ErrorKind::UnknownRevision => {
            (Exit::Input, "in CI, fetch the revision first: `git fetch origin main`")
        }
        ErrorKind::Incomplete => (
            Exit::Unjudged,
            "fetch the rest: `git fetch --unshallow`, in GitHub's checkout action `fetch-depth: 0`",
        ),
        ErrorKind::GitMissing => (Exit::Unavailable, "install git, or put it into PATH"),
        ErrorKind::GitFailed => (Exit::Unjudged, "`git fsck` says what is wrong with a repository"),
        ErrorKind::Stopped => (Exit::Unjudged, "nothing was decided"),
        ErrorKind::Unreadable => (Exit::Input, "name a folder or file that can be read"),
        _ => (Exit::Input, "`ops-secrets scan --help` shows a file of suppressions"),
    };
    Failure::from_error(exit, error).hint(hint)
}
