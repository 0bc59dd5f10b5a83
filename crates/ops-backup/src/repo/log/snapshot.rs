//! Snapshots: the sum of the log up to a record, so that thousands of records need not be read one by one.
//!
//! `log/snapshots/<number>` holds what the records up to that number say. Whoever appends such a record writes it, and it
//! is no loss if that fails. A reader asks the store for a list of them and begins with the newest that it can read; a
//! list that is out of date, or a damaged snapshot, only makes it read more records.

use futures_util::TryStreamExt as _;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::repo::compress::Compression;
use crate::repo::log::State;
use crate::repo::seal::Kind;
use crate::repo::{Repository, object_path};

/// A snapshot is made of each record whose number is a multiple of this.
pub(super) const EVERY: u64 = 64;

const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Snapshot<S> {
    version: u32,
    state: S,
}

pub(super) const PREFIX: &str = "log/snapshots";

fn path(sequence: u64) -> Path {
    object_path(&format!("{PREFIX}/{sequence:020}"))
}

impl Repository {
    /// Writes the snapshot of `state` where one is due. A failure is only told: nothing needs it.
    pub(super) async fn offer_snapshot(&self, state: &State) {
        if !state.sequence.is_multiple_of(EVERY) || !state.damaged.is_empty() {
            return;
        }
        let path = path(state.sequence);
        let json =
            serde_json::to_vec(&Snapshot { version: VERSION, state }).expect("plain data is valid JSON");
        let written = match self.secrets().seal(Kind::Snapshot, path.as_ref(), &json, Compression::default())
        {
            Ok(object) => self.create(&path, object).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::warn!(%path, %error, "a snapshot of the log was not written");
        }
    }

    /// Returns the newest snapshot that can be read; an empty state where there is none.
    pub(super) async fn newest_snapshot(&self) -> Result<State> {
        for sequence in self.snapshots().await?.into_iter().rev() {
            match self.read_snapshot(sequence).await {
                Ok(state) => return Ok(state),
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                    tracing::warn!(%error, "a snapshot of the log is passed over");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(State::default())
    }

    /// Returns the numbers of the snapshots that the store lists, in order.
    pub(super) async fn snapshots(&self) -> Result<Vec<u64>> {
        let listed = self.store().list(Some(&object_path(PREFIX)));
        let listed: Vec<_> = listed
            .try_collect()
            .await
            .map_err(|error| Error::storage("list the snapshots of the log", error))?;
        let names = listed.iter().filter_map(|object| object.location.filename());
        let mut numbers: Vec<u64> = names.filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(super) async fn read_snapshot(&self, sequence: u64) -> Result<State> {
        let path = path(sequence);
        let object = self.read(&path).await?;
        let content = self.secrets().unseal(Kind::Snapshot, path.as_ref(), &object)?;
        let corrupt = || Error::corrupt(format!("{path} is no snapshot"));
        let Snapshot { version, state } = serde_json::from_slice::<Snapshot<serde_json::Value>>(&content)
            .map_err(|error| corrupt().with_source(error))?;
        if version > VERSION {
            let message = format!("{path} has version {version}; this program reads {VERSION}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let state: State = serde_json::from_value(state).map_err(|error| corrupt().with_source(error))?;
        if state.sequence == sequence { Ok(state) } else { Err(corrupt()) }
    }
}
