//! What a drill does to a system, and how it takes that back.
//!
//! A fault is aimed first, which finds the process or checks the place and changes nothing; then injected; then taken
//! back. [`Injected`] takes back on drop as well, so that neither a panic nor a dropped future leaves a fault behind.

use crate::action::{Action, Log, Target};
use crate::guardian::{Guard, Order};
use crate::process::Masker;
use serde::Deserialize;
use std::fmt;
use std::path::{Path, PathBuf};

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
        let run = |argv: &[&str]| Action::Run(argv.iter().map(|word| (*word).to_owned()).collect());
        let directory = directory.to_path_buf();
        let aimed = |inject, undo| Aimed { inject, undo, directory: directory.clone() };
        if let Some(kill) = &self.kill {
            let target = Target::find(&directory.join(&kill.pid_file), &kill.process)?;
            let undo =
                if kill.restart.is_empty() { Action::Nothing } else { Action::Run(kill.restart.clone()) };
            return Ok(aimed(Action::Kill(target), undo));
        }
        if let Some(pause) = &self.pause {
            let target = Target::find(&directory.join(&pause.pid_file), &pause.process)?;
            return Ok(aimed(Action::Pause(target), Action::Continue(target)));
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
            return Ok(aimed(Action::Fill(filler.clone(), fill.max_bytes), Action::Remove(filler)));
        }
        if let Some(StopContainer { name, program }) = &self.stop_container {
            return Ok(aimed(run(&[program, "stop", name]), run(&[program, "start", name])));
        }
        let Some(command) = &self.command else { return Err("no fault is given".to_owned()) };
        Ok(aimed(Action::Run(command.inject.clone()), Action::Run(command.undo.clone())))
    }
}

impl BlockPort {
    fn aim(&self, aimed: impl Fn(Action, Action) -> Aimed) -> Result<Aimed, String> {
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
            Action::Run(words.iter().map(|word| (*word).to_owned()).collect())
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

fn size_of(path: &Path) -> Result<u64, String> {
    let found =
        rustix::fs::statvfs(path).map_err(|error| format!("cannot look at {}: {error}", path.display()))?;
    Ok(found.f_blocks.saturating_mul(found.f_frsize))
}

/// A fault with everything that it takes, in both directions.
pub(super) struct Aimed {
    inject: Action,
    undo: Action,
    directory: PathBuf,
}

impl Aimed {
    /// What a person would type.
    pub(super) fn undo_by_hand(&self) -> Option<String> {
        self.undo.by_hand()
    }
}

/// A fault that is in the system, or about to be. Taken back at the latest when this is dropped.
pub(super) struct Injected {
    aimed: std::sync::Arc<Aimed>,
    io: std::sync::Arc<Log>,
    /// Takes it back where we are killed.
    guard: Option<Guard>,
    armed: bool,
}

impl Injected {
    pub(super) fn new(aimed: Aimed, masker: Option<Masker>, log: PathBuf, guard: Option<Guard>) -> Self {
        Self {
            aimed: aimed.into(),
            io: Log { masker, path: Some(log), mark: None }.into(),
            guard,
            armed: false,
        }
    }

    /// Whether nothing has to be taken back for the system to recover, as after a kill that a supervisor sees.
    pub(super) fn is_over_at_once(&self) -> bool {
        matches!(self.aimed.undo, Action::Nothing)
    }

    /// Brings the fault about. Also after a failure it has to be taken back: half of it may be there.
    pub(super) async fn inject(&mut self) -> Result<(), String> {
        if let Some(guard) = &mut self.guard
            && self.aimed.undo != Action::Nothing
        {
            let (action, directory) = (self.aimed.undo.clone(), self.aimed.directory.clone());
            let injection = injection();
            let told = guard.tell(&Order::TakeBack { action, directory, injection });
            told.map_err(|error| error.to_string())?;
        }
        self.armed = true;
        let aimed = std::sync::Arc::clone(&self.aimed);
        let io = Log { mark: Some(format!("{}/inject", injection())), ..Log::clone(&self.io) };
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
        self.dismiss();
        done.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// What we have done ourselves, the guardian need not do.
    fn dismiss(&mut self) {
        if let Some(guard) = &mut self.guard {
            let _ = guard.tell(&Order::TakenBack);
        }
    }

    /// Sends the guardian home.
    pub(super) async fn close(mut self) {
        if let Some(guard) = self.guard.take() {
            guard.close().await;
        }
    }
}

/// What the guardian knows the commands by that bring a fault of this process about.
fn injection() -> String {
    format!("drill-{}", std::process::id())
}

impl Drop for Injected {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        if let Err(reason) = self.aimed.undo.carry_out(&self.aimed.directory, &self.io) {
            tracing::error!("a drill was broken off, and its fault could not be taken back: {reason}");
        }
        self.dismiss();
    }
}
