//! The work of a receiver on the repository: one job at a time, tried until it is done or cannot be.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::pause;
use super::segment::Incoming;
use super::status::Troubles;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::segment::Cluster;
use crate::repo::Repository;
use crate::repo::compress::Compression;
use crate::wal::tail::{self, Kept};
use crate::wal::{self, Prepared};

/// Where WAL goes.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub(super) repository: Repository,
    pub(super) cluster: Cluster,
    pub(super) compression: Compression,
    pub(super) retry_pause: Duration,
    pub(super) bench: Bench,
    pub(super) troubles: watch::Sender<Troubles>,
}

/// A complete segment, shared by the attempts to store it.
struct Whole(Arc<Incoming>);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// One thread for the work that needs much memory: what one thread has freed is not soon used by another, and a pool of
/// threads would keep the room of a segment each.
#[derive(Debug, Clone)]
pub(super) struct Bench(mpsc::Sender<Box<dyn FnOnce() + Send>>);

impl Bench {
    /// Starts the thread, which ends with the last hold on it.
    pub(super) fn start() -> Result<Self> {
        let (sender, work) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let run = move || {
            for work in work {
                work();
            }
        };
        let thread = thread::Builder::new().name("wal-receive".to_owned()).spawn(run);
        thread.map_err(|error| Error::io("start a thread", error))?;
        Ok(Bench(sender))
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        // A caller that has gone needs no answer.
        let work = move || drop(answer.send(work()));
        self.0.send(Box::new(work)).expect("the thread runs unless its work has panicked, which is a bug");
        answered.await.expect("the thread answers unless its work has panicked, which is a bug")
    }
}

/// What a job has done.
#[derive(Debug)]
pub(super) enum Done {
    /// The segment is in the archive, and its pieces are gone.
    Pushed(Incoming),
    /// Bytes of the segment that is being received are in a piece: ours, with so many bytes, or another's.
    Kept(usize, Kept),
}

impl Store {
    /// Stores a complete segment, then removes its pieces.
    pub(super) async fn push(self, segment: Incoming) -> Result<Done> {
        let name = segment.name.to_string();
        let segment = Arc::new(segment);
        self.insist(&name, || self.put(&name, Whole(Arc::clone(&segment)))).await?;
        let segment = Arc::into_inner(segment).expect("whatever shared it has ended");
        let system = self.cluster.system_identifier;
        // Pieces that stay cost room alone: the segment is there, and expiry takes them with it.
        if let Err(error) = tail::remove(&self.repository, system, segment.name, segment.pieces).await {
            tracing::warn!(segment = name, %error, "the pieces of a segment that is complete could not be removed");
        }
        Ok(Done::Pushed(segment))
    }

    /// Stores what has come of a segment as its next piece.
    pub(super) async fn seal(
        self,
        segment: wal::receive::Place,
        offset: usize,
        bytes: Bytes,
    ) -> Result<Done> {
        let length = bytes.len();
        let (system, wal::receive::Place { name, number }) = (self.cluster.system_identifier, segment);
        let offset = offset as u64;
        let store = self.clone();
        let sealed = move || {
            tail::seal(&store.repository, system, (name, number), (offset, &bytes), store.compression)
        };
        let sealed = self.bench.run(sealed).await?;
        let append = || tail::append(&self.repository, system, (name, number), offset, sealed.clone());
        let kept = self.insist(&format!("piece {number} of {name}"), append).await?;
        Ok(Done::Kept(length, kept))
    }

    /// Stores the history file of a timeline.
    pub(super) async fn history(&self, timeline: u32, content: Bytes) -> Result<()> {
        let name = format!("{timeline:08X}.history");
        self.insist(&name, || self.put(&name, content.clone())).await
    }

    async fn put<R: AsRef<[u8]> + Send + 'static>(&self, name: &str, content: R) -> Result<()> {
        let (name, cluster, compression) = (name.to_owned(), self.cluster, self.compression);
        let secrets = self.repository.secrets().clone();
        let seal = move || Prepared::new(&secrets, &cluster, name, content, compression);
        let prepared = self.bench.run(seal).await?;
        match prepared.create(&self.repository).await? {
            Some(compare) => self.bench.run(compare).await,
            None => Ok(()),
        }
    }

    /// Does `work` until it is done, or cannot be: a store that is away comes back, and the server keeps its WAL.
    async fn insist<T, F: Future<Output = Result<T>>>(&self, what: &str, work: impl Fn() -> F) -> Result<T> {
        let mut failures = 0;
        loop {
            match work().await {
                Ok(done) => {
                    self.troubles.send_if_modified(|troubles| troubles.store.take().is_some());
                    return Ok(done);
                }
                Err(error) if may_pass(&error) => {
                    let told = format!("{what} cannot be stored: {error}");
                    self.troubles.send_if_modified(|troubles| {
                        let is_new = troubles.store.as_ref() != Some(&told);
                        troubles.store = Some(told);
                        is_new
                    });
                    tracing::debug!(what, %error, "the store failed; trying again");
                    failures += 1;
                    tokio::time::sleep(pause(self.retry_pause, failures)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn may_pass(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Storage
            | ErrorKind::Denied
            | ErrorKind::NoSpace
            | ErrorKind::Io
            | ErrorKind::Timeout
            | ErrorKind::NotFound
    )
}
