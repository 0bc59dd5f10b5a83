//! What a tree, a history and a commit cost: wall time, processor time, memory, in rounds by turns.

use crate::Args;
use crate::measure::{self, Cost, median};
use crate::peers::{Scanner, command};
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// One measurement of one scanner.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    task: String,
    scanner: String,
    wall: f64,
    cpu: f64,
    megabytes: f64,
    /// Our wall time divided by this one's; the median of the rounds' own ratios.
    ratio: f64,
}

/// All measurements.
pub(crate) fn rows(args: &Args, scanners: &[Scanner], home: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if let Some(tree) = &args.tree {
        let task = format!("tree of {:.0} MB", size(tree)? as f64 / 1e6);
        // One reads a file of 40 MB for minutes, and the other takes as long for a tree: they would only hold up the rest.
        let quick = |scanner: &Scanner| !matches!(scanner.name, "detect-secrets" | "ripsecrets");
        let contenders = contenders(scanners, tree, home, |scanner| quick(scanner).then_some(scanner.tree));
        rows.extend(turns(&task, &contenders, args.runs)?);
    }
    if let Some(repository) = &args.repository {
        let count = output(repository, &["count-objects", "-vH"])?;
        let pack = count.lines().find_map(|line| line.strip_prefix("size-pack: ")).unwrap_or("?").to_owned();
        let mut contenders = contenders(scanners, repository, home, |scanner| scanner.history);
        let task = format!("history, pack of {pack}");
        let objects = "git -C \"$0\" cat-file --batch-all-objects --unordered --buffer --batch";
        let of_git = |name: &str, rest: &str| {
            let words = ["sh", "-c", &format!("{objects} {rest}; true")].map(str::to_owned);
            let (target, ours) = (repository.display().to_string(), args.ours.display().to_string());
            Contender { name: name.into(), command: words.into_iter().chain([target, ours]).collect() }
        };
        contenders.push(of_git("git cat-file alone", "> /dev/null"));
        // What the bar is measured against: the same bytes, without a word of which object they are of.
        contenders.push(of_git("the bytes, scanned", "| \"$1\" scan - > /dev/null 2>&1"));
        let measured = turns(&task, &contenders, args.runs)?;
        let cpu =
            |name: &str| measured.iter().find(|row| row.scanner == name).map_or(f64::NAN, |row| row.cpu);
        println!(
            "{task}: processor time {:.2} times that of git cat-file and of scanning its bytes (bar: 1.2)\n",
            cpu("ops-secrets") / cpu("the bytes, scanned")
        );
        rows.extend(measured);
    }
    let commit = commit(&home.join("commit"))?;
    let contenders = contenders(scanners, &commit, home, |scanner| scanner.staged);
    rows.extend(turns("staged: three files", &contenders, args.runs.max(9))?);
    Ok(rows)
}

struct Contender {
    name: String,
    command: Vec<String>,
}

fn contenders(
    scanners: &[Scanner],
    target: &Path,
    home: &Path,
    script: impl Fn(&Scanner) -> Option<&'static str>,
) -> Vec<Contender> {
    let report = home.join("speed.report");
    let one = |scanner: &Scanner| {
        let command = command(scanner.program.as_ref()?, script(scanner)?, target, &report);
        Some(Contender { name: scanner.name.to_owned(), command })
    };
    scanners.iter().filter_map(one).collect()
}

/// Every contender once a round; the first round warms up and does not count.
fn turns(task: &str, contenders: &[Contender], runs: usize) -> Result<Vec<Row>> {
    let mut rounds: Vec<Vec<Cost>> = Vec::new();
    for round in 0..=runs {
        let costs: Result<Vec<Cost>> =
            contenders.iter().map(|contender| measure::run(&contender.command)).collect();
        let costs = costs?;
        if round > 0 {
            rounds.push(costs);
        }
    }
    let rows = contenders.iter().enumerate().map(|(index, contender)| Row {
        task: task.to_owned(),
        scanner: contender.name.clone(),
        wall: median(rounds.iter().map(|round| round[index].wall)),
        cpu: median(rounds.iter().map(|round| round[index].cpu)),
        megabytes: median(rounds.iter().map(|round| round[index].memory as f64 / 1e6)),
        ratio: median(rounds.iter().map(|round| round[0].wall / round[index].wall)),
    });
    Ok(rows.collect())
}

/// A repository with three files staged.
fn commit(folder: &Path) -> Result<std::path::PathBuf> {
    fs::create_dir_all(folder)?;
    output(folder, &["init", "-q"])?;
    for (index, name) in ["a.rs", "b.py", "c.yml"].iter().enumerate() {
        let text: String =
            (0..200).map(|line| format!("let value_{line} = compute({index}, {line});\n")).collect();
        fs::write(folder.join(name), text)?;
    }
    output(folder, &["add", "-A"])?;
    Ok(folder.to_path_buf())
}

fn output(folder: &Path, args: &[&str]) -> Result<String> {
    let done = Command::new("git").arg("-C").arg(folder).args(args).output().context("git does not start")?;
    if !done.status.success() {
        bail!("git {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// The bytes of all files below a folder.
fn size(folder: &Path) -> Result<u64> {
    let mut all = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            all += size(&entry.path())?;
        } else if kind.is_file() {
            all += entry.metadata()?.len();
        }
    }
    Ok(all)
}

/// The table for people.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut text = String::from(
        "task                           scanner              wall s    cpu s  memory MB  ours/this\n",
    );
    for row in rows {
        let _ = writeln!(
            text,
            "{:30} {:18} {:>8.3} {:>8.3} {:>10.0} {:>10.2}",
            row.task, row.scanner, row.wall, row.cpu, row.megabytes, row.ratio
        );
    }
    text
}
