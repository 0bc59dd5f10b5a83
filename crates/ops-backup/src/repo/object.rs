//! Writing an object once and reading it back whole: the only code that puts and gets.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};

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

const ATTEMPTS: u32 = 2;
const PAUSE: Duration = Duration::from_millis(200);

/// A path of the repository; every part is made by this crate.
pub(crate) fn object_path(path: &str) -> Path {
    Path::from(path)
}

impl Repository {
    /// Creates the object at `path`, durably, or finds it there with the same bytes.
    ///
    /// A request whose answer was lost is tried once more, and then told apart from a conflict by content.
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
        let mut attempt = 1;
        loop {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.store().put_opts(path, PutPayload::from(bytes.clone()), options).await {
                Ok(_) => return Ok(Written::Created),
                Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                    return Ok(Written::Identical);
                }
                Err(error) if attempt < ATTEMPTS => {
                    tracing::warn!(%path, %error, "a write failed; trying again");
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(Error::storage(format!("write {path}"), error)),
            }
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
        let mut attempt = 1;
        loop {
            let result = match self.store().get(path).await {
                Ok(object) => object.bytes().await.map(Some),
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            };
            match result {
                Ok(bytes) => return Ok(bytes),
                Err(error) if attempt < ATTEMPTS => {
                    tracing::warn!(%path, %error, "a read failed; trying again");
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(Error::storage(format!("read {path}"), error)),
            }
        }
    }

    /// Reads a part of the object at `path`, all of it or none.
    pub(crate) async fn read_range(&self, path: &Path, range: Range<u64>) -> Result<Bytes> {
        let mut attempt = 1;
        loop {
            match self.store().get_range(path, range.clone()).await {
                Ok(bytes) if bytes.len() as u64 == range.end - range.start => return Ok(bytes),
                Ok(bytes) => {
                    let message = format!("{path} ends {} bytes after byte {}", bytes.len(), range.start);
                    return Err(Error::corrupt(message));
                }
                Err(error @ StoreError::NotFound { .. }) => {
                    return Err(Error::storage(format!("read {path}"), error));
                }
                Err(error) if attempt < ATTEMPTS => {
                    tracing::warn!(%path, %error, "a read failed; trying again");
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(Error::storage(format!("read {path}"), error)),
            }
        }
    }

    /// Whether there is an object at `path`.
    pub(crate) async fn exists(&self, path: &Path) -> Result<bool> {
        match self.store().head(path).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(Error::storage(format!("look for {path}"), error)),
        }
    }
}
