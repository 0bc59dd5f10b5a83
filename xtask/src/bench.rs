//! `cargo xtask bench`: builds the commands and the comparison once, in release, and runs it.

use crate::sh::{self, Result};
use crate::{setup, stage};
use std::process::ExitCode;

/// What is compared, and the comparison.
const PROGRAMS: [(&str, &str); 2] = [("ops-benches", "ops-benches"), ("ops-backup-cli", "ops-backup")];

/// The command line entry; the words are handed to the comparison.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let machine = setup::ensure(false)?;
    sh::say("Building the commands (release)…");
    stage::build(&machine, &PROGRAMS)?;
    let postgres =
        setup::postgres_bin().ok_or("PostgreSQL was installed, but is not where it was expected")?;
    let stage = stage::Stage::new("bench", "release", &PROGRAMS.map(|(_, program)| program))?;
    let mut comparison = stage.command(&machine, "ops-benches")?;
    comparison.arg("--home").arg(stage.folder()).arg("--postgres-bin").arg(&postgres).args(args);
    stage::become_it(&mut comparison)
}
