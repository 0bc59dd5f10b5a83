//! From files to packs: workers read, check, hash and compress; full packs are uploaded as they come; at the end the
//! listings follow.
//!
//! ```text
//! plan ─► workers ─► packs ─► uploads ─► collector ─► metadata packs
//! ```
//! Memory is bounded by the number of workers: each fills one pack, one waits in the channel, and as many are under way.

mod collect;
mod listings;
mod plan;
mod worker;

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;

use crate::engine::{FileList, LastFile, Listed, Opener};
use crate::error::{Error, Result};
use crate::monitor::{Meter, Monitor};
use crate::repo::Repository;
use crate::repo::compress::Compression;
use crate::repo::content::{BLOCK, Content, Entry, Extent, FileEntry, INLINE, ListingRef, Piece};
use crate::repo::pack::{Pack, PackTable, Packer};
use collect::Collector;
use listings::Lister;
use plan::Plan;
use worker::{Batch, Job, Worker};

/// How files are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteOptions {
    pub(crate) workers: usize,
    pub(crate) compression: Compression,
}

/// A copy that is being made.
pub(crate) struct Writer<'a> {
    repository: &'a Repository,
    backup: Arc<str>,
    options: WriteOptions,
    packs: PackTable,
    collector: Collector,
    added_bytes: u64,
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
}

impl<'a> Writer<'a> {
    pub(crate) fn new(repository: &'a Repository, backup: &str, options: WriteOptions) -> Result<Self> {
        let (backup, packs): (Arc<str>, _) = (backup.into(), PackTable::default());
        let secrets = repository.secrets().clone();
        let packer = Packer::new(Arc::clone(&backup), secrets.clone(), options.compression)?;
        let collector = Collector::new(secrets, packs.clone(), packer);
        Ok(Writer { repository, backup, options, packs, collector, added_bytes: 0 })
    }

    /// Copies every file of `listed`.
    ///
    /// Nothing refers to the packs until a manifest does; a job that fails leaves them unreferenced, never half-written.
    #[tracing::instrument(skip_all, fields(files = listed.files.len()))]
    pub(crate) async fn copy(&mut self, listed: Listed, monitor: &Monitor) -> Result<Copied> {
        let Listed { files, opener } = listed;
        let files = Arc::new(files);
        let job = Arc::new(Job {
            plan: Plan::new(&files, |_, _| true),
            files: Arc::clone(&files),
            opener: Arc::clone(&opener),
            meter: Meter::new(monitor),
            secrets: self.repository.secrets().clone(),
            packs: self.packs.clone(),
        });
        let (sender, receiver) = mpsc::channel(1);
        let mut workers = Vec::new();
        for _ in 0..self.options.workers.max(1) {
            let secrets = self.repository.secrets().clone();
            let packer = Packer::new(Arc::clone(&self.backup), secrets, self.options.compression)?;
            let worker = Worker::new(Arc::clone(&job), packer, sender.clone());
            workers.push(tokio::task::spawn_blocking(move || worker.run()));
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
        match failed {
            Some(error) => Err(error),
            None => Ok(Copied { files, opener }),
        }
    }

    /// Uploads packs as they come, in order: what is collected is durable.
    async fn collect(&mut self, receiver: mpsc::Receiver<Batch>, files: &FileList) -> Result<()> {
        let (repository, at_once) = (self.repository, self.options.workers.max(1));
        let uploads =
            stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
                .map(|batch: Batch| async move {
                    let size = match batch.pack {
                        Some(pack) => upload(repository, pack).await?,
                        None => 0,
                    };
                    Ok::<_, Error>((size, batch.done))
                })
                .buffered(at_once);
        let mut uploads = std::pin::pin!(uploads);
        while let Some((size, done)) = uploads.try_next().await? {
            self.added_bytes += size;
            let is_large = |item: u32| files.item(item as usize).size > INLINE;
            for pack in self.collector.add(done, is_large)? {
                self.added_bytes += upload(repository, pack).await?;
            }
        }
        Ok(())
    }

    /// Writes the listings of what was copied and of `last`, the files that came last.
    #[tracing::instrument(skip_all)]
    pub(crate) async fn finish(mut self, copied: &Copied, last: Vec<LastFile>) -> Result<Written> {
        let extra = self.last(last).await?;
        let mut extra = extra.into_iter().peekable();
        let (files, packs) = (Arc::clone(&copied.files), self.packs.clone());
        let mut lister = Lister::new(&files, &packs);
        for index in 0..files.len() {
            let Some(entry) = lister.entry(index, &self.collector) else { continue };
            while let Some(earlier) = extra.next_if(|extra| extra.path() < entry.path()) {
                let full = lister.push(earlier, &mut self.collector)?;
                self.upload(full).await?;
            }
            let full = lister.push(entry, &mut self.collector)?;
            self.upload(full).await?;
        }
        for entry in extra {
            let full = lister.push(entry, &mut self.collector)?;
            self.upload(full).await?;
        }
        let full = lister.close(&mut self.collector)?;
        self.upload(full).await?;
        let closed = self.collector.close();
        self.upload(closed).await?;
        Ok(Written {
            files: lister.count,
            bytes: lister.bytes,
            new_bytes: self.collector.new_bytes,
            listings: self.collector.listings,
            packs: self.packs,
            added_bytes: self.added_bytes,
        })
    }

    /// Stores `files` in one frame, behind the last pieces.
    async fn last(&mut self, files: Vec<LastFile>) -> Result<Vec<Entry>> {
        let content: Vec<u8> = files.iter().flat_map(|file| file.content.iter().copied()).collect();
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

/// The files that were copied.
pub(crate) struct Copied {
    files: Arc<FileList>,
    pub(crate) opener: Arc<dyn Opener>,
}

#[tracing::instrument(level = "debug", skip_all, fields(bytes = pack.bytes.len()))]
async fn upload(repository: &Repository, pack: Pack) -> Result<u64> {
    let Pack { reference, bytes } = pack;
    repository.write(&reference.path(), bytes).await?;
    Ok(reference.size)
}
