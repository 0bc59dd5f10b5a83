//! The `ops-secrets` command: wiring only.

mod args;
mod exec;
mod given;
mod openbao;
mod postgres;
mod program;
mod render;
mod rotate;
mod sarif;
mod scan;

use args::{Action, Args, Rotated, Settings};
use ops_cli::{Command, CommonArgs, Context, Exit, Failure, Flag};

impl Command for Args {
    type Settings = Settings;
    const NAME: &'static str = "ops-secrets";
    const TABLE: &'static str = "secrets";
    const DEFAULTS: &'static str = args::DEFAULTS;

    fn common(&self) -> &CommonArgs {
        &self.common
    }

    fn flags(&self) -> Vec<Flag> {
        self.overrides()
    }

    async fn run(self, context: Context<Settings>) -> Result<Exit, Failure> {
        match self.action {
            Some(Action::Exec(args)) => exec::run(args, context).await,
            Some(Action::Example(args)) => program::example(&args).await,
            Some(Action::Check(args)) => program::check(&args, &context).await,
            Some(Action::Show(args)) => program::show(&args, &context).await,
            Some(Action::Rotate(args)) => match args.what {
                Rotated::Postgres(args) => rotate::postgres(args, &context).await,
                Rotated::OpenBao(args) => openbao::run(args, &context).await,
            },
            Some(Action::Due(args)) => rotate::due(&args, &context),
            Some(Action::Scan(args)) => scan::run(args, context).await,
            None => {
                Err(Failure::new(Exit::Usage, "no action is named").hint("`ops-secrets --help` lists them"))
            }
        }
    }
}

fn main() -> std::process::ExitCode {
    ops_cli::main::<Args>()
}
