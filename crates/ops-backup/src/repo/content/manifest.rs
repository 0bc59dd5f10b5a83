//! The manifest: the root of one backup, from which everything that it needs is found.

use serde::{Deserialize, Serialize};

use crate::repo::catalog::BackupSource;
use crate::repo::content::listing::StoredFrame;
use crate::repo::content::piece::{LocalPacks, intern, known};
use crate::repo::content::version::{self, Refusal, VERSION};
use crate::repo::pack::{FrameRef, PackId, PackRef, PackTable};

/// A listing as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListingRef {
    /// The first path in it.
    pub(crate) first: String,
    pub(crate) frame: FrameRef,
    /// Every pack that its entries need, with the bytes used.
    pub(crate) uses: Vec<(PackId, u64)>,
}

/// A pack and how much of it a backup uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackUse {
    pub(crate) pack: PackId,
    /// Bytes before compression that the backup refers to, at most the pack's `raw`.
    pub(crate) used: u64,
}

/// The root of one backup.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) backup: String,
    /// Enough to restore by this object alone, should the log be lost.
    pub(crate) source: BackupSource,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// In the order of paths.
    pub(crate) listings: Vec<ListingRef>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    backup: String,
    source: BackupSource,
    files: u64,
    bytes: u64,
    packs: Vec<PackRef>,
    listings: Vec<StoredListing>,
}

#[derive(Serialize, Deserialize)]
struct StoredListing {
    first: String,
    #[serde(flatten)]
    frame: StoredFrame,
    uses: Vec<(u32, u64)>,
}

impl Manifest {
    pub(crate) fn encode(&self, table: &PackTable) -> Vec<u8> {
        let mut packs = LocalPacks::default();
        let listings = self.listings.iter().map(|listing| StoredListing {
            first: listing.first.clone(),
            frame: StoredFrame::new(&listing.frame, &mut packs),
            uses: listing.uses.iter().map(|(pack, bytes)| (packs.place(*pack), *bytes)).collect(),
        });
        let listings = listings.collect();
        let stored = Stored {
            version: VERSION,
            backup: self.backup.clone(),
            source: self.source.clone(),
            files: self.files,
            bytes: self.bytes,
            packs: packs.references(table),
            listings,
        };
        serde_json::to_vec(&stored).expect("a manifest is always valid JSON")
    }

    /// # Errors
    /// A description of what is wrong.
    pub(crate) fn decode(bytes: &[u8], table: &PackTable) -> Result<Self, Refusal> {
        let stored: Stored = version::parse(bytes, |stored: &Stored| stored.version, "is no manifest")?;
        let ids = intern(stored.packs, table)?;
        let listings = stored.listings.into_iter().map(|listing| {
            let uses: Result<Vec<_>, String> =
                listing.uses.iter().map(|(pack, bytes)| Ok((known(&ids, (*pack).into())?, *bytes))).collect();
            Ok(ListingRef { first: listing.first, frame: listing.frame.check(&ids, table)?, uses: uses? })
        });
        let listings: Vec<ListingRef> = listings.collect::<Result<_, String>>()?;
        if !listings.is_sorted_by(|a, b| a.first < b.first) {
            return Err("has listings out of order".to_owned().into());
        }
        Ok(Manifest {
            backup: stored.backup,
            source: stored.source,
            files: stored.files,
            bytes: stored.bytes,
            listings,
        })
    }

    /// Returns every pack that the backup needs, each once: this is what garbage collection keeps.
    pub(crate) fn packs(&self) -> Vec<PackUse> {
        let mut uses = std::collections::BTreeMap::<PackId, u64>::new();
        for listing in &self.listings {
            let own = [(listing.frame.frame.pack, u64::from(listing.frame.frame.raw))];
            for (pack, bytes) in listing.uses.iter().copied().chain(own) {
                let used = uses.entry(pack).or_default();
                *used = used.saturating_add(bytes);
            }
        }
        uses.into_iter().map(|(pack, used)| PackUse { pack, used }).collect()
    }
}
