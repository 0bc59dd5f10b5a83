//! Looks at what waits to be archived and at the disk that it fills, and warns before the disk is full.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::forecast::Growth;
use super::pushing::ready;
use super::status::{Disk, StatusHandle};
use crate::error::Error;

/// With less than this share of the disk free a backlog is a reason for a warning, whatever its growth.
const LITTLE: u64 = 10;

pub(super) struct Watcher {
    wal_directory: PathBuf,
    warn_before: Duration,
    begun: Instant,
    growth: Growth,
    warned: bool,
}

impl Watcher {
    pub(super) fn new(wal_directory: PathBuf, warn_before: Duration) -> Self {
        Watcher {
            wal_directory,
            warn_before,
            begun: Instant::now(),
            growth: Growth::default(),
            warned: false,
        }
    }

    /// Looks, tells `status`, and warns where something has changed.
    pub(super) async fn look(mut self, status: &StatusHandle) -> Self {
        let status = status.clone();
        let work = move || {
            self.measure(&status);
            self
        };
        Error::joined(tokio::task::spawn_blocking(work).await)
    }

    fn measure(&mut self, status: &StatusHandle) {
        // A server that is being restored has no such folder yet. What is archived meanwhile is left out.
        let (mut waiting, mut bytes, mut oldest) = (0, 0, None);
        for (name, note) in ready(&self.wal_directory).into_iter().flatten() {
            let Ok(file) = self.wal_directory.join(name).metadata() else { continue };
            waiting += 1;
            bytes += file.len();
            let since = note.metadata().and_then(|note| note.modified()).ok();
            oldest = since.into_iter().chain(oldest).min();
        }
        self.growth.note(self.begun.elapsed(), bytes);
        let since = oldest.and_then(|at: SystemTime| {
            let since_1970 = at.duration_since(UNIX_EPOCH).ok()?;
            Timestamp::from_second(i64::try_from(since_1970.as_secs()).ok()?).ok()
        });
        let disk = rustix::fs::statvfs(&self.wal_directory).ok().map(|file_system| {
            let free = file_system.f_bavail * file_system.f_frsize;
            Disk {
                size: file_system.f_blocks * file_system.f_frsize,
                free,
                full_in: self.growth.full_in(free),
            }
        });
        status.waiting(waiting, since, disk);
        if let Some(disk) = disk {
            self.warn(&disk, waiting);
        }
    }

    /// Once for each time that it becomes true.
    fn warn(&mut self, disk: &Disk, waiting: u64) {
        let soon = disk.full_in.filter(|seconds| *seconds < self.warn_before.as_secs_f64());
        let little = waiting > 1 && disk.free < disk.size / LITTLE;
        let is_bad = soon.is_some() || little;
        if is_bad && !self.warned {
            tracing::warn!(
                waiting,
                free_bytes = disk.free,
                full_in_seconds = soon.map(f64::round),
                "WAL that is not archived fills the disk of {:?}; the server stops when it is full",
                self.wal_directory
            );
        } else if !is_bad && self.warned {
            tracing::info!(waiting, free_bytes = disk.free, "the disk of the WAL is not in danger any more");
        }
        self.warned = is_bad;
    }
}
