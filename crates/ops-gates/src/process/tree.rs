//! The processes of one attempt: found, and ended.
//!
//! A process group is not enough: `setsid` leaves it, and a double fork leaves the parent. So a process belongs to the
//! tree if its parent does, or its group or session is the root's, or its environment carries the attempt's marker, or
//! it was once seen to belong. Where orphans come to us and one has hidden all of that, the end of the run finds it among
//! our children (`orphans.rs`), or in the control group of the run (`cgroup.rs`).

use super::orphans::Roots;
use super::proc::{Process, belongs_to, bury, carries, processes, signal_all, stat};
use rustix::process::Signal;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long processes may take to vanish after SIGKILL, before they are reported as survivors. One in an
/// uninterruptible wait cannot be ended by anybody.
pub(crate) const KILL_PATIENCE: Duration = Duration::from_secs(3);

/// Processes that belong together: who they are is told by a mark in their environment, by their parents, and by what was
/// seen before.
#[derive(Debug)]
pub(crate) struct Kin {
    mark: Mark,
    /// The leader of a group or session whose members all belong.
    leader: Option<u32>,
    /// Nobody born before belongs.
    born: u64,
    /// Every process that was seen to belong and still runs, with its birth.
    known: HashMap<u32, u64>,
}

/// What stands in the environment of every process that belongs.
#[derive(Debug)]
pub(crate) enum Mark {
    /// The whole mark of one attempt.
    Attempt(String),
    /// The id of a run, with which the marks of all its attempts begin.
    Run(String),
}

impl Mark {
    fn is_on(&self, pid: u32) -> bool {
        match self {
            Self::Attempt(marker) => carries(pid, marker),
            Self::Run(run) => belongs_to(pid, run),
        }
    }
}

impl Kin {
    /// All processes of a run.
    pub(crate) fn of_run(run: String) -> Self {
        Self { mark: Mark::Run(run), leader: None, born: 0, known: HashMap::new() }
    }

    /// Notes a process that belongs, whatever its environment says.
    pub(crate) fn note(&mut self, process: &Process) {
        self.known.insert(process.pid, process.born);
    }

    /// As [`Kin::members`], and none only where a second look finds none: a process that ended between the list and the look
    /// at it may have had a child that the list does not have.
    fn left(&mut self) -> Vec<Process> {
        let members = self.members();
        if members.is_empty() { self.members() } else { members }
    }

    /// The processes that still run; the dead among them that are ours to bury are buried.
    pub(crate) fn members(&mut self) -> Vec<Process> {
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
                    || self.leader.is_some_and(|leader| process.group == leader || process.session == leader)
                    || *marked.entry(process.pid).or_insert_with(|| self.mark.is_on(process.pid));
                if kin {
                    self.known.insert(process.pid, process.born);
                }
            }
            if self.known.len() == before {
                break;
            }
        }
        processes.retain(|process| self.known.get(&process.pid) == Some(&process.born));
        // A pid that no longer runs may be given to a stranger, whose children are not ours. Not before: a parent may have
        // died between the look at it and that at its child.
        self.known = processes.iter().map(|process| (process.pid, process.born)).collect();
        processes.iter().filter(|process| Some(process.pid) != self.leader).for_each(bury);
        processes.retain(|process| !process.is_dead());
        processes
    }
}

/// The processes of one attempt. Dropping it ends them at once.
#[derive(Debug)]
pub(super) struct Tree {
    root: u32,
    /// Whether the root was not yet waited for, so that its pid is its own.
    runs: bool,
    roots: Option<Arc<Roots>>,
    kin: Kin,
    ended: bool,
}

impl Tree {
    /// The tree below a child, the leader of a group, that was started at this time or later and not yet waited for.
    pub(super) fn of(root: u32, born: u64, marker: String, roots: Option<Arc<Roots>>) -> Self {
        if let Some(roots) = &roots {
            roots.add(root);
        }
        let kin = Kin { mark: Mark::Attempt(marker), leader: Some(root), born, known: HashMap::new() };
        Self { root, runs: true, roots, kin, ended: false }
    }

    /// Whether the root, which has exited and was waited for, left nothing behind.
    pub(super) fn has_ended_whole(&mut self) -> bool {
        self.leave();
        self.ended = self.roots.as_ref().is_some_and(|roots| roots.are_all_children());
        self.ended
    }

    /// The root is no longer one that runs.
    fn leave(&mut self) {
        if std::mem::take(&mut self.runs)
            && let Some(roots) = &self.roots
        {
            roots.remove(self.root);
        }
    }

    /// Who belongs, the root too, whatever group it moved to.
    fn kin(&mut self) -> &mut Kin {
        if self.runs
            && let Some(root) = stat(self.root)
        {
            self.kin.note(&root);
        }
        &mut self.kin
    }

    /// Ends every process: asks, waits for the grace, then kills. Returns how many were found beside the root, and how
    /// many are still there.
    pub(super) async fn end(&mut self, grace: Duration) -> (usize, usize) {
        let mut pause = Duration::from_millis(2);
        let first = self.kin().left();
        let beside_root = first.iter().filter(|process| process.pid != self.root).count();
        signal_all(&first, Signal::TERM);
        let asked = Instant::now();
        let mut left = first;
        while !left.is_empty() && asked.elapsed() < grace {
            tokio::time::sleep(pause.min(grace)).await;
            pause = (pause * 2).min(Duration::from_millis(50));
            left = self.kin().left();
        }
        let killed = Instant::now();
        pause = Duration::from_millis(2);
        while !left.is_empty() && killed.elapsed() < KILL_PATIENCE {
            signal_all(&left, Signal::KILL);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
            left = self.kin().left();
        }
        self.ended = true;
        (beside_root, left.len())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let start = Instant::now();
        while !self.ended && start.elapsed() < KILL_PATIENCE {
            let left = self.kin().members();
            signal_all(&left, Signal::KILL);
            self.ended = left.is_empty();
            if !self.ended {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.leave();
    }
}
