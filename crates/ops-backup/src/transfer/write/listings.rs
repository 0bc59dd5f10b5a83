//! From what was stored to listings: runs of paths, cut where a hash of the path says so.
//!
//! The cut depends on the path alone, so that a file that comes or goes changes one listing and moves no other.

use std::pin::Pin;

use futures_util::stream::{Stream, StreamExt as _};

use crate::engine::{FileList, Kind, Proof};
use crate::error::{Error, Result};
use crate::repo::content::{Content, Entry, FileEntry, INLINE, Listing, PIECE};
use crate::repo::pack::Pack;
use crate::transfer::write::base::Base;
use crate::transfer::write::collect::{Collector, Stored};
use crate::transfer::write::survey::{Compared, Survey};

/// A path begins a listing where its hash is a multiple of this.
const RUN: u32 = 512;
/// No listing has more entries than this.
const LONGEST: usize = 4 * RUN as usize;

/// Builds listings, one after another.
pub(super) struct Lister {
    listing: Listing,
    proof: Option<Box<dyn Proof>>,
    pub(super) count: u64,
    pub(super) bytes: u64,
}

impl Lister {
    /// Where there is a `proof`, each file must be what it says.
    pub(super) fn new(proof: Option<Box<dyn Proof>>) -> Self {
        Lister { listing: Listing::default(), proof, count: 0, bytes: 0 }
    }

    /// Adds `entry`, which comes behind all others; returns a metadata pack where one is full.
    pub(super) fn push(&mut self, entry: Entry, collector: &mut Collector) -> Result<Option<Pack>> {
        let hash = blake3::hash(entry.path().as_bytes());
        let start = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
        let begins = u32::from_le_bytes(*start).is_multiple_of(RUN);
        let full =
            if begins || self.listing.entries.len() == LONGEST { self.close(collector)? } else { None };
        if let Entry::File(file) = &entry {
            if let Some(proof) = &mut self.proof {
                proof.file(&file.path, file.size, file.crc32c)?;
            }
            self.count += 1;
            self.bytes += file.size;
        }
        self.listing.entries.push(entry);
        Ok(full)
    }

    /// Fails where the proof knows of a file that was not among the entries.
    pub(super) fn end(&mut self) -> Result<()> {
        self.proof.as_mut().map_or(Ok(()), |proof| proof.end())
    }

    pub(super) fn close(&mut self, collector: &mut Collector) -> Result<Option<Pack>> {
        collector.listing(&std::mem::take(&mut self.listing))
    }
}

/// The entries of a list, in order: of what was read, and of what stayed unread.
pub(super) struct Entries<'a> {
    files: &'a FileList,
    survey: &'a Survey,
    before: Before,
}

impl<'a> Entries<'a> {
    /// Where nothing stays what it was in the base, `any_same` is false.
    pub(super) fn new(files: &'a FileList, compared: &'a Compared, any_same: bool) -> Self {
        let before = if any_same || compared.survey.any_unchanged() {
            Before::new(&compared.base)
        } else {
            Before { listings: Box::pin(futures_util::stream::empty()), entries: Vec::new().into_iter() }
        };
        Entries { files, survey: &compared.survey, before }
    }

    /// Returns the entry of item `index`, which is behind all earlier ones; `None` where the file vanished.
    pub(super) async fn get(&mut self, index: usize, collector: &Collector) -> Result<Option<Entry>> {
        let item = self.files.item(index);
        let path = self.files.path(index);
        let (mode, key) = (u32::from(item.mode), index as u32);
        match item.kind {
            Kind::Directory => return Ok(Some(Entry::Directory { path, mode })),
            Kind::Link => {
                let target = self.files.link_target(index).to_owned();
                return Ok(Some(Entry::Link { path, target }));
            }
            Kind::File => {}
        }
        if self.survey.is_unchanged(index) || collector.same.contains(&key) {
            let before = self.before.find(&path).await?;
            return Ok(Some(Entry::File(FileEntry { mode, modified: item.modified, ..before })));
        }
        if collector.vanished.contains(&key) {
            return Ok(None);
        }
        let (size, crc32c, content) = if item.size > INLINE {
            let Some(pieces) = collector.large.get(&key) else { return Ok(None) };
            joined(pieces.values())
        } else {
            let piece = collector.small.get(key).unwrap_or_default();
            (piece.length, piece.crc32c, Content::Inline(piece))
        };
        let modified = item.modified;
        Ok(Some(Entry::File(FileEntry { path, mode, modified, size, crc32c, content })))
    }
}

/// The entries of the base, in order.
struct Before {
    listings: Pin<Box<dyn Stream<Item = Vec<Entry>> + Send>>,
    entries: std::vec::IntoIter<Entry>,
}

impl Before {
    fn new(base: &Base) -> Self {
        Before { listings: Box::pin(base.entries()), entries: Vec::new().into_iter() }
    }

    /// The survey has read this entry, so it is gone only where the repository was damaged meanwhile.
    async fn find(&mut self, path: &str) -> Result<FileEntry> {
        loop {
            match self.entries.next() {
                Some(Entry::File(file)) if file.path == path => return Ok(file),
                Some(_) => {}
                None => match self.listings.next().await {
                    Some(entries) => self.entries = entries.into_iter(),
                    None => {
                        let message = format!("the base backup had {path:?}, and has it no more");
                        return Err(Error::corrupt(message));
                    }
                },
            }
        }
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
