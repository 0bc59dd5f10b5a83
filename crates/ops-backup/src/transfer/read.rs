//! From packs to files: each pack is fetched once, its blocks are proven by hash and written where they belong.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::error::{Error, Result};
use crate::monitor::{Meter, Monitor};
use crate::repo::manifest::{BlockRef, FileEntry, PackRef};
use crate::repo::{Repository, pack_path};
use crate::transfer::blocks::BlockReader;

/// The decompressed bytes that one worker takes at a time.
const SHARE: u64 = 32 << 20;

/// A part of a block and where it goes.
#[derive(Debug, Clone)]
struct Placement {
    block: BlockRef,
    file: usize,
    offset: u64,
}

/// Writes the content of `files` to `destinations`, in the same order; the files exist already.
#[tracing::instrument(skip_all, fields(files = files.len(), packs = packs.len()))]
pub(crate) async fn restore(
    repository: &Repository,
    packs: &[PackRef],
    files: &[FileEntry],
    destinations: Vec<PathBuf>,
    workers: usize,
    monitor: &Monitor,
) -> Result<()> {
    let workers = workers.max(1);
    let destinations = Arc::new(destinations);
    let meter = Arc::new(Meter::new(monitor));
    // Owned names: a closure over borrowed ones would make the whole future impossible to spawn.
    let names = packs.iter().map(|pack| pack.name.clone());
    let work: Vec<(String, Vec<Placement>)> =
        names.zip(placements(packs.len(), files)).filter(|(_, placements)| !placements.is_empty()).collect();
    stream::iter(work)
        .map(|(name, placements)| async move {
            let bytes = repository.read(&pack_path(&name)).await?;
            Ok::<_, Error>(
                shares(placements).into_iter().map(move |share| (name.clone(), bytes.clone(), share)),
            )
        })
        .buffered(2)
        .map_ok(|shares| stream::iter(shares.map(Ok)))
        .try_flatten()
        .map_ok(|(name, bytes, share)| {
            let destinations = Arc::clone(&destinations);
            let meter = Arc::clone(&meter);
            async move {
                let task = move || write_share(&name, &bytes, &share, &destinations, &meter);
                Error::joined(tokio::task::spawn_blocking(task).await)
            }
        })
        .try_buffer_unordered(workers)
        .try_collect::<()>()
        .await
}

fn placements(packs: usize, files: &[FileEntry]) -> Vec<Vec<Placement>> {
    let mut by_pack = vec![Vec::new(); packs];
    for (file, entry) in files.iter().enumerate() {
        let mut offset = 0;
        for block in &entry.blocks {
            by_pack[block.pack as usize].push(Placement { block: block.clone(), file, offset });
            offset += u64::from(block.length);
        }
    }
    for placements in &mut by_pack {
        placements.sort_by_key(|placement| placement.block.offset);
    }
    by_pack
}

/// Cuts the work on a pack into shares, never inside a block.
fn shares(placements: Vec<Placement>) -> Vec<Vec<Placement>> {
    let mut shares: Vec<Vec<Placement>> = Vec::new();
    let mut bytes = 0;
    for placement in placements {
        let same_block = |last: &Placement| last.block.offset == placement.block.offset;
        match shares.last_mut() {
            Some(share) if bytes < SHARE || share.last().is_some_and(same_block) => {
                bytes += u64::from(placement.block.length);
                share.push(placement);
            }
            _ => {
                bytes = u64::from(placement.block.length);
                shares.push(vec![placement]);
            }
        }
    }
    shares
}

fn write_share(
    pack_name: &str,
    pack: &Bytes,
    share: &[Placement],
    destinations: &[PathBuf],
    meter: &Meter,
) -> Result<()> {
    let mut reader = BlockReader::new()?;
    let mut open: Option<(usize, File)> = None;
    for same_block in share.chunk_by(|a, b| a.block.offset == b.block.offset) {
        let raw = reader.read(pack_name, pack, &same_block[0].block)?;
        for Placement { block, file, offset } in same_block {
            let path = &destinations[*file];
            let failed = |error| Error::io(format!("write {path:?}"), error);
            let handle = match &open {
                Some((index, handle)) if index == file => handle,
                _ => {
                    let handle = OpenOptions::new().write(true).open(path).map_err(failed)?;
                    &open.insert((*file, handle)).1
                }
            };
            let from = block.skip as usize;
            handle.write_all_at(&raw[from..from + block.length as usize], *offset).map_err(failed)?;
            meter.add(u64::from(block.length))?;
        }
    }
    Ok(())
}
