//! The repository: where objects lie, how they are written once and read back. Knows no PostgreSQL server.
//!
//! # Layout
//!
//! ```text
//! repository.json                          format, version, identity; written when the repository is created
//! keys/<id>.json                           the repository key, wrapped: one for each way in
//! log/<number>                             what happened, in one order for all hosts: see [`log`]
//! packs/<backup>/<blake3>                  16 MiB or more of frames, named by the hash of the whole object
//! backups/<id>/manifest                    the root of a backup: see [`content`]
//! pg/<system identifier>/cluster           the version and segment size of the cluster
//! pg/<system identifier>/wal/<timeline>/<name>   one WAL file
//! pg/<system identifier>/tail/<timeline>/<segment>/<n>   a piece of a segment that is not complete yet
//! ```
//!
//! No object is ever changed or overwritten: each is created once, with a conditional put. Writing what is already
//! there with the same content succeeds; other content under the same name is a [`Conflict`](crate::ErrorKind::Conflict).
//! The formats are specified in `docs/repository-format.md`.

pub mod catalog;
pub(crate) mod compress;
pub(crate) mod content;
pub(crate) mod crypt;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod gc;
#[cfg(test)]
mod hostile;
pub(crate) mod keys;
pub(crate) mod lease;
pub mod location;
pub(crate) mod log;
mod object;
pub(crate) mod pack;
pub(crate) mod seal;
mod store;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::repo::crypt::Secrets;
use crate::repo::keys::Key;
use crate::repo::store::Resilient;
pub(crate) use object::{Written, object_path};
pub use store::RetryPolicy;

const FORMAT: &str = "ops-backup repository";
const VERSION: u32 = 2;
pub(crate) const MARKER: &str = "repository.json";

/// A repository of backups and WAL in an object store. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Repository {
    store: Arc<dyn ObjectStore>,
    /// The same store, with patience: what everything goes through.
    resilient: Arc<Resilient>,
    id: Arc<str>,
    secrets: Secrets,
    /// The id of the wrapped key that has opened it, where it is encrypted.
    opened_with: Option<Arc<str>>,
    known: log::Known,
}

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format: String,
    version: u32,
    /// Random; two repositories never share it.
    id: String,
    created_at: Timestamp,
    encryption: Encryption,
    /// BLAKE3 of the other fields, in this order, each followed by a newline.
    blake3: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Encryption {
    #[serde(rename = "none")]
    None,
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
}

impl Marker {
    fn hash(&self) -> String {
        let encryption = match self.encryption {
            Encryption::None => "none",
            Encryption::Aes256Gcm => "aes-256-gcm",
        };
        let Marker { format, version, id, created_at, .. } = self;
        let text = format!("{format}\n{version}\n{id}\n{created_at}\n{encryption}\n");
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }
}

#[derive(Deserialize)]
struct MarkerVersion {
    format: String,
    version: u32,
}

impl Repository {
    /// Opens the repository in `store`; `key` is needed if and only if it is encrypted.
    ///
    /// # Errors
    /// `NotARepository` where there is none, `Unsupported` where another version wrote it, `WrongKey` where `key` does
    /// not open it, `Configuration` where there is a key and nothing to open.
    pub async fn open(store: Arc<dyn ObjectStore>, key: Option<&Key>) -> Result<Self> {
        let mut repository = Repository::unopened(store);
        let Some(bytes) = repository.read_if_present(&object_path(MARKER)).await? else {
            let message = format!("{} holds no repository: {MARKER} is missing", repository.store);
            return Err(Error::new(ErrorKind::NotARepository, message));
        };
        let marker = repository.marker(&bytes)?;
        repository.id = marker.id.as_str().into();
        repository.secrets = match (marker.encryption, key) {
            (Encryption::None, None) => Secrets::plain(&marker.id),
            (Encryption::Aes256Gcm, Some(key)) => {
                let (master, id) = repository.unwrap_key(key).await?;
                repository.opened_with = Some(id.into());
                Secrets::encrypted(master)
            }
            (Encryption::None, Some(_)) => {
                let message =
                    "a key was given, and the repository is not encrypted: is it the right repository?";
                return Err(Error::new(ErrorKind::Configuration, message));
            }
            (Encryption::Aes256Gcm, None) => {
                return Err(Error::new(
                    ErrorKind::WrongKey,
                    "the repository is encrypted, and no key was given",
                ));
            }
        };
        Ok(repository)
    }

    /// Creates a repository in `store`, encrypted if there is a `key`, or opens the one that is there.
    ///
    /// # Errors
    /// As [`Repository::open`]; `Unsupported` where the store does not keep the promise of a conditional put.
    pub async fn open_or_create(store: Arc<dyn ObjectStore>, key: Option<&Key>) -> Result<Self> {
        match Repository::open(Arc::clone(&store), key).await {
            Err(error) if error.kind() == ErrorKind::NotARepository => {}
            result => return result,
        }
        let mut repository = Repository::unopened(Arc::clone(&store));
        repository.refuse_dishonest_store().await?;
        let encryption = if key.is_some() { Encryption::Aes256Gcm } else { Encryption::None };
        let mut marker = Marker {
            format: FORMAT.to_owned(),
            version: VERSION,
            id: format!("{:032x}", u128::from_le_bytes(crypt::random()?)),
            created_at: Timestamp::now(),
            encryption,
            blake3: String::new(),
        };
        marker.blake3 = marker.hash();
        repository.id = marker.id.as_str().into();
        // The key first: a marker without one would be a repository that nobody can open.
        if let Some(key) = key {
            repository.wrap_key(&crypt::random()?, key).await?;
        }
        let json = serde_json::to_vec_pretty(&marker).expect("a marker is always valid JSON");
        match repository.write(&object_path(MARKER), Bytes::from(json)).await {
            // Another process may have created it at the same moment; its key is then the repository's.
            Ok(_) => Repository::open(store, key).await,
            Err(error) if error.kind() == ErrorKind::Conflict => Repository::open(store, key).await,
            Err(error) => Err(error),
        }
    }

    fn unopened(store: Arc<dyn ObjectStore>) -> Self {
        let resilient = Arc::new(Resilient::new(Arc::clone(&store), RetryPolicy::default()));
        Repository {
            store,
            resilient,
            id: "".into(),
            secrets: Secrets::plain(""),
            opened_with: None,
            known: log::Known::default(),
        }
    }

    fn marker(&self, bytes: &[u8]) -> Result<Marker> {
        let not_ours = || {
            let message = format!("{} holds a {MARKER} that is damaged or not ours", self.store);
            Error::corrupt(message)
        };
        let version: MarkerVersion =
            serde_json::from_slice(bytes).map_err(|error| not_ours().with_source(error))?;
        if version.format != FORMAT {
            return Err(not_ours());
        }
        if version.version != VERSION {
            let message = format!(
                "the repository has format version {}; this program reads and writes {VERSION}",
                version.version
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let marker: Marker = serde_json::from_slice(bytes).map_err(|error| not_ours().with_source(error))?;
        if marker.hash() == marker.blake3 { Ok(marker) } else { Err(not_ours()) }
    }

    /// Reads the marker again, which was read when the repository was opened.
    ///
    /// # Errors
    /// `Corrupt`, `NotFound` where it is damaged or gone.
    pub(crate) async fn check_marker(&self) -> Result<()> {
        match self.marker(&self.read(&object_path(MARKER)).await?) {
            Ok(marker) if marker.id == *self.id => Ok(()),
            Ok(_) => Err(Error::corrupt(format!("{MARKER} is of another repository"))),
            // It had our version when the repository was opened.
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                Err(Error::corrupt(format!("{MARKER} has been changed")).with_source(error))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the same repository, with another policy for failures of its store.
    ///
    /// Opening always follows the default policy.
    #[must_use]
    pub fn with_retries(mut self, policy: RetryPolicy) -> Self {
        self.resilient = Arc::new(Resilient::new(Arc::clone(&self.store), policy));
        self
    }

    /// Returns the random identity of the repository.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    pub(crate) fn known(&self) -> &tokio::sync::Mutex<log::State> {
        &self.known
    }

    /// Two stores in use answer "created" and overwrite: everything here rests on their not doing so.
    async fn refuse_dishonest_store(&self) -> Result<()> {
        let path = object_path(&format!("probe/{:016x}", random()));
        self.write(&path, Bytes::from_static(b"first")).await?;
        let second = self.write(&path, Bytes::from_static(b"second")).await;
        let removed = self.store().delete(&path).await;
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
        self.resilient.as_ref()
    }
}

/// A number that no other process draws; `RandomState` is seeded by the operating system.
pub(crate) fn random() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_i128(Timestamp::now().as_nanosecond());
    hasher.finish()
}
