//! A unit of work from its begin to its end: what it needs is found out, fetched, and given to the decoder.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::decode;
use super::request::{self, Request, Run};
use super::{Destination, Done, Treatment, Work};
use crate::error::{Error, Result};
use crate::repo::content::{BLOCK, Content, Entry, FileEntry, Listing, PIECE, Piece, PieceRef};
use crate::repo::crypt::Secrets;

/// Small files of one unit: enough for frames that they share to be decompressed once, few enough to be open at once.
const FILES: usize = 256;
const BYTES: u64 = 16 << 20;

/// Work for one worker.
pub(super) enum Unit {
    /// Files whose blocks the listing names itself.
    Small(Vec<FileEntry>),
    /// One piece of a large file.
    Piece { file: Arc<Large>, number: usize },
}

/// A large file that several workers write.
pub(super) struct Large {
    entry: FileEntry,
    state: Mutex<LargeState>,
}

#[derive(Default)]
struct LargeState {
    handle: Option<Arc<File>>,
    /// The checksum of each piece that is done.
    done: Vec<(usize, u64, u32)>,
}

/// A piece of a file in the hands of a worker.
pub(super) struct Part {
    pub(super) file: PartFile,
    /// Where the piece begins in the file.
    pub(super) base: u64,
    pub(super) piece: Piece,
    /// The checksum of each block that was proven.
    pub(super) crcs: Vec<u32>,
    /// Blocks that are still to be written.
    pub(super) missing: u32,
}

pub(super) enum PartFile {
    Small { entry: FileEntry, handle: Option<File> },
    Large(Arc<Large>),
}

impl Unit {
    pub(super) fn all(listing: Listing) -> Vec<Unit> {
        let mut units = Vec::new();
        let mut small = Vec::new();
        let mut bytes = 0;
        for entry in listing.entries {
            let Entry::File(file) = entry else { continue };
            match &file.content {
                Content::Pieces(pieces) if !pieces.is_empty() => {
                    let pieces = 0..pieces.len();
                    let file = Arc::new(Large { entry: file, state: Mutex::default() });
                    units.extend(pieces.map(|number| Unit::Piece { file: Arc::clone(&file), number }));
                }
                _ => {
                    bytes += file.size;
                    small.push(file);
                    if small.len() >= FILES || bytes >= BYTES {
                        units.push(Unit::Small(std::mem::take(&mut small)));
                        bytes = 0;
                    }
                }
            }
        }
        if !small.is_empty() {
            units.push(Unit::Small(small));
        }
        units
    }
}

impl Work {
    /// Does one unit.
    pub(super) async fn run(self: Arc<Self>, unit: Unit) -> Result<Done> {
        self.meter.add(0)?;
        let mut job = match unit {
            Unit::Small(files) => {
                let work = Arc::clone(&self);
                let prepare = move || Job::small(&work, files);
                Error::joined(tokio::task::spawn_blocking(prepare).await)?
            }
            Unit::Piece { file, number } => {
                let Content::Pieces(pieces) = &file.entry.content else {
                    unreachable!("only files with pieces become such units")
                };
                let reference: &PieceRef = &pieces[number];
                let piece = self.repository.read_piece(reference.frame, &self.packs).await?;
                let work = Arc::clone(&self);
                let prepare = move || Job::piece(&work, file, number, piece);
                Error::joined(tokio::task::spawn_blocking(prepare).await)?
            }
        };
        let requests = request::requests(&mut job.runs);
        let fetcher = Arc::clone(&self);
        let mut fetched = stream::iter(requests)
            .map(move |request| {
                let work = Arc::clone(&fetcher);
                async move { work.fetch(request).await }
            })
            .buffered(2);
        while let Some((request, bytes)) = fetched.try_next().await? {
            let work = Arc::clone(&self);
            let decode = move || {
                decode::decode(&work, &mut job, &request, &bytes)?;
                Ok::<_, Error>(job)
            };
            job = Error::joined(tokio::task::spawn_blocking(decode).await)?;
        }
        drop(fetched);
        let finish = move || job.finish(&self);
        Error::joined(tokio::task::spawn_blocking(finish).await)
    }

    async fn fetch(&self, request: Request) -> Result<(Request, Bytes)> {
        let path = self.packs.get(request.pack).path();
        let bytes = self.repository.read_range(&path, request.bytes.clone()).await?;
        Ok((request, bytes))
    }
}

/// A unit with all that is needed to decode it.
pub(super) struct Job {
    pub(super) parts: Vec<Part>,
    pub(super) runs: Vec<Run>,
    pub(super) done: Done,
}

impl Job {
    fn small(work: &Work, files: Vec<FileEntry>) -> Result<Self> {
        let mut job = Job { parts: Vec::new(), runs: Vec::new(), done: Done::default() };
        for mut entry in files {
            let treatment = work.destination.treatment(&entry)?;
            let piece = match &mut entry.content {
                Content::Inline(piece) => std::mem::take(piece),
                Content::Pieces(_) => Piece::default(),
            };
            let file = PartFile::Small { entry, handle: None };
            job.add(work, file, 0, piece, treatment)?;
        }
        Ok(job)
    }

    fn piece(work: &Work, file: Arc<Large>, number: usize, piece: Piece) -> Result<Self> {
        let mut job = Job { parts: Vec::new(), runs: Vec::new(), done: Done::default() };
        let base = number as u64 * PIECE;
        let expected = PIECE.min(file.entry.size - base);
        if piece.length != expected {
            let message = format!(
                "piece {number} of {:?} has {} bytes, expected {expected}",
                file.entry.path, piece.length
            );
            return Err(Error::corrupt(message));
        }
        let treatment = work.destination.treatment(&file.entry)?;
        job.add(work, PartFile::Large(file), base, piece, treatment)?;
        Ok(job)
    }

    fn add(
        &mut self,
        work: &Work,
        file: PartFile,
        base: u64,
        piece: Piece,
        treatment: Treatment,
    ) -> Result<()> {
        if matches!(treatment, Treatment::Skip) {
            return work.meter.add(piece.length);
        }
        let mut part = Part { file, base, crcs: vec![0; piece.hashes.len()], piece, missing: 0 };
        let wanted = match treatment {
            Treatment::Compare(existing) => {
                Some(compare(work.repository.secrets(), &existing, &mut part, |bytes| {
                    self.done.kept += bytes;
                    work.meter.add(bytes)
                })?)
            }
            _ => None,
        };
        let number = u32::try_from(self.parts.len()).expect("a unit has few files");
        let before = self.runs.len();
        runs(&part.piece, wanted.as_deref(), number, &mut self.runs);
        part.missing = self.runs[before..].iter().map(|run| run.blocks).sum();
        // A new file exists from here on, also where it is empty; one that was compared is opened only to be changed.
        if part.missing == 0 {
            part.end(work, wanted.is_none())?;
        }
        self.parts.push(part);
        Ok(())
    }

    fn finish(self, work: &Work) -> Result<Done> {
        for part in &self.parts {
            part.prove(work)?;
        }
        Ok(self.done)
    }
}

impl Part {
    pub(super) fn path(&self) -> &str {
        match &self.file {
            PartFile::Small { entry, .. } => &entry.path,
            PartFile::Large(large) => &large.entry.path,
        }
    }

    pub(super) fn length(&self, run: &Run) -> usize {
        let start = u64::from(run.first) * BLOCK as u64;
        let length = (u64::from(run.blocks) * BLOCK as u64).min(self.piece.length - start);
        usize::try_from(length).expect("a run lies in one frame")
    }

    /// Writes at `offset` of the file.
    pub(super) fn write(&mut self, destination: &dyn Destination, bytes: &[u8], offset: u64) -> Result<()> {
        let written = match &mut self.file {
            PartFile::Small { handle: Some(handle), .. } => handle.write_all_at(bytes, offset),
            PartFile::Small { entry, handle } => {
                handle.insert(destination.open(entry)?).write_all_at(bytes, offset)
            }
            PartFile::Large(large) => large.handle(destination)?.write_all_at(bytes, offset),
        };
        written.map_err(|error| Error::io(format!("write {:?}", self.path()), error))
    }

    /// Ends a small file once nothing of it is missing, and closes it.
    pub(super) fn end(&mut self, work: &Work, create: bool) -> Result<()> {
        let PartFile::Small { entry, handle } = &mut self.file else { return Ok(()) };
        if create && handle.is_none() {
            *handle = Some(work.destination.open(entry)?);
        }
        work.destination.finish(entry, handle.take().as_ref())
    }

    /// Compares the checksum of all blocks with what was read from the source.
    fn prove(&self, work: &Work) -> Result<()> {
        let crc = decode::join_blocks(&self.crcs, self.piece.length);
        if crc != self.piece.crc32c {
            return Err(other_checksum(self.path()));
        }
        match &self.file {
            PartFile::Small { entry, .. } if entry.crc32c != crc => Err(other_checksum(&entry.path)),
            PartFile::Small { .. } => Ok(()),
            PartFile::Large(large) => large.piece_done(work, self.base, self.piece.length, crc),
        }
    }
}

fn other_checksum(path: &str) -> Error {
    Error::corrupt(format!("{path:?} has another checksum than when it was backed up"))
}

impl Large {
    fn handle(&self, destination: &dyn Destination) -> Result<Arc<File>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &state.handle {
            return Ok(Arc::clone(handle));
        }
        let handle = Arc::new(destination.open(&self.entry)?);
        state.handle = Some(Arc::clone(&handle));
        Ok(handle)
    }

    /// The last piece ends the file.
    fn piece_done(&self, work: &Work, base: u64, length: u64, crc: u32) -> Result<()> {
        let Content::Pieces(pieces) = &self.entry.content else { return Ok(()) };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = usize::try_from(base / PIECE).expect("pieces are counted in memory");
        state.done.push((number, length, crc));
        if state.done.len() < pieces.len() {
            return Ok(());
        }
        state.done.sort_unstable();
        let whole = state.done.iter().fold(0, |whole, (_, length, crc)| {
            crc32c::crc32c_combine(whole, *crc, usize::try_from(*length).expect("at most 64 MiB"))
        });
        if whole != self.entry.crc32c {
            return Err(other_checksum(&self.entry.path));
        }
        work.destination.finish(&self.entry, state.handle.take().as_deref())
    }
}

/// Adds the runs of the blocks that are wanted, or of all.
fn runs(piece: &Piece, wanted: Option<&[bool]>, part: u32, runs: &mut Vec<Run>) {
    let block_bytes = u32::try_from(BLOCK).expect("16 KiB");
    let mut first = 0;
    for extent in &piece.extents {
        let mut open: Option<Run> = None;
        for block in 0..extent.blocks {
            let is_wanted = wanted.is_none_or(|wanted| wanted[(first + block) as usize]);
            match &mut open {
                Some(run) if is_wanted => run.blocks += 1,
                None if is_wanted => {
                    let skip = extent.skip + block * block_bytes;
                    open = Some(Run { frame: extent.frame, skip, part, first: first + block, blocks: 1 });
                }
                _ => runs.extend(open.take()),
            }
        }
        runs.extend(open);
        first += extent.blocks;
    }
}

/// Hashes the blocks that lie on disk, and says which of them differ or are missing.
fn compare(
    secrets: &Secrets,
    existing: &File,
    part: &mut Part,
    mut kept: impl FnMut(u64) -> Result<()>,
) -> Result<Vec<bool>> {
    const AT_ONCE: usize = 64 * BLOCK;
    let mut wanted = Vec::with_capacity(part.piece.hashes.len());
    let mut buffer = vec![0; AT_ONCE.min(usize::try_from(part.piece.length).unwrap_or(AT_ONCE))];
    let mut at = 0;
    while at < part.piece.length {
        let length = usize::try_from(part.piece.length - at).map_or(AT_ONCE, |left| left.min(AT_ONCE));
        let filled = read_at_most(existing, &mut buffer[..length], part.base + at)
            .map_err(|error| Error::io(format!("read {:?}", part.path()), error))?;
        let mut same = 0;
        for start in (0..length).step_by(BLOCK) {
            let end = (start + BLOCK).min(length);
            let number = wanted.len();
            let differs = end > filled || secrets.hash(&buffer[start..end]) != part.piece.hashes[number];
            if !differs {
                part.crcs[number] = crc32c::crc32c(&buffer[start..end]);
                same += (end - start) as u64;
            }
            wanted.push(differs);
        }
        kept(same)?;
        at += length as u64;
    }
    Ok(wanted)
}

/// Reads until the buffer is full or the file ends.
fn read_at_most(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
