//! The ledger: which objects were proven when. A cache in the repository; without it everything is read again.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::report::Findings;
use crate::error::{Error, ErrorKind, Result};
use crate::repo::compress::Compression;
use crate::repo::seal::Kind;
use crate::repo::{Repository, object_path};

const PREFIX: &str = "ledger";
const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// By the path of the object.
    proven: BTreeMap<String, Timestamp>,
}

/// What was proven when, as all ledgers together say, and with what this run adds.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    proven: BTreeMap<String, Timestamp>,
    /// Where it was read from.
    read: Vec<Path>,
    has_news: bool,
}

impl Ledger {
    pub(super) async fn read(repository: &Repository, findings: &mut Findings) -> Result<Self> {
        let prefix = object_path(PREFIX);
        let listed: Vec<_> = repository
            .store()
            .list(Some(&prefix))
            .try_collect()
            .await
            .map_err(|error| Error::storage(format!("list {prefix}"), error))?;
        let mut ledger = Ledger::default();
        for object in listed {
            let path = object.location;
            // Another run may have merged it into its own and removed it.
            let Some(bytes) = repository.read_if_present(&path).await? else { continue };
            let stored =
                repository.secrets().unseal(Kind::Ledger, path.as_ref(), &bytes).and_then(|content| {
                    let damaged = |error| Error::corrupt(format!("{path} is no ledger")).with_source(error);
                    let stored: Stored = serde_json::from_slice(&content).map_err(damaged)?;
                    if stored.version > VERSION {
                        let message =
                            format!("{path} has version {}; this program reads {VERSION}", stored.version);
                        return Err(Error::new(ErrorKind::Unsupported, message));
                    }
                    Ok(stored)
                });
            let Some(stored) = findings.keep(stored, path.as_ref(), [])? else { continue };
            ledger.read.push(path);
            for (object, at) in stored.proven {
                let newest = ledger.proven.entry(object).or_insert(at);
                *newest = (*newest).max(at);
            }
        }
        Ok(ledger)
    }

    pub(super) fn proven(&self, path: &str) -> Option<Timestamp> {
        self.proven.get(path).copied()
    }

    pub(super) fn add(&mut self, path: &str, at: Timestamp) {
        self.proven.insert(path.to_owned(), at);
        self.has_news = true;
    }

    /// What is damaged was proven once, and is not any more.
    pub(super) fn revoke(&mut self, path: &str) {
        self.has_news |= self.proven.remove(path).is_some();
    }

    /// Writes one ledger in place of those that were read. Two runs at once may both keep what the other has read.
    pub(super) async fn write(&self, repository: &Repository) -> Result<()> {
        if !self.has_news {
            return Ok(());
        }
        let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let path = object_path(&format!("{PREFIX}/{now}-{:016x}", crate::repo::random()));
        let stored = Stored { version: VERSION, proven: self.proven.clone() };
        let content = serde_json::to_vec(&stored).expect("a ledger is always valid JSON");
        let object =
            repository.secrets().seal(Kind::Ledger, path.as_ref(), &content, Compression::default())?;
        repository.write(&path, object).await?;
        for old in &self.read {
            // One that stays says nothing wrong.
            if let Err(error) = repository.store().delete(old).await {
                tracing::debug!(path = %old, %error, "an old ledger was not removed");
            }
        }
        Ok(())
    }
}
