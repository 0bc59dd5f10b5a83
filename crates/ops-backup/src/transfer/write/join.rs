//! Joins the spans of a piece, which several workers have stored, to the piece that the repository knows.

use std::collections::{BTreeMap, HashMap};

use crate::repo::content::Piece;
use crate::transfer::write::base::Known;
use crate::transfer::write::feed::SpanPlace;
use crate::transfer::write::outcome::Outcome;

/// The spans of pieces that are not whole yet, by item and number of the piece.
#[derive(Default)]
pub(super) struct Joining(HashMap<(u32, u32), BTreeMap<u32, (Piece, u64)>>);

impl Joining {
    /// Adds the span at `place`, with its new bytes; returns the piece where this was all that it lacked.
    pub(super) fn add(&mut self, place: &SpanPlace, span: Piece, new: u64) -> Option<Outcome> {
        let piece = &place.piece;
        let key = (piece.item, piece.number);
        let spans = self.0.entry(key).or_default();
        spans.insert(place.number, (span, new));
        if spans.len() < piece.spans as usize {
            return None;
        }
        let spans = self.0.remove(&key)?;
        let (mut whole, mut new) = (Piece::default(), 0);
        for (span, new_in_span) in spans.into_values() {
            let length = usize::try_from(span.length).expect("a span fits into memory");
            whole.crc32c = crc32c::crc32c_combine(whole.crc32c, span.crc32c, length);
            whole.length += span.length;
            whole.extents.extend(span.extents);
            whole.hashes.extend(span.hashes);
            new += new_in_span;
        }
        let known = match piece.before.get() {
            Some(before) => {
                // Checksums are linear: what the spans change adds up to what the piece changes.
                whole.crc32c ^= before.crc32c.unwrap_or(0);
                std::slice::from_ref(&before.known)
            }
            None => piece.known.get().map_or(&[] as &[_], Vec::as_slice),
        };
        Some(Known::outcome(known, whole, new))
    }
}
