//! How a caller watches and stops a job: progress out, cancellation in. No job logic.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// What a job is doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Connecting, checking, listing.
    #[default]
    Prepare,
    /// Moving file data.
    Copy,
    /// Waiting until the last WAL segment of the backup is in the repository.
    WaitForWal,
    /// Publishing or making durable.
    Finish,
    /// Re-hashing what is stored.
    Verify,
    /// Starting the restored server and replaying WAL.
    Replay,
    /// Asking the restored server.
    Check,
}

/// A snapshot of a job's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes handled, before compression.
    pub bytes_done: u64,
    /// Bytes to handle in all; zero while unknown.
    pub bytes_total: u64,
}

/// The caller's hold on a running job. Cloning shares it.
///
/// The default one reports to nobody and is never cancelled.
#[derive(Debug, Clone, Default)]
pub struct Monitor {
    cancellation: CancellationToken,
    progress: watch::Sender<Progress>,
}

impl Monitor {
    /// A monitor that stops its job when `cancellation` is cancelled.
    pub fn new(cancellation: CancellationToken) -> Self {
        Monitor { cancellation, progress: watch::Sender::default() }
    }

    /// Returns a receiver of the job's progress; slow readers see only the newest state.
    pub fn subscribe(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// A monitor for a part of the job: it reports to the same place, and can be stopped by itself.
    pub(crate) fn child(&self) -> (Self, CancellationToken) {
        let cancellation = self.cancellation.child_token();
        (Monitor { cancellation: cancellation.clone(), progress: self.progress.clone() }, cancellation)
    }

    pub(crate) fn phase(&self, phase: Phase, bytes_total: u64) {
        self.progress.send_replace(Progress { phase, bytes_done: 0, bytes_total });
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.cancellation.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// Runs `work` unless the job is cancelled first; `work` must be safe to drop.
    pub(crate) async fn until_cancelled<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match self.cancellation.run_until_cancelled(work).await {
            Some(result) => result,
            None => Err(Error::cancelled()),
        }
    }
}

/// Counts bytes from many threads into one monitor.
#[derive(Debug)]
pub(crate) struct Meter {
    monitor: Monitor,
    done: AtomicU64,
}

impl Meter {
    pub(crate) fn new(monitor: &Monitor) -> Self {
        Meter { monitor: monitor.clone(), done: AtomicU64::new(0) }
    }

    /// Adds `bytes`, and fails where the job is cancelled.
    pub(crate) fn add(&self, bytes: u64) -> Result<()> {
        self.monitor.check()?;
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.monitor.progress.send_modify(|progress| progress.bytes_done = progress.bytes_done.max(done));
        Ok(())
    }
}
