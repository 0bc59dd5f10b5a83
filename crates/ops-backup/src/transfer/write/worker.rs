//! One worker: takes units, reads and hashes their blocks, and fills frames and packs with those that are new.
//!
//! A piece is known only when its last frame lies in a pack that has a name, and a pack has a name when it is full. So
//! finished pieces with new blocks wait: first for the open frame, then for the open pack; until then their extents say so
//! in the place of the pack. What waits belongs to at most one pack, and a pack is closed early where very small files wait
//! in large numbers, so it is little.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::engine::{Contents, Inspector, Opener};
use crate::error::{Error, ErrorKind, Result};
use crate::monitor::Meter;
use crate::repo::content::{BLOCK, Content, Extent, PIECE, Piece, PieceRef};
use crate::repo::crypt::Secrets;
use crate::repo::pack::{FRAME, Frame, Pack, PackId, PackTable, Packer};
use crate::transfer::write::base::{Candidate, Known, Lookup};
use crate::transfer::write::feed::{Arrived, ArrivingPiece, Body, Feed, Files, Parcel, Span, SpanPlace};
use crate::transfer::write::merge::Changed;
use crate::transfer::write::outcome::Outcome;
use crate::transfer::write::past::Past;
use crate::transfer::write::plan::{Plan, Unit};
use crate::transfer::write::survey::Compared;
use crate::transfer::write::suspects::Suspects;

/// In the place of a pack: the extent lies in the frame that is being filled.
const OPEN_FRAME: PackId = PackId(u32::MAX);
/// In the place of a pack: the extent lies in the pack that is being filled.
const OPEN_PACK: PackId = PackId(u32::MAX - 1);

/// So many pieces wait for the name of a pack at most: files of less than two kilobytes make smaller packs.
const WAITING: usize = 8 << 10;

/// What all workers share.
pub(super) struct Job {
    pub(super) files: Files,
    pub(super) feed: Feed,
    pub(super) meter: Meter,
    pub(super) secrets: Secrets,
    pub(super) packs: PackTable,
    pub(super) compared: Compared,
    /// Room for packs that are full.
    pub(super) room: Arc<Semaphore>,
}

/// A full pack, and what is known once it is in the repository.
pub(super) struct Batch {
    pub(super) pack: Option<Pack>,
    pub(super) done: Vec<Done>,
    /// Held until the pack is in the repository.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// A piece of a file that has been read, or a span of one.
pub(super) struct Done {
    pub(super) item: u32,
    pub(super) number: u32,
    pub(super) span: Option<SpanPlace>,
    pub(super) outcome: Outcome,
}

pub(super) struct Worker {
    pub(super) job: Arc<Job>,
    packer: Packer,
    batches: mpsc::Sender<Batch>,
    runtime: Handle,
    pub(super) lookup: Lookup,
    pub(super) past: Past,
    pub(super) frame: Vec<u8>,
    pub(super) used: usize,
    in_frame: Vec<Done>,
    in_pack: Vec<Done>,
    /// Pieces without new blocks.
    ready: Vec<Done>,
}

impl Worker {
    pub(super) fn new(job: Arc<Job>, packer: Packer, batches: mpsc::Sender<Batch>, runtime: Handle) -> Self {
        let lookup = Lookup::new(Arc::clone(&job.compared.base), runtime.clone());
        let past = Past::new(Arc::clone(&job.compared.base), runtime.clone());
        let frame = vec![0; FRAME];
        Worker {
            job,
            packer,
            batches,
            runtime,
            lookup,
            past,
            frame,
            used: 0,
            in_frame: Vec::new(),
            in_pack: Vec::new(),
            ready: Vec::new(),
        }
    }

    /// Works until no unit is left; where it fails, all workers end.
    pub(super) fn run(self) -> Result<()> {
        let job = Arc::clone(&self.job);
        self.work().inspect_err(|_| job.feed.stop())
    }

    fn work(mut self) -> Result<()> {
        let job = Arc::clone(&self.job);
        match &job.feed {
            Feed::Listed { plan, opener } => self.listed(plan, opener.as_ref())?,
            Feed::Arriving { parcels, inspector } => {
                while let Some(parcel) = parcels.next() {
                    self.parcel(parcel, inspector.as_ref())?;
                }
            }
        }
        self.close_frame(None)?;
        self.close_pack(None)
    }

    fn listed(&mut self, plan: &Plan, opener: &dyn Opener) -> Result<()> {
        while let Some(unit) = plan.next() {
            match unit {
                Unit::Piece { item, number } => self.piece(item, number, opener)?,
                Unit::Group(items) => {
                    for item in items {
                        self.small(*item, opener)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn piece(&mut self, item: u32, number: u32, opener: &dyn Opener) -> Result<()> {
        let offset = u64::from(number) * PIECE;
        let job = Arc::clone(&self.job);
        let (path, length, contents) = {
            let (files, at) = (job.files.read(), item as usize);
            (files.path(at), PIECE.min(files.item(at).size - offset), opener.open(&files, at, offset)?)
        };
        let outcome = match contents {
            Some(mut contents) => {
                let survey = &job.compared.survey;
                let grown = survey.grown(item).filter(|_| number == 0).cloned();
                let known = self.known(&path, number, survey.piece(item, number), grown);
                let found = self.blocks(&mut *contents, length, &mut candidates(&known, 0), None)?;
                let (piece, new) = found;
                Known::outcome(&known, piece, new)
            }
            None => Outcome::Vanished,
        };
        self.done(Done { item, number, span: None, outcome })
    }

    fn small(&mut self, item: u32, opener: &dyn Opener) -> Result<()> {
        let job = Arc::clone(&self.job);
        let (path, length, contents) = {
            let (files, at) = (job.files.read(), item as usize);
            (files.path(at), files.item(at).size, opener.open(&files, at, 0)?)
        };
        let Some(mut contents) = contents else {
            return self.done(Done { item, number: 0, span: None, outcome: Outcome::Vanished });
        };
        // It may have been a large file before.
        let shrunk = job.compared.survey.piece(item, 0);
        self.whole(item, &path, length, &mut *contents, shrunk, None)
    }

    fn parcel(&mut self, parcel: Parcel, inspector: &dyn Inspector) -> Result<()> {
        match parcel {
            Parcel::Span(span) => self.span(span, inspector),
            Parcel::Changes(span) => self.changed_span(span, inspector),
            Parcel::Unchanged { item, path, facts } => self.unchanged(item, &path, facts, inspector),
            Parcel::Group(files) => {
                for Arrived { item, path, facts, body, chunks } in files {
                    if let Body::Changes(pages) = body {
                        let changed = Changed { item, path: &path, facts, pages, chunks };
                        self.changed_small(changed, inspector)?;
                        continue;
                    }
                    let mut contents = inspector.contents(&path, &facts, 0, chunks);
                    let shrunk = match self.lookup.content(&path) {
                        Some(Content::Pieces(pieces)) => pieces.into_iter().next(),
                        _ => None,
                    };
                    let mut suspects = Suspects::new(inspector, &path, &facts, 0);
                    self.whole(item, &path, facts.size, &mut *contents, shrunk.as_ref(), suspects.as_mut())?;
                }
                Ok(())
            }
        }
    }

    fn span(&mut self, span: Span, inspector: &dyn Inspector) -> Result<()> {
        let Span { place, start, length, chunks } = span;
        let ArrivingPiece { item, number, ref path, ref facts, ref known, .. } = *place.piece;
        let offset = u64::from(number) * PIECE + start;
        let mut contents = inspector.contents(path, facts, offset, chunks);
        let known = known.get_or_init(|| self.known_of_arriving(path, number));
        let first = u32::try_from(start / BLOCK as u64).expect("a piece has few blocks");
        let mut suspects = Suspects::new(inspector, path, facts, offset);
        let mut candidates = candidates(known, first);
        let (piece, new) = self.blocks(&mut *contents, length, &mut candidates, suspects.as_mut())?;
        self.audit(suspects.as_ref(), known.last(), first)?;
        self.done(Done { item, number, span: Some(place.clone()), outcome: Outcome::New(piece, new) })
    }

    fn known_of_arriving(&mut self, path: &str, number: u32) -> Vec<Known> {
        match self.lookup.content(path) {
            Some(Content::Pieces(pieces)) => self.known(path, number, pieces.get(number as usize), None),
            Some(Content::Inline(piece)) if number == 0 => self.known(path, number, None, Some(piece)),
            _ => self.known(path, number, None, None),
        }
    }

    /// Passes a piece on, or has it wait for the pack that its new blocks come into.
    pub(super) fn done(&mut self, done: Done) -> Result<()> {
        if matches!(&done.outcome, Outcome::New(_, new) if *new > 0) {
            self.in_frame.push(done);
            if self.in_frame.len() + self.in_pack.len() >= WAITING { self.close_frame(None) } else { Ok(()) }
        } else {
            self.ready.push(done);
            if self.ready.len() >= WAITING { self.send(None, Vec::new()) } else { Ok(()) }
        }
    }

    /// Returns what the base has of piece `number` of the file at `path`: in its parts, in the backup, and where the file was
    /// small.
    fn known(
        &self,
        path: &str,
        number: u32,
        in_backup: Option<&PieceRef>,
        grown: Option<Piece>,
    ) -> Vec<Known> {
        let base = &self.job.compared.base;
        let references = base.part_pieces(path, number).iter().chain(in_backup);
        let known = references.filter_map(|reference| {
            let whole = base.is_piece_usable(reference).then(|| reference.clone());
            Some(Known::new(self.lookup.piece(reference)?, whole))
        });
        known.chain(grown.map(|piece| Known::new(piece, None))).collect()
    }

    /// Stores a small file, which lies in one frame, so that a restore reads one; `shrunk` is its first piece where it was
    /// large.
    pub(super) fn whole(
        &mut self,
        item: u32,
        path: &str,
        length: u64,
        contents: &mut dyn Contents,
        shrunk: Option<&PieceRef>,
        mut suspects: Option<&mut Suspects<'_>>,
    ) -> Result<()> {
        if length > (FRAME - self.used) as u64 {
            self.close_frame(None)?;
        }
        let shrunk = shrunk.and_then(|reference| self.lookup.piece(reference));
        let known = self.lookup.small(path).into_iter().chain(shrunk);
        let known: Vec<_> = known.map(|piece| Known::new(piece, None)).collect();
        let (piece, new) =
            self.blocks(contents, length, &mut candidates(&known, 0), suspects.as_deref_mut())?;
        self.audit(suspects.as_deref(), known.last(), 0)?;
        self.done(Done { item, number: 0, span: None, outcome: Outcome::New(piece, new) })
    }

    /// Reads `length` bytes, or up to the end, and keeps the blocks that no candidate has; says how many bytes these were.
    fn blocks(
        &mut self,
        contents: &mut dyn Contents,
        length: u64,
        candidates: &mut [Candidate],
        mut suspects: Option<&mut Suspects<'_>>,
    ) -> Result<(Piece, u64)> {
        /// The largest page of any source: a page is never read in two parts.
        const STEP: usize = 32 << 10;
        let mut piece = Piece::default();
        let mut new = 0;
        while piece.length < length {
            let left = usize::try_from(length - piece.length).expect("a piece fits into memory");
            if left > FRAME - self.used && FRAME - self.used < 4 * STEP {
                self.close_frame(Some(&mut piece))?;
            }
            let room = FRAME - self.used;
            let wanted = if left <= room { left } else { room - room % STEP };
            let start = self.used;
            let read = contents.read(&mut self.frame[start..start + wanted])?;
            piece.crc32c = crc32c::crc32c_append(piece.crc32c, &self.frame[start..start + read]);
            let mut at = start;
            while at < start + read {
                let size = BLOCK.min(start + read - at);
                if !self.refer(&mut piece, candidates, at, size) {
                    if let Some(suspects) = &mut suspects {
                        suspects.note(piece.hashes.len() - 1, &self.frame[at..at + size]);
                    }
                    self.keep(&mut piece, at, size);
                    new += size as u64;
                }
                at += size;
            }
            piece.length += read as u64;
            self.job.meter.add(read as u64)?;
            if read < wanted {
                break;
            }
        }
        Ok((piece, new))
    }

    /// Adds the hash of the block at `at` to `piece`, and refers to the block where a candidate has it.
    fn refer(&self, piece: &mut Piece, candidates: &mut [Candidate], at: usize, size: usize) -> bool {
        let hash = self.job.secrets.hash(&self.frame[at..at + size]);
        let number = u32::try_from(piece.hashes.len()).expect("a piece has few blocks");
        piece.hashes.push(hash);
        let base = &self.job.compared.base;
        let known = candidates.iter_mut().find_map(|candidate| {
            candidate.find(number, hash, size).filter(|(frame, _)| base.is_usable(frame.pack))
        });
        if let Some((frame, skip)) = known {
            add_block(&mut piece.extents, frame, skip);
        }
        known.is_some()
    }

    /// Keeps the block at `at` of the frame buffer as a part of the open frame, and of `piece`.
    pub(super) fn keep(&mut self, piece: &mut Piece, at: usize, size: usize) {
        if at != self.used {
            self.frame.copy_within(at..at + size, self.used);
        }
        let skip = u32::try_from(self.used).expect("a frame is small");
        let open = Frame { pack: OPEN_FRAME, offset: 0, stored: 0, raw: 0 };
        add_block(&mut piece.extents, open, skip);
        self.used += size;
    }

    /// Puts the open frame into the open pack, and a full pack on its way.
    pub(super) fn close_frame(&mut self, mut current: Option<&mut Piece>) -> Result<()> {
        if self.used > 0 {
            let placed = self.packer.add(&self.frame[..self.used])?.in_pack(OPEN_PACK);
            self.used = 0;
            replace(&mut self.in_frame, current.as_deref_mut(), |frame| {
                if frame.pack == OPEN_FRAME {
                    *frame = placed;
                }
            });
        }
        self.in_pack.append(&mut self.in_frame);
        let is_full = self.packer.is_full() || self.in_pack.len() >= WAITING;
        if is_full { self.close_pack(current) } else { Ok(()) }
    }

    fn close_pack(&mut self, current: Option<&mut Piece>) -> Result<()> {
        let pack = self.packer.take();
        if let Some(pack) = &pack {
            let id = self.job.packs.intern(pack.reference.clone());
            replace(&mut self.in_pack, current, |frame| {
                if frame.pack == OPEN_PACK {
                    frame.pack = id;
                }
            });
        }
        let done = std::mem::take(&mut self.in_pack);
        self.send(pack, done)
    }

    /// Sends a pack with what waited for it, and all that waits for none.
    fn send(&mut self, pack: Option<Pack>, mut done: Vec<Done>) -> Result<()> {
        done.append(&mut self.ready);
        let room = match pack {
            Some(_) => self.runtime.block_on(Arc::clone(&self.job.room).acquire_owned()).ok(),
            None => None,
        };
        // The receiver is gone only where an upload failed, and that error is the one that is reported.
        let batch = Batch { pack, done, room };
        self.batches.blocking_send(batch).map_err(|_| Error::new(ErrorKind::Storage, "the upload has ended"))
    }
}

fn candidates(known: &[Known], first_block: u32) -> Vec<Candidate> {
    known.iter().map(|known| Candidate::new(known, first_block)).collect()
}

/// Adds one block, in `frame` at `skip`, to `extents`.
pub(super) fn add_block(extents: &mut Vec<Extent>, frame: Frame, skip: u32) {
    if let Some(last) = extents.last_mut()
        && last.frame == frame
        && last.skip + last.blocks * BLOCK as u32 == skip
    {
        last.blocks += 1;
        return;
    }
    extents.push(Extent { frame, skip, blocks: 1 });
}

fn replace(waiting: &mut [Done], current: Option<&mut Piece>, mut change: impl FnMut(&mut Frame)) {
    let pieces = waiting.iter_mut().filter_map(|done| match &mut done.outcome {
        Outcome::New(piece, _) => Some(piece),
        Outcome::Known { .. } | Outcome::Same | Outcome::Vanished => None,
    });
    for piece in pieces.chain(current) {
        piece.extents.iter_mut().for_each(|extent| change(&mut extent.frame));
    }
}
