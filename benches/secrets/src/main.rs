//! `cargo xtask bench secrets`: the scanner beside its peers, in one run: what it finds of a labelled corpus, and what a
//! tree, a history and a commit cost; and what masking a log costs. A peer that is not installed is absent, never beaten.
//!
//! The corpus is that of the tests, made from a seed: files with a secret, and files that look as if they had one. Every
//! scanner gets the same folder, and has found a file where its report names it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the comparison prints its table")]

// The tests' own corpus, so that both speak of the same files.
#[path = "../../../crates/ops-secrets/tests/it/scan/corpus/mod.rs"]
#[expect(clippy::unwrap_used, reason = "made for tests, and of values that it made itself")]
mod corpus;
mod masking;
#[path = "../../src/measure.rs"]
mod measure;
mod peers;
mod quality;
mod speed;

use anyhow::{Context as _, Result, bail};
use peers::Scanner;
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "cargo xtask bench secrets [--ours FILE] [--peers DIR] [--tree DIR] [--repository DIR] [--runs N] [--only-masking]

  --ours        our program (the one beside this one)
  --peers       an environment of Python with the peers; made with pip where it is not there. Without it: what PATH has
  --tree        a folder of sources to search; none is searched without it
  --repository  a git repository whose history is searched; none without it
  --runs        rounds of each measurement of time (3)
  --only-masking  what masking costs, and no scanner

Prints tables, and the same as JSON on the last line. Repeat on a quiet machine.";

/// What was asked for.
#[derive(Debug)]
struct Args {
    ours: PathBuf,
    peers: Option<PathBuf>,
    tree: Option<PathBuf>,
    repository: Option<PathBuf>,
    runs: usize,
    only_masking: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let end = match words.split_first() {
        Some((first, rest)) if first == measure::MEASURE => measure::parent(rest)
            .and_then(|cost| Ok(serde_json::to_string(&cost)?))
            .map(|line| println!("{line}")),
        _ => parse(&words).and_then(|args| match args {
            Some(args) => compare(&args),
            None => {
                println!("{HELP}");
                Ok(())
            }
        }),
    };
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn parse(words: &[String]) -> Result<Option<Args>> {
    let beside = std::env::current_exe()?.with_file_name("ops-secrets");
    let mut args =
        Args { ours: beside, peers: None, tree: None, repository: None, runs: 3, only_masking: false };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--ours" => args.ours = value()?.into(),
            "--peers" => args.peers = Some(value()?.into()),
            "--tree" => args.tree = Some(value()?.into()),
            "--repository" => args.repository = Some(value()?.into()),
            "--only-masking" => args.only_masking = true,
            "--runs" => args.runs = value()?.parse().context("--runs takes a number")?,
            _ => bail!("{word} is unknown\n\n{HELP}"),
        }
    }
    Ok(Some(args))
}

fn compare(args: &Args) -> Result<()> {
    let masking = masking::rows(args.runs)?;
    println!("{}", masking::text(&masking));
    if args.only_masking {
        println!("{}", serde_json::json!({ "schema": "ops-benches/secrets/v1", "masking": masking }));
        return Ok(());
    }
    let scanners: Vec<Scanner> = peers::all(&args.ours, args.peers.as_deref())?;
    let home = tempfile::tempdir()?;
    let quality = quality::table(&scanners, home.path())?;
    println!("{}", quality::text(&quality));
    let speed = speed::rows(args, &scanners, home.path())?;
    println!("{}", speed::text(&speed));
    let document = serde_json::json!({ "schema": "ops-benches/secrets/v1", "masking": masking, "quality": quality, "speed": speed });
    println!("{document}");
    Ok(())
}
