//! A part: what a running job has stored so far, for a later one to build on should this one never end.

use bytes::Bytes;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::repo::compress::Compression;
use crate::repo::content::listing::StoredFrame;
use crate::repo::content::piece::{LocalPacks, intern, known};
use crate::repo::content::version::{self, Refusal, VERSION};
use crate::repo::content::{ListingRef, PieceRef};
use crate::repo::pack::{PackRef, PackTable};
use crate::repo::seal::Kind;
use crate::repo::{Repository, object_path};

/// What became durable since the part before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Part {
    pub(crate) pieces: Vec<PartPiece>,
    /// Listings of small files that are whole, in the order of their paths. Their ranges overlap those of other parts.
    pub(crate) listings: Vec<PartListing>,
}

/// A piece of a large file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartPiece {
    pub(crate) path: String,
    pub(crate) number: u32,
    pub(crate) reference: PieceRef,
}

/// A run of small files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartListing {
    pub(crate) listing: ListingRef,
    /// The last path in it.
    pub(crate) last: String,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    backup: String,
    packs: Vec<PackRef>,
    pieces: Vec<StoredPiece>,
    listings: Vec<StoredListing>,
}

#[derive(Serialize, Deserialize)]
struct StoredPiece {
    path: String,
    number: u32,
    #[serde(flatten)]
    frame: StoredFrame,
    uses: Vec<(u32, u64)>,
}

#[derive(Serialize, Deserialize)]
struct StoredListing {
    first: String,
    last: String,
    #[serde(flatten)]
    frame: StoredFrame,
    uses: Vec<(u32, u64)>,
}

impl Part {
    pub(crate) fn encode(&self, backup: &str, table: &PackTable) -> Vec<u8> {
        let mut packs = LocalPacks::default();
        let pieces = self.pieces.iter().map(|piece| StoredPiece {
            path: piece.path.clone(),
            number: piece.number,
            frame: StoredFrame::new(&piece.reference.frame, &mut packs),
            uses: piece.reference.uses.iter().map(|(pack, bytes)| (packs.place(*pack), *bytes)).collect(),
        });
        let pieces = pieces.collect();
        let listings = self.listings.iter().map(|PartListing { listing, last }| StoredListing {
            first: listing.first.clone(),
            last: last.clone(),
            frame: StoredFrame::new(&listing.frame, &mut packs),
            uses: listing.uses.iter().map(|(pack, bytes)| (packs.place(*pack), *bytes)).collect(),
        });
        let listings = listings.collect();
        let backup = backup.to_owned();
        let packs = packs.references(table);
        let stored = Stored { version: VERSION, backup, packs, pieces, listings };
        serde_json::to_vec(&stored).expect("a part is always valid JSON")
    }

    /// # Errors
    /// A description of what is wrong.
    pub(crate) fn decode(bytes: &[u8], backup: &str, table: &PackTable) -> Result<Self, Refusal> {
        let stored: Stored = version::parse(bytes, |stored: &Stored| stored.version, "is no part")?;
        if stored.backup != backup {
            return Err(format!("is of backup {}", stored.backup).into());
        }
        let ids = intern(stored.packs, table)?;
        let uses = |uses: Vec<(u32, u64)>| {
            let uses = uses.into_iter().map(|(pack, bytes)| Ok((known(&ids, pack.into())?, bytes)));
            uses.collect::<Result<Vec<_>, String>>()
        };
        let pieces = stored.pieces.into_iter().map(|piece| {
            let reference = PieceRef { frame: piece.frame.check(&ids, table)?, uses: uses(piece.uses)? };
            Ok(PartPiece { path: piece.path, number: piece.number, reference })
        });
        let pieces = pieces.collect::<Result<_, String>>()?;
        let listings = stored.listings.into_iter().map(|stored| {
            let frame = stored.frame.check(&ids, table)?;
            let listing = ListingRef { first: stored.first, frame, uses: uses(stored.uses)? };
            Ok(PartListing { listing, last: stored.last })
        });
        Ok(Part { pieces, listings: listings.collect::<Result<_, String>>()? })
    }
}

fn path(backup: &str, number: u32) -> Path {
    object_path(&format!("backups/{backup}/part-{number:06}"))
}

impl Repository {
    /// Writes part `number` of `backup`, and returns its size. Numbers begin with 0 and have no gap.
    pub(crate) async fn write_part(
        &self,
        backup: &str,
        number: u32,
        part: &Part,
        packs: &PackTable,
    ) -> Result<u64> {
        let path = path(backup, number);
        let content = part.encode(backup, packs);
        let object: Bytes =
            self.secrets().seal(Kind::Part, path.as_ref(), &content, Compression::default())?;
        let size = object.len() as u64;
        self.write(&path, object).await?;
        Ok(size)
    }

    /// Reads part `number` of `backup`; `None` where there is none.
    ///
    /// # Errors
    /// `Corrupt`, `Storage`.
    pub(crate) async fn read_part(
        &self,
        backup: &str,
        number: u32,
        packs: &PackTable,
    ) -> Result<Option<Part>> {
        let path = path(backup, number);
        let Some(object) = self.read_if_present(&path).await? else { return Ok(None) };
        let content = self.secrets().unseal(Kind::Part, path.as_ref(), &object)?;
        Part::decode(&content, backup, packs).map(Some).map_err(|refusal| refusal.at(path))
    }

    /// Removes the parts of a backup that has been committed; a leftover is removed with the backup.
    pub(crate) async fn remove_parts(&self, backup: &str, count: u32) {
        use object_store::ObjectStoreExt as _;
        for number in 0..count {
            let path = path(backup, number);
            if let Err(error) = self.store().delete(&path).await {
                tracing::debug!(%path, %error, "a part was not removed");
            }
        }
    }
}
