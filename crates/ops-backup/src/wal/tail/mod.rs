//! The tail of the archive: the segment that the server is still writing, as far as it was received, in pieces.
//!
//! A segment becomes an object of the archive when it is complete; a quiet server takes hours to fill one. Until then
//! [`wal::receive`] stores what has come as pieces, named by their number: 0, 1, 2 and so on. Each
//! begins where the one before it ends, is created once and never overwritten. So the pieces that are there are found by
//! asking for the next name until one is absent, without a list, and what they hold together is a beginning of the segment.
//!
//! The pieces go once the segment itself is durable, the last one first, so that a crash leaves a beginning again. The
//! pieces of a segment in which a timeline ended stay: nothing will ever complete it.
//!
//! A tail is no segment. [`wal::fetch`] does not know it; only [`fetch`] gives it, filled up with zeros,
//! to a server that shall recover as far as anything is known. That server takes the zeros for the end of the WAL.

use std::path::Path as FilePath;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::{Lsn, SystemIdentifier};
use crate::postgres::segment::{self, ArchiveFile, Cluster, SegmentName};
use crate::repo::compress::Compression;
use crate::repo::seal::Kind;
use crate::repo::{Repository, Written, object_path};
use crate::wal::{self, Fetched, archive};

/// How many pieces are asked for at once.
const AHEAD: usize = 16;
/// The position of the first byte in its segment, before the bytes.
const OFFSET: usize = 8;
/// No piece is made before the header of the segment is there, by which it is checked.
pub(crate) const SHORTEST: usize = 40;

/// No piece is larger: the receiver holds several copies of one, beside two segments.
pub(crate) const LARGEST: usize = 4 << 20;

/// A beginning of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// How many pieces hold it.
    pub(crate) pieces: u64,
    pub(crate) bytes: Vec<u8>,
}

/// How a piece came to be in the repository; it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It holds what was given.
    Ours,
    /// Another receiver, or an earlier life of this one, was first: what its piece of that number holds.
    Theirs(Vec<u8>),
}

fn path(system: SystemIdentifier, segment: SegmentName, number: u64) -> Path {
    object_path(&format!("pg/{system}/tail/{:08X}/{segment}/{number}", segment.timeline))
}

/// Returns the segment that an object belongs to, where its path is that of a piece.
pub(crate) fn segment_of(path: &Path) -> Option<(SystemIdentifier, SegmentName)> {
    let parts: Vec<&str> = path.as_ref().split('/').collect();
    let ["pg", system, "tail", _, segment, _] = parts[..] else { return None };
    Some((system.parse().ok()?, SegmentName::parse(segment)?))
}

/// Returns the object of piece `number`, with `bytes` that begin at `offset` of the segment.
pub(crate) fn seal(
    repository: &Repository,
    system: SystemIdentifier,
    (segment, number): (SegmentName, u64),
    (offset, bytes): (u64, &[u8]),
    compression: Compression,
) -> Result<Bytes> {
    let content = [&offset.to_le_bytes()[..], bytes].concat();
    let path = path(system, segment, number);
    repository.secrets().seal(Kind::Tail, path.as_ref(), &content, compression)
}

/// Stores what [`seal`] made of piece `number`, which begins at `offset` of the segment.
///
/// # Errors
/// `Conflict` where a piece of that number begins elsewhere; the caller compares what it holds.
pub(crate) async fn append(
    repository: &Repository,
    system: SystemIdentifier,
    (segment, number): (SegmentName, u64),
    offset: u64,
    sealed: Bytes,
) -> Result<Kept> {
    let path = path(system, segment, number);
    if repository.create(&path, sealed).await? == Written::Created {
        return Ok(Kept::Ours);
    }
    // The answer to an earlier attempt was lost, or another one stored it: the caller tells by content.
    let Some((found, theirs)) = piece(repository, system, segment, number).await? else {
        return Err(Error::new(ErrorKind::NotFound, format!("{path} has vanished")));
    };
    if found != offset {
        let message =
            format!("{path} begins at byte {found} of its segment, and byte {offset} was to follow");
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    Ok(Kept::Theirs(theirs))
}

/// Reads one piece: where it begins, and its bytes.
async fn piece(
    repository: &Repository,
    system: SystemIdentifier,
    segment: SegmentName,
    number: u64,
) -> Result<Option<(u64, Vec<u8>)>> {
    let path = path(system, segment, number);
    let Some(object) = repository.read_if_present(&path).await? else { return Ok(None) };
    let mut content = repository.secrets().unseal(Kind::Tail, path.as_ref(), &object)?;
    let Some(offset) = content.first_chunk::<OFFSET>().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return Err(Error::corrupt(format!("{path} is damaged: it is too short")));
    };
    content.drain(..OFFSET);
    Ok(Some((offset, content)))
}

/// Reads all pieces of a segment; none at all is an empty tail.
///
/// # Errors
/// `Corrupt` where one is damaged, or they do not follow one another: never an absence.
pub(crate) async fn read(repository: &Repository, cluster: &Cluster, segment: SegmentName) -> Result<Tail> {
    let system = cluster.system_identifier;
    let read = stream::iter(0..).map(|number| piece(repository, system, segment, number)).buffered(AHEAD);
    let mut read = std::pin::pin!(read);
    let mut tail = Tail::default();
    while let Some((offset, bytes)) = read.try_next().await?.flatten() {
        let end = tail.bytes.len() as u64 + bytes.len() as u64;
        if offset != tail.bytes.len() as u64 || bytes.is_empty() || end > cluster.segment_size.bytes() {
            let path = path(system, segment, tail.pieces);
            return Err(Error::corrupt(format!("{path} does not continue the piece before it")));
        }
        tail.bytes.extend_from_slice(&bytes);
        tail.pieces += 1;
    }
    Ok(tail)
}

/// Removes the first `pieces` pieces of a segment, the last one first.
pub(crate) async fn remove(
    repository: &Repository,
    system: SystemIdentifier,
    segment: SegmentName,
    pieces: u64,
) -> Result<()> {
    for number in (0..pieces).rev() {
        let path = path(system, segment, number);
        match repository.store().delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(Error::storage(format!("remove {path}"), error)),
        }
    }
    Ok(())
}

/// Returns a segment of which only a beginning is known, filled up with zeros; `None` where nothing of it is.
///
/// # Errors
/// `Corrupt` where a piece is damaged or the beginning is not that of this segment.
pub async fn assemble(repository: &Repository, cluster: &Cluster, segment: &str) -> Result<Option<Bytes>> {
    let Some(ArchiveFile::Segment(name)) = ArchiveFile::parse(segment) else { return Ok(None) };
    let Tail { mut bytes, .. } = read(repository, cluster, name).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let length = cluster.segment_size.bytes();
    bytes.resize(usize::try_from(length).expect("a segment has at most 1 GiB"), 0);
    segment::check_header(name, &bytes, length, cluster)?;
    Ok(Some(Bytes::from(bytes)))
}

/// Writes the WAL file `name` to `destination` as [`wal::fetch`] does, and where it is a segment that
/// is not complete, its beginning, filled up with zeros.
///
/// # Errors
/// As [`wal::fetch`]; damage of the tail is an error, never [`Fetched::Absent`].
pub async fn fetch(
    repository: &Repository,
    cluster: &Cluster,
    name: &str,
    destination: &FilePath,
) -> Result<Fetched> {
    if wal::fetch(repository, cluster, name, destination).await? == Fetched::Written {
        return Ok(Fetched::Written);
    }
    let assembled = assemble(repository, cluster, name).await;
    // The segment may have become complete in between, and its pieces may be going: then it is there now.
    if wal::fetch(repository, cluster, name, destination).await? == Fetched::Written {
        return Ok(Fetched::Written);
    }
    let Some(bytes) = assembled? else { return Ok(Fetched::Absent) };
    tracing::info!(segment = name, "an incomplete segment is given for recovery");
    let destination = destination.to_owned();
    let write = move || wal::write_atomically(&destination, &bytes);
    Error::joined(tokio::task::spawn_blocking(write).await)?;
    Ok(Fetched::Written)
}

/// How far a segment that is not complete is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TailEnd {
    pub(crate) lsn: Lsn,
    segment: SegmentName,
    pieces: u64,
}

/// Returns how far the segment behind `end` is known on `timeline`; `None` where no byte of it is, or all of it is archived.
pub(crate) async fn end(
    repository: &Repository,
    cluster: &Cluster,
    timeline: u32,
    end: Lsn,
) -> Result<Option<TailEnd>> {
    let size = cluster.segment_size;
    let number = size.segment_of(end);
    let segment = SegmentName::new(timeline, number, size);
    let tail = read(repository, cluster, segment).await?;
    if tail.bytes.is_empty() || archive::has_segment(repository, cluster, timeline, number).await? {
        return Ok(None);
    }
    let lsn = Lsn(number * size.bytes() + tail.bytes.len() as u64);
    Ok(Some(TailEnd { lsn, segment, pieces: tail.pieces }))
}

/// Returns when the last piece before `end` was stored, by the clock of the store; `None` where it has gone meanwhile.
pub(crate) async fn stored_at(
    repository: &Repository,
    cluster: &Cluster,
    end: &TailEnd,
) -> Result<Option<Timestamp>> {
    repository.stored_at(&path(cluster.system_identifier, end.segment, end.pieces.saturating_sub(1))).await
}

#[cfg(test)]
mod tests;
