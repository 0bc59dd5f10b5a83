//! The `ops-gate` command: wiring only.

mod approve;
mod args;
mod ci;
mod drill;
mod history;
mod mitigate;
mod notify;
mod progress;
mod render;
mod run;
mod settings;
mod watch;

use args::Args;
use ops_cli::{Command, CommonArgs, Context, Exit, Failure, Flag};
use settings::Settings;

impl Command for Args {
    type Settings = Settings;
    const NAME: &'static str = "ops-gate";
    const TABLE: &'static str = "gate";
    const DEFAULTS: &'static str = settings::DEFAULTS;

    fn common(&self) -> &CommonArgs {
        &self.common
    }

    fn flags(&self) -> Vec<Flag> {
        self.overrides()
    }

    async fn run(self, context: Context<Settings>) -> Result<Exit, Failure> {
        run::run(self, context).await
    }
}

fn main() -> std::process::ExitCode {
    ops_cli::main::<Args>()
}
