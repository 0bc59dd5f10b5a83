//! What a backup refers to: blocks in frames, pieces of files, listings, and the manifest that leads to them.
//!
//! ```text
//! manifest ─► listing ─► file ─► piece ─► extent ─► frame in a pack
//!             a run of    up to 16 blocks: the extents are in the listing itself
//!             paths       larger: each 64 MiB of it has a piece of its own
//! ```
//! Listings and pieces are frames themselves, equal where their content is: a backup in which little has changed refers
//! to those of the one before. In memory packs are numbered by a [`PackTable`]; in a stored object by their place in
//! its own list, so that it does not depend on its surroundings.

mod listing;
mod manifest;
mod part;
mod piece;
mod read;
mod version;

pub(crate) use listing::{Content, Entry, FileEntry, Listing};
pub(crate) use manifest::{ListingRef, Manifest};
pub(crate) use part::{Part, PartListing, PartPiece};
pub(crate) use piece::{Extent, Piece, PieceRef};
pub(crate) use version::Refusal;

/// Bytes of a block: the unit of change detection. Two pages of PostgreSQL: one that changed takes one other with it,
/// and the hashes take 0.1 % of the data.
pub(crate) const BLOCK: usize = 16 << 10;

/// Bytes of a file that one piece describes.
pub(crate) const PIECE: u64 = 64 << 20;

/// A file with at most so many bytes has its extents in the listing.
pub(crate) const INLINE: u64 = 16 * BLOCK as u64;

#[cfg(test)]
mod tests;
