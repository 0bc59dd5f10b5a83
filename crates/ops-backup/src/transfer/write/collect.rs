//! What the workers have stored, by file; and the metadata packs that pieces and listings go into.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::error::Result;
use crate::repo::content::{ListingRef, Piece, PieceRef};
use crate::repo::crypt::{BlockHash, Secrets};
use crate::repo::pack::{Frame, FrameRef, Pack, PackId, PackTable, Packer, Placed};
use crate::transfer::write::worker::{Done, Outcome};

/// What is known of the files that were read.
pub(super) struct Collector {
    secrets: Secrets,
    packs: PackTable,
    packer: Packer,
    /// Frames of the open metadata pack, with what they hold.
    waiting: Vec<(Placed, BlockHash, Content)>,
    /// The pieces of each large file by their number; the length of each comes with it.
    pub(super) large: HashMap<u32, BTreeMap<u32, Stored>>,
    pub(super) small: HashMap<u32, Piece>,
    pub(super) vanished: HashSet<u32>,
    pub(super) listings: Vec<ListingRef>,
    pub(super) new_bytes: u64,
}

/// A piece of a large file.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) length: u64,
    pub(super) crc32c: u32,
    pub(super) reference: PieceRef,
}

enum Content {
    Piece { item: u32, number: u32, length: u64, crc32c: u32, uses: Vec<(PackId, u64)> },
    Listing { first: String, uses: Vec<(PackId, u64)> },
}

impl Collector {
    pub(super) fn new(secrets: Secrets, packs: PackTable, packer: Packer) -> Self {
        Collector {
            secrets,
            packs,
            packer,
            waiting: Vec::new(),
            large: HashMap::new(),
            small: HashMap::new(),
            vanished: HashSet::new(),
            listings: Vec::new(),
            new_bytes: 0,
        }
    }

    /// Adds what has become known; returns a metadata pack where one is full.
    pub(super) fn add(&mut self, done: Vec<Done>, is_large: impl Fn(u32) -> bool) -> Result<Vec<Pack>> {
        let mut full = Vec::new();
        for Done { item, number, outcome } in done {
            match outcome {
                Outcome::Vanished => _ = self.vanished.insert(item),
                Outcome::New(piece, new) if is_large(item) => {
                    self.new_bytes += new;
                    let content = Content::Piece {
                        item,
                        number,
                        length: piece.length,
                        crc32c: piece.crc32c,
                        uses: piece.uses(),
                    };
                    let bytes = piece.encode(&self.packs);
                    full.extend(self.frame(&bytes, content)?);
                }
                Outcome::New(piece, new) => {
                    self.new_bytes += new;
                    self.small.insert(item, piece);
                }
                Outcome::Unchanged(reference) => drop(reference),
            }
        }
        Ok(full)
    }

    /// Adds a listing with what it uses.
    pub(super) fn listing(
        &mut self,
        first: String,
        bytes: &[u8],
        uses: Vec<(PackId, u64)>,
    ) -> Result<Option<Pack>> {
        self.frame(bytes, Content::Listing { first, uses })
    }

    /// Stores bytes that a listing will place, and closes the pack so that it can.
    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<(Frame, Option<Pack>)> {
        let placed = self.packer.add(bytes)?;
        let pack = self.close();
        let id = pack.as_ref().map(|pack| self.packs.intern(pack.reference.clone()));
        Ok((placed.in_pack(id.expect("a frame was added")), pack))
    }

    fn frame(&mut self, bytes: &[u8], content: Content) -> Result<Option<Pack>> {
        let placed = self.packer.add(bytes)?;
        self.waiting.push((placed, self.secrets.hash(bytes), content));
        Ok(if self.packer.is_full() { self.close() } else { None })
    }

    /// Closes the open metadata pack; what lies in it is known from here on.
    pub(super) fn close(&mut self) -> Option<Pack> {
        let pack = self.packer.take()?;
        let id = self.packs.intern(pack.reference.clone());
        for (placed, hash, content) in self.waiting.drain(..) {
            let frame = FrameRef { frame: placed.in_pack(id), hash };
            match content {
                Content::Piece { item, number, length, crc32c, uses } => {
                    let stored = Stored { length, crc32c, reference: PieceRef { frame, uses } };
                    self.large.entry(item).or_default().insert(number, stored);
                }
                Content::Listing { first, uses } => self.listings.push(ListingRef { first, frame, uses }),
            }
        }
        Some(pack)
    }
}
