//! From files to packs: workers read, check, hash and compress; full packs are uploaded as they come; at the end the
//! listings follow.
//!
//! ```text
//! list + base ─► survey ─► plan ─► workers ─► packs ─► uploads ─► collector ─► parts, metadata packs
//! ```
//! Memory is bounded by the number of workers: each fills one pack, and as many packs are under way.
//!
//! What a crash leaves: packs, and parts that say what of them is whole. Nothing else refers to them.

mod base;
mod collect;
mod listings;
mod plan;
mod small;
mod survey;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use crate::engine::{FileList, LastFile, Listed, Opener};
use crate::error::{Error, Result};
use crate::monitor::{Meter, Monitor};
use crate::repo::Repository;
use crate::repo::compress::Compression;
use crate::repo::content::{BLOCK, Content, Entry, Extent, FileEntry, ListingRef, Piece};
use crate::repo::pack::{Pack, PackTable, Packer};
pub(crate) use base::Base;
use collect::Collector;
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

    /// Copies every file of `listed` of which `base` does not have the content.
    #[tracing::instrument(skip_all, fields(files = listed.files.len()))]
    pub(crate) async fn copy(
        &mut self,
        listed: Listed,
        base: Base,
        times: Times,
        monitor: &Monitor,
    ) -> Result<()> {
        let Listed { files, opener } = listed;
        let files = Arc::new(files);
        let survey = Survey::new(&files, &base, times, monitor).await?;
        self.collector.know(&base);
        let plan = Plan::new(&files, |index, _| !survey.is_unchanged(index));
        monitor.phase(crate::monitor::Phase::Copy, plan.bytes);
        let job = Arc::new(Job {
            plan,
            files: Arc::clone(&files),
            opener: Arc::clone(&opener),
            meter: Meter::new(monitor),
            secrets: self.repository.secrets().clone(),
            packs: self.packs.clone(),
            compared: Compared { base: Arc::new(base), survey },
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
        let collected = self.collect(receiver, &files).await;
        // Where an upload failed, the receiver is dropped and each worker stops at its next pack.
        let mut failed = None;
        for worker in workers {
            if let Err(error) = Error::joined(worker.await) {
                failed = failed.or(Some(error));
            }
        }
        collected?;
        failed.map_or(Ok(()), Err)
    }

    /// Uploads packs as they come, in order: what is collected is durable.
    async fn collect(&mut self, mut receiver: mpsc::Receiver<Batch>, files: &Arc<FileList>) -> Result<()> {
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
            for pack in self.collector.add(done, files)? {
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
        let Some(files) = self.job.as_ref().map(|job| Arc::clone(&job.files)) else { return Ok(()) };
        for pack in self.collector.close_for_part(&files)? {
            self.upload(Some(pack)).await?;
        }
        if let Some(part) = self.collector.part(&files) {
            self.repository.write_part(&self.backup, self.parts, &part, &self.packs).await?;
            self.parts += 1;
        }
        self.last_part = Instant::now();
        Ok(())
    }

    /// Returns the opener of the source that was copied.
    pub(crate) fn opener(&self) -> Option<Arc<dyn Opener>> {
        self.job.as_ref().map(|job| Arc::clone(&job.opener))
    }

    /// Writes the listings of what was copied and of `last`, the files that came last.
    #[tracing::instrument(name = "listings", skip_all)]
    pub(crate) async fn finish(mut self, last: Vec<LastFile>) -> Result<Written> {
        let mut extra = self.last(last).await?.into_iter().peekable();
        let mut lister = Lister::default();
        if let Some(job) = self.job.take() {
            let mut entries = Entries::new(&job.files, &job.compared);
            for index in 0..job.files.len() {
                let Some(entry) = entries.get(index, &self.collector).await? else { continue };
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

#[tracing::instrument(level = "debug", skip_all, fields(bytes = pack.bytes.len()))]
async fn upload(repository: &Repository, pack: Pack) -> Result<u64> {
    let Pack { reference, bytes } = pack;
    repository.write(&reference.path(), bytes).await?;
    Ok(reference.size)
}
