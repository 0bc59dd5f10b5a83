//! What a backup can refer to: the newest backup of the source, and the parts of jobs that were abandoned since.
//!
//! A base is a help, never a need: what of it cannot be read is stored anew. Packs that the repository no longer has, or has
//! in another size, are known before anything is referred to: else each backup would hand the loss on to the next.
//!
//! Packs of which the base uses little are not referred to: their blocks are stored anew, so that the packs die.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use tokio::runtime::Handle;

use crate::error::{Error, ErrorKind, Result};
use crate::repo::Repository;
use crate::repo::catalog::Backup;
use crate::repo::content::{
    BLOCK, Content, Entry, FileEntry, Listing, ListingRef, Manifest, PartListing, Piece, PieceRef,
};
use crate::repo::crypt::BlockHash;
use crate::repo::pack::{Frame, FrameRef, PackId, PackTable};
use crate::transfer::write::outcome::Outcome;

/// A pack is not referred to where less than one in so many of its bytes is used.
const SPARSE: u64 = 4;
/// Listings that are read ahead.
const AHEAD: usize = 4;
/// Jobs whose packs are listed at once.
const LISTS: usize = 4;

/// The bases of one backup.
pub(crate) struct Base {
    pub(super) repository: Repository,
    pub(super) packs: PackTable,
    listings: Vec<ListingRef>,
    /// Pieces of large files by path and number.
    part_pieces: HashMap<String, BTreeMap<u32, Vec<PieceRef>>>,
    /// Listings of small files, those of the newest job first.
    part_listings: Vec<PartListing>,
    usable: HashSet<PackId>,
    is_whole: bool,
}

impl Base {
    /// Opens the backup `committed` and the parts of the jobs `abandoned`, the newest first.
    ///
    /// # Errors
    /// The store's, where it does not tell which packs it has.
    #[tracing::instrument(name = "base", skip_all)]
    pub(crate) async fn open(
        repository: &Repository,
        packs: &PackTable,
        committed: Option<&Backup>,
        abandoned: &[String],
    ) -> Result<Self> {
        let mut base = Base {
            repository: repository.clone(),
            packs: packs.clone(),
            listings: Vec::new(),
            part_pieces: HashMap::new(),
            part_listings: Vec::new(),
            usable: HashSet::new(),
            is_whole: true,
        };
        let mut named = HashSet::new();
        if let Some(backup) = committed {
            match repository.read_manifest(&backup.id, Some(&backup.manifest), packs).await {
                Ok(manifest) => {
                    named.extend(manifest.packs().into_iter().map(|used| used.pack));
                    base.add_manifest(manifest);
                }
                Err(error) => {
                    tracing::warn!(base = backup.id, %error, "the base cannot be read; all is stored anew");
                }
            }
        }
        for job in abandoned {
            if let Err(error) = base.add_parts(job).await {
                tracing::warn!(job, %error, "what an abandoned job has stored cannot all be used");
            }
        }
        named.extend(base.usable.iter().copied());
        base.leave_out_lost(named).await?;
        Ok(base)
    }

    /// Refers to none of these packs that the repository has lost.
    async fn leave_out_lost(&mut self, packs: HashSet<PackId>) -> Result<()> {
        let mut lost = HashMap::new();
        let mut owners = BTreeSet::new();
        for id in packs {
            let pack = self.packs.get(id);
            lost.insert(pack.path(), (id, pack.size));
            owners.insert(pack.backup.clone());
        }
        let lists = stream::iter(owners).map(|owner| self.repository.packs_of(&owner));
        let mut found = lists.flatten_unordered(LISTS);
        while let Some(object) = found.try_next().await? {
            if lost.get(&object.location).is_some_and(|(_, size)| *size == object.size) {
                lost.remove(&object.location);
            }
        }
        drop(found);
        let Some(example) = lost.keys().min() else { return Ok(()) };
        tracing::warn!(
            packs = lost.len(),
            %example,
            "the repository has lost packs of the base; what they held is stored anew, and `verify` says what else needs them"
        );
        self.is_whole = false;
        for (pack, _) in lost.values() {
            self.usable.remove(pack);
        }
        Ok(())
    }

    /// Whether the repository has every pack that the bases name.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn add_manifest(&mut self, manifest: Manifest) {
        let is_dense = |pack, used: u64| used.saturating_mul(SPARSE) >= self.packs.get(pack).raw;
        let dense = manifest.packs().into_iter().filter(|used| is_dense(used.pack, used.used));
        self.usable.extend(dense.map(|used| used.pack));
        self.listings = manifest.listings;
    }

    async fn add_parts(&mut self, job: &str) -> Result<()> {
        for number in 0.. {
            let Some(part) = self.repository.read_part(job, number, &self.packs).await? else { break };
            let pieces =
                part.pieces.iter().map(|piece| &piece.reference).map(|piece| (&piece.frame, &piece.uses));
            let listings = part.listings.iter().map(|part| (&part.listing.frame, &part.listing.uses));
            for (frame, uses) in pieces.chain(listings) {
                for pack in uses.iter().map(|(pack, _)| *pack).chain([frame.frame.pack]) {
                    // What the job built on itself may be gone; what it wrote is there.
                    if self.packs.get(pack).backup == job {
                        self.usable.insert(pack);
                    }
                }
            }
            for piece in part.pieces {
                let numbers = self.part_pieces.entry(piece.path).or_default();
                numbers.entry(piece.number).or_default().push(piece.reference);
            }
            self.part_listings.extend(part.listings);
        }
        Ok(())
    }

    pub(super) fn is_usable(&self, pack: PackId) -> bool {
        self.usable.contains(&pack)
    }

    pub(super) fn are_usable(&self, uses: &[(PackId, u64)]) -> bool {
        uses.iter().all(|(pack, _)| self.is_usable(*pack))
    }

    /// Whether `reference` and all that it leads to can be referred to.
    pub(super) fn is_piece_usable(&self, reference: &PieceRef) -> bool {
        self.is_usable(reference.frame.frame.pack) && self.are_usable(&reference.uses)
    }

    /// Whether all of `file` can be referred to.
    pub(super) fn is_file_usable(&self, file: &FileEntry) -> bool {
        match &file.content {
            Content::Inline(piece) => self.are_usable(&piece.uses()),
            Content::Pieces(pieces) => pieces.iter().all(|piece| self.is_piece_usable(piece)),
        }
    }

    /// Returns the listings of the backup, in order, for referring to those that are equal.
    pub(super) fn listings(&self) -> &[ListingRef] {
        &self.listings
    }

    /// Reads the entries of the backup, a listing at a time, in the order of paths. One that cannot be read is empty.
    pub(super) fn entries(&self) -> impl Stream<Item = Vec<Entry>> + Send + use<> {
        let frames: Vec<FrameRef> = self.listings.iter().map(|listing| listing.frame).collect();
        let (repository, packs) = (self.repository.clone(), self.packs.clone());
        stream::iter(frames)
            .map(move |frame| {
                let (repository, packs) = (repository.clone(), packs.clone());
                async move { readable(repository.read_listing(frame, &packs).await).unwrap_or_default().entries }
            })
            .buffered(AHEAD)
    }

    /// Returns the pieces that the abandoned jobs stored of piece `number` of the file at `path`.
    pub(super) fn part_pieces(&self, path: &str, number: u32) -> &[PieceRef] {
        self.part_pieces.get(path).and_then(|numbers| numbers.get(&number)).map_or(&[], Vec::as_slice)
    }
}

/// What of a base cannot be read is no part of it.
fn readable<T>(result: Result<T>) -> Option<T> {
    result
        .map_err(|error| tracing::warn!(%error, "a part of the base cannot be read; it is stored anew"))
        .ok()
}

/// What a backup needs of its base is missing or damaged there.
#[derive(Debug)]
struct BaseLost(Error);

impl std::fmt::Display for BaseLost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for BaseLost {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// Whether a backup failed because its base does not have what it needs: one that reads everything does not need it.
pub(crate) fn is_base_lost(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<BaseLost>())
}

/// Marks what says that the base is missing or damaged; a store that does not answer says nothing about it.
pub(super) fn lost(path: &str, error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::Corrupt => {
            let message = format!("the base does not have what changes of {path:?} are added to");
            Error::new(error.kind(), message).with_source(BaseLost(error))
        }
        _ => error,
    }
}

/// One worker's way into the base, with the listings that it has read last. Calls block.
pub(super) struct Lookup {
    base: Arc<Base>,
    runtime: Handle,
    /// Listings of the backup, then those of the parts, by their number; the one that was used last comes last.
    read: Vec<(usize, Listing)>,
}

/// Two for the backup and a few for the parts that overlap it; and where files come in no order, those of a directory.
const KEPT: usize = 16;

impl Lookup {
    pub(super) fn new(base: Arc<Base>, runtime: Handle) -> Self {
        Lookup { base, runtime, read: Vec::new() }
    }

    /// Returns the content of the small file at `path`, in the parts and in the backup.
    pub(super) fn small(&mut self, path: &str) -> Vec<Piece> {
        let base = Arc::clone(&self.base);
        let in_parts = base.part_listings.iter().enumerate().filter_map(|(number, part)| {
            let holds = part.listing.first.as_str() <= path && path <= part.last.as_str();
            holds.then_some(base.listings.len() + number)
        });
        let contents: Vec<Content> = in_parts.filter_map(|number| self.entry(number, path)).collect();
        let contents = contents.into_iter().chain(self.content(path));
        let pieces = contents.filter_map(|content| match content {
            Content::Inline(piece) => Some(piece),
            Content::Pieces(_) => None,
        });
        pieces.collect()
    }

    /// Returns the content of the file at `path` in the backup.
    pub(super) fn content(&mut self, path: &str) -> Option<Content> {
        let behind = self.base.listings.partition_point(|listing| listing.first.as_str() <= path);
        self.entry(behind.checked_sub(1)?, path)
    }

    /// Returns the file at `path` in the backup, to which changes are to be added.
    ///
    /// # Errors
    /// Where it is not there: see [`is_base_lost`].
    pub(super) fn need(&mut self, path: &str) -> Result<FileEntry> {
        let behind = self.base.listings.partition_point(|listing| listing.first.as_str() <= path);
        let file = behind.checked_sub(1).and_then(|number| self.file(number, path)).cloned();
        file.ok_or_else(|| lost(path, Error::corrupt(format!("there is no {path:?} in it"))))
    }

    /// Returns the piece in `reference` of the file at `path`, to which changes are to be added.
    ///
    /// # Errors
    /// Where it cannot be read: see [`is_base_lost`].
    pub(super) fn need_piece(&self, path: &str, reference: &PieceRef) -> Result<Piece> {
        let read = self.base.repository.read_piece(reference.frame, &self.base.packs);
        self.runtime.block_on(read).map_err(|error| lost(path, error))
    }

    fn entry(&mut self, number: usize, path: &str) -> Option<Content> {
        self.file(number, path).map(|file| file.content.clone())
    }

    fn file(&mut self, number: usize, path: &str) -> Option<&FileEntry> {
        let entries = &self.listing(number).entries;
        let at = entries.binary_search_by(|entry| entry.path().cmp(path)).ok()?;
        match &entries[at] {
            Entry::File(file) => Some(file),
            Entry::Directory { .. } | Entry::Link { .. } => None,
        }
    }

    fn listing(&mut self, number: usize) -> &Listing {
        let base = &self.base;
        let read = match self.read.iter().position(|(read, _)| *read == number) {
            Some(at) => self.read.remove(at),
            None => {
                let frame = match number.checked_sub(base.listings.len()) {
                    None => base.listings[number].frame,
                    Some(part) => base.part_listings[part].listing.frame,
                };
                let listing = self.runtime.block_on(base.repository.read_listing(frame, &base.packs));
                if self.read.len() == KEPT {
                    self.read.remove(0);
                }
                (number, readable(listing).unwrap_or_default())
            }
        };
        self.read.push(read);
        &self.read.last().expect("it was put there just now").1
    }

    /// Returns the piece in `reference`.
    pub(super) fn piece(&self, reference: &PieceRef) -> Option<Piece> {
        readable(self.runtime.block_on(self.base.repository.read_piece(reference.frame, &self.base.packs)))
    }
}

/// A piece that the base has.
pub(super) struct Known {
    pub(super) piece: Arc<Piece>,
    /// Where it lies, if it can be referred to as a whole.
    pub(super) reference: Option<PieceRef>,
}

impl Known {
    pub(super) fn new(piece: Piece, reference: Option<PieceRef>) -> Self {
        Known { piece: Arc::new(piece), reference }
    }

    /// Says what was stored by storing `piece`, of which `new` bytes were not there before: one of `known` as a whole, if
    /// it is the same and can be referred to.
    pub(super) fn outcome(known: &[Known], piece: Piece, new: u64) -> Outcome {
        let is_all_of =
            |known: &&Known| known.piece.length == piece.length && known.piece.hashes == piece.hashes;
        let whole = known.iter().filter(is_all_of).find_map(|known| known.reference.clone());
        match whole {
            Some(reference) => Outcome::Known { reference, length: piece.length, crc32c: piece.crc32c },
            None => Outcome::New(piece, new),
        }
    }
}

/// A piece of a base, asked block by block from front to back.
pub(super) struct Candidate {
    piece: Arc<Piece>,
    /// The block of the piece that is asked for as the first.
    start: u32,
    extent: usize,
    /// The first block of that extent.
    first: u32,
}

impl Candidate {
    pub(super) fn new(known: &Known, start: u32) -> Self {
        Candidate { piece: Arc::clone(&known.piece), start, extent: 0, first: 0 }
    }

    /// Returns the frame and the place in it of block `number` behind the start, where it has this hash and size.
    pub(super) fn find(&mut self, number: u32, hash: BlockHash, size: usize) -> Option<(Frame, u32)> {
        let number = self.start + number;
        let at = u64::from(number) * BLOCK as u64;
        let same = self.piece.hashes.get(number as usize) == Some(&hash)
            && (self.piece.length - at).min(BLOCK as u64) == size as u64;
        if !same {
            return None;
        }
        while self.first + self.piece.extents.get(self.extent)?.blocks <= number {
            self.first += self.piece.extents[self.extent].blocks;
            self.extent += 1;
        }
        let extent = &self.piece.extents[self.extent];
        Some((extent.frame, extent.skip + (number - self.first) * BLOCK as u32))
    }
}
