//! Entries: read, written, listed. KV version 2 keeps versions, and says whether one was deleted or destroyed.

use super::client::{Mount, Vault};
use super::error::{VaultError, VaultErrorKind};
use super::http::Answer;
use super::lease::{self, Lease};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Which version of the KV engine a mount is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvVersion {
    /// Keeps the last value alone.
    One,
    /// Keeps versions.
    Two,
}

/// What stands at a path.
pub struct Entry {
    data: Map<String, Value>,
    version: Option<u64>,
    lease: Option<Lease>,
}

impl Entry {
    /// Returns the fields.
    pub fn expose_fields(&self) -> &Map<String, Value> {
        &self.data
    }

    /// Returns one field that is text.
    pub fn expose_text(&self, field: &str) -> Option<&str> {
        self.data.get(field).and_then(Value::as_str)
    }

    /// Returns the version; None where the engine keeps none.
    pub fn version(&self) -> Option<u64> {
        self.version
    }

    /// Returns the lease of what was made for this request; None for what just stands there.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    pub(super) fn into_parts(self) -> (Map<String, Value>, Option<u64>, Option<Lease>) {
        (self.data, self.version, self.lease)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, lease, .. } = self;
        f.debug_struct("Entry").field("version", version).field("lease", lease).finish_non_exhaustive()
    }
}

/// What an entry must be for a write to go through, so that nobody's write is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it is.
    Anything,
    /// There is none yet.
    Nothing,
    /// It has this version.
    Version(u64),
}

/// The versions of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// The newest; another number than before says that the entry has changed.
    pub current: u64,
    /// What is left of each.
    pub states: BTreeMap<u64, VersionState>,
}

/// What is left of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionState {
    /// It can be read.
    Live,
    /// It can be brought back.
    Deleted,
    /// It is gone for good.
    Destroyed,
}

impl Vault {
    /// Reads what stands at a path, as the path is written for people: `kv/shop/db`, without `data/`, in either version of
    /// KV; or what another engine makes when it is asked, `database/creds/shop`, which comes with a lease.
    ///
    /// # Errors
    /// [`VaultErrorKind::NotFound`], [`Deleted`](VaultErrorKind::Deleted), [`Destroyed`](VaultErrorKind::Destroyed), or what
    /// keeps the server from answering.
    pub async fn read(&self, path: &str, version: Option<u64>) -> Result<Entry, VaultError> {
        let mount = self.mount(path).await?;
        if mount.kv != Some(KvVersion::Two) {
            if version.is_some() {
                let why = "versions can be asked for where the mount is KV version 2 alone";
                return Err(VaultError::new(VaultErrorKind::NotFound, path, why));
            }
            return self.read_plain(path).await;
        }
        let query = version.map_or_else(String::new, |version| format!("?version={version}"));
        let asked = in_mount(&mount, "data", path) + &query;
        let answer = self.request(Method::GET, &asked, None).await.map_err(|error| told(error, path))?;
        let inner = &answer.body["data"];
        match (answer.status, inner["data"].as_object()) {
            (200, Some(data)) => {
                Ok(Entry { data: data.clone(), version: inner["metadata"]["version"].as_u64(), lease: None })
            }
            (404, None) => Err(gone(&answer, path)),
            _ => Err(refused(&answer, path)),
        }
    }

    /// Writes all fields of an entry, and returns its new version; None in KV version 1.
    ///
    /// # Errors
    /// [`VaultErrorKind::Conflict`] where the entry is not what was expected; KV version 1 cannot tell, so there anything
    /// but [`Expected::Anything`] is refused.
    pub async fn put(
        &self,
        path: &str,
        fields: &Map<String, Value>,
        expected: Expected,
    ) -> Result<Option<u64>, VaultError> {
        let mount = self.mount(path).await?;
        let (asked, body) = match (mount.kv, expected) {
            (Some(KvVersion::Two), expected) => {
                let options = match expected {
                    Expected::Anything => json!({}),
                    Expected::Nothing => json!({ "cas": 0 }),
                    Expected::Version(version) => json!({ "cas": version }),
                };
                (in_mount(&mount, "data", path), json!({ "options": options, "data": fields }))
            }
            (_, Expected::Anything) => (path.to_owned(), Value::from(fields.clone())),
            (_, _) => {
                let why = "what stands there now cannot be checked: the mount is not KV version 2";
                return Err(VaultError::new(VaultErrorKind::Conflict, path, why));
            }
        };
        let answer =
            self.request(Method::POST, &asked, Some(&body)).await.map_err(|error| told(error, path))?;
        match answer.status {
            200 | 204 => Ok(answer.body["data"]["version"].as_u64()),
            400 if answer.says("check-and-set") => {
                let why = "it is not at the version that was expected: somebody else wrote it";
                Err(VaultError::new(VaultErrorKind::Conflict, path, why))
            }
            _ => Err(refused(&answer, path)),
        }
    }

    /// Lists the names below a path; those of folders end in `/`. What has no entries has none.
    ///
    /// # Errors
    /// What keeps the server from answering.
    pub async fn list(&self, path: &str) -> Result<Vec<String>, VaultError> {
        // A mount itself is found by a path in it.
        let mount = self.mount(&format!("{}/", path.trim_end_matches('/'))).await?;
        let asked = match mount.kv {
            Some(KvVersion::Two) => in_mount(&mount, "metadata", path),
            _ => path.to_owned(),
        };
        let asked = format!("{}?list=true", asked.trim_end_matches('/'));
        let answer = self.request(Method::GET, &asked, None).await.map_err(|error| told(error, path))?;
        match answer.status {
            200 => {
                let keys = answer.body["data"]["keys"].as_array().into_iter().flatten();
                Ok(keys.filter_map(Value::as_str).map(str::to_owned).collect())
            }
            404 => Ok(Vec::new()),
            _ => Err(refused(&answer, path)),
        }
    }

    /// Returns the versions of an entry of KV version 2.
    ///
    /// # Errors
    /// [`VaultErrorKind::NotFound`] where there is no entry, or the mount keeps no versions.
    pub async fn versions(&self, path: &str) -> Result<Versions, VaultError> {
        let mount = self.mount(path).await?;
        if mount.kv != Some(KvVersion::Two) {
            let why = "it has no versions: the mount is not KV version 2";
            return Err(VaultError::new(VaultErrorKind::NotFound, path, why));
        }
        let asked = in_mount(&mount, "metadata", path);
        let answer = self.request(Method::GET, &asked, None).await.map_err(|error| told(error, path))?;
        if answer.status != 200 {
            return Err(refused(&answer, path));
        }
        let data = &answer.body["data"];
        let state = |version: &Value| match version {
            version if version["destroyed"] == true => VersionState::Destroyed,
            version if version["deletion_time"].as_str().is_some_and(|time| !time.is_empty()) => {
                VersionState::Deleted
            }
            _ => VersionState::Live,
        };
        let versions = data["versions"].as_object().into_iter().flatten();
        let states = versions.filter_map(|(number, version)| Some((number.parse().ok()?, state(version))));
        let current = data["current_version"].as_u64().ok_or_else(|| refused(&answer, path))?;
        Ok(Versions { current, states: states.collect() })
    }

    async fn read_plain(&self, path: &str) -> Result<Entry, VaultError> {
        let asked_at = tokio::time::Instant::now();
        let answer = self.request(Method::GET, path, None).await?;
        match (answer.status, answer.body["data"].as_object()) {
            (200, Some(data)) => {
                let lease = lease::of(&answer.body, path, asked_at, self.parent().await?);
                Ok(Entry { data: data.clone(), version: None, lease })
            }
            _ => Err(refused(&answer, path)),
        }
    }
}

/// The path of the API for a path as people write it.
fn in_mount(mount: &Mount, part: &str, path: &str) -> String {
    let rest = path.strip_prefix(&mount.path).unwrap_or_default();
    format!("{}{part}/{rest}", mount.path)
}

/// The error with the path as it was asked for, without what the API puts into it.
fn told(error: VaultError, path: &str) -> VaultError {
    VaultError::new(error.kind(), path, error.why().to_owned())
}

/// A version that was there once is answered with 404 too, but with its metadata.
fn gone(answer: &Answer, path: &str) -> VaultError {
    let metadata = &answer.body["data"]["metadata"];
    let (kind, why) = match metadata {
        metadata if metadata["destroyed"] == true => {
            (VaultErrorKind::Destroyed, "this version was destroyed; it is gone for good")
        }
        metadata if metadata["deletion_time"].as_str().is_some_and(|time| !time.is_empty()) => {
            (VaultErrorKind::Deleted, "this version was deleted; `undelete` brings it back")
        }
        _ => (VaultErrorKind::NotFound, "there is nothing at this path"),
    };
    VaultError::new(kind, path, why)
}

fn refused(answer: &Answer, path: &str) -> VaultError {
    match answer.status {
        404 => VaultError::new(VaultErrorKind::NotFound, path, "there is nothing at this path"),
        400 => VaultError::new(
            VaultErrorKind::UnexpectedAnswer,
            path,
            "the server refuses the request (400): the path or what was sent does not fit the engine",
        ),
        _ => {
            VaultError::new(VaultErrorKind::UnexpectedAnswer, path, "the answer is not what the API promises")
        }
    }
}
