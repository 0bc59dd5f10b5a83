//! Small backups of nothing, for the tests of what happens to backups.

mod store;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::repo::Repository;
use crate::repo::catalog::{Backup, BackupSource, ManifestRef, TreeBackup};
use crate::repo::content::{ListingRef, Manifest};
use crate::repo::crypt::BlockHash;
use crate::repo::pack::{Frame, FrameRef, PackRef, PackTable};
pub(crate) use store::{Fault, FaultyStore};

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

/// The owner of a pack and its name.
pub(crate) type Pack = (String, [u8; 32]);

pub(crate) fn pack_ref((backup, name): &Pack) -> PackRef {
    PackRef { backup: backup.clone(), name: *name, salt: [0; 16], size: 10, raw: 10 }
}

/// Writes a manifest of a backup that refers to `packs`.
pub(crate) async fn write_manifest(repository: &Repository, id: &str, packs: &BTreeSet<Pack>) -> ManifestRef {
    let table = PackTable::default();
    let listings = packs.iter().enumerate().map(|(number, pack)| {
        let frame = Frame { pack: table.intern(pack_ref(pack)), offset: 0, stored: 1, raw: 1 };
        let frame = FrameRef { frame, hash: BlockHash([0; 16]) };
        ListingRef { first: format!("{number:03}"), frame, uses: Vec::new() }
    });
    let listings = listings.collect();
    let manifest = Manifest { backup: id.to_owned(), source: source(), files: 0, bytes: 0, listings };
    repository.write_manifest(&manifest, &table).await.unwrap()
}

/// Makes `backup` exist, with `new` packs of its own and the packs `old` of backups before it.
pub(crate) async fn commit(repository: &Repository, mut backup: Backup, new: u8, old: &[Pack]) -> Vec<Pack> {
    let bases = |state: &crate::repo::log::State| state.backups.keys().cloned().collect();
    let lease = repository.begin(&backup.id, &backup.source.key(), bases, true).await.unwrap();
    let own: Vec<Pack> = (0..new).map(|number| (backup.id.clone(), [number; 32])).collect();
    for pack in &own {
        let bytes = bytes::Bytes::from_static(b"0123456789");
        repository.create(&pack_ref(pack).path(), bytes).await.unwrap();
    }
    let packs = own.iter().chain(old).cloned().collect();
    backup.manifest = write_manifest(repository, &backup.id, &packs).await;
    lease.commit(backup).await.unwrap();
    own
}
