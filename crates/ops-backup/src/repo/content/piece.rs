//! A piece: up to 64 MiB of one file as hashed blocks, and where they lie.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::repo::content::version::{self, Refusal, VERSION};
use crate::repo::content::{BLOCK, PIECE};
use crate::repo::crypt::BlockHash;
use crate::repo::pack::{Frame, FrameRef, PackId, PackRef, PackTable};

/// Consecutive blocks of a file that lie side by side in one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) frame: Frame,
    /// Where the first block begins in the decompressed frame.
    pub(crate) skip: u32,
    pub(crate) blocks: u32,
}

/// The blocks of a file, or of 64 MiB of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Piece {
    /// Bytes; each block but the last has [`BLOCK`].
    pub(crate) length: u64,
    /// CRC-32C of these bytes.
    pub(crate) crc32c: u32,
    /// In the order of the blocks.
    pub(crate) extents: Vec<Extent>,
    /// One for each block.
    pub(crate) hashes: Vec<BlockHash>,
}

/// A piece of a large file as the listing names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PieceRef {
    pub(crate) frame: FrameRef,
    /// The packs that its extents lie in, and how many bytes of each they use.
    pub(crate) uses: Vec<(PackId, u64)>,
}

/// Numbers packs for one stored object.
#[derive(Debug, Default)]
pub(super) struct LocalPacks {
    pub(super) ids: Vec<PackId>,
    places: std::collections::HashMap<PackId, u32>,
}

impl LocalPacks {
    pub(super) fn place(&mut self, id: PackId) -> u32 {
        *self.places.entry(id).or_insert_with(|| {
            self.ids.push(id);
            u32::try_from(self.ids.len() - 1).expect("packs are numbered with 32 bits")
        })
    }

    pub(super) fn references(&self, table: &PackTable) -> Vec<PackRef> {
        self.ids.iter().map(|id| PackRef::clone(&table.get(*id))).collect()
    }
}

/// No pack is larger; sums of false sizes must not overflow.
const LARGEST_PACK: u64 = 1 << 40;

/// Numbers the packs that one stored object names.
pub(super) fn intern(packs: Vec<PackRef>, table: &PackTable) -> Result<Vec<PackId>, String> {
    if let Some(absurd) = packs.iter().find(|pack| pack.size > LARGEST_PACK || pack.raw > LARGEST_PACK) {
        return Err(format!("names a pack of {} bytes for {} bytes of data", absurd.size, absurd.raw));
    }
    Ok(packs.into_iter().map(|pack| table.intern(pack)).collect())
}

/// Looks packs up that one stored object names.
pub(super) fn known(ids: &[PackId], place: u64) -> Result<PackId, String> {
    usize::try_from(place)
        .ok()
        .and_then(|place| ids.get(place))
        .copied()
        .ok_or_else(|| format!("has no pack {place}"))
}

/// A piece as it is stored, alone or in a listing.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredPiece {
    length: u64,
    crc32c: u32,
    /// Pack, offset, stored bytes, raw bytes of the frame, skip, blocks.
    extents: Vec<[u64; 6]>,
    /// The hashes end to end, base64 without padding.
    hashes: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Alone {
    version: u32,
    packs: Vec<PackRef>,
    #[serde(flatten)]
    piece: StoredPiece,
}

impl StoredPiece {
    pub(super) fn new(piece: &Piece, packs: &mut LocalPacks) -> Self {
        let extents = piece.extents.iter().map(|extent| {
            let Frame { pack, offset, stored, raw } = extent.frame;
            [
                u64::from(packs.place(pack)),
                offset,
                stored.into(),
                raw.into(),
                extent.skip.into(),
                extent.blocks.into(),
            ]
        });
        let extents = extents.collect();
        let hashes: Vec<u8> = piece.hashes.iter().flat_map(|hash| hash.0).collect();
        StoredPiece {
            length: piece.length,
            crc32c: piece.crc32c,
            extents,
            hashes: STANDARD_NO_PAD.encode(hashes),
        }
    }

    /// # Errors
    /// A description of what cannot be: a block outside its frame, a frame outside its pack, hashes that are missing.
    pub(super) fn check(self, ids: &[PackId], table: &PackTable) -> Result<Piece, String> {
        let hashes =
            STANDARD_NO_PAD.decode(&self.hashes).map_err(|error| format!("has no valid hashes: {error}"))?;
        let (hashes, rest) = hashes.as_chunks::<16>();
        let blocks = self.length.div_ceil(BLOCK as u64);
        if self.length > PIECE || !rest.is_empty() || hashes.len() as u64 != blocks {
            return Err(format!("has {} hashes for {} bytes", hashes.len(), self.length));
        }
        let mut extents = Vec::with_capacity(self.extents.len());
        let mut covered = 0;
        for [pack, offset, stored, raw, skip, count] in self.extents {
            let small = |value: u64| u32::try_from(value).map_err(|_| format!("has the number {value}"));
            let pack = known(ids, pack)?;
            let inside_pack = offset.checked_add(stored).is_some_and(|end| end <= table.get(pack).size);
            if count == 0 || count > blocks - covered || !inside_pack {
                return Err("places a block outside its pack".to_owned());
            }
            let bytes = ((covered + count) * BLOCK as u64).min(self.length) - covered * BLOCK as u64;
            if skip.checked_add(bytes).is_none_or(|end| end > raw) {
                return Err("places a block outside its frame".to_owned());
            }
            let frame = Frame { pack, offset, stored: small(stored)?, raw: small(raw)? };
            extents.push(Extent { frame, skip: small(skip)?, blocks: small(count)? });
            covered += count;
        }
        if covered != blocks {
            return Err(format!("places {covered} of {blocks} blocks"));
        }
        let hashes = hashes.iter().copied().map(BlockHash).collect();
        Ok(Piece { length: self.length, crc32c: self.crc32c, extents, hashes })
    }
}

impl Piece {
    pub(crate) fn encode(&self, table: &PackTable) -> Vec<u8> {
        let mut packs = LocalPacks::default();
        let piece = StoredPiece::new(self, &mut packs);
        let alone = Alone { version: VERSION, packs: packs.references(table), piece };
        serde_json::to_vec(&alone).expect("a piece is always valid JSON")
    }

    /// # Errors
    /// A description of what is wrong.
    pub(crate) fn decode(bytes: &[u8], table: &PackTable) -> Result<Self, Refusal> {
        let alone: Alone = version::parse(bytes, |alone: &Alone| alone.version, "is no piece")?;
        let ids = intern(alone.packs, table)?;
        Ok(alone.piece.check(&ids, table)?)
    }

    /// Returns the extents with the position of each in the piece and its bytes.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u64, u64, &Extent)> {
        let mut block = 0;
        self.extents.iter().map(move |extent| {
            let start = block * BLOCK as u64;
            block += u64::from(extent.blocks);
            (start, (block * BLOCK as u64).min(self.length) - start, extent)
        })
    }

    /// Returns the packs of the extents, each once, with the bytes that they use.
    pub(crate) fn uses(&self) -> Vec<(PackId, u64)> {
        let mut uses: Vec<(PackId, u64)> = Vec::new();
        for (_, bytes, extent) in self.places() {
            match uses.iter_mut().find(|(pack, _)| *pack == extent.frame.pack) {
                Some((_, used)) => *used += bytes,
                None => uses.push((extent.frame.pack, bytes)),
            }
        }
        uses
    }
}
