//! What keeps the processes of a run together, so that none is left whatever happens to it or to us.
//!
//! Order of steps: the guardian is started, and this process moves into a control group, while the run directory is made;
//! both stand before the first gate. After the last gate orphans are ended, then we move out and what is left in the
//! group is killed; then nothing is left to guard. Whoever drops this before leaves the rest to the guardian.

use super::Options;
use crate::error::Error;
use crate::guardian::{Guard, Order};
use crate::process::{self, Cgroup, Roots};
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// The means that the options ask for.
pub(super) struct Shelter {
    roots: Option<Arc<Roots>>,
    entering: Option<JoinHandle<Option<Cgroup>>>,
    group: Option<Cgroup>,
    // Dropped last: by then we have left the group.
    guard: Option<Guard>,
}

impl Shelter {
    /// Begins to set up; a run in this directory is guarded from [`Shelter::stand`] on.
    pub(super) fn start(options: &Options, directory: &Path) -> Result<Self, Error> {
        let roots: Option<Arc<Roots>> = options.adopt_orphans.then(Arc::default);
        // First: a guardian that was born in the group would end itself.
        let guard = options.guardian.as_ref().map(|guardian| guardian.start(directory)).transpose()?;
        if let (Some(roots), Some(pid)) = (&roots, guard.as_ref().and_then(Guard::pid)) {
            roots.add(pid);
        }
        // The kernel takes milliseconds to move a process.
        let entering = options.cgroup.then(|| tokio::task::spawn_blocking(Cgroup::enter));
        Ok(Self { roots, guard, entering, group: None })
    }

    /// Waits until everything stands; from here on programs may be started.
    pub(super) async fn stand(&mut self, run: &str, options: &Options) -> Result<(), Error> {
        if let Some(entering) = self.entering.take() {
            self.group = entering.await.unwrap_or(None);
        }
        tracing::debug!(group = ?self.group.as_ref().map(Cgroup::path), guarded = self.guard.is_some(), "shelter");
        if let Some(guard) = &mut self.guard {
            guard.watch(run, options.grace, options.adopt_orphans)?;
            if let Some(group) = &self.group {
                guard.tell(&Order::Group(group.path().to_path_buf()))?;
            }
            guard.is_standing().await?;
        }
        Ok(())
    }

    /// The roots that run, in a process that adopts orphans.
    pub(super) fn roots(&self) -> Option<&Arc<Roots>> {
        self.roots.as_ref()
    }

    /// Ends what hid from the end of its own attempt. Returns how many processes that were.
    pub(super) async fn end(&mut self, run: &str) -> usize {
        let orphans = if self.roots.is_some() { process::end_orphans(run).await } else { 0 };
        let Some(group) = self.group.take() else { return orphans };
        orphans + tokio::task::spawn_blocking(|| group.end()).await.unwrap_or(0)
    }

    /// Sends the guardian home.
    pub(super) async fn leave(&mut self) {
        if let Some(guard) = self.guard.take() {
            guard.close().await;
        }
    }
}
