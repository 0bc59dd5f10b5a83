//! `cargo xtask`: what a newcomer and CI run.
//!
//! This file reads the first word and hands over. It depends on nothing but the standard library, because it must
//! build on a machine where nothing is installed yet.

mod bench;
mod check;
mod demo;
mod docs;
mod setup;
mod sh;
mod stage;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <command>

  demo    set up, build, and run the main job on real data   (--keep leaves it running)
  test    set up, then every check and test that CI runs
  setup   install only what is missing: PostgreSQL, libclang, a C compiler
  bench   compare with peers in one run, as ratios           (cargo xtask bench backup)
  docs    write docs/commands.md from the binaries' help     (--check only compares)
";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let rest: Vec<String> = words.collect();
    let outcome = match command.as_str() {
        "demo" => demo::run(&rest),
        "test" => check::run(&rest),
        "setup" => setup::run(&rest),
        "bench" => bench::run(&rest),
        "docs" => docs::run(&rest),
        "" | "help" | "--help" | "-h" => {
            sh::say(HELP);
            return ExitCode::SUCCESS;
        }
        other => {
            sh::complain(&format!("unknown command `{other}`\n\n{HELP}"));
            return ExitCode::from(64);
        }
    };
    match outcome {
        Ok(code) => code,
        Err(message) => {
            sh::complain(&format!("error: {message}"));
            ExitCode::FAILURE
        }
    }
}
