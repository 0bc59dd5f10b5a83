//! Small backups of nothing, for the tests of what happens to backups.

use std::sync::Arc;

use jiff::Timestamp;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::repo::Repository;
use crate::repo::catalog::{Backup, BackupSource, ManifestRef, TreeBackup};

pub(crate) const SOURCE: &str = "tree/x";

pub(crate) fn source() -> BackupSource {
    BackupSource::Tree(TreeBackup {
        name: "x".to_owned(),
        root: "/".into(),
        changed_files: 0,
        changed_examples: Vec::new(),
    })
}

/// A record of a backup without a manifest.
pub(crate) fn backup(id: &str) -> Backup {
    Backup {
        id: id.to_owned(),
        tool: "test".to_owned(),
        started_at: Timestamp::UNIX_EPOCH,
        finished_at: Timestamp::now(),
        source: source(),
        base: None,
        files: 0,
        raw_bytes: 0,
        new_bytes: 0,
        added_bytes: 0,
        stored_bytes: 0,
        manifest: ManifestRef { size: 0, blake3: String::new() },
        bad_pages: 0,
        bad_page_examples: Vec::new(),
    }
}

pub(crate) async fn repository() -> Repository {
    Repository::open_or_create(Arc::new(InMemory::new()), None).await.unwrap()
}

/// The same repository as another host sees it.
pub(crate) async fn another(repository: &Repository) -> Repository {
    through(Arc::clone(&repository.store)).await
}

/// The repository in `store`.
pub(crate) async fn through(store: Arc<dyn ObjectStore>) -> Repository {
    Repository::open(store, None).await.unwrap()
}
