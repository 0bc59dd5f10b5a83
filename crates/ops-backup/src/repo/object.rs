//! Writing an object once and reading it back whole: the only code that puts and gets.
//!
//! The store behind it has tried again what can be tried again ([`crate::repo::store`]); so here an error is an error.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectMeta, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};

use crate::error::{Error, ErrorKind, Result};
use crate::repo::Repository;

/// How an object came to be in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// This call created it.
    Created,
    /// It was there already, with this content.
    Identical,
}

/// How often a store may refuse a write as "already there" while it says that nothing is there.
const REFUSALS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// A path of the repository; every part is made by this crate.
pub(crate) fn object_path(path: &str) -> Path {
    Path::from(path)
}

impl Repository {
    /// Creates the object at `path`, durably, or finds it there with the same bytes.
    ///
    /// The answer to an earlier attempt may have been lost: such a write and a conflict are told apart by content.
    ///
    /// # Errors
    /// `Conflict` where the path holds other bytes.
    pub(crate) async fn write(&self, path: &Path, bytes: Bytes) -> Result<Written> {
        match self.create(path, bytes.clone()).await? {
            Written::Created => Ok(Written::Created),
            Written::Identical => {
                let present = self.read(path).await?;
                if present == bytes {
                    return Ok(Written::Identical);
                }
                Err(Error::new(ErrorKind::Conflict, format!("{path} already exists with other content")))
            }
        }
    }

    /// Creates the object at `path`, durably; `Identical` says only that something is there already.
    pub(crate) async fn create(&self, path: &Path, bytes: Bytes) -> Result<Written> {
        let mut refusals = 0;
        loop {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            let error = match self.store().put_opts(path, PutPayload::from(bytes.clone()), options).await {
                Ok(_) => return Ok(Written::Created),
                Err(error @ (StoreError::AlreadyExists { .. } | StoreError::Precondition { .. })) => error,
                Err(error) => return Err(Error::storage(format!("write {path}"), error)),
            };
            if self.exists(path).await? {
                return Ok(Written::Identical);
            }
            // S3 answers 409 as well while another writer of the same name is at work, which may then fail.
            refusals += 1;
            if refusals == REFUSALS {
                return Err(Error::storage(format!("write {path}"), error));
            }
            tracing::warn!(%path, %error, "a write was refused, and nothing is there; trying again");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Reads the whole object at `path`.
    pub(crate) async fn read(&self, path: &Path) -> Result<Bytes> {
        match self.read_if_present(path).await? {
            Some(bytes) => Ok(bytes),
            None => Err(Error::new(ErrorKind::NotFound, format!("{path} is missing from the repository"))),
        }
    }

    /// Reads the whole object at `path`; `None` only where the store says that there is none.
    pub(crate) async fn read_if_present(&self, path: &Path) -> Result<Option<Bytes>> {
        let result = match self.store().get(path).await {
            Ok(object) => object.bytes().await,
            Err(error) => Err(error),
        };
        match result {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::storage(format!("read {path}"), error)),
        }
    }

    /// Reads a part of the object at `path`, all of it or none.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` where the object ends before.
    pub(crate) async fn read_range(&self, path: &Path, range: Range<u64>) -> Result<Bytes> {
        let failed = |error| Error::storage(format!("read {path}"), error);
        let size = match self.store().get_range(path, range.clone()).await {
            Ok(bytes) if bytes.len() as u64 == range.end - range.start => return Ok(bytes),
            Ok(bytes) => range.start + bytes.len() as u64,
            // A range that lies outside of an object altogether is refused, by each store in its own words.
            Err(error @ StoreError::Generic { .. }) => match self.store().head(path).await {
                Ok(object) if object.size < range.end => object.size,
                _ => return Err(failed(error)),
            },
            Err(error) => return Err(failed(error)),
        };
        Err(Error::corrupt(format!("{path} ends at byte {size}, before byte {}", range.end)))
    }

    /// Whether there is an object at `path`.
    pub(crate) async fn exists(&self, path: &Path) -> Result<bool> {
        Ok(self.head(path).await?.is_some())
    }

    /// When the object at `path` was stored, by the clock of the store; `None` where there is none.
    pub(crate) async fn stored_at(&self, path: &Path) -> Result<Option<Timestamp>> {
        let at =
            |object: ObjectMeta| Timestamp::from_millisecond(object.last_modified.timestamp_millis()).ok();
        Ok(self.head(path).await?.and_then(at))
    }

    async fn head(&self, path: &Path) -> Result<Option<ObjectMeta>> {
        match self.store().head(path).await {
            Ok(object) => Ok(Some(object)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::storage(format!("look for {path}"), error)),
        }
    }
}
