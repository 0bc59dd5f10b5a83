//! What a batch of packs must hold: collected from the listings and pieces of all backups that refer to it.

use std::collections::{HashMap, HashSet};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::report::{Findings, is_damage};
use super::{Run, Subject};
use crate::error::Result;
use crate::repo::content::{Content, Entry, Listing, Piece};
use crate::repo::crypt::BlockHash;
use crate::repo::pack::{Frame, FrameRef, PackId};

/// How many listings or pieces are asked for at once.
const AHEAD: usize = 4;

/// The most places that are kept at once: of more, packs are left for a later batch. One place takes 40 bytes, twice that
/// while there come more.
const PLACES: usize = if cfg!(test) { 8 } else { 512 << 10 };

/// Bytes in a frame and the hash that some backup expects of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) stored: u32,
    pub(super) raw: u32,
    pub(super) skip: u32,
    pub(super) length: u32,
    pub(super) hash: [u8; 16],
}

/// The places of one pack, each once.
#[derive(Debug, Default)]
pub(super) struct Places {
    all: Vec<Place>,
    unique: usize,
}

impl Places {
    /// Returns how many more there are now.
    fn add(&mut self, frame: &Frame, skip: u32, length: u32, hash: BlockHash) -> isize {
        let before = self.all.len();
        let Frame { offset, stored, raw, .. } = *frame;
        self.all.push(Place { offset, stored, raw, skip, length, hash: hash.0 });
        // Many backups refer to the same places: without this each would be kept for each of them.
        if self.all.len() > 2 * self.unique + 1024 {
            self.settle();
        }
        self.all.len().cast_signed() - before.cast_signed()
    }

    fn settle(&mut self) {
        self.all.sort_unstable();
        self.all.dedup();
        self.unique = self.all.len();
    }

    pub(super) fn into_sorted(mut self) -> Vec<Place> {
        self.settle();
        self.all
    }
}

pub(super) struct Gathered {
    /// Of the first packs of the batch, as many as there was room for: at least one.
    pub(super) places: HashMap<PackId, Places>,
}

/// Collects what all backups expect of the packs in `batch`.
pub(super) async fn gather(run: &Run<'_>, batch: &[PackId], findings: &mut Findings) -> Result<Gathered> {
    let mut gathering = Gathering {
        places: batch.iter().map(|pack| (*pack, Places::default())).collect(),
        order: batch.to_vec(),
        count: 0,
        seen: HashSet::new(),
    };
    for subject in &run.subjects {
        gathering.subject(run, subject, findings).await?;
    }
    Ok(Gathered { places: gathering.places })
}

struct Gathering {
    places: HashMap<PackId, Places>,
    /// The packs of `places`, in the order of the batch.
    order: Vec<PackId>,
    /// All places.
    count: usize,
    /// Listings and pieces that were gathered: equal ones are shared by many backups.
    seen: HashSet<(PackId, u64)>,
}

impl Gathering {
    async fn subject(&mut self, run: &Run<'_>, subject: &Subject, findings: &mut Findings) -> Result<()> {
        let Some(manifest) = &subject.manifest else { return Ok(()) };
        let mut wanted = Vec::new();
        for listing in &manifest.listings {
            self.whole(&listing.frame);
            if self.concerns(&listing.uses) && self.is_new(&listing.frame) {
                wanted.push(listing.frame);
            }
        }
        let mut listings = stream::iter(wanted)
            .map(|frame| async move { (frame, run.repository.read_listing(frame, &run.packs).await) })
            .buffered(AHEAD);
        while let Some((frame, listing)) = listings.next().await {
            let object = run.packs.get(frame.frame.pack).path().to_string();
            let users = users(run, &frame, &listing);
            let Some(listing) = findings.keep(listing, &object, &users)? else { continue };
            self.listing(run, &listing, findings).await?;
            self.shed(PLACES);
        }
        Ok(())
    }

    /// Gives up the last packs until there are no more than `most` places; the first pack stays.
    fn shed(&mut self, most: usize) {
        while self.count > most && self.order.len() > 1 {
            let places = self.order.pop().and_then(|last| self.places.remove(&last));
            self.count -= places.map_or(0, |places| places.all.len());
        }
    }

    async fn listing(&mut self, run: &Run<'_>, listing: &Listing, findings: &mut Findings) -> Result<()> {
        let mut wanted = Vec::new();
        for entry in &listing.entries {
            let Entry::File(file) = entry else { continue };
            match &file.content {
                Content::Inline(piece) => self.piece(piece),
                Content::Pieces(pieces) => {
                    for piece in pieces {
                        self.whole(&piece.frame);
                        if self.concerns(&piece.uses) && self.is_new(&piece.frame) {
                            wanted.push(piece.frame);
                        }
                    }
                }
            }
        }
        let pieces: Vec<(FrameRef, Result<Piece>)> = stream::iter(wanted)
            .map(|frame| async move {
                match run.repository.read_piece(frame, &run.packs).await {
                    Err(error) if !is_damage(&error) => Err(error),
                    result => Ok((frame, result)),
                }
            })
            .buffered(AHEAD)
            .try_collect()
            .await?;
        for (frame, piece) in pieces {
            let object = run.packs.get(frame.frame.pack).path().to_string();
            let users = users(run, &frame, &piece);
            if let Some(piece) = findings.keep(piece, &object, &users)? {
                self.piece(&piece);
            }
        }
        Ok(())
    }

    fn concerns(&self, uses: &[(PackId, u64)]) -> bool {
        uses.iter().any(|(pack, _)| self.places.contains_key(pack))
    }

    fn is_new(&mut self, frame: &FrameRef) -> bool {
        self.seen.insert((frame.frame.pack, frame.frame.offset))
    }

    fn whole(&mut self, reference: &FrameRef) {
        if let Some(places) = self.places.get_mut(&reference.frame.pack) {
            let more = places.add(&reference.frame, 0, reference.frame.raw, reference.hash);
            self.count = self.count.saturating_add_signed(more);
        }
    }

    fn piece(&mut self, piece: &Piece) {
        let mut hashes = piece.hashes.iter();
        for (_, bytes, extent) in piece.places() {
            let hashes = hashes.by_ref().take(extent.blocks as usize);
            let Some(places) = self.places.get_mut(&extent.frame.pack) else {
                hashes.for_each(drop);
                continue;
            };
            let mut skip = extent.skip;
            let mut left = bytes;
            for hash in hashes {
                let length = u32::try_from(left.min(crate::repo::content::BLOCK as u64)).expect("16 KiB");
                let more = places.add(&extent.frame, skip, length, *hash);
                self.count = self.count.saturating_add_signed(more);
                skip += length;
                left -= u64::from(length);
            }
        }
    }
}

/// The backups that miss what could not be read; looking for them takes long, and matters only then.
fn users<T>(run: &Run<'_>, frame: &FrameRef, read: &Result<T>) -> Vec<String> {
    if read.is_err() { run.users(frame.frame.pack) } else { Vec::new() }
}
