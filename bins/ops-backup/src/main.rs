//! The `ops-backup` command: wiring only.

mod args;
mod failed;
mod key;
mod open;
mod parse;
mod progress;
mod render;
mod run;
mod settings;
mod store;

use args::{Action, Args, WalAction};
use ops_cli::{Command, CommonArgs, Context, Exit, Failure, Flag, Parts};
use settings::Settings;

impl Command for Args {
    type Settings = Settings;
    const NAME: &'static str = "ops-backup";
    const TABLE: &'static str = "backup";
    const DEFAULTS: &'static str = settings::DEFAULTS;
    const MAY_REFER: &'static [&'static str] = &["backup.postgres", "backup.primary"];

    fn common(&self) -> &CommonArgs {
        &self.common
    }

    fn flags(&self) -> Vec<Flag> {
        self.overrides()
    }

    async fn run(self, context: Context<Settings>) -> Result<Exit, Failure> {
        run::run(self, context).await
    }

    fn run_at_once(&self, parts: &Parts<'_>) -> Option<Result<Exit, Failure>> {
        match &self.action {
            Some(Action::Wal(action)) => run::wal_by_service(action, parts),
            _ => None,
        }
    }

    /// `restore_command` knows only "absent", "here" and "stop": see PostgreSQL's manual, section 26.3.4.
    fn failure_exit(&self) -> fn(Exit) -> Exit {
        match self.action {
            Some(Action::Wal(WalAction::Fetch { .. })) => |_| Exit::WalFailed,
            _ => |exit| exit,
        }
    }
}

fn main() -> std::process::ExitCode {
    ops_cli::main::<Args>()
}
