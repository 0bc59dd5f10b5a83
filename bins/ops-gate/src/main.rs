//! The `ops-gate` command: wiring only.

mod approve;
mod args;
mod ci;
mod drill;
mod guardian;
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
use tracing::Instrument as _;

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
        // A task of its own runs on the thread to which the kernel's events come; this one only waits.
        let task = tokio::spawn(run::run(self, context).in_current_span());
        task.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

fn main() -> std::process::ExitCode {
    if guardian::is_asked() { guardian::stand() } else { ops_cli::main::<Args>() }
}
