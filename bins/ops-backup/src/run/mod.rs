//! From an action to an answer and an exit code: options in, library call, answer out.

mod backup;
mod evidence;
mod expire;
mod keys;
mod list;
mod receive;
mod rehearse;
mod restore;
mod service;
mod verify;
mod wal;
mod watched;

use crate::args::{Action, Args, WalAction};
use crate::open;
use crate::render::Answer;
use crate::settings::{BackupSettings, Settings};
use ops_backup::Monitor;
use ops_cli::{Context, Exit, Failure};
pub(crate) use wal::by_service as wal_by_service;

/// What an action found out, and how the process ends.
type Answered = Result<(Answer, Exit), Failure>;

/// What every action is given.
struct Job<'a> {
    settings: &'a BackupSettings,
    context: &'a Context<Settings>,
    monitor: Monitor,
}

/// Runs the action.
pub(crate) async fn run(args: Args, context: Context<Settings>) -> Result<Exit, Failure> {
    let Some(action) = args.action else {
        return Err(Failure::new(Exit::Usage, "no action is named").hint("`ops-backup --help` lists them"));
    };
    let settings = &context.settings.backup;
    let job = Job { settings, context: &context, monitor: Monitor::new(context.stop.token()) };
    let (answer, exit) = match action {
        Action::Init => init(settings).await?,
        Action::Key(action) => keys::run(action, settings).await?,
        Action::Backup(args) => backup::run(&args, &job).await?,
        Action::List => list::list(settings).await?,
        Action::Metrics(args) => list::metrics(&args, settings).await?,
        Action::Verify(args) => verify::run(args, &job).await?,
        Action::Restore(args) => restore::run(&args, &job).await?,
        Action::Expire(args) => expire::run(&args, &job).await?,
        Action::Rehearse(args) => rehearse::run(&args, &job).await?,
        Action::Wal(WalAction::Push { path }) => return wal::push(settings, &path).await,
        Action::Wal(WalAction::Fetch { name, to, tail }) => {
            return wal::fetch(settings, &name, &to, tail).await;
        }
        Action::Wal(WalAction::Receive(args)) => receive::run(&args, &job).await?,
        Action::Wal(WalAction::Serve(args)) => return service::run(&args, &job).await,
        Action::Wal(WalAction::Check(args)) => wal::check(&args, settings).await?,
        Action::Evidence(action) => evidence::run(action)?,
    };
    answer
        .write(context.format)
        .map_err(|error| Failure::new(Exit::Io, format!("the answer cannot be written: {error}")))?;
    Ok(exit)
}

async fn init(settings: &BackupSettings) -> Answered {
    let key = crate::key::given(settings)?;
    let (repository, existed) = open::create(settings, key.as_ref()).await?;
    let created = Answer::Created {
        place: open::place(settings)?,
        id: repository.id().to_owned(),
        encrypted: key.is_some(),
        existed,
    };
    Ok((created, Exit::Done))
}
