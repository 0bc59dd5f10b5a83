//! Orphans: processes whose parent is gone. Where they come to us, none of them is lost, whatever it hid.

use super::proc::{Process, bury, children_of_main_thread, is_foreign, processes, signal_all, stat};
use super::tree::KILL_PATIENCE;
use rustix::process::Signal;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The roots of the attempts that run now, in a process that adopts orphans.
///
/// What a root leaves behind becomes our child. So where all our children are roots, nothing was left behind, which is
/// known without a look at every process of the machine.
#[derive(Debug, Default)]
pub(crate) struct Roots(Mutex<HashSet<u32>>);

impl Roots {
    /// Adds a child that is no orphan.
    pub(crate) fn add(&self, child: u32) {
        self.lock().insert(child);
    }

    pub(super) fn remove(&self, root: u32) {
        self.lock().remove(&root);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no child of ours is an orphan. The kernel may leave one out of the list while others end; such a one is
    /// found at the end of the run.
    pub(super) fn are_all_children(&self) -> bool {
        let Some(children) = children_of_main_thread() else { return false };
        let roots = self.lock();
        children.iter().all(|child| roots.contains(child))
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
        signal_all(&running, Signal::KILL);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    ended
}
