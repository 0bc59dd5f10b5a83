//! Heartbeats: small objects that say when a job last lived, by the clock of the store.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::repo::compress::Compression;
use crate::repo::seal::Kind;
use crate::repo::{Repository, object_path};

/// How often a job says that it lives.
pub(super) const PERIOD: Duration = Duration::from_secs(60);

pub(crate) const PREFIX: &str = "leases";

/// In place of a job's id: objects that are written to learn what time it is.
pub(crate) const CLOCK: &str = "clock";

fn path(id: &str, number: u64) -> Path {
    object_path(&format!("{PREFIX}/{id}/{number:020}"))
}

/// Writes heartbeats until `stop`. One that fails is tried again a period later.
pub(super) async fn run(repository: Repository, id: String, stop: CancellationToken) {
    let mut number = 0;
    let beat = async {
        loop {
            match repository.heartbeat(&id, number).await {
                Ok(()) => number += 1,
                Err(error) => tracing::warn!(backup = id, %error, "a heartbeat was not written"),
            }
            tokio::time::sleep(PERIOD).await;
        }
    };
    stop.run_until_cancelled(beat).await;
}

impl Repository {
    pub(super) async fn heartbeat(&self, id: &str, number: u64) -> Result<()> {
        let path = path(id, number);
        let object =
            self.secrets().seal(Kind::Lease, path.as_ref(), b"{\"version\":2}", Compression::None)?;
        self.create(&path, object).await?;
        if let Some(before) = number.checked_sub(1) {
            // One that stays is no harm; the newest counts.
            let _ = self.store().delete(&self::path(id, before)).await;
        }
        Ok(())
    }

    /// Returns when job `id` last said that it lives, by the clock of the store; `None` where no heartbeat is found.
    pub(super) async fn last_heartbeat(&self, id: &str) -> Result<Option<Timestamp>> {
        let prefix = object_path(&format!("{PREFIX}/{id}"));
        let listed: Vec<ObjectMeta> = self
            .store()
            .list(Some(&prefix))
            .try_collect()
            .await
            .map_err(|error| Error::storage(format!("list {prefix}"), error))?;
        let number =
            |object: &ObjectMeta| object.location.filename().and_then(|name| name.parse::<u64>().ok());
        let Some((number, newest)) = listed
            .iter()
            .filter_map(|object| Some((number(object)?, object)))
            .max_by_key(|(number, _)| *number)
        else {
            return Ok(None);
        };
        let mut at = stored_at(newest);
        // The list may be out of date.
        for number in number + 1.. {
            match self.store().head(&path(id, number)).await {
                Ok(object) => at = stored_at(&object),
                Err(object_store::Error::NotFound { .. }) => break,
                Err(error) => return Err(Error::storage(format!("look for {}", path(id, number)), error)),
            }
        }
        Ok(Some(at))
    }

    /// Removes the heartbeats of a job that has ended. What stays is removed by garbage collection.
    pub(super) async fn remove_heartbeats(&self, id: &str) {
        let prefix = object_path(&format!("{PREFIX}/{id}"));
        let listed = self.store().list(Some(&prefix)).map_ok(|object| object.location).boxed();
        let removed: Result<Vec<Path>, _> = self.store().delete_stream(listed).try_collect().await;
        match removed {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => tracing::debug!(backup = id, %error, "heartbeats stay until the next sweep"),
        }
    }

    /// Learns what time it is for the store, by writing an object.
    pub(super) async fn store_clock(&self) -> Result<Timestamp> {
        let path = object_path(&format!("{PREFIX}/{CLOCK}/{:016x}", crate::repo::random()));
        let object =
            self.secrets().seal(Kind::Lease, path.as_ref(), b"{\"version\":2}", Compression::None)?;
        self.write(&path, object).await?;
        let head = self.store().head(&path).await;
        let removed = self.store().delete(&path).await;
        let head = head.map_err(|error| Error::storage(format!("look for {path}"), error))?;
        removed.map_err(|error| Error::storage(format!("remove {path}"), error))?;
        Ok(stored_at(&head))
    }
}

pub(super) fn stored_at(object: &ObjectMeta) -> Timestamp {
    Timestamp::from_millisecond(object.last_modified.timestamp_millis()).unwrap_or(Timestamp::MIN)
}
