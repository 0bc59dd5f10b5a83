//! The processes of one attempt: found, and ended.
//!
//! A process group is not enough: `setsid` leaves it, and a double fork leaves the parent. So a process belongs to the
//! tree if its parent does, or its group or session is the root's, or its environment carries the attempt's marker, or
//! it was once seen to belong. Where orphans come to us ([`adopt_orphans`]) and one has hidden all of that, the end of
//! the run finds it among our children ([`end_orphans`]).

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The variable that marks every process of an attempt.
pub(crate) const MARKER: &str = "OPS_GATES_ATTEMPT";

/// How long processes may take to vanish after SIGKILL, before they are reported as survivors. One in an
/// uninterruptible wait cannot be ended by anybody.
const KILL_PATIENCE: Duration = Duration::from_secs(3);

/// What `/proc/PID/stat` says that matters here (proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    pid: u32,
    state: u8,
    parent: u32,
    group: u32,
    session: u32,
    /// In clock ticks after boot; with the pid it names a process for ever.
    born: u64,
}

/// The roots of the attempts that run now, in a process that adopts orphans.
///
/// What a root leaves behind becomes our child. So where all our children are roots, nothing was left behind, which is
/// known without a look at every process of the machine.
#[derive(Debug, Default)]
pub(crate) struct Roots(Mutex<HashSet<u32>>);

impl Roots {
    fn with<T>(&self, change: impl FnOnce(&mut HashSet<u32>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether every child of ours is a root. The kernel may leave one out of the list while others end; such a one is
    /// found at the end of the run.
    fn are_all_children(&self) -> bool {
        let Some(children) = children() else { return false };
        self.with(|roots| children.iter().all(|child| roots.contains(child)))
    }
}

/// The processes of one attempt. Dropping it ends them at once.
#[derive(Debug)]
pub(super) struct Tree {
    root: u32,
    roots: Option<Arc<Roots>>,
    marker: String,
    born: u64,
    /// Every process that was ever seen to belong, with its birth.
    known: HashMap<u32, u64>,
    ended: bool,
}

impl Tree {
    /// The tree below a child that was just started and not yet waited for.
    pub(super) fn of(root: u32, marker: String, roots: Option<Arc<Roots>>) -> Self {
        let born = stat(root).map_or(0, |process| process.born);
        if let Some(roots) = &roots {
            roots.with(|roots| roots.insert(root));
        }
        Self { root, roots, marker, born, known: HashMap::from([(root, born)]), ended: false }
    }

    /// Whether the root, which has exited and was waited for, left nothing behind.
    pub(super) fn has_ended_whole(&mut self) -> bool {
        self.leave();
        self.ended = self.roots.as_ref().is_some_and(|roots| roots.are_all_children());
        self.ended
    }

    /// The root is no longer one that runs.
    fn leave(&self) {
        if let Some(roots) = &self.roots {
            roots.with(|roots| roots.remove(&self.root));
        }
    }

    /// Ends every process: asks, waits for the grace, then kills. Returns how many were found beside the root, and how
    /// many are still there.
    pub(super) async fn end(&mut self, grace: Duration) -> (usize, usize) {
        let mut pause = Duration::from_millis(2);
        let first = self.members();
        let beside_root = first.iter().filter(|process| process.pid != self.root).count();
        first.iter().for_each(|process| signal(process, Signal::TERM));
        let asked = Instant::now();
        let mut left = first;
        while !left.is_empty() && asked.elapsed() < grace {
            tokio::time::sleep(pause.min(grace)).await;
            pause = (pause * 2).min(Duration::from_millis(50));
            left = self.members();
        }
        let killed = Instant::now();
        pause = Duration::from_millis(2);
        while !left.is_empty() && killed.elapsed() < KILL_PATIENCE {
            left.iter().for_each(|process| signal(process, Signal::KILL));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
            left = self.members();
        }
        self.ended = true;
        (beside_root, left.len())
    }

    /// The processes of the tree that still run; the dead among them that are ours to bury are buried.
    fn members(&mut self) -> Vec<Process> {
        let mut processes = processes(self.born);
        // A parent is mostly older than its children, so that one pass mostly finds all; the loop makes it always.
        processes.sort_unstable_by_key(|process| (process.born, process.pid));
        let mut marked: HashMap<u32, bool> = HashMap::new();
        loop {
            let before = self.known.len();
            for process in &processes {
                if self.known.get(&process.pid) == Some(&process.born) {
                    continue;
                }
                let kin = self.known.contains_key(&process.parent)
                    || process.group == self.root
                    || process.session == self.root
                    || *marked.entry(process.pid).or_insert_with(|| carries(process.pid, &self.marker));
                if kin {
                    self.known.insert(process.pid, process.born);
                }
            }
            if self.known.len() == before {
                break;
            }
        }
        processes.retain(|process| self.known.get(&process.pid) == Some(&process.born));
        // A pid that no longer runs may be given to a stranger, whose children are not ours.
        self.known = processes.iter().map(|process| (process.pid, process.born)).collect();
        processes.iter().filter(|process| process.pid != self.root).for_each(bury);
        processes.retain(|process| !process.is_dead());
        processes
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.leave();
        let start = Instant::now();
        while !self.ended && start.elapsed() < KILL_PATIENCE {
            let left = self.members();
            left.iter().for_each(|process| signal(process, Signal::KILL));
            self.ended = left.is_empty();
            if !self.ended {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// The marker of this attempt behind those of the run that we may ourselves be a gate of.
pub(super) fn nested(marker: &str) -> String {
    match std::env::var(MARKER) {
        Ok(outer) => format!("{outer}:{marker}"),
        Err(_) => marker.to_owned(),
    }
}

/// Makes this process the parent of every orphan among its descendants, for the rest of its life.
pub(crate) fn adopt_orphans() -> std::io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(Into::into)
}

/// Ends adopted processes of a run that is over: those that hid from the end of their own attempt, without a marker or
/// with one of the run. Returns how many.
///
/// Only for a process that adopts orphans, and whose own children stay in its process group.
pub(crate) async fn end_orphans(run: &str) -> usize {
    let us = std::process::id();
    let own_group = stat(us).map_or(0, |process| process.group);
    let mut ended = 0;
    let start = Instant::now();
    while start.elapsed() < KILL_PATIENCE {
        let orphans: Vec<Process> = processes(0)
            .into_iter()
            .filter(|process| {
                process.parent == us && process.group != own_group && !is_foreign(process.pid, run)
            })
            .collect();
        orphans.iter().for_each(bury);
        let running: Vec<_> = orphans.into_iter().filter(|process| !process.is_dead()).collect();
        if running.is_empty() {
            break;
        }
        ended = ended.max(running.len());
        // Their children become ours when they die, and are found in the next round.
        running.iter().for_each(|process| signal(process, Signal::KILL));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    ended
}

impl Process {
    fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    fn parse(pid: u32, stat: &str) -> Option<Self> {
        // The name in parentheses may itself hold spaces and parentheses.
        let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let [parent, group, session] =
            [fields.next()?, fields.next()?, fields.next()?].map(|field| field.parse().ok());
        // The 22nd field, of which the first six are behind us.
        let born = fields.nth(15)?.parse().ok()?;
        Some(Self { pid, state, parent: parent?, group: group?, session: session?, born })
    }
}

fn stat(pid: u32) -> Option<Process> {
    // One read gives all of it; the name may be any bytes.
    let mut stat = [0; 1024];
    let length = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut stat).ok()?;
    Process::parse(pid, &String::from_utf8_lossy(&stat[..length]))
}

/// Every process but us that was not born before a time.
fn processes(born: u64) -> Vec<Process> {
    let us = std::process::id();
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != us)
        .filter_map(stat)
        .filter(|process| process.born >= born)
        .collect()
}

fn environment(pid: u32) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()
}

fn carries(pid: u32, marker: &str) -> bool {
    markers(&environment(pid))
        .is_some_and(|markers| markers.split(|byte| *byte == b':').any(|it| it == marker.as_bytes()))
}

/// Whether a process belongs to another run than this one.
fn is_foreign(pid: u32, run: &str) -> bool {
    let ours = |marker: &[u8]| marker.strip_prefix(run.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"));
    markers(&environment(pid)).is_some_and(|markers| !markers.split(|byte| *byte == b':').any(ours))
}

/// Our children, where the kernel lists them.
fn children() -> Option<Vec<u32>> {
    let mut children = Vec::new();
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        match std::fs::read_to_string(thread.ok()?.path().join("children")) {
            Ok(list) => {
                children.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()))
            }
            // A thread that has just ended has none; where the file is never there, nothing is known.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
            Err(_) => return None,
        }
    }
    Some(children)
}

fn markers(environment: &[u8]) -> Option<&[u8]> {
    environment
        .split(|byte| *byte == 0)
        .find_map(|pair| pair.strip_prefix(MARKER.as_bytes())?.strip_prefix(b"="))
}

/// Sends a signal to exactly this process: the handle is opened first and the birth compared after, so that a reused pid
/// cannot be hit.
fn signal(process: &Process, signal: Signal) {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    if stat(process.pid).is_some_and(|now| now.born == process.born) {
        let _ = pidfd_send_signal(handle, signal);
    }
}

/// Collects the exit status of a dead process that was adopted by us.
fn bury(process: &Process) {
    if process.is_dead()
        && process.parent == std::process::id()
        && let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw)
    {
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name_of_the_program() {
        for name in ["sh", "a b", "x) S 1 1 1", "((("] {
            let line = format!("42 ({name}) S 7 40 39 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2");
            let expected = Process { pid: 42, state: b'S', parent: 7, group: 40, session: 39, born: 98765 };
            assert_eq!(Process::parse(42, &line), Some(expected), "{name}");
        }
        assert_eq!(Process::parse(42, "42 (sh"), None);
        assert_eq!(Process::parse(42, ""), None);
    }

    #[test]
    fn our_own_stat_can_be_read() {
        let own = stat(std::process::id()).expect("proc is mounted");
        assert_eq!(own.parent, std::os::unix::process::parent_id());
    }

    #[test]
    fn a_marker_is_found_among_nested_ones_and_not_in_a_longer_one() {
        let environment = b"A=1\0OPS_GATES_ATTEMPT=run1/a:run2/b\0B=2\0";
        let found = |marker: &str| {
            markers(environment)
                .is_some_and(|it| it.split(|byte| *byte == b':').any(|it| it == marker.as_bytes()))
        };
        assert!(found("run1/a") && found("run2/b") && !found("run2") && !found("un1/a"));
    }
}
