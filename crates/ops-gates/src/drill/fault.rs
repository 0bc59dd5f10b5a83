//! What a drill does to a system, and how it takes that back.
//!
//! A fault is aimed first, which finds the process or checks the place and changes nothing; then injected; then taken
//! back. [`Injected`] takes back on drop as well, so that neither a panic nor a dropped future leaves a fault behind.

use crate::process::Masker;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::fmt;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is done to the system. Exactly one of its tables is given.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Kills a process.
    pub kill: Option<Kill>,
    /// Stops a process without ending it, so that its connections hang.
    pub pause: Option<Pause>,
    /// Drops what arrives at a port, in a network namespace.
    pub block_port: Option<BlockPort>,
    /// Fills a small file system.
    pub fill: Option<Fill>,
    /// Stops a container.
    pub stop_container: Option<StopContainer>,
    /// Anything else that has an undo.
    pub command: Option<Commands>,
}

/// Kills a process with SIGKILL.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    /// The file whose first line is the process id.
    pub pid_file: PathBuf,
    /// The name of the process, as `/proc/<pid>/comm` has it: a file that is out of date must not kill somebody else.
    pub process: String,
    /// Starts it again, and returns; absent where a supervisor does.
    #[serde(default)]
    pub restart: Vec<String>,
}

/// Stops a process with SIGSTOP, and continues it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// The file whose first line is the process id.
    pub pid_file: PathBuf,
    /// The name of the process, as `/proc/<pid>/comm` has it.
    pub process: String,
}

/// Drops TCP packets to a port with nftables. Never in the network of the host, but in a namespace.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockPort {
    /// The network namespace, as `ip netns` knows it.
    pub namespace: String,
    /// The port.
    pub port: u16,
}

/// Writes zeros until a file system is full.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fill {
    /// A directory on the file system.
    pub path: PathBuf,
    /// The file system may be at most so big; a bigger one is refused before anything is written.
    pub max_bytes: u64,
}

/// Stops a container, and starts it again.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopContainer {
    /// Its name.
    pub name: String,
    /// The program that knows it: `docker`, or one with the same commands.
    #[serde(default = "docker")]
    pub program: String,
}

/// A pair of commands, without a shell.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commands {
    /// Brings the fault about.
    pub inject: Vec<String>,
    /// Takes it back; it is also run where `inject` failed half-way.
    pub undo: Vec<String>,
}

fn docker() -> String {
    "docker".to_owned()
}

/// How long a command of a fault may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The name of the file that fills a file system.
const FILLER: &str = ".ops-gates-drill-fill";

impl Fault {
    pub(super) fn wrong(&self) -> Option<String> {
        let given = [
            self.kill.is_some(),
            self.pause.is_some(),
            self.block_port.is_some(),
            self.fill.is_some(),
            self.stop_container.is_some(),
            self.command.is_some(),
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            return Some(
                "the fault needs exactly one of `kill`, `pause`, `block_port`, `fill`, `stop_container` and `command`"
                    .to_owned(),
            );
        }
        let empty = |argv: &[String]| argv.first().is_none_or(String::is_empty);
        match &self.command {
            Some(command) if empty(&command.inject) => Some("`inject` names no program".to_owned()),
            Some(command) if empty(&command.undo) => {
                Some("`undo` names no program; a fault that cannot be taken back is no drill".to_owned())
            }
            _ => None,
        }
    }

    pub(super) fn undo_summary(&self) -> String {
        if let Some(kill) = &self.kill {
            return match kill.restart.as_slice() {
                [] => "its own supervisor".to_owned(),
                restart => format!("`{}`", restart.join(" ")),
            };
        }
        match &self.command {
            Some(command) => format!("`{}`", command.undo.join(" ")),
            None => "this program".to_owned(),
        }
    }

    /// Finds what the fault is for, and changes nothing.
    pub(super) fn aim(&self, directory: &Path) -> Result<Aimed, String> {
        let run = |argv: &[&str]| Step::Run(argv.iter().map(|word| (*word).to_owned()).collect());
        let directory = directory.to_path_buf();
        let aimed = |inject, undo| Aimed { inject, undo, directory: directory.clone() };
        if let Some(kill) = &self.kill {
            let target = Target::find(&directory.join(&kill.pid_file), &kill.process)?;
            let undo = if kill.restart.is_empty() { Step::Nothing } else { Step::Run(kill.restart.clone()) };
            return Ok(aimed(Step::Signal(target, Signal::KILL), undo));
        }
        if let Some(pause) = &self.pause {
            let target = Target::find(&directory.join(&pause.pid_file), &pause.process)?;
            return Ok(aimed(Step::Signal(target.clone(), Signal::STOP), Step::Signal(target, Signal::CONT)));
        }
        if let Some(block) = &self.block_port {
            return block.aim(aimed);
        }
        if let Some(fill) = &self.fill {
            let path = directory.join(&fill.path);
            let size = size_of(&path)?;
            if size > fill.max_bytes {
                return Err(format!(
                    "the file system of {} has {size} bytes, more than max_bytes = {}",
                    path.display(),
                    fill.max_bytes
                ));
            }
            let filler = path.join(FILLER);
            return Ok(aimed(Step::Fill(filler.clone(), fill.max_bytes), Step::Remove(filler)));
        }
        if let Some(StopContainer { name, program }) = &self.stop_container {
            return Ok(aimed(run(&[program, "stop", name]), run(&[program, "start", name])));
        }
        let Some(command) = &self.command else { return Err("no fault is given".to_owned()) };
        Ok(aimed(Step::Run(command.inject.clone()), Step::Run(command.undo.clone())))
    }
}

impl BlockPort {
    fn aim(&self, aimed: impl Fn(Step, Step) -> Aimed) -> Result<Aimed, String> {
        if self.namespace.is_empty() || self.namespace.contains('/') || self.namespace.starts_with('-') {
            return Err(format!("`{}` is no name of a network namespace", self.namespace));
        }
        // A table of its own, so that taking it back takes nothing else.
        let table = format!("ops_drill_{}", std::process::id());
        let rules = format!(
            "add table inet {table}; add chain inet {table} input {{ type filter hook input priority -300; }}; add rule inet {table} input tcp dport {} drop",
            self.port
        );
        let nft = |text: String| {
            let words = ["ip", "netns", "exec", &self.namespace, "nft", &text];
            Step::Run(words.iter().map(|word| (*word).to_owned()).collect())
        };
        Ok(aimed(nft(rules), nft(format!("delete table inet {table}"))))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(kill) = &self.kill {
            return write!(f, "{} of {} is killed", kill.process, kill.pid_file.display());
        }
        if let Some(pause) = &self.pause {
            return write!(f, "{} of {} is paused", pause.process, pause.pid_file.display());
        }
        if let Some(block) = &self.block_port {
            return write!(f, "port {} in the network namespace {} is blocked", block.port, block.namespace);
        }
        if let Some(fill) = &self.fill {
            return write!(f, "the file system of {} is filled", fill.path.display());
        }
        if let Some(container) = &self.stop_container {
            return write!(f, "the container {} is stopped", container.name);
        }
        let command = self.command.as_ref().map(|command| command.inject.join(" ")).unwrap_or_default();
        write!(f, "`{command}` is run")
    }
}

/// A process that was found, and that a later one with its number is told from.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pid: Pid,
    started: String,
}

impl Target {
    fn find(pid_file: &Path, process: &str) -> Result<Self, String> {
        let text = fs::read_to_string(pid_file)
            .map_err(|error| format!("cannot read the pid file {}: {error}", pid_file.display()))?;
        let number: i32 = text
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok())
            .ok_or_else(|| format!("{} holds no process id", pid_file.display()))?;
        // A number below 2 is no process of anybody: 0 and -1 are groups, 1 is init.
        let pid = Some(number).filter(|number| *number > 1).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| format!("{} holds no process id", pid_file.display()))?;
        let ours = u32::try_from(number).is_ok_and(is_our_ancestor);
        if ours {
            return Err(format!("process {number} is this program, or one that started it"));
        }
        let comm = fs::read_to_string(format!("/proc/{number}/comm"))
            .map_err(|_| format!("process {number} of {} does not run", pid_file.display()))?;
        // The kernel keeps 15 bytes of a name.
        let wanted: String = process.chars().take(15).collect();
        if comm.trim_end() != wanted {
            return Err(format!("process {number} is `{}`, not `{process}`", comm.trim_end()));
        }
        let started = start_time(number).ok_or_else(|| format!("process {number} does not run"))?;
        Ok(Self { pid, started })
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        let number = self.pid.as_raw_nonzero();
        if start_time(number.get()).as_deref() != Some(&self.started) {
            return Err(format!("process {number} does not run any more"));
        }
        kill_process(self.pid, signal).map_err(|error| format!("process {number} takes no signal: {error}"))
    }
}

/// Field 22 of `/proc/<pid>/stat`: when a process started, in ticks since boot (proc(5)).
fn start_time(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

fn is_our_ancestor(pid: u32) -> bool {
    let mut current = std::process::id();
    while current > 1 {
        if current == pid {
            return true;
        }
        let stat = fs::read_to_string(format!("/proc/{current}/stat")).unwrap_or_default();
        let parent =
            stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(1)?.parse().ok());
        current = parent.unwrap_or(0);
    }
    false
}

fn size_of(path: &Path) -> Result<u64, String> {
    let found =
        rustix::fs::statvfs(path).map_err(|error| format!("cannot look at {}: {error}", path.display()))?;
    Ok(found.f_blocks.saturating_mul(found.f_frsize))
}

/// A fault with everything that it takes, in both directions.
pub(super) struct Aimed {
    inject: Step,
    undo: Step,
    directory: PathBuf,
}

enum Step {
    Nothing,
    Signal(Target, Signal),
    Run(Vec<String>),
    Fill(PathBuf, u64),
    Remove(PathBuf),
}

impl Aimed {
    /// What a person would type.
    pub(super) fn undo_by_hand(&self) -> Option<String> {
        match &self.undo {
            Step::Nothing => None,
            Step::Signal(target, _) => Some(format!("kill -CONT {}", target.pid.as_raw_nonzero())),
            Step::Run(argv) => Some(argv.join(" ")),
            Step::Fill(path, _) | Step::Remove(path) => Some(format!("rm {}", path.display())),
        }
    }
}

/// A fault that is in the system, or about to be. Taken back at the latest when this is dropped.
pub(super) struct Injected {
    aimed: std::sync::Arc<Aimed>,
    io: std::sync::Arc<Log>,
    armed: bool,
}

/// Where the output of commands goes.
struct Log {
    masker: Option<Masker>,
    path: PathBuf,
}

impl Injected {
    pub(super) fn new(aimed: Aimed, masker: Option<Masker>, log: PathBuf) -> Self {
        Self { aimed: aimed.into(), io: Log { masker, path: log }.into(), armed: false }
    }

    /// Whether nothing has to be taken back for the system to recover, as after a kill that a supervisor sees.
    pub(super) fn is_over_at_once(&self) -> bool {
        matches!(self.aimed.undo, Step::Nothing)
    }

    /// Brings the fault about. Also after a failure it has to be taken back: half of it may be there.
    pub(super) async fn inject(&mut self) -> Result<(), String> {
        self.armed = true;
        let (aimed, io) = (std::sync::Arc::clone(&self.aimed), std::sync::Arc::clone(&self.io));
        let done = tokio::task::spawn_blocking(move || aimed.inject.carry_out(&aimed.directory, &io)).await;
        done.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Takes the fault back; a second time does nothing.
    pub(super) async fn take_back(&mut self) -> Result<(), String> {
        if !self.armed {
            return Ok(());
        }
        let (aimed, io) = (std::sync::Arc::clone(&self.aimed), std::sync::Arc::clone(&self.io));
        let done = tokio::task::spawn_blocking(move || aimed.undo.carry_out(&aimed.directory, &io)).await;
        // Only now: where this future is dropped before, the drop takes it back (once more).
        self.armed = false;
        done.unwrap_or_else(|error| Err(error.to_string()))
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        if let Err(reason) = self.aimed.undo.carry_out(&self.aimed.directory, &self.io) {
            tracing::error!("a drill was broken off, and its fault could not be taken back: {reason}");
        }
    }
}

impl Step {
    fn carry_out(&self, directory: &Path, log: &Log) -> Result<(), String> {
        match self {
            Step::Nothing => Ok(()),
            Step::Signal(target, signal) => target.signal(*signal),
            Step::Run(argv) => command(argv, directory, log),
            Step::Fill(path, limit) => fill(path, *limit),
            Step::Remove(path) => match fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(format!("cannot remove {}: {error}", path.display()))
                }
                _ => Ok(()),
            },
        }
    }
}

/// Runs a command to its end. What it starts may live on, such as a server that is started again.
fn command(argv: &[String], directory: &Path, log: &Log) -> Result<(), String> {
    let Some((program, arguments)) = argv.split_first() else { return Err("it names no program".to_owned()) };
    let wrong = |error: std::io::Error| format!("cannot run `{program}`: {error}");
    // A file, and not a pipe: a server that it leaves behind would hold the pipe open, or die of its end.
    let part = log.path.with_extension("part");
    let output = File::create(&part).map_err(wrong)?;
    let mut read = File::open(&part).map_err(wrong)?;
    fs::remove_file(&part).map_err(wrong)?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).env_clear().stdin(Stdio::null());
    for name in ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command.stdout(output.try_clone().map_err(wrong)?).stderr(output);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(wrong)?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().map_err(wrong)? {
            Some(status) => break Some(status),
            None if Instant::now() >= deadline => break None,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    log.keep(argv, &mut read);
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("`{program}` ended with {status}; its output is in fault.log")),
        None => Err(format!("`{program}` did not end within {} s", PATIENCE.as_secs())),
    }
}

impl Log {
    /// Keeps the beginning of what a command wrote. A log that cannot be written stops no rollback.
    fn keep(&self, argv: &[String], output: &mut File) {
        const KEPT: u64 = 64 * 1024;
        let mut bytes = format!("$ {}\n", argv.join(" ")).into_bytes();
        let _ = output.rewind().and_then(|()| output.take(KEPT).read_to_end(&mut bytes));
        if let Some(masker) = &self.masker {
            masker(&mut bytes);
        }
        let log = File::options().create(true).append(true).open(&self.path);
        let _ = log.and_then(|mut log| log.write_all(&bytes));
    }
}

fn fill(path: &Path, limit: u64) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    let mut file = File::create_new(path).map_err(wrong)?;
    let zeros = vec![0; 64 * 1024];
    let (mut written, mut piece) = (0_u64, zeros.as_slice());
    while written <= limit {
        match file.write(piece) {
            Ok(count) => written += count as u64,
            Err(error) if is_full(&error) && piece.len() > 1 => piece = &piece[..piece.len() / 2],
            Err(error) if is_full(&error) => return Ok(()),
            Err(error) => return Err(wrong(error)),
        }
    }
    Err(format!("{} bytes were written to {}, and it is not full", written, path.display()))
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}
