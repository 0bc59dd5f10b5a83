//! List: what the repository holds and what can be recovered from it, as data for people and machines. Reads only.

mod source;
mod window;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

pub use source::{
    BackupInventory, ClusterInventory, JobInventory, Reached, TimelineInventory, TreeInventory,
};
pub use window::Window;

use crate::error::Result;
use crate::repo::Repository;
use crate::repo::catalog::BackupSource;
use crate::repo::log::State;

/// Everything that a repository holds.
#[derive(Debug, Clone, Serialize)]
pub struct Inventory {
    /// The random identity of the repository.
    pub repository: String,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// The clusters with a backup, the one with the newest backup last.
    pub clusters: Vec<ClusterInventory>,
    /// The directory trees with a backup, the one with the newest backup last.
    pub trees: Vec<TreeInventory>,
    /// Jobs that run, or were killed and not cleaned up after.
    pub running: Vec<JobInventory>,
    /// Jobs that failed, whose data a later backup can use.
    pub abandoned: Vec<JobInventory>,
    /// Backups that are gone, whose data has not been looked through yet.
    pub expired: Vec<String>,
    /// Packs that nothing needs, and that are removed after a grace time.
    pub condemned_packs: u64,
    /// Their bytes.
    pub condemned_bytes: u64,
    /// Records of the log that cannot be read, by number: what they said is missing here.
    pub damaged_records: BTreeMap<u64, String>,
}

/// Lists what the repository holds.
///
/// # Errors
/// `Storage`, `Unsupported`. Damaged records of the log are in the inventory.
#[tracing::instrument(skip_all)]
pub async fn list(repository: &Repository) -> Result<Inventory> {
    let state = repository.state().await?;
    let mut kept: Vec<_> = state.backups.values().collect();
    kept.sort_by(|a, b| (a.backup.finished_at, &a.backup.id).cmp(&(b.backup.finished_at, &b.backup.id)));
    let mut clusters: Vec<ClusterInventory> = Vec::new();
    let mut trees: Vec<TreeInventory> = Vec::new();
    for kept in kept {
        match &kept.backup.source {
            BackupSource::Postgres(facts) => {
                // The cluster of the newest backup comes last.
                let known = clusters.iter().position(|known| known.cluster == facts.cluster);
                let mut entry = match known {
                    Some(index) => clusters.remove(index),
                    None => source::cluster(repository, facts.cluster).await?,
                };
                entry.backups.push(source::of_cluster(repository, &state, kept, facts, &entry.wal).await?);
                clusters.push(entry);
            }
            BackupSource::Tree(tree) => {
                let known = trees.iter().position(|known| known.name == tree.name);
                let mut entry = match known {
                    Some(index) => trees.remove(index),
                    None => TreeInventory { name: tree.name.clone(), backups: Vec::new() },
                };
                entry.backups.push(source::of_tree(kept));
                trees.push(entry);
            }
        }
    }
    for cluster in &mut clusters {
        cluster.windows = window::windows(cluster);
    }
    let State { running, abandoned, expired, condemned, damaged, .. } = &state;
    Ok(Inventory {
        repository: repository.id().to_owned(),
        encrypted: repository.secrets().is_encrypted(),
        clusters,
        trees,
        running: running.iter().map(|(id, job)| JobInventory::new(id, job)).collect(),
        abandoned: abandoned.iter().map(|(id, job)| JobInventory::new(id, job)).collect(),
        expired: expired.keys().cloned().collect(),
        condemned_packs: condemned.values().map(|list| list.packs).sum(),
        condemned_bytes: condemned.values().map(|list| list.bytes).sum(),
        damaged_records: damaged.clone(),
    })
}

impl Inventory {
    /// Returns all backups, those of one source together.
    pub fn backups(&self) -> impl Iterator<Item = &BackupInventory> {
        let clusters = self.clusters.iter().flat_map(|cluster| &cluster.backups);
        clusters.chain(self.trees.iter().flat_map(|tree| &tree.backups))
    }

    /// Returns when any backup was last proven whole.
    pub fn last_verified(&self) -> Option<Timestamp> {
        self.backups().filter_map(|backup| backup.verified).max()
    }
}
