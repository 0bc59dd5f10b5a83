//! `cargo xtask bench`: ours against peers, in one run, as ratios. A peer that is not installed is absent, never beaten.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the comparison prints its table")]

mod backup;
mod guard;
mod measure;
mod orm;
mod report;
mod wal;

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
    /// pgbench's scale. None: as much as the comparison thinks right.
    pub(crate) scale: Option<u32>,
    /// Counted runs; the table shows the median. None: as many as the comparison thinks right.
    pub(crate) runs: Option<usize>,
    /// A folder where data stay for the next run. None: they are made anew.
    pub(crate) cache: Option<PathBuf>,
    /// The parts of the comparison that are wanted; none means all.
    pub(crate) parts: Vec<String>,
    /// The statements of the corpus, where there are any.
    pub(crate) corpus: Option<PathBuf>,
}

/// What a comparison found.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The table for people.
    pub(crate) text: String,
    /// The same as one JSON document.
    pub(crate) json: String,
}

/// A comparison, from start to end.
type Comparison = fn(&Args) -> Result<Outcome>;

/// The comparisons by name; the first one runs where none is named.
const COMPARISONS: [(&str, Comparison); 4] =
    [("backup", backup::compare), ("guard", guard::compare), ("orm", orm::compare), ("wal", wal::compare)];

const HELP: &str = "cargo xtask bench [backup|guard|orm|wal|telemetry] [--scale N] [--runs N] [--cache DIR] [--part NAME]…

  backup   backups and restores against pgBackRest, pg_basebackup, and zstd over a tar (default)
  guard    the guard's judgements against three parsers, its client against tokio_postgres
  orm      what the guard refuses of Django's and SQLAlchemy's test suites, and of pgbench; needs Python and pip
  wal      archiving and replaying WAL against pgBackRest's asynchronous commands and cp; parts push, replay and receive
  telemetry   events, spans and counters against other ways to log; a program of its own
  secrets     the scanner against its peers; a program of its own

Of `backup`: --scale is pgbench's (100), --runs the rounds of each part (3), --cache keeps the data for the next run in a folder
that the server's user can write to; --part is one of full, updated, unchanged, restore, delta, files, remote, growth, tree (a million files), and may be
repeated. It needs about ten times the size of the data below /tmp, the tree 9 GB.

Prints the table, and the same as JSON on the last line. Medians of N runs; repeat on a quiet machine. Of `backup`, CPU and memory
are those of the command and its children: what a server does for pg_basebackup is not in them.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(answer) = words.split_first().and_then(|(first, rest)| as_child(first, rest)) {
        return match answer {
            Ok(line) => {
                println!("{line}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let (compare, args) = match parse(words.into_iter()) {
        Ok(Some(chosen)) => chosen,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error:#}\n\n{HELP}");
            return ExitCode::from(64);
        }
    };
    let end = compare(&args).map(|outcome| {
        println!("{}", outcome.text);
        println!("{}", outcome.json);
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

/// What this program prints where a comparison started it as its own child; None for any other first word.
fn as_child(first: &str, rest: &[String]) -> Option<Result<String>> {
    match first {
        measure::MEASURE => {
            Some(measure::parent(rest).and_then(|cost| serde_json::to_string(&cost).map_err(Into::into)))
        }
        wal::ARCHIVE => {
            Some(wal::child(rest).and_then(|archived| serde_json::to_string(&archived).map_err(Into::into)))
        }
        guard::REMEMBER => Some(guard::remember()),
        _ => None,
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<(Comparison, Args)>> {
    let (mut home, mut postgres_bin, mut scale, mut runs) = (None, None, None, None);
    let (mut cache, mut parts, mut corpus) = (None, Vec::new(), None);
    let [(_, mut compare), ..] = COMPARISONS;
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--home" => home = Some(PathBuf::from(value()?)),
            "--postgres-bin" => postgres_bin = Some(PathBuf::from(value()?)),
            "--corpus" => corpus = Some(PathBuf::from(value()?)),
            "--scale" => scale = Some(value()?.parse().context("--scale takes a number")?),
            "--cache" => cache = Some(PathBuf::from(value()?)),
            "--part" => parts.push(value()?),
            "--runs" => runs = Some(value()?.parse().context("--runs takes a number")?),
            name => match COMPARISONS.iter().find(|(known, _)| *known == name) {
                Some((_, known)) => compare = *known,
                None => bail!("unknown word `{name}`"),
            },
        }
    }
    let args = Args {
        home: home.context("--home is missing: start this by `cargo xtask bench`")?,
        postgres_bin: postgres_bin.context("--postgres-bin is missing")?,
        scale,
        runs,
        cache,
        parts,
        corpus,
    };
    Ok(Some((compare, args)))
}
