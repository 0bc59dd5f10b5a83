//! `cargo xtask demo`: sets up, builds, and runs the story of `ops-demo`.

use crate::sh::{self, Result};
use crate::{setup, stage};
use std::process::ExitCode;

/// What the story runs; all of it is built once.
const PROGRAMS: [(&str, &str); 4] = [
    ("ops-demo", "ops-demo"),
    ("ops-backup-cli", "ops-backup"),
    ("ops-gate-cli", "ops-gate"),
    ("ops-guard-cli", "ops-guard"),
];

/// The command line entry.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    if args.iter().any(|word| word == "-h" || word == "--help") {
        sh::say(
            "cargo xtask demo [--keep]\n\nRuns the main job on real data, then removes it; --keep leaves the restored server and all files for a look around.",
        );
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(word) = args.iter().find(|word| *word != "--keep") {
        return Err(format!("demo takes only --keep, not `{word}`"));
    }
    let machine = setup::ensure(false)?;
    sh::say("Building the commands (release; a few minutes the first time)…");
    stage::build(&machine, &PROGRAMS)?;
    let postgres =
        setup::postgres_bin().ok_or("PostgreSQL was installed, but is not where it was expected")?;
    let stage = stage::Stage::new("demo", "release", &PROGRAMS.map(|(_, program)| program))?;
    let mut story = stage.command(&machine, "ops-demo")?;
    story.args(args).arg("--home").arg(stage.folder()).arg("--postgres-bin").arg(&postgres);
    if std::env::var_os("TRACEPARENT").is_none() {
        // The environment carries the trace to every process of the run, PostgreSQL's archiver included.
        story.env("TRACEPARENT", stage::new_trace()?);
    }
    stage::become_it(&mut story)
}
