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
//! - **Order**: `start`, `list`, any number of `open` from many threads, `finish`. [`Session::watch`] runs beside the copy.
//!
//! The bytes of a file reach the writer through [`Contents`], a reader from front to back. So a source that has no files
//! at hand, such as the tar stream of `BASE_BACKUP`, needs no other writer.

mod list;
pub(crate) mod postgres;
pub(crate) mod throttle;
mod tree;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;
use crate::monitor::Monitor;
use crate::repo::Repository;
use crate::repo::catalog::{BackupSource, BadPage};
pub(crate) use list::{FileList, Item, Kind};
pub use postgres::PostgresEngine;
pub use tree::TreeEngine;

/// Something that backups can be taken of; see [`PostgresEngine`] and [`TreeEngine`].
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
}

/// One backup of the source, from its beginning to its end.
#[async_trait]
pub(crate) trait Session: Send + Sync {
    /// What is backed up, for example `postgres/7418890012345678901`.
    fn source(&self) -> String;

    /// Begins the backup on the source.
    async fn start(&mut self, repository: &Repository) -> Result<()>;

    /// Lists what the backup holds, in the order of paths.
    async fn list(&mut self) -> Result<Listed>;

    /// Returns why the sizes and times of files tell nothing beside those of `base`, an earlier backup of this source.
    fn doubt(&self, base: &BackupSource) -> Option<String>;

    /// Ends only with an error, where the source is lost or cannot be made consistent any more.
    async fn watch(&self, repository: &Repository) -> crate::error::Error;

    /// Ends the backup on the source, and waits until everything is in `repository` that a restore needs beside the files.
    async fn finish(&mut self, repository: &Repository, monitor: &Monitor) -> Result<Finished>;
}

/// The files of a source.
pub(crate) struct Listed {
    pub(crate) files: FileList,
    pub(crate) opener: Arc<dyn Opener>,
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
}

/// A small file that the end of a backup makes.
pub(crate) struct LastFile {
    pub(crate) path: String,
    pub(crate) mode: u32,
    /// Nanoseconds since 1970.
    pub(crate) modified: i64,
    pub(crate) content: Bytes,
}
