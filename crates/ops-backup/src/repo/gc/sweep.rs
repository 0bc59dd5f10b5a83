//! The second phase: remove what was condemned, once its grace time is over.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt as _};

use crate::error::{Error, ErrorKind, Result};
use crate::monitor::Monitor;
use crate::repo::gc::condemned::{self, List};
use crate::repo::gc::{Roots, Waiting};
use crate::repo::lease;
use crate::repo::log::{Event, State};
use crate::repo::{Repository, object_path};

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) packs: u64,
    pub(crate) bytes: u64,
}

/// A store removes so many at once at most; between two of these the job can be stopped.
const BATCH: usize = 1000;

/// Remains of a crash are left alone for so long: they may belong to something that goes on.
const SETTLED: SignedDuration = SignedDuration::from_hours(24);

impl Repository {
    /// Removes everything whose grace time is over, and the remains of crashes.
    ///
    /// # Errors
    /// `Corrupt` where the log or a manifest cannot be read, or where a backup refers to something that is condemned:
    /// that would be a bug, and nothing is removed.
    #[tracing::instrument(skip_all)]
    pub(crate) async fn sweep(&self, now: Timestamp, waiting: Waiting, monitor: &Monitor) -> Result<Swept> {
        let state = self.state().await?;
        state.refuse_damage("remove packs")?;
        let mut swept = Swept::default();
        for (number, condemned) in &state.condemned {
            if now.duration_since(condemned.at) < waiting.grace {
                continue;
            }
            let list = match self.read_list(&condemned.list).await {
                Ok(list) => list,
                // What it named is found by the next mark.
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                    tracing::warn!(%error, "a list of condemned objects cannot be read; it is given up");
                    List::default()
                }
                Err(error) => return Err(error),
            };
            self.refuse_needed(&list, &state, now, waiting).await?;
            let paths: Vec<Path> = list.paths().map(object_path).collect();
            self.remove_all(&paths, monitor).await?;
            self.append(|state| {
                let event = Event::Sweep { condemned: *number };
                Ok(state.condemned.contains_key(number).then_some(event))
            })
            .await?;
            self.remove(&object_path(&condemned.list)).await?;
            swept.packs += list.packs.len() as u64;
            swept.bytes += list.packs.iter().map(|(_, size)| size).sum::<u64>();
        }
        self.remove_remains(now, monitor).await?;
        Ok(swept)
    }

    /// The protocol makes this impossible; a mistake in it must not cost a backup.
    async fn refuse_needed(
        &self,
        list: &List,
        state: &State,
        now: Timestamp,
        waiting: Waiting,
    ) -> Result<()> {
        let roots = Roots::of(state, now, waiting.resumable)?;
        let owner = |path: &str| path.split('/').nth(1).map(str::to_owned);
        let owners: BTreeSet<String> = list.packs.iter().filter_map(|(path, _)| owner(path)).collect();
        let kept = self.packs_kept(&roots, state, &owners).await?;
        let needed = list.packs.iter().find(|(path, _)| kept.contains(path)).map(|(path, _)| path);
        let manifests = list.objects.iter().filter(|path| path.ends_with("/manifest"));
        let lost = |path: &&String| owner(path).is_some_and(|id| roots.contains(&id));
        match needed.or(manifests.into_iter().find(lost)) {
            None => Ok(()),
            Some(path) => Err(Error::corrupt(format!(
                "{path} was condemned, and a backup needs it: a bug in ops-backup; nothing was removed"
            ))),
        }
    }

    /// Heartbeats of jobs that have ended, and lists that no record names.
    async fn remove_remains(&self, now: Timestamp, monitor: &Monitor) -> Result<()> {
        let heartbeats = self.list_all(lease::PREFIX).await?;
        let lists = self.list_all(condemned::PREFIX).await?;
        let state = self.state().await?;
        let named: BTreeSet<&str> = state.condemned.values().map(|one| one.list.as_str()).collect();
        let is_settled = |object: &object_store::ObjectMeta| {
            let at = Timestamp::from_millisecond(object.last_modified.timestamp_millis());
            at.is_ok_and(|at| now.duration_since(at) > SETTLED)
        };
        let mut remains: Vec<Path> = Vec::new();
        for object in heartbeats {
            let job = object.location.as_ref().split('/').nth(1).unwrap_or_default();
            let ended = job != lease::CLOCK && !state.running.contains_key(job);
            if ended || (job == lease::CLOCK && is_settled(&object)) {
                remains.push(object.location);
            }
        }
        let forgotten = lists.into_iter().filter(|list| !named.contains(list.location.as_ref()));
        remains.extend(forgotten.filter(is_settled).map(|list| list.location));
        self.remove_all(&remains, monitor).await
    }

    /// Removes the objects at `paths`; one that is not there is no error.
    pub(crate) async fn remove_all(&self, paths: &[Path], monitor: &Monitor) -> Result<()> {
        for batch in paths.chunks(BATCH) {
            monitor.check()?;
            let locations = stream::iter(batch.to_vec()).map(Ok).boxed();
            let mut removed = self.store().delete_stream(locations);
            while let Some(result) = removed.next().await {
                match result {
                    Ok(_) | Err(StoreError::NotFound { .. }) => {}
                    Err(error) => return Err(Error::storage("remove what is not needed", error)),
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn remove(&self, path: &Path) -> Result<()> {
        match self.store().delete(path).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(Error::storage(format!("remove {path}"), error)),
        }
    }
}
