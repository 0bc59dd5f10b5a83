//! `cargo xtask bench`: ours against peers, in one run, as ratios. A peer that is not installed is absent, never beaten.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the comparison prints its table")]

mod backup;
mod measure;
mod table;

use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use std::process::ExitCode;

/// What the task runner hands over.
#[derive(Debug)]
pub(crate) struct Args {
    /// A folder of this run's own, with our programs in `bin`.
    pub(crate) home: PathBuf,
    /// PostgreSQL's programs.
    pub(crate) postgres_bin: PathBuf,
    /// pgbench's scale.
    pub(crate) scale: u32,
    /// Counted runs of each command; the table shows the median.
    pub(crate) runs: usize,
}

const HELP: &str = "cargo xtask bench [backup] [--scale N] [--runs N]

  backup   full backup and restore against pg_basebackup and pgBackRest (default)

Prints the table, and the same as JSON on the last line. Medians of N runs; repeat on a quiet machine. CPU and memory are those of
the command and its children: what a server does for pg_basebackup is not in them.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((measure::MEASURE, command)) = words.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        return match measure::parent(command).and_then(|cost| Ok(serde_json::to_string(&cost)?)) {
            Ok(cost) => {
                println!("{cost}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let args = match parse(words.into_iter()) {
        Ok(Some(args)) => args,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error:#}\n\n{HELP}");
            return ExitCode::from(64);
        }
    };
    let end = backup::compare(&args).map(|table| {
        println!("{}", table.text());
        println!("{}", table.json());
    });
    // The folder is ours: the task runner made it for this run.
    let _ = std::fs::remove_dir_all(&args.home);
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Args>> {
    let (mut home, mut postgres_bin, mut scale, mut runs) = (None, None, 20, 3);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "backup" => {}
            "--help" | "-h" => return Ok(None),
            "--home" => home = Some(PathBuf::from(value()?)),
            "--postgres-bin" => postgres_bin = Some(PathBuf::from(value()?)),
            "--scale" => scale = value()?.parse().context("--scale takes a number")?,
            "--runs" => runs = value()?.parse().context("--runs takes a number")?,
            other => bail!("unknown word `{other}`"),
        }
    }
    Ok(Some(Args {
        home: home.context("--home is missing: start this by `cargo xtask bench`")?,
        postgres_bin: postgres_bin.context("--postgres-bin is missing")?,
        scale,
        runs,
    }))
}
