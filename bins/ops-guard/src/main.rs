//! The `ops-guard` command: wiring only.

mod approve;
mod args;
mod audit;
mod check;
mod connect;
mod doctor;
mod explain;
mod keygen;
mod policy;
mod render;
mod words;

use args::{Action, Args, Settings};
use ops_cli::{Command, CommonArgs, Context, Exit, Failure, Flag};

impl Command for Args {
    type Settings = Settings;
    const NAME: &'static str = "ops-guard";
    const TABLE: &'static str = "guard";
    const DEFAULTS: &'static str = args::DEFAULTS;

    fn common(&self) -> &CommonArgs {
        &self.common
    }

    fn flags(&self) -> Vec<Flag> {
        self.overrides()
    }

    async fn run(self, context: Context<Settings>) -> Result<Exit, Failure> {
        match self.action {
            Some(Action::Check(args)) => check::run(&args, &context),
            Some(Action::Doctor(args)) => doctor::run(&args, &context).await,
            Some(Action::Explain(args)) => explain::run(&args, &context).await,
            Some(Action::Keygen(args)) => keygen::run(&args, context.format),
            Some(Action::Approve(args)) => approve::run(&args, &context),
            Some(Action::Audit(action)) => audit::run(&action, context.format),
            None => {
                Err(Failure::new(Exit::Usage, "no action is named").hint("`ops-guard --help` lists them"))
            }
        }
    }
}

fn main() -> std::process::ExitCode {
    ops_cli::main::<Args>()
}
