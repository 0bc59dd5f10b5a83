//! The archiver of the server, without the server: what `pgarch.c` does with `archive_command`.
//!
//! It runs in a process of its own, so that the cost of all it starts can be told: as the parent of those that leave their
//! own parents, which pgBackRest's asynchronous process does.

use crate::measure::{self, median};
use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The first word that turns this program into an archiver: then the data directory, a word for whether a service is
/// started before, its command line, and `archive_command`.
pub(crate) const ARCHIVE: &str = "--archive";

/// What the calls have cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Archived {
    /// Seconds from the first call to the last answer.
    pub(crate) seconds: f64,
    /// Seconds of processor time of everything that was started.
    pub(crate) cpu: f64,
    /// How long each call took, in seconds, shortest first.
    pub(crate) calls: Vec<f64>,
    /// The most resident memory of all of them, in bytes.
    pub(crate) memory: u64,
}

impl Archived {
    /// The call that so large a share of all is not slower than.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let last = self.calls.len().saturating_sub(1);
        self.calls.get((last as f64 * share).ceil() as usize).copied().unwrap_or(f64::NAN)
    }

    /// The middle of several runs, figure by figure.
    pub(crate) fn median(runs: &[Archived]) -> Archived {
        let of = |figure: fn(&Archived) -> f64| median(runs.iter().map(figure));
        let mut calls: Vec<f64> = runs.iter().flat_map(|run| run.calls.iter().copied()).collect();
        calls.sort_by(f64::total_cmp);
        let memory = runs.iter().map(|run| run.memory).max().unwrap_or(0);
        Archived { seconds: of(|run| run.seconds), cpu: of(|run| run.cpu), calls, memory }
    }
}

/// Archives everything that waits in `data` by `command`; with `service` running, which is given `head_start` first.
pub(crate) fn archive(
    data: &Path,
    command: &str,
    service: Option<&[String]>,
    head_start: bool,
) -> Result<Archived> {
    let ourselves = std::env::current_exe().context("this program cannot find itself")?;
    let request = Request {
        data: data.display().to_string(),
        command: command.to_owned(),
        service: service.map(<[String]>::to_vec),
        head_start,
    };
    let done = Command::new(ourselves)
        .args([ARCHIVE, &serde_json::to_string(&request)?])
        .stdin(Stdio::null())
        .output()?;
    ensure!(done.status.success(), "{command} failed: {}", String::from_utf8_lossy(&done.stderr).trim());
    serde_json::from_slice(&done.stdout).context("the archiver printed no cost")
}

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    data: String,
    command: String,
    service: Option<Vec<String>>,
    head_start: bool,
}

/// The archiver itself; prints what it has measured.
pub(crate) fn child(words: &[String]) -> Result<Archived> {
    let request: Request = serde_json::from_str(words.first().context("nothing is asked for")?)?;
    nix::sys::prctl::set_child_subreaper(true).context("stray processes cannot be kept")?;
    let data = Path::new(&request.data);
    let mut service = request.service.as_deref().map(start).transpose()?;
    let names = super::waiting(data)?;
    ensure!(!names.is_empty(), "nothing waits to be archived");
    if request.head_start {
        // The first call tells the service what waits; it stores the others meanwhile.
        call(data, &request.command, &names[0])?;
        std::thread::sleep(Duration::from_secs(20));
    }
    let mut calls = Vec::new();
    let began = Instant::now();
    for name in names.iter().skip(usize::from(request.head_start)) {
        calls.push(call(data, &request.command, name)?);
    }
    let seconds = began.elapsed().as_secs_f64();
    let mut memory = 0;
    if let Some(service) = &mut service {
        memory = peak(service.id());
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(service.id().cast_signed()),
            nix::sys::signal::SIGTERM,
        )?;
        service.wait()?;
    }
    let cpu = cpu_of_children()?;
    calls.sort_by(f64::total_cmp);
    Ok(Archived { seconds, cpu, calls, memory })
}

fn start(words: &[String]) -> Result<std::process::Child> {
    let (program, arguments) = words.split_first().context("no service")?;
    let mut service =
        Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
    super::started(&mut service)?;
    Ok(service)
}

/// One call, as the server makes it: until it succeeds, with a pause of a second after a failure.
fn call(data: &Path, command: &str, name: &str) -> Result<f64> {
    let line = command.replace("%p", &format!("pg_wal/{name}")).replace("%f", name);
    for _ in 0..5 {
        let began = Instant::now();
        let done = Command::new("sh").args(["-c", &line]).current_dir(data).stdin(Stdio::null()).output()?;
        let seconds = began.elapsed().as_secs_f64();
        if done.status.success() {
            let note = |end: &str| data.join("pg_wal/archive_status").join(format!("{name}.{end}"));
            std::fs::rename(note("ready"), note("done"))?;
            return Ok(seconds);
        }
        eprintln!(
            "{line}: {}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
        std::thread::sleep(Duration::from_secs(1));
    }
    bail!("{line} fails")
}

/// Waits for every child, those that were left to this process among them, and returns the processor time of all that
/// there have been, in seconds.
fn cpu_of_children() -> Result<f64> {
    while nix::sys::wait::wait().is_ok() {}
    Ok(measure::seconds(&getrusage(UsageWho::RUSAGE_CHILDREN).context("the kernel tells no usage")?))
}

/// The most resident memory that a process has had, in bytes.
pub(super) fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kilobytes| kilobytes * 1024)
}
