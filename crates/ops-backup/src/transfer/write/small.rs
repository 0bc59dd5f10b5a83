//! The content of small files, end to end in one buffer: a million of them must not take much memory.
//!
//! As a [`Piece`] each would take some two hundred bytes, most of them for allocations and for frames that it shares with
//! its neighbours. Here it takes forty.

use std::collections::HashMap;

use crate::repo::content::{Extent, Piece};
use crate::repo::crypt::BlockHash;
use crate::repo::pack::Frame;

/// The pieces of small files, by the item of each.
#[derive(Debug, Default)]
pub(super) struct SmallPieces {
    /// Where the piece of an item ends in `bytes`; zero where there is none.
    ends: Vec<u64>,
    /// Each piece in fields of fixed size, its own length last, so that it is found by its end.
    bytes: Vec<u8>,
    /// Each frame once: small files that are neighbours lie in the same one.
    frames: Vec<Frame>,
    numbers: HashMap<Frame, u32>,
}

impl SmallPieces {
    /// Keeps the piece of `item`, in the place of an earlier one.
    pub(super) fn insert(&mut self, item: u32, piece: &Piece) {
        const SMALL: &str = "a small file has few blocks";
        let start = self.bytes.len();
        self.put(u32::try_from(piece.length).expect(SMALL));
        self.put(piece.crc32c);
        self.put(u32::try_from(piece.extents.len()).expect(SMALL));
        for Extent { frame, skip, blocks } in &piece.extents {
            let number = self.number(*frame);
            self.put(number);
            self.put(*skip);
            self.put(*blocks);
        }
        for hash in &piece.hashes {
            self.bytes.extend_from_slice(&hash.0);
        }
        self.put(u32::try_from(self.bytes.len() - start).expect(SMALL));
        let item = item as usize;
        if self.ends.len() <= item {
            self.ends.resize(item + 1, 0);
        }
        self.ends[item] = self.bytes.len() as u64;
    }

    /// Returns the piece of `item`.
    pub(super) fn get(&self, item: u32) -> Option<Piece> {
        let end = self.ends.get(item as usize).copied().filter(|end| *end > 0)?;
        let end = usize::try_from(end).expect("an end in memory");
        let (before, length) = self.bytes[..end].split_last_chunk().expect("a piece ends with its length");
        let mut rest = &before[before.len() - u32::from_le_bytes(*length) as usize..];
        let mut next = || {
            let (value, behind) = rest.split_first_chunk().expect("a piece as it was put");
            rest = behind;
            u32::from_le_bytes(*value)
        };
        let (length, crc32c, count) = (next().into(), next(), next());
        let extents = (0..count).map(|_| {
            let (frame, skip, blocks) = (next(), next(), next());
            Extent { frame: self.frames[frame as usize], skip, blocks }
        });
        let extents = extents.collect();
        let hashes = rest.as_chunks().0.iter().copied().map(BlockHash).collect();
        Some(Piece { length, crc32c, extents, hashes })
    }

    fn put(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn number(&mut self, frame: Frame) -> u32 {
        *self.numbers.entry(frame).or_insert_with(|| {
            self.frames.push(frame);
            u32::try_from(self.frames.len() - 1).expect("less than 4 billion frames")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::pack::PackId;

    #[test]
    fn pieces_come_back_as_they_were() {
        let frame = |offset| Frame { pack: PackId(7), offset, stored: 100, raw: 1 << 20 };
        let extent = |offset, skip, blocks| Extent { frame: frame(offset), skip, blocks };
        let piece = |length, extents: &[Extent], blocks: u8| Piece {
            length,
            crc32c: length as u32 ^ 0xABCD,
            extents: extents.to_vec(),
            hashes: (0..blocks).map(|block| BlockHash([block ^ length as u8; 16])).collect(),
        };
        let pieces = [
            (3, piece(20, &[extent(1 << 40, 5, 1)], 1)),
            (0, piece(0, &[], 0)),
            (9, piece(200_000, &[extent(9, 0, 4), extent(1 << 40, 16384, 9)], 13)),
        ];
        let mut small = SmallPieces::default();
        small.insert(3, &piece(77, &[extent(1, 2, 1)], 1));
        for (item, piece) in &pieces {
            small.insert(*item, piece);
        }
        for (item, piece) in pieces {
            assert_eq!(small.get(item), Some(piece), "{item}");
        }
        for absent in [1, 4, 10, u32::MAX] {
            assert_eq!(small.get(absent), None, "{absent}");
        }
        assert_eq!(small.frames.len(), 3, "a frame is kept once");
    }
}
