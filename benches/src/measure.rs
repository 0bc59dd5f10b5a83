//! One command measured from outside: wall time, CPU time, peak memory.
//!
//! The kernel adds up the children that a process has waited for, so each command gets a parent of its own: this
//! program again, with `--measure`.

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What one run cost.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Seconds of processor time, user and system, of the command and its children.
    pub(crate) cpu: f64,
    /// The largest resident set of one process, in bytes.
    pub(crate) memory: u64,
}

/// The first word that turns this program into the parent of one command.
pub(crate) const MEASURE: &str = "--measure";

/// Runs a command under a parent of its own; its output is kept for the case that it fails.
pub(crate) fn run(command: &[String]) -> Result<Cost> {
    let ourselves = std::env::current_exe().context("this program cannot find itself")?;
    let done = Command::new(ourselves).arg(MEASURE).args(command).stdin(Stdio::null()).output()?;
    if !done.status.success() {
        bail!("{} failed: {}", command.join(" "), String::from_utf8_lossy(&done.stderr).trim());
    }
    serde_json::from_slice(&done.stdout).context("the measuring parent printed no cost")
}

/// The measuring parent: prints the cost as JSON, or the command's own output where it failed.
pub(crate) fn parent(command: &[String]) -> Result<Cost> {
    let (program, args) = command.split_first().context("no command to measure")?;
    let began = Instant::now();
    let done = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{program} does not start"))?;
    let wall = began.elapsed().as_secs_f64();
    if !done.status.success() {
        bail!(
            "{}: {}{}",
            done.status,
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("the kernel tells no usage")?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let memory = u64::try_from(usage.max_rss()).unwrap_or(0) * 1024;
    Ok(Cost { wall, cpu: seconds(usage.user_time()) + seconds(usage.system_time()), memory })
}

/// The middle one of an odd number of runs, by each figure on its own.
pub(crate) fn median(runs: &[Cost]) -> Cost {
    let middle = |figure: fn(&Cost) -> f64| {
        let mut figures: Vec<f64> = runs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    Cost {
        wall: middle(|cost| cost.wall),
        cpu: middle(|cost| cost.cpu),
        memory: middle(|cost| cost.memory as f64) as u64,
    }
}
