//! Blocks that differ from the base, on their way to an auditor, who compares them with what the base has.

use crate::engine::{Auditor, Facts, Inspector};
use crate::error::{ErrorKind, Result};
use crate::repo::content::BLOCK;
use crate::transfer::write::base::Known;
use crate::transfer::write::worker::Worker;

/// Blocks of one parcel.
pub(super) struct Suspects<'a> {
    auditor: &'a dyn Auditor,
    path: &'a str,
    facts: &'a Facts,
    /// Where the parcel begins in its file.
    offset: u64,
    /// By their number in the parcel.
    blocks: Vec<(u32, Vec<u8>)>,
}

impl<'a> Suspects<'a> {
    pub(super) fn new(
        inspector: &'a dyn Inspector,
        path: &'a str,
        facts: &'a Facts,
        offset: u64,
    ) -> Option<Self> {
        inspector.auditor().map(|auditor| Suspects { auditor, path, facts, offset, blocks: Vec::new() })
    }

    /// Notes a block that is not in the base.
    pub(super) fn note(&mut self, number: usize, bytes: &[u8]) {
        if self.auditor.suspects(self.path, self.facts, bytes) {
            let number = u32::try_from(number).expect("a parcel has few blocks");
            self.blocks.push((number, bytes.to_vec()));
        }
    }
}

impl Worker {
    /// Has `suspects` compared with `known`, of which the parcel begins at block `first`.
    pub(super) fn audit(
        &mut self,
        suspects: Option<&Suspects<'_>>,
        known: Option<&Known>,
        first: u32,
    ) -> Result<()> {
        let Some((suspects, known)) = suspects.zip(known) else { return Ok(()) };
        let has = |number: u32| ((first + number) as usize) < known.piece.hashes.len();
        let blocks: Vec<_> = suspects.blocks.iter().filter(|(number, _)| has(*number)).collect();
        let wanted: Vec<u32> = blocks.iter().map(|(number, _)| first + number).collect();
        let before = match self.past.blocks(&known.piece, &wanted) {
            Ok(before) => before,
            // What cannot be read is not compared; that it is damaged, `verify` finds.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
                tracing::warn!(%error, "a part of the base cannot be read, and is not compared");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for ((number, bytes), before) in blocks.into_iter().zip(before) {
            let offset = suspects.offset + u64::from(*number) * BLOCK as u64;
            suspects.auditor.compare(suspects.path, offset, bytes, &before);
        }
        Ok(())
    }
}
