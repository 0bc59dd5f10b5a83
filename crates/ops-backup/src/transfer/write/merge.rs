//! Merges the pages that came of a file with what the base has of it, so that the result is a whole file like any other.
//!
//! A block without a new page is referred to where it lies. One with a new page is read from the base, changed, and stored.
//! The checksum of a file of which most is never read follows from that of the base: checksums are linear, so a block that
//! changes changes that of its piece by a value that depends on this block and its place alone.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::engine::chunks::Chunks;
use crate::engine::{Facts, Inspector, PagesOf};
use crate::error::{Error, Result};
use crate::repo::content::{BLOCK, Content, PIECE, Piece};
use crate::repo::pack::{FRAME, Frame};
use crate::transfer::write::arrive::length_of_piece;
use crate::transfer::write::base::{Candidate, Known, lost};
use crate::transfer::write::feed::{ArrivingPiece, Before, ChangedSpan, SpanPlace};
use crate::transfer::write::outcome::Outcome;
use crate::transfer::write::worker::{Done, Worker, add_block};

/// Blocks that are merged at once: so many of the base are in memory for each worker.
const AT_ONCE: u32 = 256;

/// What came of a small file.
pub(super) struct Changed<'a> {
    pub(super) item: u32,
    pub(super) path: &'a str,
    pub(super) facts: Facts,
    pub(super) pages: PagesOf,
    pub(super) chunks: Vec<Bytes>,
}

/// The pages that came, one after another.
struct Pages {
    size: usize,
    /// By their number in the piece.
    numbers: Vec<u32>,
    bytes: Vec<u8>,
}

impl Worker {
    /// Stores a small file, which is read from the base whole.
    pub(super) fn changed_small(&mut self, changed: Changed<'_>, inspector: &dyn Inspector) -> Result<()> {
        let Changed { item, path, facts, pages, chunks } = changed;
        let file = self.lookup.need(path)?;
        if pages.numbers.is_empty() && file.size == facts.size && self.job.compared.base.is_file_usable(&file)
        {
            return self.same(item, facts);
        }
        let (piece, shrunk) = match file.content {
            Content::Inline(piece) => (piece, None),
            Content::Pieces(mut pieces) => {
                let first = pieces.drain(..).next();
                let piece = first.as_ref().map(|first| self.lookup.need_piece(path, first)).transpose()?;
                (piece.unwrap_or_default(), first)
            }
        };
        let size = usize::try_from(facts.size).expect("a small file");
        let kept = piece.length.min(facts.size).div_ceil(BLOCK as u64);
        let kept: Vec<u32> = (0..u32::try_from(kept).expect("a small file")).collect();
        let blocks = self.past.blocks(&piece, &kept).map_err(|error| lost(path, error))?;
        let mut bytes = blocks.concat();
        bytes.resize(size, 0);
        let pages = Pages::read(path, &facts, 0, pages, chunks, inspector)?;
        for (number, page) in pages.all() {
            let at = number as usize * pages.size;
            bytes.get_mut(at..at + pages.size).ok_or_else(outside)?.copy_from_slice(page);
        }
        self.whole(item, path, facts.size, &mut Chunks::new(vec![bytes.into()]), shrunk.as_ref(), None)
    }

    /// Refers to a large file of which no page came.
    pub(super) fn unchanged(
        &mut self,
        item: u32,
        path: &Arc<str>,
        facts: Facts,
        inspector: &dyn Inspector,
    ) -> Result<()> {
        let file = self.lookup.need(path)?;
        if file.size == facts.size && self.job.compared.base.is_file_usable(&file) {
            return self.same(item, facts);
        }
        // It is longer than in the base, or shorter, or lies in packs that are to die.
        let count = u32::try_from(facts.size.div_ceil(PIECE)).expect("a file has few pieces");
        for number in 0..count {
            let length = length_of_piece(facts.size, number);
            let (known, before) = (OnceLock::new(), OnceLock::new());
            let path = Arc::clone(path);
            let piece = ArrivingPiece { item, number, spans: 1, path, facts, length, known, before };
            let place = SpanPlace { piece: Arc::new(piece), number: 0 };
            let pages = PagesOf { size: BLOCK as u32, numbers: Vec::new() };
            self.changed_span(ChangedSpan { place, start: 0, length, pages, chunks: Vec::new() }, inspector)?;
        }
        Ok(())
    }

    fn same(&mut self, item: u32, facts: Facts) -> Result<()> {
        self.job.meter.add(facts.size)?;
        self.done(Done { item, number: 0, span: None, outcome: Outcome::Same })
    }

    /// Stores a run of a piece.
    pub(super) fn changed_span(&mut self, span: ChangedSpan, inspector: &dyn Inspector) -> Result<()> {
        let ChangedSpan { place, start, length, pages, chunks } = span;
        let piece = Arc::clone(&place.piece);
        let before = match piece.before.get() {
            Some(before) => before,
            None => {
                let before = self.before(&piece)?;
                piece.before.get_or_init(|| before)
            }
        };
        let offset = u64::from(piece.number) * PIECE;
        let pages = Pages::read(&piece.path, &piece.facts, offset, pages, chunks, inspector)?;
        let block = |at: u64| u32::try_from(at.div_ceil(BLOCK as u64)).expect("a piece has few blocks");
        let (mut merged, mut new) = (Piece::default(), 0);
        let (mut next, end) = (block(start), block(start + length));
        while next < end {
            let until = end.min(next + AT_ONCE);
            self.merge(&piece, before, &pages, next..until, (&mut merged, &mut new))?;
            next = until;
        }
        let (item, number) = (piece.item, piece.number);
        self.done(Done { item, number, span: Some(place), outcome: Outcome::New(merged, new) })
    }

    /// Reads what the base has of a piece.
    fn before(&mut self, piece: &ArrivingPiece) -> Result<Before> {
        let base = Arc::clone(&self.job.compared.base);
        let file = self.lookup.need(&piece.path)?;
        let (known, reference) = match file.content {
            Content::Inline(inline) if piece.number == 0 => (inline, None),
            Content::Inline(_) => (Piece::default(), None),
            Content::Pieces(pieces) => match pieces.get(piece.number as usize) {
                Some(reference) => {
                    let known = self.lookup.need_piece(&piece.path, reference)?;
                    (known, base.is_piece_usable(reference).then(|| reference.clone()))
                }
                None => (Piece::default(), None),
            },
        };
        let grown = piece.length.checked_sub(known.length);
        let crc32c = grown.map(|zeros| with_zeros(known.crc32c, zeros));
        Ok(Before { known: Known::new(known, reference), crc32c })
    }

    /// Adds `blocks` to what is `merged` of a piece, with the bytes that are new.
    fn merge(
        &mut self,
        piece: &ArrivingPiece,
        before: &Before,
        pages: &Pages,
        blocks: Range<u32>,
        (merged, new): (&mut Piece, &mut u64),
    ) -> Result<()> {
        let base = Arc::clone(&self.job.compared.base);
        let old = Arc::clone(&before.known.piece);
        let begun = merged.length;
        let size_of = |block: u32, length: u64| {
            let left = length.saturating_sub(u64::from(block) * BLOCK as u64);
            usize::try_from(left.min(BLOCK as u64)).expect("a block")
        };
        let mut candidate = Candidate::new(&before.known, 0);
        let mut find = |block: u32, size: usize| -> Option<(Frame, u32)> {
            let hash = *old.hashes.get(block as usize)?;
            candidate.find(block, hash, size).filter(|(frame, _)| base.is_usable(frame.pack))
        };
        // What is in the base as it is, and whether its bytes are not needed.
        let places: Vec<Option<(Frame, u32)>> =
            blocks.clone().map(|block| find(block, size_of(block, piece.length))).collect();
        let stays = |block: u32, place: &Option<_>| place.is_some() && pages.in_block(block).is_empty();
        let is_read = |(block, place): &(u32, &Option<_>)| {
            size_of(*block, old.length) > 0 && !(stays(*block, place) && before.crc32c.is_some())
        };
        let wanted: Vec<u32> = blocks.clone().zip(&places).filter(is_read).map(|(block, _)| block).collect();
        let read = self.past.blocks(&old, &wanted).map_err(|error| lost(&piece.path, error))?;
        let mut read = wanted.into_iter().zip(read).peekable();
        for (block, place) in blocks.zip(&places) {
            let size = size_of(block, piece.length);
            let mut bytes = read.next_if(|(number, _)| *number == block).map(|(_, bytes)| bytes);
            let mut change = 0;
            if let Some(bytes) = &mut bytes {
                bytes.resize(size, 0);
                change = crc32c::crc32c(bytes);
            }
            if let Some((frame, skip)) = place.filter(|_| stays(block, place)) {
                merged.hashes.push(old.hashes[block as usize]);
                add_block(&mut merged.extents, frame, skip);
                if before.crc32c.is_some() {
                    change = 0;
                }
            } else {
                let mut bytes = bytes.unwrap_or_else(|| vec![0; size]);
                if before.crc32c.is_some() {
                    change = crc32c::crc32c(&bytes);
                }
                pages.put(block, &mut bytes)?;
                let is = crc32c::crc32c(&bytes);
                change = if before.crc32c.is_some() { change ^ is } else { is };
                *new += self.store(merged, &bytes, old.hashes.get(block as usize), *place)?;
            }
            merged.crc32c = crc32c::crc32c_combine(merged.crc32c, change, size);
            merged.length += size as u64;
        }
        self.job.meter.add(merged.length - begun)
    }

    /// Adds a block to `piece`: at `place`, where it has the hash of what lies there, else anew. Returns the bytes that are
    /// new.
    fn store(
        &mut self,
        piece: &mut Piece,
        bytes: &[u8],
        known: Option<&crate::repo::crypt::BlockHash>,
        place: Option<(Frame, u32)>,
    ) -> Result<u64> {
        let hash = self.job.secrets.hash(bytes);
        piece.hashes.push(hash);
        if let Some((frame, skip)) = place.filter(|_| known == Some(&hash)) {
            add_block(&mut piece.extents, frame, skip);
            return Ok(0);
        }
        if bytes.len() > FRAME - self.used {
            self.close_frame(Some(piece))?;
        }
        let at = self.used;
        self.frame[at..at + bytes.len()].copy_from_slice(bytes);
        self.keep(piece, at, bytes.len());
        Ok(bytes.len() as u64)
    }
}

impl Pages {
    /// Reads what came through the inspector, a run of neighbours at a time; the piece lies at `offset` of its file.
    fn read(
        path: &str,
        facts: &Facts,
        offset: u64,
        pages: PagesOf,
        chunks: Vec<Bytes>,
        inspector: &dyn Inspector,
    ) -> Result<Self> {
        let PagesOf { size, numbers } = pages;
        let (page, size) = (u64::from(size), size as usize);
        let mut chunks = VecDeque::from(chunks);
        let mut bytes = vec![0; numbers.len() * size];
        let mut rest = &mut bytes[..];
        for run in numbers.chunk_by(|a, b| a + 1 == *b) {
            let (target, behind) = rest.split_at_mut(run.len() * size);
            rest = behind;
            let of_run = take(&mut chunks, target.len());
            let mut contents = inspector.contents(path, facts, offset + u64::from(run[0]) * page, of_run);
            if contents.read(target)? < target.len() {
                return Err(Error::corrupt(format!("the source ended within {path:?}")));
            }
        }
        Ok(Pages { size, numbers, bytes })
    }

    fn all(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.numbers.iter().copied().zip(self.bytes.chunks(self.size))
    }

    /// Returns where the pages in `block` stand among all.
    fn in_block(&self, block: u32) -> Range<usize> {
        let in_block = (BLOCK / self.size) as u64;
        let place = |block: u64| self.numbers.partition_point(|number| u64::from(*number) < block * in_block);
        place(block.into())..place(u64::from(block) + 1)
    }

    /// Puts the pages in `block` where they belong.
    fn put(&self, block: u32, bytes: &mut [u8]) -> Result<()> {
        for place in self.in_block(block) {
            let page = &self.bytes[place * self.size..(place + 1) * self.size];
            let at = (self.numbers[place] as usize % (BLOCK / self.size)) * self.size;
            bytes.get_mut(at..at + self.size).ok_or_else(outside)?.copy_from_slice(page);
        }
        Ok(())
    }
}

fn outside() -> Error {
    Error::corrupt("the source sent a page behind the end of its file")
}

/// Takes `length` bytes from the front.
fn take(chunks: &mut VecDeque<Bytes>, length: usize) -> Vec<Bytes> {
    let (mut taken, mut missing) = (Vec::new(), length);
    while missing > 0
        && let Some(first) = chunks.front_mut()
    {
        let part = first.split_to(missing.min(first.len()));
        missing -= part.len();
        taken.push(part);
        if first.is_empty() {
            chunks.pop_front();
        }
    }
    taken
}

/// Returns the checksum of the same bytes with zeros behind them.
fn with_zeros(crc32c: u32, count: u64) -> u32 {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let (mut zeros, mut left) = (0, usize::try_from(count).expect("a piece fits into memory"));
    let length = left;
    while left > 0 {
        let step = left.min(ZEROS.len());
        zeros = crc32c::crc32c_append(zeros, &ZEROS[..step]);
        left -= step;
    }
    crc32c::crc32c_combine(crc32c, zeros, length)
}
