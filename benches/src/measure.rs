//! One command measured from outside: wall time, CPU time, peak memory.
//!
//! The kernel adds up the children that a process has waited for, so each command gets a parent of its own: this
//! program again, with `--measure`.

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What one run cost.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Seconds of processor time, user and system, of the command and its children.
    pub(crate) cpu: f64,
    /// The most resident memory, in bytes: of the largest process by the kernel's own account, or of the command and
    /// all its descendants together as seen every few milliseconds, whichever is more.
    pub(crate) memory: u64,
}

/// The first word that turns this program into the parent of one command.
pub(crate) const MEASURE: &str = "--measure";

/// How often the memory of all processes of a command is added up.
const LOOK: Duration = Duration::from_millis(20);

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
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} does not start"))?;
    let pid = child.id();
    let has_ended = AtomicBool::new(false);
    let (done, wall, together) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(pid, &has_ended));
        let done = child.wait_with_output();
        let wall = began.elapsed().as_secs_f64();
        has_ended.store(true, Ordering::SeqCst);
        (done, wall, watcher.join().unwrap_or(0))
    });
    let done = done?;
    if !done.status.success() {
        bail!(
            "{}: {}{}",
            done.status,
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("the kernel tells no usage")?;
    let largest = u64::try_from(usage.max_rss()).unwrap_or(0) * 1024;
    Ok(Cost { wall, cpu: seconds(&usage), memory: largest.max(together) })
}

/// The processor time, user and system, in seconds.
pub(crate) fn seconds(usage: &nix::sys::resource::Usage) -> f64 {
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// The most that a process and its descendants had together.
fn watch(pid: u32, has_ended: &AtomicBool) -> u64 {
    let mut most = 0;
    while !has_ended.load(Ordering::SeqCst) {
        most = most.max(resident(pid));
        std::thread::sleep(LOOK);
    }
    most
}

/// The resident memory of a process and its descendants, in bytes; shared pages count for each. Who is gone counts
/// nothing, and neither does a child that still runs in the memory of its parent: between `vfork` and `exec`.
fn resident(pid: u32) -> u64 {
    below(pid, "")
}

/// The lines of `/proc/PID/status` that tell of one and the same memory, and seldom change (proc(5)).
fn shape(status: &str) -> Vec<&str> {
    const FIELDS: [&str; 6] = ["VmPeak:", "VmSize:", "VmHWM:", "VmData:", "VmStk:", "VmPTE:"];
    status.lines().filter(|line| FIELDS.iter().any(|field| line.starts_with(field))).collect()
}

fn below(pid: u32, parent: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    if !status.is_empty() && shape(&status) == shape(parent) {
        return 0;
    }
    let own = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|line| {
        let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kilobytes * 1024)
    });
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let children: u64 = children
        .flat_map(|line| line.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u32>>())
        .map(|child| below(child, &status))
        .sum();
    own.unwrap_or(0) + children
}

/// The middle one; the upper of the two where their number is even.
pub(crate) fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
