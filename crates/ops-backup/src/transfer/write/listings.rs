//! From what was stored to listings: runs of paths, cut where a hash of the path says so.
//!
//! The cut depends on the path alone, so that a file that comes or goes changes one listing and moves no other.

use crate::engine::{FileList, Kind};
use crate::error::Result;
use crate::repo::content::{Content, Entry, FileEntry, INLINE, Listing, PIECE};
use crate::repo::pack::{Pack, PackTable};
use crate::transfer::write::collect::{Collector, Stored};

/// A path begins a listing where its hash is a multiple of this.
const RUN: u32 = 512;
/// No listing has more entries than this.
const LONGEST: usize = 4 * RUN as usize;

/// Builds listings, one after another.
pub(super) struct Lister<'a> {
    files: &'a FileList,
    packs: &'a PackTable,
    listing: Listing,
    pub(super) count: u64,
    pub(super) bytes: u64,
}

impl<'a> Lister<'a> {
    pub(super) fn new(files: &'a FileList, packs: &'a PackTable) -> Self {
        Lister { files, packs, listing: Listing::default(), count: 0, bytes: 0 }
    }

    /// Returns the entry of item `index`; `None` where the file vanished.
    pub(super) fn entry(&self, index: usize, collector: &Collector) -> Option<Entry> {
        let item = self.files.item(index);
        let path = self.files.path(index);
        let (mode, key) = (u32::from(item.mode), index as u32);
        match item.kind {
            Kind::Directory => return Some(Entry::Directory { path, mode }),
            Kind::Link => {
                return Some(Entry::Link { path, target: self.files.link_target(index).to_owned() });
            }
            Kind::File => {}
        }
        if collector.vanished.contains(&key) {
            return None;
        }
        let (size, crc32c, content) = if item.size > INLINE {
            joined(collector.large.get(&key)?.values())
        } else {
            let piece = collector.small.get(&key).cloned().unwrap_or_default();
            (piece.length, piece.crc32c, Content::Inline(piece))
        };
        Some(Entry::File(FileEntry { path, mode, modified: item.modified, size, crc32c, content }))
    }

    /// Adds `entry`, which comes behind all others; returns a metadata pack where one is full.
    pub(super) fn push(&mut self, entry: Entry, collector: &mut Collector) -> Result<Option<Pack>> {
        let begins = u32::from_le_bytes(
            blake3::hash(entry.path().as_bytes()).as_bytes()[..4].try_into().expect("four bytes"),
        ) % RUN
            == 0;
        let mut full = None;
        if begins || self.listing.entries.len() == LONGEST {
            full = self.close(collector)?;
        }
        if let Entry::File(file) = &entry {
            self.count += 1;
            self.bytes += file.size;
        }
        self.listing.entries.push(entry);
        Ok(full)
    }

    pub(super) fn close(&mut self, collector: &mut Collector) -> Result<Option<Pack>> {
        let listing = std::mem::take(&mut self.listing);
        let Some(first) = listing.entries.first() else { return Ok(None) };
        collector.listing(first.path().to_owned(), &listing.encode(self.packs), listing.uses())
    }
}

/// Joins the pieces of a file; one that is short is the last, whatever follows.
fn joined<'a>(pieces: impl Iterator<Item = &'a Stored>) -> (u64, u32, Content) {
    let (mut size, mut crc32c, mut references) = (0, 0, Vec::new());
    for piece in pieces {
        if piece.length == 0 {
            break;
        }
        let length = usize::try_from(piece.length).expect("a piece fits into memory");
        crc32c = crc32c::crc32c_combine(crc32c, piece.crc32c, length);
        size += piece.length;
        references.push(piece.reference.clone());
        if piece.length < PIECE {
            break;
        }
    }
    (size, crc32c, Content::Pieces(references))
}
