//! From packs to files: listings are streamed in the order of their paths, and what they hold is written by workers.
//!
//! ```text
//! listings, in order ─► directories ─► units of work ─► workers: requests ─► frames ─► blocks, proven ─► files
//! ```
//! A unit is one piece of a large file, or a run of small files of one listing. A worker fetches the stretches of packs
//! that its unit needs, decompresses each frame once, proves each block by its hash, and writes it where it belongs.
//! Where a file is there already, its blocks are hashed first, and only those that differ are fetched and written.
//! In memory are some listings, and for each worker one unit's hashes and two requests: as much for one file as for a
//! million.

mod decode;
pub(in crate::transfer) mod request;
#[cfg(test)]
pub(crate) mod sample;
mod unit;

use std::fs::File;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::error::{Error, Result};
use crate::monitor::{Meter, Monitor};
use crate::repo::Repository;
use crate::repo::content::{FileEntry, Listing, ListingRef};
use crate::repo::pack::PackTable;
use decode::Decoders;
use unit::Unit;

/// How many listings are fetched and parsed ahead.
const LISTINGS_AHEAD: usize = 4;

/// The place that files are restored to. The calls for one file come from any thread, in the order that is given here.
pub(crate) trait Destination: Send + Sync + 'static {
    /// Takes note of a listing, in the order of paths, before anything of it is opened: directories are made here.
    fn begin(&self, listing: &Listing) -> Result<()>;

    /// Says how the content of a file comes to be.
    fn treatment(&self, file: &FileEntry) -> Result<Treatment>;

    /// Opens a file for writing: a new one, or the one whose blocks were compared.
    fn open(&self, file: &FileEntry) -> Result<File>;

    /// Ends a file: all its blocks are in place. `None` where nothing had to be written.
    fn finish(&self, file: &FileEntry, written: Option<&File>) -> Result<()>;
}

/// How the content of a file comes to be.
#[derive(Debug)]
pub(crate) enum Treatment {
    /// Every block is written.
    Write,
    /// The blocks of this file are compared, and those that differ are written.
    Compare(File),
    /// Its content is not wanted; nothing more is asked about it.
    Skip,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Done {
    /// Bytes that were fetched, proven and written.
    pub(crate) written: u64,
    /// Bytes that were found in place, and proven there.
    pub(crate) kept: u64,
}

/// Reads the listings in their order; the future is ready once each was given to `each`.
pub(crate) async fn listings(
    repository: &Repository,
    references: &[ListingRef],
    packs: &PackTable,
    mut each: impl FnMut(Listing) -> Result<()>,
) -> Result<()> {
    let frames: Vec<_> = references.iter().map(|reference| reference.frame).collect();
    let mut listings =
        stream::iter(frames).map(|frame| repository.read_listing(frame, packs)).buffered(LISTINGS_AHEAD);
    while let Some(listing) = listings.try_next().await? {
        each(listing)?;
    }
    Ok(())
}

/// Restores everything that `references` list to `destination`.
///
/// # Errors
/// `Corrupt` and `NotFound` for damaged and missing packs, naming the place; those of `destination`; `Cancelled`.
/// Where it fails or is dropped, threads may write for a moment yet: each holds `destination` until it has ended.
#[tracing::instrument(skip_all, fields(listings = references.len(), workers))]
pub(crate) async fn restore(
    repository: &Repository,
    references: &[ListingRef],
    packs: &PackTable,
    destination: Arc<dyn Destination>,
    workers: usize,
    monitor: &Monitor,
) -> Result<Done> {
    let work = Arc::new(Work {
        repository: repository.clone(),
        packs: packs.clone(),
        destination,
        decoders: Decoders::new(repository.secrets().clone()),
        meter: Meter::new(monitor),
    });
    // Owned values throughout: closures over borrowed ones would make the whole future impossible to spawn.
    let frames: Vec<_> = references.iter().map(|reference| reference.frame).collect();
    let (reader, beginner) = (Arc::clone(&work), Arc::clone(&work));
    stream::iter(frames)
        .map(move |frame| {
            let work = Arc::clone(&reader);
            async move { work.repository.read_listing(frame, &work.packs).await }
        })
        .buffered(LISTINGS_AHEAD)
        .and_then(move |listing| {
            let work = Arc::clone(&beginner);
            async move {
                let begin = move || {
                    work.destination.begin(&listing)?;
                    Ok(Unit::all(listing))
                };
                let units = Error::joined(tokio::task::spawn_blocking(begin).await)?;
                Ok(stream::iter(units.into_iter().map(Ok)))
            }
        })
        .try_flatten()
        .map_ok(|unit| Arc::clone(&work).run(unit))
        .try_buffer_unordered(workers.max(1))
        .try_fold(Done::default(), |sum, done| async move {
            Ok(Done { written: sum.written + done.written, kept: sum.kept + done.kept })
        })
        .await
}

/// What all workers share.
struct Work {
    repository: Repository,
    packs: PackTable,
    destination: Arc<dyn Destination>,
    decoders: Decoders,
    meter: Meter,
}
