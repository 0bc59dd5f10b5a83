//! `cargo xtask bench`: builds the commands and the comparison once, in release, and runs it.

use crate::sh::{self, Result};
use crate::{setup, stage};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is compared, and the comparison.
const PROGRAMS: [(&str, &str); 2] = [("ops-benches", "ops-benches"), ("ops-backup-cli", "ops-backup")];

/// The comparison of telemetry is a program of its own: it counts what is asked of the allocator, which slows others down.
const TELEMETRY: (&str, &str) = ("ops-bench-telemetry", "ops-bench-telemetry");

/// The comparison of the scanner is one too: it needs no server, and builds in a minute.
const SECRETS: [(&str, &str); 2] =
    [("ops-bench-secrets", "ops-bench-secrets"), ("ops-secrets-cli", "ops-secrets")];

/// The comparison of the runner of gates needs no server either.
const GATES: [(&str, &str); 2] = [("ops-bench-gates", "ops-bench-gates"), ("ops-gate-cli", "ops-gate")];

/// The command line entry; the words are handed to the comparison.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    if let Some((_, rest)) = args.split_first().filter(|(first, _)| *first == "telemetry") {
        sh::say("Building the comparison (release)…");
        stage::build(&setup::Machine::default(), &[TELEMETRY])?;
        return stage::become_it(
            std::process::Command::new(sh::target().join("release").join(TELEMETRY.1)).args(rest),
        );
    }
    if let Some((_, rest)) = args.split_first().filter(|(first, _)| *first == "secrets") {
        sh::say("Building the comparison and the scanner (release)…");
        stage::build(&setup::Machine::default(), &SECRETS)?;
        return stage::become_it(
            std::process::Command::new(sh::target().join("release").join(SECRETS[0].1)).args(rest),
        );
    }
    if let Some((_, rest)) = args.split_first().filter(|(first, _)| *first == "gates") {
        sh::say("Building the comparison and the runner (release)…");
        stage::build(&setup::Machine::default(), &GATES)?;
        return stage::become_it(
            std::process::Command::new(sh::target().join("release").join(GATES[0].1)).args(rest),
        );
    }
    let machine = setup::ensure(false)?;
    sh::say("Building the commands (release)…");
    stage::build(&machine, &PROGRAMS)?;
    // The system's own server for backups: the peer comes from there too, and knows no newer one.
    let is_backup = !["guard", "orm"].iter().any(|other| args.iter().any(|arg| arg == other));
    let major = setup::wanted_major().or_else(|| setup::system_major().filter(|_| is_backup));
    let postgres =
        setup::postgres_bin_of(major).ok_or("PostgreSQL was installed, but is not where it was expected")?;
    let stage = stage::Stage::new("bench", "release", &PROGRAMS.map(|(_, program)| program))?;
    let mut comparison = stage.command(&machine, "ops-benches")?;
    comparison.arg("--home").arg(stage.folder()).arg("--postgres-bin").arg(&postgres);
    comparison.envs(major.map(|major| ("OPS_PG_MAJOR", major.to_string())));
    if let Some(corpus) = corpus(stage.folder())? {
        comparison.arg("--corpus").arg(corpus);
    }
    comparison.args(args);
    stage::become_it(&mut comparison)
}

/// One file of all statements that the guard's tests judge, where the comparison's user can read it.
fn corpus(folder: &Path) -> Result<Option<PathBuf>> {
    let source = sh::root().join("crates/ops-core/tests/corpus");
    let Ok(entries) = fs::read_dir(&source) else { return Ok(None) };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    let mut text = String::new();
    for file in &files {
        text += &fs::read_to_string(file)
            .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
        text += "\n;\n";
    }
    let corpus = folder.join("corpus.sql");
    fs::write(&corpus, text).map_err(|error| format!("{} cannot be written: {error}", corpus.display()))?;
    Ok((!files.is_empty()).then_some(corpus))
}
