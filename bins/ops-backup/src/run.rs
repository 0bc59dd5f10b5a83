//! What each action does: options from arguments and settings, one library call, and the answer.

use crate::args::{
    Action, Args, BackupSettings, EvidenceAction, RehearseArgs, RestoreArgs, Settings, TargetArgs, WalAction,
};
use crate::open::{self, failed};
use crate::progress::Reporter;
use crate::render::Answer;
use ops_backup::rehearse::{Assertion, RehearseOptions, RunAs, rehearse};
use ops_backup::restore::{self, Owner};
use ops_backup::wal::{self, Fetched, Pushed};
use ops_backup::{
    BackupOptions, Monitor, RecoveryTarget, RestoreOptions, RestoreTarget, VerifyOptions, backup, list,
    verify,
};
use ops_cli::{Context, Exit, Failure};
use ops_core::evidence::{Envelope, Outcome, Record, SigningKey, VerifyingKey};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs the action.
pub(crate) async fn run(args: Args, context: Context<Settings>) -> Result<Exit, Failure> {
    let Some(action) = args.action else {
        return Err(Failure::new(Exit::Usage, "no action is named").hint("`ops-backup --help` lists them"));
    };
    let settings = &context.settings.backup;
    let monitor = Monitor::new(context.stop.token());
    let (answer, exit) = match action {
        Action::Init => {
            open::create(settings).await?;
            (Answer::Created(open::place(settings)?), Exit::Done)
        }
        Action::Backup => take_backup(settings, &context, &monitor).await?,
        Action::List => {
            let inventory = list(&open::repository(settings).await?).await.map_err(|error| failed(&error))?;
            let exit = if inventory.clusters.is_empty() { Exit::Nothing } else { Exit::Done };
            (Answer::Inventory(inventory), exit)
        }
        Action::Verify => verify_all(settings, &monitor).await?,
        Action::Restore(args) => restore_to(&args, settings, &context, &monitor).await?,
        Action::Rehearse(args) => rehearse_restore(&args, settings, &context, &monitor).await?,
        Action::Wal(WalAction::Push { path }) => return push(settings, &path).await,
        Action::Wal(WalAction::Fetch { name, to }) => return fetch(settings, &name, &to).await,
        Action::Evidence(EvidenceAction::Key { dir }) => (new_key(&dir)?, Exit::Done),
        Action::Evidence(EvidenceAction::Verify { file, key }) => verify_record(&file, &key)?,
    };
    answer
        .write(context.format)
        .map_err(|error| Failure::new(Exit::Io, format!("the answer cannot be written: {error}")))?;
    Ok(exit)
}

type Answered = Result<(Answer, Exit), Failure>;

async fn take_backup(settings: &BackupSettings, context: &Context<Settings>, monitor: &Monitor) -> Answered {
    let server = open::server(settings, &context.trace.trace_id.to_string())?;
    let repository = open::writable_repository(settings).await?;
    let options = BackupOptions {
        workers: settings.workers.max(1),
        compression_level: settings.compression_level,
        archive_timeout: Duration::from_secs(settings.archive_timeout_seconds),
        ..BackupOptions::default()
    };
    let reporter = Reporter::watch(monitor);
    let done = backup(&repository, &server, &options, monitor).await.map_err(|error| failed(&error))?;
    drop(reporter);
    // The backup is kept, because an older good one may be gone; but it is no success.
    let exit = if done.bad_pages > 0 { Exit::No } else { Exit::Done };
    Ok((Answer::Backup(Box::new(done)), exit))
}

async fn verify_all(settings: &BackupSettings, monitor: &Monitor) -> Answered {
    let repository = open::repository(settings).await?;
    let reporter = Reporter::watch(monitor);
    let report = verify(
        &repository,
        &VerifyOptions { workers: settings.workers.max(1), ..VerifyOptions::default() },
        monitor,
    )
    .await;
    drop(reporter);
    let report = report.map_err(|error| failed(&error))?;
    let exit = match (report.is_proven(), report.problems.is_empty()) {
        (true, _) => Exit::Done,
        (false, true) => Exit::Nothing,
        (false, false) => Exit::No,
    };
    Ok((Answer::Verified(report), exit))
}

async fn restore_to(
    args: &RestoreArgs,
    settings: &BackupSettings,
    context: &Context<Settings>,
    monitor: &Monitor,
) -> Answered {
    let options = RestoreOptions {
        backup: args.target.backup.clone(),
        target: target(&args.target)?,
        restore_command: open::restore_command(settings, context.config_file.as_deref())?,
        tablespaces: tablespaces(&args.tablespaces)?,
        owner: open::server_user(settings)?.map(|(uid, gid)| Owner { uid, gid }),
        workers: settings.workers.max(1),
        ..RestoreOptions::default()
    };
    let directory = RestoreTarget::check(&args.to).map_err(|error| failed(&error))?;
    let repository = open::repository(settings).await?;
    let plan = restore::plan(&repository, directory, options).await.map_err(|error| failed(&error))?;
    if args.plan {
        return Ok((Answer::Plan(Box::new(plan.summary())), Exit::Done));
    }
    let reporter = Reporter::watch(monitor);
    let done = restore::apply(&repository, plan, monitor).await.map_err(|error| failed(&error))?;
    drop(reporter);
    Ok((Answer::Restored(done), Exit::Done))
}

async fn rehearse_restore(
    args: &RehearseArgs,
    settings: &BackupSettings,
    context: &Context<Settings>,
    monitor: &Monitor,
) -> Answered {
    let repository = open::repository(settings).await?;
    let inventory = list(&repository).await.map_err(|error| failed(&error))?;
    let Some(newest) = inventory.clusters.last() else {
        return Err(Failure::new(Exit::Nothing, "there is no backup to rehearse")
            .hint("`ops-backup backup` takes one"));
    };
    let signer = signer(settings)?;
    let restore_command = open::restore_command(settings, context.config_file.as_deref())?;
    let programs = open::programs(settings, newest.cluster.major)?;
    let mut options = RehearseOptions::new(&args.scratch, programs, restore_command);
    options.backup = args.target.backup.clone();
    options.target = target(&args.target)?;
    options.run_as = open::server_user(settings)?.map(|(uid, gid)| RunAs { uid, gid });
    options.environment =
        ops_telemetry::child_env().into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    options.assertions = args.assertions.iter().map(|text| assertion(text)).collect::<Result<_, _>>()?;
    options.budget = Some(Duration::from_secs(args.budget));
    options.trace_id = context.trace.trace_id.to_string();
    options.wanted.lsn = match &args.wanted_lsn {
        Some(text) => Some(text.parse().map_err(|_| {
            Failure::new(Exit::Usage, format!("`{text}` is no WAL position"))
                .hint("a WAL position looks like 0/3000148")
        })?),
        None => None,
    };
    let reporter = Reporter::watch(monitor);
    let done = rehearse(&repository, &options, monitor).await.map_err(|error| failed(&error))?;
    drop(reporter);
    let evidence = signer.map(|signer| signer.write(&done.record)).transpose()?;
    let exit = match done.record.outcome {
        Outcome::Passed => Exit::Done,
        Outcome::Failed => Exit::No,
        Outcome::Error => Exit::Unjudged,
    };
    Ok((Answer::Rehearsed { record: Box::new(done.record), evidence }, exit))
}

async fn push(settings: &BackupSettings, path: &Path) -> Result<Exit, Failure> {
    let repository = open::writable_repository(settings).await?;
    let cluster = wal::cluster_of_segment(path).map_err(|error| failed(&error))?;
    let pushed = wal::push(&repository, &cluster, path).await.map_err(|error| failed(&error))?;
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    tracing::info!(file, stored = pushed == Pushed::Stored, "archived");
    Ok(Exit::Done)
}

async fn fetch(settings: &BackupSettings, name: &str, to: &Path) -> Result<Exit, Failure> {
    let repository = open::repository(settings).await?;
    let cluster = wal::cluster_of_segment(to).map_err(|error| failed(&error))?;
    match wal::fetch(&repository, &cluster, name, to).await.map_err(|error| failed(&error))? {
        Fetched::Written => {
            tracing::info!(file = name, "fetched");
            Ok(Exit::Done)
        }
        Fetched::Absent => {
            tracing::info!(file = name, "not in the archive");
            Ok(Exit::WalAbsent)
        }
    }
}

/// Where recovery stops. A moment without a zone is refused: the server would read it in a zone of its own.
fn target(args: &TargetArgs) -> Result<RecoveryTarget, Failure> {
    let Some(text) = &args.target_time else {
        return Ok(if args.immediate { RecoveryTarget::Immediate } else { RecoveryTarget::Latest });
    };
    let time = text.parse().map_err(|_| {
        let failure = Failure::new(Exit::Usage, format!("`{text}` is no moment with a zone"));
        failure.hint("write it like 2026-11-21T09:30:00Z or 2026-11-21T10:30:00+01:00")
    })?;
    Ok(RecoveryTarget::Time(time))
}

fn tablespaces(words: &[String]) -> Result<BTreeMap<u32, PathBuf>, Failure> {
    let parse = |word: &String| {
        let (oid, place) = word.split_once('=')?;
        Some((oid.parse().ok()?, PathBuf::from(place)))
    };
    words
        .iter()
        .map(|word| parse(word).ok_or_else(|| Failure::new(Exit::Usage, format!("`{word}` is not OID=DIR"))))
        .collect()
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

/// Signs records and writes them.
struct Signer {
    key: SigningKey,
    folder: PathBuf,
}

fn signer(settings: &BackupSettings) -> Result<Option<Signer>, Failure> {
    match (settings.signing_key.as_str(), settings.evidence_dir.as_str()) {
        ("", "") => {
            tracing::warn!("the record will not be signed: `signing_key` and `evidence_dir` are not set");
            Ok(None)
        }
        ("", _) | (_, "") => {
            Err(Failure::new(Exit::Config, "a signed record needs both `signing_key` and `evidence_dir`"))
        }
        (key, folder) => {
            let key = SigningKey::from_file(Path::new(key)).map_err(|error| {
                Failure::from_error(Exit::Config, &error)
                    .hint("`ops-backup evidence key DIR` makes a key pair")
            })?;
            Ok(Some(Signer { key, folder: PathBuf::from(folder) }))
        }
    }
}

impl Signer {
    /// Writes the envelope under a name that sorts by time; it is durable when this returns.
    fn write(&self, record: &Record) -> Result<PathBuf, Failure> {
        let envelope =
            Envelope::sign(record, &self.key).map_err(|error| Failure::from_error(Exit::Io, &error))?;
        let time = record.finished_at.strftime("%Y%m%dT%H%M%S%3fZ");
        let path = self.folder.join(format!("{}-{time}.json", record.kind));
        let partial = path.with_extension("partial");
        let write = || {
            std::fs::create_dir_all(&self.folder)?;
            std::fs::write(&partial, envelope.to_json())?;
            std::fs::File::open(&partial)?.sync_all()?;
            std::fs::rename(&partial, &path)?;
            std::fs::File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error| {
            Failure::new(Exit::Io, format!("evidence {} cannot be written: {error}", path.display()))
        })?;
        Ok(path)
    }
}

fn new_key(dir: &Path) -> Result<Answer, Failure> {
    let create = |error: std::io::Error| {
        Failure::new(Exit::CannotCreate, format!("folder {} cannot be created: {error}", dir.display()))
    };
    std::fs::create_dir_all(dir).map_err(create)?;
    let fail = |error: ops_core::Error| Failure::from_error(Exit::CannotCreate, &error);
    let (private, public) = (dir.join("signing.pem"), dir.join("signing.pub.pem"));
    let key = SigningKey::generate().map_err(fail)?;
    key.write_file(&private).map_err(fail)?;
    key.verifying_key().write_file(&public).map_err(fail)?;
    Ok(Answer::Key { private, public, id: key.verifying_key().id() })
}

fn verify_record(file: &Path, key: &Path) -> Answered {
    let key = VerifyingKey::from_file(key).map_err(|error| Failure::from_error(Exit::Input, &error))?;
    let bytes = std::fs::read(file).map_err(|error| {
        Failure::new(Exit::Input, format!("record {} cannot be read: {error}", file.display()))
    })?;
    let envelope = Envelope::from_json(&bytes).map_err(|error| Failure::from_error(Exit::Input, &error))?;
    let record = envelope.verify(&[key]).map_err(|error| Failure::from_error(Exit::No, &error))?;
    Ok((Answer::Rehearsed { record: Box::new(record), evidence: Some(file.to_path_buf()) }, Exit::Done))
}
