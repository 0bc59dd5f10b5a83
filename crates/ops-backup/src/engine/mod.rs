//! Engines: what backups can be taken of. An engine knows its source; it knows no packs, no listings and no repository
//! beyond what its own consistency needs.
//!
//! # What an engine promises
//! - **Identity**: [`Session::source`] names what is backed up. Backups of one name build on one another, so two different
//!   sources must never share it.
//! - **Consistency**: what [`Opener`] hands out between [`Session::start`] and [`Session::finish`], together with what
//!   `finish` adds, can be restored to one consistent state by the means of the source (for PostgreSQL: by replay of WAL
//!   that `finish` has seen arrive).
//! - **Meanwhile** files may vanish, grow and shrink. A vanished file is `None` from [`Opener::open`]; a file is read to
//!   the size that the list says, and [`Contents`] decides what a shorter one means. Bytes are read once, in order.
//! - **No traces**: dropping a session ends the backup on the source, at any moment.
//! - **Order**: `start`, `supply`, then any number of `open` from many threads or the arrivals to their end, `finish`.
//!   [`Session::watch`] runs beside the copy.
//!
//! A source either has its files at hand ([`Supply::Files`]), or sends them once, in an order of its own
//! ([`Supply::Arrivals`]: the tar stream of `BASE_BACKUP`). Either way the bytes of a file reach the writer through
//! [`Contents`], a reader from front to back, so there is one writer.

pub(crate) mod chunks;
mod list;
pub(crate) mod postgres;
mod remote;
pub(crate) mod throttle;
mod tree;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;
use crate::monitor::Monitor;
use crate::repo::Repository;
use crate::repo::catalog::{Backup, BackupSource, BadPage};
pub(crate) use list::{Facts, FileList, Item, Kind, Parent};
pub use postgres::{PostgresEngine, TakenFrom};
pub use remote::{IncrementalUse, RemoteEngine, WireCompression};
pub use tree::TreeEngine;

/// Something that backups can be taken of; see [`PostgresEngine`], [`RemoteEngine`] and [`TreeEngine`].
///
/// The engines are those of this crate, because a repository must know how to restore each.
#[expect(
    private_bounds,
    reason = "nobody else can implement an engine: the format of the repository names them all"
)]
pub trait Engine: Connect {}

/// Begins sessions with the source.
#[async_trait]
pub(crate) trait Connect: Send + Sync + fmt::Debug {
    /// Reaches the source and finds out whether it can be backed up.
    async fn connect(&self) -> Result<Box<dyn Session>>;

    /// Whether a backup that cannot be made of changes alone may be made without them.
    fn may_read_whole(&self) -> bool {
        true
    }
}

/// One backup of the source, from its beginning to its end.
#[async_trait]
pub(crate) trait Session: Send + Sync {
    /// What is backed up, for example `postgres/7418890012345678901`.
    fn source(&self) -> String;

    /// Begins the backup on the source.
    async fn start(&mut self, repository: &Repository, start: Start<'_>) -> Result<()>;

    /// Returns what the backup holds.
    async fn supply(&mut self) -> Result<Supply>;

    /// Returns why the sizes and times of files tell nothing beside those of `base`, an earlier backup of this source.
    fn doubt(&self, base: &BackupSource) -> Option<String>;

    /// Ends only with an error, where the source is lost or cannot be made consistent any more.
    async fn watch(&self, repository: &Repository) -> crate::error::Error;

    /// Ends the backup on the source, and waits until everything is in `repository` that a restore needs beside the files.
    async fn finish(&mut self, repository: &Repository, monitor: &Monitor) -> Result<Finished>;
}

/// How a backup begins.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Start<'a> {
    /// A source that sends its files sends no more than so many bytes a second.
    pub(crate) bytes_per_second: Option<u64>,
    /// The backup that this one builds on, which is not known to be damaged.
    pub(crate) base: Option<&'a Backup>,
    /// Everything is to be read.
    pub(crate) whole: bool,
}

/// How the files of a source are to be had.
pub(crate) enum Supply {
    Files(Listed),
    Arrivals(Box<dyn Arrivals>),
}

/// The files of a source, in the order of paths.
pub(crate) struct Listed {
    pub(crate) files: FileList,
    pub(crate) opener: Arc<dyn Opener>,
}

/// Files that come once, in an order of their own.
#[async_trait]
pub(crate) trait Arrivals: Send {
    /// Returns what comes next; `None` once everything has come, and the source has said so. Not asked again after that.
    async fn next(&mut self) -> Result<Option<Arrival>>;

    /// How many bytes will come, as far as the source knows; zero where it does not.
    fn expected_bytes(&self) -> u64;

    /// Returns what reads the bytes that have come, on other threads.
    fn inspector(&self) -> Arc<dyn Inspector>;
}

/// What has come.
pub(crate) enum Arrival {
    /// A path, valid and not seen before. The bytes of a file follow.
    Item { path: String, facts: Facts },
    /// A file of which only these pages follow, one after another: the others are those of the base. Its size is what it has
    /// with all of them; what neither has is zero.
    Changes { path: String, facts: Facts, pages: PagesOf },
    /// The next bytes of the last file: never more than are left of it, and all of it before the next item.
    Data(Bytes),
}

/// Pages of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PagesOf {
    /// Bytes of each; a block of the repository has a whole number of them.
    pub(crate) size: u32,
    /// Each greater than the one before, and all below the end of the file.
    pub(crate) numbers: Vec<u32>,
}

/// Hands out bytes that have come, and remembers what is wrong with them.
pub(crate) trait Inspector: Send + Sync {
    /// Returns the reader of `chunks`, which lie `offset` bytes into the file at `path`.
    fn contents(&self, path: &str, facts: &Facts, offset: u64, chunks: Vec<Bytes>) -> Box<dyn Contents>;

    /// Returns what was found wrong with the content so far.
    fn findings(&self) -> Findings;

    /// Returns who wants to see what differs from the base, if anybody.
    fn auditor(&self) -> Option<&dyn Auditor> {
        None
    }
}

/// Judges by what differs from the base whether the base was right.
pub(crate) trait Auditor: Send + Sync + fmt::Debug {
    /// Whether anything in `bytes`, a block of the file at `path` that is not in the base, says that it should be.
    fn suspects(&self, path: &str, facts: &Facts, bytes: &[u8]) -> bool;

    /// Compares such a block, which lies `offset` bytes into its file, with what the base has in its place.
    fn compare(&self, path: &str, offset: u64, bytes: &[u8], before: &[u8]);
}

/// Opens files of a source from any thread; calls block.
pub(crate) trait Opener: Send + Sync {
    /// Opens file `item` of `files` for `length` bytes from `offset` on; `None` where it vanished.
    fn open(&self, files: &FileList, item: usize, offset: u64) -> Result<Option<Box<dyn Contents>>>;

    /// Returns what was found wrong with the content so far.
    fn findings(&self) -> Findings;
}

/// The bytes of a file, or of a run of it, from front to back.
pub(crate) trait Contents: Send {
    /// Fills `buffer` with the next bytes; fewer only where the file ends for good.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize>;
}

/// What an engine found wrong with the content of its source. It does not stop a backup.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    pub(crate) bad_pages: u64,
    /// The first of them, in the order of files and pages.
    pub(crate) examples: Vec<BadPage>,
}

/// What the end of a backup adds.
pub(crate) struct Finished {
    pub(crate) source: BackupSource,
    /// Files that exist only now, in the order of their paths.
    pub(crate) files: Vec<LastFile>,
    /// What the source itself says about each file that it has sent.
    pub(crate) proof: Option<Box<dyn Proof>>,
}

/// Compares what was stored with what the source says that it has sent.
pub(crate) trait Proof: Send {
    /// Fails where the source has sent the file at `path` with another size or CRC-32C, or not at all.
    fn file(&mut self, path: &str, size: u64, crc32c: u32) -> Result<()>;

    /// Fails where the source has sent a file that was not stored.
    fn end(&mut self) -> Result<()>;
}

/// A small file that the end of a backup makes.
pub(crate) struct LastFile {
    pub(crate) path: String,
    pub(crate) mode: u32,
    /// Nanoseconds since 1970.
    pub(crate) modified: i64,
    pub(crate) content: Bytes,
}
