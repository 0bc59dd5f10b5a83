//! From files to packs: workers read, check, hash and compress; full packs are uploaded as they come; at the end the
//! listings follow.
//!
//! ```text
//! list + base ─► survey ─► plan ─┬─► workers ─► packs ─► uploads ─► collector ─► parts, metadata packs
//!       arrivals ─► parcels ─────┘
//! ```
//! A source with files at hand is listed first, and compared with the base before anything is read. One that sends its files
//! is cut into parcels as it comes; each is compared by its path when a worker takes it, and the list is put in order at
//! the end. Where it sends only the pages of a file that changed, the others are taken from the base.
//!
//! Memory is bounded by the number of workers: each fills one pack, and as many packs are under way; of what arrives there
//! are two parcels for each, and one.
//!
//! What a crash leaves: packs, and parts that say what of them is whole. Nothing else refers to them.

mod arrive;
mod base;
mod changed;
mod collect;
mod feed;
mod join;
mod listings;
mod merge;
mod outcome;
mod past;
mod plan;
mod small;
mod spans;
mod survey;
mod suspects;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use crate::engine::{Arrivals, FileList, Findings, LastFile, Listed, Proof, Supply};
use crate::error::{Error, Result};
use crate::monitor::{Meter, Monitor, Phase};
use crate::repo::Repository;
use crate::repo::compress::Compression;
use crate::repo::content::{BLOCK, Content, Entry, Extent, FileEntry, ListingRef, Piece};
use crate::repo::pack::{Pack, PackTable, Packer};
use arrive::Splitter;
pub(crate) use base::{Base, is_base_lost};
use collect::Collector;
use feed::{Feed, Files, Parcels};
use listings::{Entries, Lister};
use plan::Plan;
pub(crate) use survey::Times;
use survey::{Compared, Survey};
use worker::{Batch, Job, Worker};

/// How files are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteOptions {
    pub(crate) workers: usize,
    pub(crate) compression: Compression,
    /// How often a part says what is durable.
    pub(crate) part_interval: Duration,
}

/// A copy that is being made.
pub(crate) struct Writer<'a> {
    repository: &'a Repository,
    backup: Arc<str>,
    options: WriteOptions,
    packs: PackTable,
    collector: Collector,
    job: Option<Arc<Job>>,
    added_bytes: u64,
    parts: u32,
    last_part: Instant,
}

/// What was stored, as the manifest names it.
pub(crate) struct Written {
    pub(crate) listings: Vec<ListingRef>,
    pub(crate) packs: PackTable,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Bytes of files that were stored anew.
    pub(crate) new_bytes: u64,
    /// Bytes of the packs that were written.
    pub(crate) added_bytes: u64,
    /// How many parts were written.
    pub(crate) parts: u32,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(
        repository: &'a Repository,
        backup: &str,
        packs: PackTable,
        options: WriteOptions,
    ) -> Result<Self> {
        let backup: Arc<str> = backup.into();
        let secrets = repository.secrets().clone();
        let packer = Packer::new(Arc::clone(&backup), secrets.clone(), options.compression)?;
        let collector = Collector::new(secrets, packs.clone(), packer);
        Ok(Writer {
            repository,
            backup,
            options,
            packs,
            collector,
            job: None,
            added_bytes: 0,
            parts: 0,
            last_part: Instant::now(),
        })
    }

    /// Copies every file of `supply` of which `base` does not have the content.
    pub(crate) async fn copy(
        &mut self,
        supply: Supply,
        base: Base,
        times: Times,
        monitor: &Monitor,
    ) -> Result<()> {
        match supply {
            Supply::Files(listed) => self.listed(listed, base, times, monitor).await,
            Supply::Arrivals(arrivals) => self.arriving(arrivals, base, monitor).await,
        }
    }

    #[tracing::instrument(skip_all, fields(files = listed.files.len()))]
    async fn listed(&mut self, listed: Listed, base: Base, times: Times, monitor: &Monitor) -> Result<()> {
        let Listed { files, opener } = listed;
        let survey = Survey::new(&files, &base, times, monitor).await?;
        let plan = Plan::new(&files, |index, _| !survey.is_unchanged(index));
        monitor.phase(Phase::Copy, plan.bytes);
        let feed = Feed::Listed { plan, opener };
        self.run(Files::new(files), feed, Compared { base: Arc::new(base), survey }, monitor, async {
            Ok(())
        })
        .await
    }

    #[tracing::instrument(skip_all)]
    async fn arriving(&mut self, arrivals: Box<dyn Arrivals>, base: Base, monitor: &Monitor) -> Result<()> {
        monitor.phase(Phase::Copy, arrivals.expected_bytes());
        let (sender, receiver) = mpsc::channel(self.options.workers.max(1));
        let files = Files::new(FileList::default());
        let splitter = Splitter::new(files.clone(), sender);
        let feed = Feed::Arriving { parcels: Parcels::new(receiver), inspector: arrivals.inspector() };
        let compared = Compared { base: Arc::new(base), survey: Survey::default() };
        self.run(files, feed, compared, monitor, splitter.run(arrivals)).await
    }

    /// Has the workers do what `feed` gives them, while `feeding` goes on.
    async fn run(
        &mut self,
        files: Files,
        feed: Feed,
        compared: Compared,
        monitor: &Monitor,
        feeding: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        self.collector.know(&compared.base);
        let job = Arc::new(Job {
            files: files.clone(),
            feed,
            meter: Meter::new(monitor),
            secrets: self.repository.secrets().clone(),
            packs: self.packs.clone(),
            compared,
            room: Arc::new(Semaphore::new(self.options.workers.max(1))),
        });
        self.job = Some(Arc::clone(&job));
        let (sender, receiver) = mpsc::channel(1);
        let mut workers = Vec::new();
        for _ in 0..self.options.workers.max(1) {
            let secrets = self.repository.secrets().clone();
            let packer = Packer::new(Arc::clone(&self.backup), secrets, self.options.compression)?;
            let worker = Worker::new(Arc::clone(&job), packer, sender.clone(), Handle::current());
            let span = tracing::debug_span!("worker");
            workers.push(tokio::task::spawn_blocking(move || span.in_scope(|| worker.run())));
        }
        drop(sender);
        let (collected, fed) = tokio::join!(self.collect(receiver, &files), feeding);
        // Where an upload failed, the receiver is dropped and each worker stops at its next pack.
        let mut failed = None;
        for worker in workers {
            if let Err(error) = Error::joined(worker.await) {
                failed = failed.or(Some(error));
            }
        }
        collected?;
        failed.map_or(fed, Err)
    }

    /// Uploads packs as they come, in order: what is collected is durable.
    async fn collect(&mut self, mut receiver: mpsc::Receiver<Batch>, files: &Files) -> Result<()> {
        let (repository, at_once) = (self.repository, self.options.workers.max(1));
        let uploads = stream::poll_fn(move |context| receiver.poll_recv(context))
            .map(|batch: Batch| async move {
                let size = match batch.pack {
                    Some(pack) => upload(repository, pack).await?,
                    None => 0,
                };
                drop(batch.room);
                Ok::<_, Error>((size, batch.done))
            })
            .buffered(at_once);
        let mut uploads = std::pin::pin!(uploads);
        while let Some((size, done)) = uploads.try_next().await? {
            self.added_bytes += size;
            let full = self.collector.add(done, &files.read())?;
            for pack in full {
                self.upload(Some(pack)).await?;
            }
            if self.last_part.elapsed() >= self.options.part_interval {
                self.part().await?;
            }
        }
        Ok(())
    }

    /// Says in a part what has become durable, for a later backup to build on should this one fail.
    #[tracing::instrument(level = "debug", skip_all)]
    pub(crate) async fn part(&mut self) -> Result<()> {
        let Some(files) = self.job.as_ref().map(|job| job.files.clone()) else { return Ok(()) };
        let packs = self.collector.close_for_part(&files.read())?;
        for pack in packs {
            self.upload(Some(pack)).await?;
        }
        let part = self.collector.part(&files.read());
        if let Some(part) = part {
            self.repository.write_part(&self.backup, self.parts, &part, &self.packs).await?;
            self.parts += 1;
        }
        self.last_part = Instant::now();
        Ok(())
    }

    /// Returns what was found wrong with the content of what was copied.
    pub(crate) fn findings(&self) -> Findings {
        self.job.as_ref().map(|job| job.feed.findings()).unwrap_or_default()
    }

    /// Writes the listings of what was copied and of `last`, the files that came last; `proof` must agree with every file.
    #[tracing::instrument(name = "listings", skip_all)]
    pub(crate) async fn finish(
        mut self,
        last: Vec<LastFile>,
        proof: Option<Box<dyn Proof>>,
    ) -> Result<Written> {
        let mut extra = self.last(last).await?.into_iter().peekable();
        let mut lister = Lister::new(proof);
        if let Some(job) = self.job.take() {
            let files = std::mem::take(&mut *job.files.write());
            let mut entries = Entries::new(&files, &job.compared, !self.collector.same.is_empty());
            for index in in_order(&job.feed, &files)? {
                let Some(entry) = entries.get(index as usize, &self.collector).await? else { continue };
                while let Some(earlier) = extra.next_if(|extra| extra.path() < entry.path()) {
                    self.push(&mut lister, earlier).await?;
                }
                self.push(&mut lister, entry).await?;
            }
        }
        for entry in extra {
            self.push(&mut lister, entry).await?;
        }
        let full = lister.close(&mut self.collector)?;
        self.upload(full).await?;
        lister.end()?;
        let closed = self.collector.close();
        self.upload(closed).await?;
        let mut listings = self.collector.listings;
        listings.sort_by(|a, b| a.first.cmp(&b.first));
        Ok(Written {
            listings,
            files: lister.count,
            bytes: lister.bytes,
            new_bytes: self.collector.new_bytes,
            packs: self.packs,
            added_bytes: self.added_bytes,
            parts: self.parts,
        })
    }

    async fn push(&mut self, lister: &mut Lister, entry: Entry) -> Result<()> {
        let full = lister.push(entry, &mut self.collector)?;
        self.upload(full).await
    }

    /// Stores `files` in one frame, behind the last pieces.
    async fn last(&mut self, files: Vec<LastFile>) -> Result<Vec<Entry>> {
        let content: Vec<u8> = files.iter().flat_map(|file| file.content.iter().copied()).collect();
        if files.is_empty() {
            let closed = self.collector.close();
            self.upload(closed).await?;
            return Ok(Vec::new());
        }
        self.collector.new_bytes += content.len() as u64;
        let (frame, pack) = self.collector.data(&content)?;
        self.upload(pack).await?;
        let mut skip = 0;
        let entries = files.into_iter().map(|file| {
            let LastFile { path, mode, modified, content } = file;
            let (size, crc32c) = (content.len() as u64, crc32c::crc32c(&content));
            let hashes: Vec<_> =
                content.chunks(BLOCK).map(|block| self.repository.secrets().hash(block)).collect();
            let blocks = u32::try_from(hashes.len()).expect("the last files are small");
            let extents = if blocks == 0 { Vec::new() } else { vec![Extent { frame, skip, blocks }] };
            skip += u32::try_from(size).expect("the last files are small");
            let content = Content::Inline(Piece { length: size, crc32c, extents, hashes });
            Entry::File(FileEntry { path, mode, modified, size, crc32c, content })
        });
        Ok(entries.collect())
    }

    async fn upload(&mut self, pack: Option<Pack>) -> Result<()> {
        if let Some(pack) = pack {
            self.added_bytes += upload(self.repository, pack).await?;
        }
        Ok(())
    }
}

/// Returns the items of `files` in the order of their paths, no two of which are the same.
fn in_order(feed: &Feed, files: &FileList) -> Result<Vec<u32>> {
    match feed {
        Feed::Listed { .. } => Ok((0..files.len() as u32).collect()),
        Feed::Arriving { .. } => {
            let order = files.order();
            match order.windows(2).find(|pair| files.compare_items(pair[0], pair[1]).is_eq()) {
                Some(pair) => {
                    let path = files.path(pair[0] as usize);
                    Err(Error::corrupt(format!("the source sent {path:?} twice")))
                }
                None => Ok(order),
            }
        }
    }
}

#[tracing::instrument(level = "debug", skip_all, fields(bytes = pack.bytes.len()))]
async fn upload(repository: &Repository, pack: Pack) -> Result<u64> {
    let Pack { reference, bytes } = pack;
    repository.write(&reference.path(), bytes).await?;
    Ok(reference.size)
}
