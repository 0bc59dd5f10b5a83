//! `cargo xtask bench`: builds the commands and the comparison once, in release, and runs it.

use crate::setup;
use crate::sh::{self, Result};
use std::process::ExitCode;

/// The command line entry; the words are handed to the comparison.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let machine = setup::ensure(false)?;
    sh::say("Building the commands (release)…");
    sh::run(machine.cargo().args([
        "build",
        "--release",
        "--quiet",
        "-p",
        "ops-backup-cli",
        "-p",
        "ops-benches",
    ]))?;
    let mut comparison = std::process::Command::new(sh::target().join("release/ops-benches"));
    comparison.args(args).env("OPS_BENCH_BIN", sh::target().join("release")).current_dir(sh::root());
    comparison.envs(machine.env);
    sh::run(&mut comparison)?;
    Ok(ExitCode::SUCCESS)
}
