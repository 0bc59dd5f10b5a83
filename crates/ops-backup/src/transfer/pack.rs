//! Building packs: blocks are compressed one by one and laid end to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::repo::manifest::{BlockRef, PackRef};

/// A pack is closed once it holds this many bytes.
const TARGET: usize = 16 << 20;

/// The most bytes that a block holds before compression.
pub(crate) const BLOCK: usize = 1 << 20;

/// A finished pack on its way to the repository.
#[derive(Debug)]
pub(crate) struct Pack {
    pub(crate) number: u32,
    pub(crate) reference: PackRef,
    pub(crate) bytes: Bytes,
}

/// Gives each pack of a backup its number, over all workers.
#[derive(Debug, Default, Clone)]
pub(crate) struct PackNumbers(Arc<AtomicU32>);

/// Compresses blocks into the pack that one worker is filling.
pub(crate) struct Packer {
    compressor: zstd::bulk::Compressor<'static>,
    scratch: Vec<u8>,
    numbers: PackNumbers,
    open: Option<OpenPack>,
}

struct OpenPack {
    number: u32,
    bytes: Vec<u8>,
}

impl Packer {
    pub(crate) fn new(level: i32, numbers: PackNumbers) -> Result<Self> {
        let compressor =
            zstd::bulk::Compressor::new(level).map_err(|error| Error::io("prepare the compressor", error))?;
        let scratch = Vec::with_capacity(zstd::zstd_safe::compress_bound(BLOCK));
        Ok(Packer { compressor, scratch, numbers, open: None })
    }

    /// Adds a block, and returns a reference to all of it.
    pub(crate) fn add(&mut self, raw: &[u8]) -> Result<BlockRef> {
        self.scratch.clear();
        self.compressor
            .compress_to_buffer(raw, &mut self.scratch)
            .map_err(|error| Error::io("compress a block", error))?;
        let pack = self.open.get_or_insert_with(|| OpenPack {
            number: self.numbers.0.fetch_add(1, Ordering::Relaxed),
            bytes: Vec::with_capacity(TARGET + BLOCK),
        });
        let offset = pack.bytes.len() as u64;
        pack.bytes.extend_from_slice(&self.scratch);
        let small = |length: usize| u32::try_from(length).expect("a block has at most 1 MiB");
        Ok(BlockRef {
            pack: pack.number,
            offset,
            stored: small(self.scratch.len()),
            raw: small(raw.len()),
            skip: 0,
            length: small(raw.len()),
            hash: blake3::hash(raw),
        })
    }

    /// Returns the pack if it is full.
    pub(crate) fn take_full(&mut self) -> Option<Pack> {
        if self.open.as_ref().is_some_and(|pack| pack.bytes.len() >= TARGET) { self.take() } else { None }
    }

    /// Returns the pack if it holds anything.
    pub(crate) fn take(&mut self) -> Option<Pack> {
        let OpenPack { number, bytes } = self.open.take()?;
        let reference = PackRef { name: blake3::hash(&bytes).to_hex().to_string(), size: bytes.len() as u64 };
        Some(Pack { number, reference, bytes: Bytes::from(bytes) })
    }
}
