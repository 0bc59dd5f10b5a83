//! Blocks of the base as bytes, for what is merged with them or compared. Calls block.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::repo::content::{BLOCK, Piece};
use crate::repo::pack::FrameReader;
use crate::transfer::read::request::{self, Run};
use crate::transfer::write::base::Base;

/// Requests that are under way at once.
const AHEAD: usize = 2;

/// One worker's reader.
pub(super) struct Past {
    base: Arc<Base>,
    runtime: Handle,
    reader: Option<FrameReader>,
}

impl Past {
    pub(super) fn new(base: Arc<Base>, runtime: Handle) -> Self {
        Past { base, runtime, reader: None }
    }

    /// Returns the blocks `wanted` of `piece`, which are in order, each proven by its hash.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, and those of the store.
    pub(super) fn blocks(&mut self, piece: &Piece, wanted: &[u32]) -> Result<Vec<Vec<u8>>> {
        let mut blocks = vec![Vec::new(); wanted.len()];
        let mut runs = runs(piece, wanted);
        let requests = request::requests(&mut runs);
        let secrets = self.base.repository.secrets().clone();
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(FrameReader::new(secrets.clone())?),
        };
        let base = Arc::clone(&self.base);
        let mut fetched = stream::iter(requests)
            .map(|request| async {
                let path = base.packs.get(request.pack).path();
                let bytes = base.repository.read_range(&path, request.bytes.clone()).await?;
                Ok::<_, Error>((request, bytes))
            })
            .buffered(AHEAD);
        while let Some((request, bytes)) = self.runtime.block_on(fetched.try_next())? {
            let pack = base.packs.get(request.pack);
            for same_frame in runs[request.runs.clone()].chunk_by(|a, b| a.frame == b.frame) {
                let frame = same_frame[0].frame;
                let start = usize::try_from(frame.offset - request.bytes.start).expect("inside the request");
                let stored = bytes.get(start..start + frame.stored as usize).unwrap_or_default();
                let raw = reader.read(&pack, frame.offset, stored, frame.raw)?;
                for run in same_frame {
                    let number = wanted[run.first as usize];
                    let at = u64::from(number) * BLOCK as u64;
                    let size = usize::try_from((piece.length - at).min(BLOCK as u64)).expect("a block");
                    let block = raw.get(run.skip as usize..run.skip as usize + size).unwrap_or_default();
                    if secrets.hash(block) != piece.hashes[number as usize] {
                        let place = format!("{} at byte {}", pack.path(), frame.offset);
                        return Err(Error::corrupt(format!(
                            "a block in the frame of {place} has another hash"
                        )));
                    }
                    blocks[run.first as usize] = block.to_vec();
                }
            }
        }
        Ok(blocks)
    }
}

/// One run for each block, by its place in `wanted`.
fn runs(piece: &Piece, wanted: &[u32]) -> Vec<Run> {
    let (mut extents, mut first) = (piece.extents.iter(), 0);
    let mut extent = extents.next();
    let mut runs = Vec::with_capacity(wanted.len());
    for (place, number) in (0..).zip(wanted) {
        while let Some(before) = extent.filter(|extent| first + extent.blocks <= *number) {
            first += before.blocks;
            extent = extents.next();
        }
        let Some(extent) = extent else { break };
        let skip = extent.skip + (number - first) * BLOCK as u32;
        runs.push(Run { frame: extent.frame, skip, part: 0, first: place, blocks: 1 });
    }
    runs
}
