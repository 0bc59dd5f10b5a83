//! Reading blocks out of a pack: decompress, then prove by hash.

use crate::error::{Error, Result};
use crate::repo::manifest::BlockRef;
use crate::transfer::pack::BLOCK;

/// Decompresses and checks blocks, one at a time, into one buffer.
pub(crate) struct BlockReader {
    decompressor: zstd::bulk::Decompressor<'static>,
    raw: Vec<u8>,
}

impl BlockReader {
    pub(crate) fn new() -> Result<Self> {
        let decompressor =
            zstd::bulk::Decompressor::new().map_err(|error| Error::io("prepare the decompressor", error))?;
        Ok(BlockReader { decompressor, raw: Vec::with_capacity(BLOCK) })
    }

    /// Returns the raw bytes of `block` out of the bytes of its pack.
    pub(crate) fn read(&mut self, pack_name: &str, pack: &[u8], block: &BlockRef) -> Result<&[u8]> {
        let corrupt = |what: &str| {
            Error::corrupt(format!("the block at byte {} of pack {pack_name} {what}", block.offset))
        };
        let start = usize::try_from(block.offset).unwrap_or(usize::MAX);
        let frame = start.checked_add(block.stored as usize).and_then(|end| pack.get(start..end));
        let frame = frame.ok_or_else(|| corrupt("lies beyond its end"))?;
        self.raw.clear();
        self.raw.reserve(block.raw as usize);
        self.decompressor
            .decompress_to_buffer(frame, &mut self.raw)
            .map_err(|error| corrupt("cannot be decompressed").with_source(error))?;
        if self.raw.len() != block.raw as usize || blake3::hash(&self.raw) != block.hash {
            return Err(corrupt("has another hash"));
        }
        Ok(&self.raw)
    }
}
