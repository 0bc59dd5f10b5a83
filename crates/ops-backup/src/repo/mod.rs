//! The repository: where objects lie, how they are written once and read back. Knows no PostgreSQL server.
//!
//! # Layout
//!
//! ```text
//! repository.json                          format and version, written when the repository is created
//! packs/<xx>/<blake3>                      16 MiB or more of zstd frames, named by the hash of the whole object
//! backups/<id>/manifest                    zstd of JSON lines: a header, then one entry a line
//! backups/<id>/commit.json                 the backup exists if and only if this object does
//! pg/<system identifier>/cluster.json      the version and segment size of the cluster
//! pg/<system identifier>/wal/<timeline>/<name>   one WAL file behind a header that says what it is
//! ```
//!
//! No object is ever changed or overwritten: each is created once, with a conditional put. Writing what is already
//! there with the same content succeeds; other content under the same name is a [`Conflict`](crate::ErrorKind::Conflict).
//! The formats are specified in `docs/repository-format.md`.

pub mod catalog;
pub mod location;
pub(crate) mod manifest;
mod object;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
pub(crate) use object::{Written, object_path};

const FORMAT: &str = "ops-backup repository";
const VERSION: u32 = 1;
pub(crate) const MARKER: &str = "repository.json";

/// A repository of backups and WAL in an object store. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Repository {
    store: Arc<dyn ObjectStore>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format: String,
    version: u32,
    created_at: Timestamp,
}

impl Repository {
    /// Opens the repository in `store`.
    ///
    /// # Errors
    /// `NotARepository` where there is none, `Unsupported` where a newer version wrote it.
    pub async fn open(store: Arc<dyn ObjectStore>) -> Result<Self> {
        let repository = Repository { store };
        let Some(bytes) = repository.read_if_present(&object_path(MARKER)).await? else {
            let message = format!("{} holds no repository: {MARKER} is missing", repository.store);
            return Err(Error::new(ErrorKind::NotARepository, message));
        };
        let not_ours = || {
            Error::new(
                ErrorKind::NotARepository,
                format!("{} holds a {MARKER} that is not ours", repository.store),
            )
        };
        let marker: Marker = serde_json::from_slice(&bytes).map_err(|error| not_ours().with_source(error))?;
        if marker.format != FORMAT {
            return Err(not_ours());
        }
        if marker.version > VERSION {
            let message = format!(
                "the repository has format version {}; this program reads up to {VERSION}",
                marker.version
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(repository)
    }

    /// Opens the repository in `store`, or creates one where there is none.
    ///
    /// # Errors
    /// As [`Repository::open`]; `Unsupported` where the store does not keep the promise of a conditional put.
    pub async fn open_or_create(store: Arc<dyn ObjectStore>) -> Result<Self> {
        match Repository::open(Arc::clone(&store)).await {
            Err(error)
                if error.kind() == ErrorKind::NotARepository && !error.to_string().ends_with("not ours") => {}
            result => return result,
        }
        let repository = Repository { store: Arc::clone(&store) };
        repository.refuse_dishonest_store().await?;
        let marker = Marker { format: FORMAT.to_owned(), version: VERSION, created_at: Timestamp::now() };
        let json = serde_json::to_vec_pretty(&marker).expect("a marker is always valid JSON");
        match repository.write(&object_path(MARKER), Bytes::from(json)).await {
            Ok(_) => Ok(repository),
            // Another process created it at the same moment.
            Err(error) if error.kind() == ErrorKind::Conflict => Repository::open(store).await,
            Err(error) => Err(error),
        }
    }

    /// Two stores in use answer "created" and overwrite: everything here rests on their not doing so.
    async fn refuse_dishonest_store(&self) -> Result<()> {
        let path = object_path(&format!("probe/{:016x}", random()));
        self.write(&path, Bytes::from_static(b"first")).await?;
        let second = self.write(&path, Bytes::from_static(b"second")).await;
        let removed = self.store.delete(&path).await;
        match second {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                removed.map_err(|error| Error::storage(format!("remove the probe {path}"), error))
            }
            Err(error) => Err(error),
            Ok(_) => {
                let message = format!(
                    "{} overwrites objects that a conditional put (If-None-Match: *) must not; it cannot hold a repository",
                    self.store
                );
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }

    pub(crate) fn store(&self) -> &dyn ObjectStore {
        self.store.as_ref()
    }
}

/// A number that no other process draws; `RandomState` is seeded by the operating system.
pub(crate) fn random() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_i128(Timestamp::now().as_nanosecond());
    hasher.finish()
}

/// Returns the place of a pack.
pub(crate) fn pack_path(name: &str) -> Path {
    object_path(&format!("packs/{}/{name}", name.get(..2).unwrap_or_default()))
}
