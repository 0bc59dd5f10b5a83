//! `cargo xtask bench gates`: what a run of many trivial gates costs beside `xargs -P` starting the same programs, and what
//! it costs to read a large plan and to start at all.
//!
//! The runner does more than xargs: it cleans the environment, keeps and masks the output, ends whole process trees, and
//! writes each event and a verdict. The ratio says what that costs; the memory, beside that of a tenth of the gates, whether it grows.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the comparison prints its table")]

#[path = "../../src/measure.rs"]
mod measure;

use anyhow::{Context as _, Result, bail};
use measure::{Cost, median};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "cargo xtask bench gates [--ours FILE] [--runs N] [--gates N] [--jobs N]

  --ours   our program (the one beside this one)
  --runs   rounds of each measurement, in turns (5)
  --gates  how many gates run `true` (1000)
  --jobs   how many run at once, here and in xargs (2)

Prints a table, and the same as JSON on the last line. Repeat on a quiet machine.";

/// What was asked for.
#[derive(Debug)]
struct Args {
    ours: PathBuf,
    runs: usize,
    gates: usize,
    jobs: usize,
}

/// One measurement.
#[derive(Debug, Serialize)]
struct Row {
    task: String,
    milliseconds: f64,
    cpu_milliseconds: f64,
    megabytes: f64,
    /// The median of the rounds' own ratios to the peer, where there is one.
    ratio: Option<f64>,
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
    let beside = std::env::current_exe()?.with_file_name("ops-gate");
    let mut args = Args { ours: beside, runs: 5, gates: 1000, jobs: 2 };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--ours" => args.ours = value()?.into(),
            "--runs" => args.runs = value()?.parse().context("--runs takes a number")?,
            "--gates" => args.gates = value()?.parse().context("--gates takes a number")?,
            "--jobs" => args.jobs = value()?.parse().context("--jobs takes a number")?,
            _ => bail!("{word} is unknown\n\n{HELP}"),
        }
    }
    if args.runs == 0 || args.gates < 10 || args.jobs == 0 {
        bail!("--runs and --jobs are at least 1, --gates at least 10");
    }
    Ok(Some(args))
}

fn compare(args: &Args) -> Result<()> {
    let home = tempfile::tempdir()?;
    let ours = args.ours.display().to_string();
    let plan = |gates: usize| plan(home.path(), gates);
    let (many, few, huge) = (plan(args.gates)?, plan(args.gates / 10)?, plan(10_000)?);
    let jobs = args.jobs;
    // A run wants a directory that is not there yet.
    let run = |plan: &str| {
        let script =
            "exec \"$0\" run \"$1\" --jobs \"$2\" --run-dir \"$3/run-$$\" --format json > /dev/null 2>&1";
        let folder = home.path().display().to_string();
        ["sh", "-c", script, &ours, plan, &jobs.to_string(), &folder].map(str::to_owned).to_vec()
    };
    let gates = args.gates;
    let xargs = format!("seq {gates} | xargs -P {jobs} -I{{}} true");
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let commands = [
        (format!("{gates} gates of `true`"), run(&many)),
        (format!("xargs -P {jobs}, the same"), words(&["sh", "-c", &xargs])),
        (format!("{} gates of `true`", gates / 10), run(&few)),
        (
            "plan of 10000 gates".to_owned(),
            words(&["sh", "-c", "exec \"$0\" plan \"$1\" --format json > /dev/null", &ours, &huge]),
        ),
        ("start: --version".to_owned(), words(&[&ours, "--version"])),
        ("start of sh, for comparison".to_owned(), words(&["sh", "-c", ":"])),
    ];
    // Every one once a round; the first round warms up and does not count.
    let mut rounds: Vec<Vec<Cost>> = Vec::new();
    for round in 0..=args.runs {
        let costs =
            commands.iter().map(|(_, command)| measure::run(command)).collect::<Result<Vec<Cost>>>()?;
        if round > 0 {
            rounds.push(costs);
        }
    }
    let rows: Vec<Row> = commands
        .iter()
        .enumerate()
        .map(|(index, (task, _))| Row {
            task: task.clone(),
            milliseconds: median(rounds.iter().map(|round| 1000.0 * round[index].wall)),
            cpu_milliseconds: median(rounds.iter().map(|round| 1000.0 * round[index].cpu)),
            megabytes: median(rounds.iter().map(|round| round[index].memory as f64 / 1e6)),
            ratio: (index == 0).then(|| median(rounds.iter().map(|round| round[0].wall / round[1].wall))),
        })
        .collect();
    println!("{}", text(&rows));
    println!(
        "{}",
        serde_json::json!({ "schema": "ops-benches/gates/v1", "runs": args.runs, "jobs": jobs, "rows": rows })
    );
    Ok(())
}

/// A plan of so many gates that do nothing; its path.
fn plan(folder: &Path, gates: usize) -> Result<String> {
    let mut text = String::from("name = \"bench\"\n");
    for gate in 0..gates {
        let _ = write!(text, "[[gate]]\nid = \"gate-{gate}\"\nkind = \"command\"\nrun = [\"true\"]\n");
    }
    let path = folder.join(format!("plan-{gates}.toml"));
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

/// The table for people.
fn text(rows: &[Row]) -> String {
    let mut text =
        String::from("task                                wall ms     cpu ms  memory MB  ours/peer\n");
    for row in rows {
        let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        let _ = writeln!(
            text,
            "{:32} {:>10.1} {:>10.1} {:>10.1} {:>10}",
            row.task, row.milliseconds, row.cpu_milliseconds, row.megabytes, ratio
        );
    }
    text
}
