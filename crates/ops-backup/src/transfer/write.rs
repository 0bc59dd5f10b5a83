//! From files to packs: workers read, check, hash and compress; finished packs are uploaded as they come.
//!
//! Memory is bounded by the number of workers: each fills one pack, one waits in the channel, and as many are under way.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;

use crate::error::{Error, ErrorKind, Result};
use crate::monitor::{Meter, Monitor};
use crate::postgres::lsn::Lsn;
use crate::postgres::page::{self, PageState};
use crate::repo::catalog::BadPage;
use crate::repo::manifest::{BlockRef, FileEntry, PackRef};
use crate::repo::{Repository, Written, pack_path};
use crate::transfer::pack::{BLOCK, Pack, PackNumbers, Packer};

/// One file to be stored.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) modified: i64,
    /// The bytes to store: a file that grew is cut, one that shrank is filled with zeros. Replay mends both.
    pub(crate) size: u64,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Disk { path: PathBuf, pages: Option<Pages> },
    Memory(Bytes),
}

/// How the pages of a relation's file are checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pages {
    pub(crate) size: usize,
    /// The block number of the file's first page in its relation.
    pub(crate) first_block: u32,
    pub(crate) backup_start: Lsn,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteOptions {
    pub(crate) workers: usize,
    pub(crate) level: i32,
}

/// What was stored.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// The files in the order of their paths; files that vanished are missing.
    pub(crate) files: Vec<FileEntry>,
    pub(crate) packs: Vec<PackRef>,
    /// Bytes of packs that were not in the repository before.
    pub(crate) added_bytes: u64,
    pub(crate) bad_pages: u64,
    pub(crate) bad_page_examples: Vec<BadPage>,
}

const MAX_EXAMPLES: usize = 100;

/// A file below this size shares a block with others.
const SMALL: u64 = 512 << 10;
/// The part of a large file that one worker takes at a time.
const PIECE: u64 = 16 << 20;

impl Stored {
    /// Adds what a second run stored.
    pub(crate) fn append(&mut self, mut other: Stored) {
        let shift = u32::try_from(self.packs.len()).expect("packs are numbered with 32 bits");
        other.files.iter_mut().flat_map(|file| &mut file.blocks).for_each(|block| block.pack += shift);
        self.files.append(&mut other.files);
        self.packs.append(&mut other.packs);
        self.added_bytes += other.added_bytes;
        self.bad_pages += other.bad_pages;
        self.bad_page_examples.append(&mut other.bad_page_examples);
    }
}

/// Stores `sources` in the repository.
///
/// Nothing refers to the packs until a manifest does; a job that fails leaves them unreferenced, never half-written.
#[tracing::instrument(skip_all, fields(files = sources.len()))]
pub(crate) async fn store(
    repository: &Repository,
    sources: Vec<Source>,
    options: WriteOptions,
    monitor: &Monitor,
) -> Result<Stored> {
    let shared = Arc::new(Shared::new(sources, monitor));
    let numbers = PackNumbers::default();
    let (sender, receiver) = mpsc::channel(1);
    let mut workers = Vec::new();
    for _ in 0..options.workers.max(1) {
        let worker = Worker {
            shared: Arc::clone(&shared),
            packer: Packer::new(options.level, numbers.clone())?,
            packs: sender.clone(),
            buffer: vec![0; BLOCK],
            results: Results::default(),
        };
        workers.push(tokio::task::spawn_blocking(move || worker.run()));
    }
    drop(sender);

    // Where an upload fails, the receiver is dropped and each worker stops at its next pack.
    let uploads =
        stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
            .map(|pack| upload(repository, pack))
            .buffer_unordered(options.workers.max(1))
            .try_collect::<Vec<_>>()
            .await;
    let mut results = Results::default();
    let mut failed = None;
    for worker in workers {
        match Error::joined(worker.await) {
            Ok(part) => results.append(part),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let uploaded = uploads?;
    match failed {
        Some(error) => Err(error),
        None => Ok(shared.assemble(results, uploaded)),
    }
}

struct Uploaded {
    number: u32,
    reference: PackRef,
    written: Written,
}

async fn upload(repository: &Repository, pack: Pack) -> Result<Uploaded> {
    let written = repository.write(&pack_path(&pack.reference.name), pack.bytes).await?;
    Ok(Uploaded { number: pack.number, reference: pack.reference, written })
}

#[derive(Debug)]
enum Work {
    Piece { file: usize, offset: u64, length: u64 },
    Group(Vec<usize>),
}

struct Shared {
    sources: Vec<Source>,
    work: Vec<Work>,
    next: AtomicUsize,
    meter: Meter,
}

impl Shared {
    fn new(mut sources: Vec<Source>, monitor: &Monitor) -> Self {
        sources.sort_by(|a, b| a.path.cmp(&b.path));
        let work = plan(&sources);
        Shared { sources, work, next: AtomicUsize::new(0), meter: Meter::new(monitor) }
    }

    /// Joins the parts of each file, and puts the packs where the blocks expect them.
    fn assemble(&self, mut results: Results, mut uploaded: Vec<Uploaded>) -> Stored {
        uploaded.sort_by_key(|pack| pack.number);
        results.parts.sort_by_key(|part| (part.file, part.offset));
        let mut parts = results.parts.into_iter().peekable();
        let mut files = Vec::new();
        for (index, source) in self.sources.iter().enumerate() {
            let mut entry = FileEntry {
                path: source.path.clone(),
                mode: source.mode,
                modified: source.modified,
                size: 0,
                crc32c: 0,
                blocks: Vec::new(),
            };
            while let Some(mut part) = parts.next_if(|part| part.file == index) {
                let length = usize::try_from(part.length).expect("a piece fits into memory");
                entry.crc32c = crc32c::crc32c_combine(entry.crc32c, part.crc32c, length);
                entry.size += part.length;
                entry.blocks.append(&mut part.blocks);
            }
            // A piece is missing only where the file was dropped meanwhile; replay drops it too.
            if entry.size == source.size {
                files.push(entry);
            }
        }
        Stored {
            files,
            added_bytes: uploaded
                .iter()
                .filter(|pack| pack.written == Written::Created)
                .map(|pack| pack.reference.size)
                .sum(),
            packs: uploaded.into_iter().map(|pack| pack.reference).collect(),
            bad_pages: results.bad_pages,
            bad_page_examples: results.bad_page_examples,
        }
    }
}

/// Largest files first, in pieces, so that all workers finish together; then small files, a block at a time.
fn plan(sources: &[Source]) -> Vec<Work> {
    let mut large: Vec<usize> = (0..sources.len()).filter(|file| sources[*file].size >= SMALL).collect();
    large.sort_by_key(|file| std::cmp::Reverse(sources[*file].size));
    let mut work = Vec::new();
    for file in large {
        let size = sources[file].size;
        let pieces = (0..size.div_ceil(PIECE)).map(|piece| piece * PIECE);
        work.extend(pieces.map(|offset| Work::Piece { file, offset, length: PIECE.min(size - offset) }));
    }
    let mut group = Vec::new();
    let mut bytes = 0;
    for (file, source) in sources.iter().enumerate().filter(|(_, source)| (1..SMALL).contains(&source.size)) {
        if bytes + source.size > BLOCK as u64 {
            work.push(Work::Group(std::mem::take(&mut group)));
            bytes = 0;
        }
        bytes += source.size;
        group.push(file);
    }
    if !group.is_empty() {
        work.push(Work::Group(group));
    }
    work
}

/// A run of bytes of one file.
struct Part {
    file: usize,
    offset: u64,
    length: u64,
    crc32c: u32,
    blocks: Vec<BlockRef>,
}

#[derive(Default)]
struct Results {
    parts: Vec<Part>,
    bad_pages: u64,
    bad_page_examples: Vec<BadPage>,
}

impl Results {
    fn append(&mut self, mut other: Results) {
        self.parts.append(&mut other.parts);
        self.bad_pages += other.bad_pages;
        self.bad_page_examples.append(&mut other.bad_page_examples);
        self.bad_page_examples.sort_by(|a, b| (&a.file, a.block).cmp(&(&b.file, b.block)));
        self.bad_page_examples.truncate(MAX_EXAMPLES);
    }
}

struct Worker {
    shared: Arc<Shared>,
    packer: Packer,
    packs: mpsc::Sender<Pack>,
    buffer: Vec<u8>,
    results: Results,
}

impl Worker {
    fn run(mut self) -> Result<Results> {
        let shared = Arc::clone(&self.shared);
        while let Some(work) = shared.work.get(shared.next.fetch_add(1, Ordering::Relaxed)) {
            match work {
                Work::Piece { file, offset, length } => self.piece(*file, *offset, *length)?,
                Work::Group(files) => self.group(files)?,
            }
        }
        if let Some(pack) = self.packer.take() {
            self.send(pack)?;
        }
        Ok(self.results)
    }

    fn piece(&mut self, index: usize, offset: u64, length: u64) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let source = &shared.sources[index];
        let Some(file) = Opened::open(source)? else { return Ok(()) };
        let mut part = Part { file: index, offset, length, crc32c: 0, blocks: Vec::new() };
        let mut at = offset;
        while at < offset + length {
            let size = usize::try_from(offset + length - at).map_or(BLOCK, |left| left.min(BLOCK));
            let block = &mut self.buffer[..size];
            file.read(source, block, at, &mut self.results)?;
            part.crc32c = crc32c::crc32c_append(part.crc32c, block);
            part.blocks.push(self.packer.add(block)?);
            at += size as u64;
            shared.meter.add(size as u64)?;
            if let Some(pack) = self.packer.take_full() {
                self.send(pack)?;
            }
        }
        self.results.parts.push(part);
        Ok(())
    }

    fn group(&mut self, files: &[usize]) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut used = 0;
        let first = self.results.parts.len();
        let mut places = HashMap::new();
        for index in files {
            let source = &shared.sources[*index];
            let Some(file) = Opened::open(source)? else { continue };
            let size = usize::try_from(source.size).expect("a small file");
            let block = &mut self.buffer[used..used + size];
            file.read(source, block, 0, &mut self.results)?;
            let part = Part {
                file: *index,
                offset: 0,
                length: source.size,
                crc32c: crc32c::crc32c(block),
                blocks: Vec::new(),
            };
            self.results.parts.push(part);
            places.insert(*index, used);
            used += size;
        }
        if used == 0 {
            return Ok(());
        }
        let block = self.packer.add(&self.buffer[..used])?;
        for part in &mut self.results.parts[first..] {
            let small = |length: usize| u32::try_from(length).expect("a block has at most 1 MiB");
            let length = u32::try_from(part.length).expect("a small file");
            part.blocks.push(BlockRef { skip: small(places[&part.file]), length, ..block.clone() });
        }
        shared.meter.add(used as u64)?;
        match self.packer.take_full() {
            Some(pack) => self.send(pack),
            None => Ok(()),
        }
    }

    fn send(&self, pack: Pack) -> Result<()> {
        // The receiver is gone only where an upload failed, and that error is the one that is reported.
        self.packs.blocking_send(pack).map_err(|_| Error::new(ErrorKind::Storage, "the upload has ended"))
    }
}

enum Opened<'a> {
    File(File, Option<Pages>),
    Memory(&'a Bytes),
}

impl<'a> Opened<'a> {
    /// `None` where the file was dropped since it was listed.
    fn open(source: &'a Source) -> Result<Option<Self>> {
        match &source.content {
            Content::Memory(bytes) => Ok(Some(Opened::Memory(bytes))),
            Content::Disk { path, pages } => match File::open(path) {
                Ok(file) => Ok(Some(Opened::File(file, *pages))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Error::io(format!("open {path:?}"), error)),
            },
        }
    }

    fn read(&self, source: &Source, block: &mut [u8], offset: u64, results: &mut Results) -> Result<()> {
        match self {
            Opened::Memory(bytes) => {
                let start = usize::try_from(offset).expect("in memory");
                block.copy_from_slice(&bytes[start..start + block.len()]);
                Ok(())
            }
            Opened::File(file, pages) => {
                read_or_zero(file, block, offset)
                    .map_err(|error| Error::io(format!("read {:?}", source.path), error))?;
                match pages {
                    Some(pages) => check_pages(file, source, block, offset, pages, results),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Fills `block`; what lies behind the end of the file becomes zero.
fn read_or_zero(file: &File, block: &mut [u8], offset: u64) -> std::io::Result<()> {
    let mut filled = 0;
    while filled < block.len() {
        match file.read_at(&mut block[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    block[filled..].fill(0);
    Ok(())
}

/// Judges each page; one that looks damaged is read again, because the server may have been writing it.
fn check_pages(
    file: &File,
    source: &Source,
    block: &mut [u8],
    offset: u64,
    pages: &Pages,
    results: &mut Results,
) -> Result<()> {
    let first = offset / pages.size as u64;
    for (number, bytes) in (first..).zip(block.chunks_exact_mut(pages.size)) {
        let in_relation = pages.first_block + u32::try_from(number).expect("block numbers have 32 bits");
        if page::judge(bytes, in_relation, pages.backup_start) != PageState::Bad {
            continue;
        }
        let mut again = vec![0; pages.size];
        read_or_zero(file, &mut again, number * pages.size as u64)
            .map_err(|error| Error::io(format!("read {:?} again", source.path), error))?;
        let changed = again != *bytes;
        bytes.copy_from_slice(&again);
        // A page that changed between the reads is being written, and its new image is in the WAL of this backup.
        if changed || page::judge(bytes, in_relation, pages.backup_start) != PageState::Bad {
            continue;
        }
        tracing::warn!(file = source.path, block = number, "a data page has a wrong checksum");
        results.bad_pages += 1;
        if results.bad_page_examples.len() < MAX_EXAMPLES {
            results.bad_page_examples.push(BadPage { file: source.path.clone(), block: number });
        }
    }
    Ok(())
}
