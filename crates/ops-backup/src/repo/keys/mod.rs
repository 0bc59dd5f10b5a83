//! The repository key, wrapped by key-encryption keys: `keys/<id>.json`, one object for each way in.
//!
//! The repository key is drawn once and never changes; what a person holds only unlocks it. So a passphrase is changed by
//! wrapping the same key once more ([`Repository::add_key`]) and removing the old object
//! ([`Repository::remove_key`]): no data is rewritten. Whoever had the old one and a copy of its object can still
//! unlock what they copied; against that only a new repository helps.
//!
//! A key is removed in two steps: a record in the log, then the object. The record decides between two hosts that each
//! remove the other's way in; after a crash between the steps, removing the key again ends it.

mod key;
mod wrapped;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::Serialize;
use zeroize::Zeroizing;

pub use key::Key;
use wrapped::{Derivation, Wrapped};

use crate::error::{Error, ErrorKind, Result};
use crate::repo::log::Event;
use crate::repo::{Repository, object_path};

/// A wrapped key has some 500 bytes; whatever is larger was put there by someone else.
const LARGEST: u64 = 16 << 10;

/// One way into an encrypted repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// Its name, for [`Repository::remove_key`].
    pub id: String,
    /// What unlocks it.
    pub kind: KeyKind,
    /// When it was added, by the clock of the machine that did.
    pub created_at: Timestamp,
    /// Whether this is the one that the repository was opened with now.
    pub in_use: bool,
}

/// What unlocks a wrapped key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// A passphrase.
    Passphrase,
    /// 32 random bytes.
    Raw,
}

fn path(id: &str) -> Path {
    object_path(&format!("keys/{id}.json"))
}

impl Repository {
    /// Returns the ways in, oldest first. A damaged one is not among them; a verification reports it.
    ///
    /// # Errors
    /// `Storage`. A repository that is not encrypted has none.
    pub async fn keys(&self) -> Result<Vec<KeyInfo>> {
        let removed = self.state().await?.removed_keys;
        let wrapped = self.readable_keys().await?.0;
        let info = |wrapped: Wrapped| KeyInfo {
            in_use: self.opened_with.as_deref() == Some(wrapped.id.as_str()),
            kind: match wrapped.derivation {
                Derivation::Passphrase { .. } => KeyKind::Passphrase,
                Derivation::Raw => KeyKind::Raw,
            },
            created_at: wrapped.created_at,
            id: wrapped.id,
        };
        let mut keys: Vec<KeyInfo> =
            wrapped.into_iter().filter(|wrapped| !removed.contains(&wrapped.id)).map(info).collect();
        keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(keys)
    }

    /// Lets `key` open the repository too, and returns the id of the new way in; that of the present one where it does
    /// already.
    ///
    /// # Errors
    /// `Configuration` where the repository is not encrypted, or the passphrase is empty.
    pub async fn add_key(&self, key: &Key) -> Result<String> {
        let Some(master) = self.secrets().master() else {
            let message = "the repository is not encrypted: it has no keys";
            return Err(Error::new(ErrorKind::Configuration, message));
        };
        key.refuse_empty()?;
        let removed = self.state().await?.removed_keys;
        match self.unwrap_key(key).await {
            Ok((_, id)) if !removed.contains(&id) => return Ok(id),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WrongKey | ErrorKind::Corrupt) => {}
            Err(error) => return Err(error),
        }
        let master = Zeroizing::new(*master);
        let id = self.wrap_key(&master, key).await?;
        tracing::info!(key = id, "added a key");
        Ok(id)
    }

    /// Removes a way in. What it unlocks is not changed.
    ///
    /// # Errors
    /// `NotFound` where there is none of this id; `Configuration` where it is the one that the repository was
    /// opened with: opening it with another one proves that this other one works. `WrongKey` where the one it was opened
    /// with has been removed meanwhile.
    pub async fn remove_key(&self, id: &str) -> Result<()> {
        let Some(mine) = self.opened_with.as_deref() else {
            let message = "the repository is not encrypted: it has no keys";
            return Err(Error::new(ErrorKind::Configuration, message));
        };
        if mine == id {
            let message = format!(
                "key {id} has opened the repository now; remove it after opening with another one, which proves that one"
            );
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_id || !self.exists(&path(id)).await? {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no key {id:?}")));
        }
        self.append(|state| {
            state.refuse_damage("remove a key")?;
            if state.removed_keys.contains(mine) {
                let message = format!("key {mine}, which has opened the repository, was removed meanwhile");
                return Err(Error::new(ErrorKind::WrongKey, message));
            }
            let event = Event::RemoveKey { key: id.to_owned() };
            Ok((!state.removed_keys.contains(id)).then_some(event))
        })
        .await?;
        self.remove(&path(id)).await?;
        tracing::info!(key = id, "removed a key");
        Ok(())
    }

    /// Reads every key object, and says what is wrong with each that is damaged.
    ///
    /// # Errors
    /// `Storage`, `Unsupported`.
    pub(crate) async fn check_keys(&self) -> Result<(u64, Vec<(Path, Error)>)> {
        let (readable, damaged) = self.readable_keys().await?;
        Ok(((readable.len() + damaged.len()) as u64, damaged))
    }

    /// Wraps the repository key `master` so that `key` unlocks it, and returns the id of the new object.
    pub(super) async fn wrap_key(&self, master: &[u8; 32], key: &Key) -> Result<String> {
        let (master, key, repository) = (Zeroizing::new(*master), key.clone(), self.id().to_owned());
        let wrap = move || Wrapped::new(&master, &key, &repository);
        let wrapped = Error::joined(tokio::task::spawn_blocking(wrap).await)?;
        self.write(&path(&wrapped.id), Bytes::from(wrapped.encode())).await?;
        Ok(wrapped.id)
    }

    /// Finds the wrapped key that `key` unlocks, and returns the repository key and its id.
    ///
    /// # Errors
    /// `WrongKey` where it unlocks none; `Corrupt` where all of them are damaged, `Unsupported` where one is of a newer
    /// program.
    pub(super) async fn unwrap_key(&self, key: &Key) -> Result<(Zeroizing<[u8; 32]>, String)> {
        let (readable, damaged) = self.readable_keys().await?;
        let tried = readable.len();
        let (key, repository) = (key.clone(), self.id().to_owned());
        let find = move || {
            for wrapped in readable {
                match wrapped.unlock(&key, &repository) {
                    Ok(Some(master)) => return Some((master, wrapped.id)),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "a key is passed over"),
                }
            }
            None
        };
        if let Some(found) = Error::joined(tokio::task::spawn_blocking(find).await) {
            return Ok(found);
        }
        let mut message =
            "the repository is encrypted, and the key that was given does not open it".to_owned();
        if damaged.is_empty() {
            return Err(Error::new(ErrorKind::WrongKey, message));
        }
        message += &format!("; {} of its key objects cannot be read", damaged.len());
        if let Some((_, newer)) =
            damaged.into_iter().find(|(_, error)| error.kind() == ErrorKind::Unsupported)
        {
            return Err(newer);
        }
        let kind = if tried == 0 { ErrorKind::Corrupt } else { ErrorKind::WrongKey };
        Err(Error::new(kind, message))
    }

    /// Returns the wrapped keys that the store lists, and those of them that are damaged.
    async fn readable_keys(&self) -> Result<(Vec<Wrapped>, Vec<(Path, Error)>)> {
        let objects = self.list_all("keys").await?;
        let read = stream::iter(objects).map(|object| self.read_key(object)).buffered(4);
        let mut readable = Vec::new();
        let mut damaged = Vec::new();
        for (path, result) in read.try_collect::<Vec<_>>().await? {
            match result {
                Ok(wrapped) => readable.push(wrapped),
                Err(error) => {
                    tracing::warn!(%error, "a key object cannot be read");
                    damaged.push((path, error));
                }
            }
        }
        Ok((readable, damaged))
    }

    async fn read_key(&self, object: ObjectMeta) -> Result<(Path, Result<Wrapped>)> {
        let path = object.location;
        if object.size > LARGEST {
            let error = Error::corrupt(format!("{path} is no key: it has {} bytes", object.size));
            return Ok((path, Err(error)));
        }
        let id = path.filename().and_then(|name| name.strip_suffix(".json")).unwrap_or_default().to_owned();
        let result = match self.read(&path).await {
            Ok(bytes) => Wrapped::decode(path.as_ref(), &id, &bytes),
            Err(error) => Err(error),
        };
        match result {
            // One that is of a newer program, or looks like it for a flipped bit, does not shut out the other keys.
            Err(error)
                if !matches!(
                    error.kind(),
                    ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Unsupported
                ) =>
            {
                Err(error)
            }
            result => Ok((path, result)),
        }
    }
}

#[cfg(test)]
mod tests;
