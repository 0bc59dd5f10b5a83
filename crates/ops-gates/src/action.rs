//! Single things that are done to a system from outside: a signal, a command, a file that fills a disk.
//!
//! Each is plain data, found and checked before anything is done, so that another process can carry it out as well: the
//! guardian takes a fault back where the drill was killed.

use crate::process::{self, MARKER, Masker, Process};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// One thing that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Nothing,
    Kill(Target),
    Pause(Target),
    Continue(Target),
    /// A program with its arguments, without a shell.
    Run(Vec<String>),
    /// Writes zeros to a new file until there is no room, but no more than so many bytes.
    Fill(PathBuf, u64),
    Remove(PathBuf),
}

/// A process that was found, and that a later one with its number is told from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    pid: u32,
    /// In clock ticks after boot.
    born: u64,
}

/// Where the output of commands goes.
#[derive(Clone, Default)]
pub(crate) struct Log {
    pub(crate) masker: Option<Masker>,
    /// Absent where nothing is kept.
    pub(crate) path: Option<PathBuf>,
    /// What marks the commands for others, in their environment.
    pub(crate) mark: Option<String>,
}

impl Target {
    /// The process of a pid file, where it has this name.
    pub(crate) fn find(pid_file: &Path, name: &str) -> Result<Self, String> {
        let text = fs::read_to_string(pid_file)
            .map_err(|error| format!("cannot read the pid file {}: {error}", pid_file.display()))?;
        // A number below 2 is no process of anybody: 0 and -1 are groups, 1 is init.
        let pid: u32 = text
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok())
            .filter(|pid| *pid > 1)
            .ok_or_else(|| format!("{} holds no process id", pid_file.display()))?;
        if is_our_ancestor(pid) {
            return Err(format!("process {pid} is this program, or one that started it"));
        }
        let found = fs::read_to_string(format!("/proc/{pid}/comm"))
            .map_err(|_| format!("process {pid} of {} does not run", pid_file.display()))?;
        // The kernel keeps 15 bytes of a name.
        let wanted: String = name.chars().take(15).collect();
        if found.trim_end() != wanted {
            return Err(format!("process {pid} is `{}`, not `{name}`", found.trim_end()));
        }
        let process = Process::find(pid).ok_or_else(|| format!("process {pid} does not run"))?;
        Ok(Self { pid, born: process.born })
    }

    fn signal(self, signal: Signal) -> Result<(), String> {
        let pid = self.pid;
        let process = Process::find(pid).filter(|process| process.born == self.born);
        let process = process.ok_or_else(|| format!("process {pid} does not run any more"))?;
        process::signal(&process, signal).map_err(|error| format!("process {pid} takes no signal: {error}"))
    }
}

fn is_our_ancestor(pid: u32) -> bool {
    let mut current = std::process::id();
    while current > 1 {
        if current == pid {
            return true;
        }
        current = Process::find(current).map_or(0, |process| process.parent);
    }
    false
}

impl Action {
    /// Does it, and waits until it is done.
    pub(crate) fn carry_out(&self, directory: &Path, log: &Log) -> Result<(), String> {
        match self {
            Action::Nothing => Ok(()),
            Action::Kill(target) => target.signal(Signal::KILL),
            Action::Pause(target) => target.signal(Signal::STOP),
            Action::Continue(target) => target.signal(Signal::CONT),
            Action::Run(argv) => command(argv, directory, log),
            Action::Fill(path, limit) => fill(path, *limit),
            Action::Remove(path) => match fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(format!("cannot remove {}: {error}", path.display()))
                }
                _ => Ok(()),
            },
        }
    }

    /// What a person would type.
    pub(crate) fn by_hand(&self) -> Option<String> {
        match self {
            Action::Nothing => None,
            Action::Kill(target) => Some(format!("kill -KILL {}", target.pid)),
            Action::Pause(target) => Some(format!("kill -STOP {}", target.pid)),
            Action::Continue(target) => Some(format!("kill -CONT {}", target.pid)),
            Action::Run(argv) => Some(argv.join(" ")),
            Action::Fill(path, limit) => Some(format!("fallocate -l {limit} {}", path.display())),
            Action::Remove(path) => Some(format!("rm {}", path.display())),
        }
    }
}

/// Runs a command to its end. What it starts may live on, such as a server that is started again.
fn command(argv: &[String], directory: &Path, log: &Log) -> Result<(), String> {
    let Some((program, arguments)) = argv.split_first() else { return Err("it names no program".to_owned()) };
    let wrong = |error: std::io::Error| format!("cannot run `{program}`: {error}");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory).env_clear().stdin(Stdio::null());
    for name in ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command.envs(log.mark.as_ref().map(|mark| (MARKER, mark)));
    let mut output = log.output().map_err(wrong)?;
    match &output {
        Some((write, _)) => {
            command.stdout(write.try_clone().map_err(wrong)?).stderr(write.try_clone().map_err(wrong)?)
        }
        None => command.stdout(Stdio::null()).stderr(Stdio::null()),
    };
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
    if let Some((_, read)) = &mut output {
        log.keep(argv, read);
    }
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("`{program}` ended with {status}{}", log.hint())),
        None => Err(format!("`{program}` did not end within {} s", PATIENCE.as_secs())),
    }
}

impl Log {
    /// Where a command writes, and where that is read. A file, and not a pipe: a server that the command leaves behind would
    /// hold the pipe open, or die of its end.
    fn output(&self) -> std::io::Result<Option<(File, File)>> {
        let Some(path) = &self.path else { return Ok(None) };
        let part = path.with_extension("part");
        let ends = (File::create(&part)?, File::open(&part)?);
        fs::remove_file(&part)?;
        Ok(Some(ends))
    }

    fn hint(&self) -> String {
        let name = self.path.as_deref().and_then(Path::file_name);
        name.map_or_else(String::new, |name| format!("; its output is in {}", name.to_string_lossy()))
    }

    /// Keeps the beginning of what a command wrote. A log that cannot be written stops no rollback.
    fn keep(&self, argv: &[String], output: &mut File) {
        const KEPT: u64 = 64 * 1024;
        let mut bytes = format!("$ {}\n", argv.join(" ")).into_bytes();
        let _ = output.rewind().and_then(|()| output.take(KEPT).read_to_end(&mut bytes));
        if let Some(masker) = &self.masker {
            masker(&mut bytes);
        }
        let Some(path) = &self.path else { return };
        let log = File::options().create(true).append(true).open(path);
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
