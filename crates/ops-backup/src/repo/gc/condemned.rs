//! The list of what a `condemn` record gives up, as it is stored: JSON.

use std::collections::HashSet;

use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::repo::compress::Compression;
use crate::repo::log::State;
use crate::repo::seal::Kind;
use crate::repo::{Repository, object_path};

pub(super) const PREFIX: &str = "condemned";
const VERSION: u32 = 2;

/// Objects that nothing refers to, by their paths.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct List {
    version: u32,
    /// With their bytes.
    pub(super) packs: Vec<(String, u64)>,
    /// Manifests and parts.
    pub(super) objects: Vec<String>,
}

impl List {
    pub(super) fn new(packs: Vec<(String, u64)>, objects: Vec<String>) -> Self {
        List { version: VERSION, packs, objects }
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        self.packs.iter().map(|(path, _)| path.as_str()).chain(self.objects.iter().map(String::as_str))
    }
}

impl Repository {
    /// Writes `list` and returns its place.
    pub(super) async fn write_list(&self, list: &List) -> Result<Path> {
        let path = object_path(&format!("{PREFIX}/{:016x}", crate::repo::random()));
        let json = serde_json::to_vec(list).expect("plain data is always valid JSON");
        let object = self.secrets().seal(Kind::Condemned, path.as_ref(), &json, Compression::default())?;
        self.write(&path, object).await?;
        Ok(path)
    }

    /// # Errors
    /// `NotFound`, `Corrupt`, also where it names anything but packs and what belongs to a backup.
    pub(super) async fn read_list(&self, path: &str) -> Result<List> {
        let path = object_path(path);
        let object = self.read(&path).await?;
        let content = self.secrets().unseal(Kind::Condemned, path.as_ref(), &object)?;
        let list: List = serde_json::from_slice(&content)
            .map_err(|error| Error::corrupt(format!("{path} is no list of objects")).with_source(error))?;
        if list.version > VERSION {
            let message = format!("{path} has version {}; this program reads {VERSION}", list.version);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let packs = list.packs.iter().all(|(path, _)| path.starts_with("packs/"));
        if packs && list.objects.iter().all(|path| path.starts_with("backups/")) {
            Ok(list)
        } else {
            Err(Error::corrupt(format!("{path} names an object that no list may name")))
        }
    }

    /// Returns everything that waits for its removal.
    pub(super) async fn condemned_already(&self, state: &State) -> Result<HashSet<String>> {
        let mut paths = HashSet::new();
        for condemned in state.condemned.values() {
            match self.read_list(&condemned.list).await {
                Ok(list) => paths.extend(list.paths().map(str::to_owned)),
                // What it named is condemned once more.
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                    tracing::warn!(%error, "a list of condemned objects cannot be read");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(paths)
    }
}
