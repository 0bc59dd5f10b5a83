//! What the workers do, in which order. Pure.
//!
//! Large files come first, the largest first, in pieces of 64 MiB, so that all workers finish together. Small files follow
//! in the order of their paths, so that neighbours share frames and listings of the base are read once.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::engine::{FileList, Item, Kind};
use crate::repo::content::{INLINE, PIECE};
use crate::repo::pack::FRAME;

/// The units of work, handed out one by one.
pub(super) struct Plan {
    pieces: Vec<(u32, u32)>,
    small: Vec<u32>,
    /// Where each group of small files ends.
    ends: Vec<u32>,
    next: AtomicUsize,
    /// Bytes that are read in all.
    pub(super) bytes: u64,
}

/// What a worker takes at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unit<'a> {
    Piece { item: u32, number: u32 },
    Group(&'a [u32]),
}

/// The most files that a worker takes at once.
const GROUP: usize = 256;

impl Plan {
    /// Plans the reading of all files of `files` that `is_read` names.
    pub(super) fn new(files: &FileList, is_read: impl Fn(usize, &Item) -> bool) -> Self {
        let mut large = Vec::new();
        let mut small = Vec::new();
        let mut all = 0;
        for (index, item) in files.items().iter().enumerate() {
            if item.kind != Kind::File || item.size == 0 || !is_read(index, item) {
                continue;
            }
            all += item.size;
            let index = u32::try_from(index).expect("a list has less than 4 billion items");
            if item.size > INLINE { large.push(index) } else { small.push(index) }
        }
        large.sort_by_key(|index| std::cmp::Reverse(files.item(*index as usize).size));
        let mut pieces = Vec::new();
        for item in large {
            let count = files.item(item as usize).size.div_ceil(PIECE);
            pieces.extend((0..count as u32).map(|number| (item, number)));
        }
        let mut ends = Vec::new();
        let (mut bytes, mut count) = (0, 0);
        for (place, item) in small.iter().enumerate() {
            let size = files.item(*item as usize).size;
            if count == GROUP || bytes + size > FRAME as u64 {
                ends.push(place as u32);
                (bytes, count) = (0, 0);
            }
            bytes += size;
            count += 1;
        }
        if count > 0 {
            ends.push(small.len() as u32);
        }
        Plan { pieces, small, ends, next: AtomicUsize::new(0), bytes: all }
    }

    /// Hands out no unit any more.
    pub(super) fn stop(&self) {
        self.next.store(usize::MAX / 2, Ordering::Relaxed);
    }

    /// Returns the next unit that nobody has taken.
    pub(super) fn next(&self) -> Option<Unit<'_>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if let Some((item, number)) = self.pieces.get(number).copied() {
            return Some(Unit::Piece { item, number });
        }
        let group = number - self.pieces.len();
        let end = *self.ends.get(group)?;
        let start = group.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(Unit::Group(&self.small[start as usize..end as usize]))
    }
}
