//! The `ops-guard` command: wiring only.

mod args;
mod check;
mod policy;
mod render;

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
            None => {
                Err(Failure::new(Exit::Usage, "no action is named").hint("`ops-guard --help` lists them"))
            }
        }
    }
}

fn main() -> std::process::ExitCode {
    ops_cli::main::<Args>()
}
