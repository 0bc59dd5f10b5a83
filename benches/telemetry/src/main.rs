//! `cargo xtask bench telemetry`: what an event, a span and a counter cost, beside other ways to log, in one run.
//!
//! A subscriber is installed once and for all of a process, so each pair of contender and task is a process of its own:
//! this program again, with `--measure`. Each counts what it asks the allocator for, exactly, and takes the least time of many
//! short runs: what disturbs a run only ever adds to it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the comparison prints its table")]

mod bars;
mod contender;
mod peers;
mod task;

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::contender::Contender;
use crate::task::Task;

/// The first word that makes this program measure one pair.
const MEASURE: &str = "--measure";

const HELP: &str = "cargo xtask bench telemetry [--runs N]

Prints the table, the bars, and the same as JSON on the last line. The median of N processes each, of which each takes
its least time; repeat on a quiet machine.";

/// What one operation costs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cost {
    /// Nanoseconds.
    time: f64,
    /// Allocations, on average of very many.
    allocations: f64,
    /// Operations that came to nothing, where that can be.
    lost: Option<u64>,
}

/// One row of the table.
#[derive(Debug, Serialize)]
struct Row {
    task: &'static str,
    contender: &'static str,
    cost: Cost,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let end = match words[..] {
        [MEASURE, contender, task] => measure(contender, task),
        ["--help" | "-h"] => {
            println!("{HELP}");
            Ok(())
        }
        [] => compare(5),
        ["--runs", runs] => runs.parse().context("--runs takes a number").and_then(compare),
        _ => Err(anyhow::anyhow!("unknown words\n\n{HELP}")),
    };
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(contender: &str, task: &str) -> Result<()> {
    let contender = Contender::find(contender).context("no such contender")?;
    let task = Task::find(task).context("no such task")?;
    let cost = task.run(contender)?;
    println!("{}", serde_json::to_string(&cost)?);
    Ok(())
}

fn compare(runs: usize) -> Result<()> {
    let pairs: Vec<(Task, Contender)> = Task::ALL
        .into_iter()
        .flat_map(|task| task.contenders().iter().map(move |one| (task, *one)))
        .collect();
    let mut costs: Vec<Vec<Cost>> = pairs.iter().map(|_| Vec::new()).collect();
    // Taking turns, so that a busy moment of the machine does not meet one contender alone.
    for run in 0..runs.max(1) {
        eprintln!("round {} of {}", run + 1, runs.max(1));
        for ((task, contender), costs) in pairs.iter().zip(&mut costs) {
            costs.push(child(*contender, *task)?);
        }
    }
    let rows: Vec<Row> = pairs
        .iter()
        .zip(&mut costs)
        .map(|((task, contender), costs)| {
            costs.sort_by(|one, other| one.time.total_cmp(&other.time));
            Row { task: task.name(), contender: contender.name(), cost: costs[costs.len() / 2] }
        })
        .collect();
    println!(
        "{:12} {:44} {:>10} {:>12} {:>8}   theirs/ours",
        "task", "contender", "ns", "allocations", "lost"
    );
    for row in &rows {
        let ours =
            rows.iter().find(|other| other.task == row.task).map_or(row.cost.time, |ours| ours.cost.time);
        let lost = row.cost.lost.map_or(String::from("-"), |lost| lost.to_string());
        println!(
            "{:12} {:44} {:>10.1} {:>12.2} {lost:>8}   {:.1}",
            row.task,
            row.contender,
            row.cost.time,
            row.cost.allocations,
            row.cost.time / ours
        );
    }
    println!();
    let bars = bars::judge(&rows);
    for bar in &bars {
        println!("{}", bar.text());
    }
    let schema = "ops-benches/telemetry/v1";
    println!("{}", serde_json::json!({ "schema": schema, "rows": rows, "bars": bars }));
    Ok(())
}

fn child(contender: Contender, task: Task) -> Result<Cost> {
    let ourselves = std::env::current_exe().context("this program cannot find itself")?;
    let done = Command::new(ourselves).args([MEASURE, contender.name(), task.name()]).output()?;
    if !done.status.success() {
        bail!("{} with {}: {}", task.name(), contender.name(), String::from_utf8_lossy(&done.stderr).trim());
    }
    serde_json::from_slice(&done.stdout).context("a measurement printed no cost")
}
