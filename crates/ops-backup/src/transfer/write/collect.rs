//! What the workers have stored, by file; and the metadata packs that pieces and listings go into.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::engine::FileList;
use crate::error::Result;
use crate::repo::content::{
    Content, Entry, FileEntry, INLINE, Listing, ListingRef, Part, PartListing, PartPiece, PieceRef,
};
use crate::repo::crypt::{BlockHash, Secrets};
use crate::repo::pack::{Frame, FrameRef, Pack, PackId, PackTable, Packer, Placed};
use crate::transfer::write::base::Base;
use crate::transfer::write::join::Joining;
use crate::transfer::write::outcome::Outcome;
use crate::transfer::write::small::SmallPieces;
use crate::transfer::write::worker::Done;

/// What is known of the files that were read. Everything in it is durable, or lies in the open metadata pack.
pub(super) struct Collector {
    secrets: Secrets,
    packs: PackTable,
    packer: Packer,
    /// The listings of the base that can be referred to, by their content.
    known: HashMap<BlockHash, ListingRef>,
    /// Frames of the open metadata pack, with what they hold.
    waiting: Vec<(Placed, BlockHash, Framed)>,
    /// The pieces of each large file by their number.
    pub(super) large: HashMap<u32, BTreeMap<u32, Stored>>,
    pub(super) small: SmallPieces,
    /// Pieces of which only some spans are durable.
    joining: Joining,
    pub(super) vanished: HashSet<u32>,
    /// Files that are those of the base.
    pub(super) same: HashSet<u32>,
    pub(super) listings: Vec<ListingRef>,
    pub(super) new_bytes: u64,
    /// What no part has yet: pieces and small files that hold new blocks.
    new_pieces: Vec<(u32, u32)>,
    new_small: Vec<u32>,
    new_listings: Vec<PartListing>,
}

/// A piece of a large file.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) length: u64,
    pub(super) crc32c: u32,
    pub(super) reference: PieceRef,
}

enum Framed {
    Piece { item: u32, number: u32, length: u64, crc32c: u32, uses: Vec<(PackId, u64)> },
    Listing { first: String, uses: Vec<(PackId, u64)> },
    PartListing { first: String, last: String, uses: Vec<(PackId, u64)> },
}

/// Entries in one listing of a part.
const PART_RUN: usize = 1024;

impl Collector {
    pub(super) fn new(secrets: Secrets, packs: PackTable, packer: Packer) -> Self {
        Collector {
            secrets,
            packs,
            packer,
            known: HashMap::new(),
            waiting: Vec::new(),
            large: HashMap::new(),
            small: SmallPieces::default(),
            joining: Joining::default(),
            vanished: HashSet::new(),
            same: HashSet::new(),
            listings: Vec::new(),
            new_bytes: 0,
            new_pieces: Vec::new(),
            new_small: Vec::new(),
            new_listings: Vec::new(),
        }
    }

    /// Learns which listings need not be stored again.
    pub(super) fn know(&mut self, base: &Base) {
        let usable = base.listings().iter().filter(|listing| base.is_usable(listing.frame.frame.pack));
        self.known = usable.map(|listing| (listing.frame.hash, listing.clone())).collect();
    }

    /// Adds what has become durable; returns metadata packs that are full.
    pub(super) fn add(&mut self, done: Vec<Done>, files: &FileList) -> Result<Vec<Pack>> {
        let mut full = Vec::new();
        for Done { item, number, span, outcome } in done {
            let outcome = match (span, outcome) {
                (Some(place), Outcome::New(span, new)) => match self.joining.add(&place, span, new) {
                    Some(whole) => whole,
                    None => continue,
                },
                (_, outcome) => outcome,
            };
            match outcome {
                Outcome::Vanished => _ = self.vanished.insert(item),
                Outcome::Same => _ = self.same.insert(item),
                Outcome::Known { reference, length, crc32c } => {
                    self.large.entry(item).or_default().insert(number, Stored { length, crc32c, reference });
                }
                Outcome::New(piece, new) if files.item(item as usize).size > INLINE => {
                    self.new_bytes += new;
                    if new > 0 {
                        self.new_pieces.push((item, number));
                    }
                    let (length, crc32c, uses) = (piece.length, piece.crc32c, piece.uses());
                    let content = Framed::Piece { item, number, length, crc32c, uses };
                    full.extend(self.frame(&piece.encode(&self.packs), content)?);
                }
                Outcome::New(piece, new) => {
                    self.new_bytes += new;
                    if new > 0 {
                        self.new_small.push(item);
                    }
                    self.small.insert(item, &piece);
                }
            }
        }
        Ok(full)
    }

    /// Adds a listing, which comes behind all others, or refers to one that is equal.
    pub(super) fn listing(&mut self, listing: &Listing) -> Result<Option<Pack>> {
        let Some(first) = listing.entries.first().map(|entry| entry.path().to_owned()) else {
            return Ok(None);
        };
        let bytes = listing.encode(&self.packs);
        if let Some(known) = self.known.remove(&self.secrets.hash(&bytes)) {
            self.listings.push(known);
            return Ok(None);
        }
        self.frame(&bytes, Framed::Listing { first, uses: listing.uses() })
    }

    /// Stores bytes that a listing will place, and closes the pack so that it can.
    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<(Frame, Option<Pack>)> {
        let placed = self.packer.add(bytes)?;
        let pack = self.close();
        let id = pack.as_ref().map(|pack| self.packs.intern(pack.reference.clone()));
        Ok((placed.in_pack(id.expect("a frame was added")), pack))
    }

    fn frame(&mut self, bytes: &[u8], content: Framed) -> Result<Option<Pack>> {
        let placed = self.packer.add(bytes)?;
        self.waiting.push((placed, self.secrets.hash(bytes), content));
        Ok(if self.packer.is_full() { self.close() } else { None })
    }

    /// Closes the open metadata pack; where what is in it lies is known from here on.
    pub(super) fn close(&mut self) -> Option<Pack> {
        let pack = self.packer.take()?;
        let id = self.packs.intern(pack.reference.clone());
        for (placed, hash, content) in self.waiting.drain(..) {
            let frame = FrameRef { frame: placed.in_pack(id), hash };
            match content {
                Framed::Piece { item, number, length, crc32c, uses } => {
                    let stored = Stored { length, crc32c, reference: PieceRef { frame, uses } };
                    self.large.entry(item).or_default().insert(number, stored);
                }
                Framed::Listing { first, uses } => self.listings.push(ListingRef { first, frame, uses }),
                Framed::PartListing { first, last, uses } => {
                    let listing = ListingRef { first, frame, uses };
                    self.new_listings.push(PartListing { listing, last });
                }
            }
        }
        Some(pack)
    }

    /// Puts the small files that no part has yet into listings for the next; returns metadata packs, the last one not full.
    pub(super) fn close_for_part(&mut self, files: &FileList) -> Result<Vec<Pack>> {
        let mut small = std::mem::take(&mut self.new_small);
        small.sort_unstable_by(|a, b| files.compare_items(*a, *b));
        let mut packs = Vec::new();
        for run in small.chunks(PART_RUN) {
            let entries = run.iter().filter_map(|item| {
                let piece = self.small.get(*item)?;
                let facts = files.item(*item as usize);
                Some(Entry::File(FileEntry {
                    path: files.path(*item as usize),
                    mode: facts.mode.into(),
                    modified: facts.modified,
                    size: piece.length,
                    crc32c: piece.crc32c,
                    content: Content::Inline(piece),
                }))
            });
            let listing = Listing { entries: entries.collect() };
            let path = |entry: Option<&Entry>| entry.map_or(String::new(), |entry| entry.path().to_owned());
            let (first, last) = (path(listing.entries.first()), path(listing.entries.last()));
            let content = Framed::PartListing { first, last, uses: listing.uses() };
            packs.extend(self.frame(&listing.encode(&self.packs), content)?);
        }
        packs.extend(self.close());
        Ok(packs)
    }

    /// Returns what has become durable since the part before; `None` where there is nothing new.
    pub(super) fn part(&mut self, files: &FileList) -> Option<Part> {
        let pieces = self.new_pieces.drain(..).filter_map(|(item, number)| {
            let reference = self.large.get(&item)?.get(&number)?.reference.clone();
            Some(PartPiece { path: files.path(item as usize), number, reference })
        });
        let part = Part { pieces: pieces.collect(), listings: std::mem::take(&mut self.new_listings) };
        (part != Part::default()).then_some(part)
    }
}
