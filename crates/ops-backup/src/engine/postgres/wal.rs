//! The wait for the WAL that a backup needs: in the repository, by the very names of its segments.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::Lsn;
use crate::postgres::segment::{Cluster, SegmentName};
use crate::repo::Repository;
use crate::wal::archive;

const FIRST_POLL: Duration = Duration::from_millis(20);
const LAST_POLL: Duration = Duration::from_millis(500);

/// The WAL of one backup.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct NeededWal {
    pub(in crate::engine) cluster: Cluster,
    pub(in crate::engine) timeline: u32,
    /// Where the backup began.
    pub(in crate::engine) start: Lsn,
    /// How long a segment may take to arrive.
    pub(in crate::engine) patience: Duration,
}

impl NeededWal {
    /// Waits for every segment from the begin of the backup to its end at `stop`.
    ///
    /// # Errors
    /// `Timeout`, `Storage`.
    #[tracing::instrument(name = "wait_for_wal", skip_all)]
    pub(in crate::engine) async fn wait(&self, repository: &Repository, stop: Lsn) -> Result<()> {
        let size = self.cluster.segment_size;
        for number in size.segment_of(self.start)..=size.segment_before(stop) {
            self.segment(repository, number).await?;
        }
        Ok(())
    }

    /// Whether the last segment of a backup that ends at `stop` is there.
    pub(in crate::engine) async fn has_last(&self, repository: &Repository, stop: Lsn) -> Result<bool> {
        let last = self.cluster.segment_size.segment_before(stop);
        archive::has_segment(repository, &self.cluster, self.timeline, last).await
    }

    /// Waits for the segment before the first: the start of a backup on the primary switched to a new one, so it must
    /// arrive, and a backup without WAL is found out early.
    pub(in crate::engine) async fn one_before(&self, repository: &Repository) -> Result<()> {
        let first = self.cluster.segment_size.segment_of(self.start);
        // Segment 0 never exists.
        if first > 1 { self.segment(repository, first - 1).await } else { Ok(()) }
    }

    async fn segment(&self, repository: &Repository, number: u64) -> Result<()> {
        let deadline = Instant::now() + self.patience;
        let mut pause = FIRST_POLL;
        while !archive::has_segment(repository, &self.cluster, self.timeline, number).await? {
            if Instant::now() >= deadline {
                let name = SegmentName::new(self.timeline, number, self.cluster.segment_size);
                let message = format!(
                    "WAL segment {name} did not arrive in the repository within {} s",
                    self.patience.as_secs()
                );
                return Err(Error::new(ErrorKind::Timeout, message));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_POLL);
        }
        Ok(())
    }
}
