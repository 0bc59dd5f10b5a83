//! Expiry of real backups: what is kept restores, what is not is gone, and the rest is as it was.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use ops_backup::expire::{self, Expired};
use ops_backup::{
    Backup, BackupOptions, Monitor, RecoveryTarget, Repository, Retention, TreeEngine, VerifyOptions,
    WalRetention, backup, verify,
};

use crate::end_to_end::{restore_to, start_restored, verify_backup};
use crate::engines::{noise, restore_tree, snapshot};
use crate::support::{Site, store};

/// Plans and applies as if so many hours had passed.
async fn run(repository: &Repository, policy: &Retention, hours: i64) -> Expired {
    let now = Timestamp::now() + SignedDuration::from_hours(hours);
    let plan = expire::plan(repository, policy, now).await.unwrap();
    expire::apply(repository, plan, &Monitor::default()).await.unwrap()
}

fn last(count: u32) -> Retention {
    Retention { last: Some(count), ..Retention::default() }
}

async fn bytes(store: &dyn ObjectStore, prefix: &str) -> u64 {
    use futures_util::TryStreamExt as _;
    let prefix = object_store::path::Path::from(prefix);
    let objects: Vec<_> = store.list(Some(&prefix)).try_collect().await.unwrap();
    objects.iter().map(|object| object.size).sum()
}

async fn prove(repository: &Repository) {
    let report = verify(repository, &VerifyOptions::default(), &Monitor::default()).await.unwrap();
    assert!(report.is_proven(), "{:?}", report.problems);
}

async fn back_up(repository: &Repository, engine: &TreeEngine) -> Backup {
    backup(repository, engine, &BackupOptions::default(), &Monitor::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_restores_after_everything_it_was_built_on_has_expired() {
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let repository = Repository::open_or_create(Arc::clone(&memory), None).await.unwrap();
    let tree = tempfile::tempdir().unwrap();
    let engine = TreeEngine::new("t", tree.path());
    std::fs::write(tree.path().join("stays"), noise(1, 3_000_000)).unwrap();
    let mut taken = Vec::new();
    for number in 0..5 {
        std::fs::write(tree.path().join("changes"), noise(100 + number, 2_000_000)).unwrap();
        taken.push(back_up(&repository, &engine).await);
    }
    assert!(taken[4].added_bytes < 2_200_000, "it refers to what is there: {}", taken[4].added_bytes);
    let expected = snapshot(tree.path());
    assert_eq!(run(&repository, &last(1), 0).await.backups.len(), 4);
    prove(&repository).await;
    let removed = run(&repository, &last(1), 25).await;
    assert!(removed.removed_packs > 0, "{removed:?}");
    assert_eq!(bytes(&memory, "packs").await, taken[4].stored_bytes, "nothing else is left: {removed:?}");
    prove(&repository).await;
    let restored = tempfile::tempdir().unwrap();
    restore_tree(&repository, restored.path(), &taken[4].id).await;
    assert!(snapshot(restored.path()) == expected);

    // And the next one builds on it.
    std::fs::write(tree.path().join("changes"), noise(200, 2_000_000)).unwrap();
    let next = back_up(&repository, &engine).await;
    assert!(next.added_bytes < 2_200_000, "{}", next.added_bytes);
    prove(&repository).await;
    let restored = tempfile::tempdir().unwrap();
    restore_tree(&repository, restored.path(), &next.id).await;
    assert!(snapshot(restored.path()) == snapshot(tree.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_its_newest_backup_and_the_wal_from_there_on() {
    let site = Site::start().await;
    site.psql("CREATE TABLE t AS SELECT 1 AS n");
    let mut taken = Vec::new();
    for number in 2..5 {
        taken.push(site.backup().await);
        site.psql(&format!("INSERT INTO t VALUES ({number})"));
        site.switch_wal().await;
    }
    let place = store(&site.place());
    let (wal, packs) = (bytes(place.as_ref(), "pg").await, bytes(place.as_ref(), "packs").await);
    let policy = Retention { wal: WalRetention::All, ..last(1) };
    let expired = run(&site.repository, &policy, 0).await;
    assert_eq!(expired.backups, [taken[0].id.clone(), taken[1].id.clone()]);
    assert_eq!((expired.wal_files, expired.removed_packs), (0, 0), "a restore may be reading");
    let removed = run(&site.repository, &policy, 25).await;
    assert!(removed.wal_files >= 2, "{removed:?}");
    assert_eq!(wal - bytes(place.as_ref(), "pg").await, removed.wal_bytes);
    assert_eq!(packs - bytes(place.as_ref(), "packs").await, removed.removed_bytes);
    prove(&site.repository).await;

    let restored = restore_to(&site, "restored", RecoveryTarget::Latest).await;
    assert_eq!(restored.backup, taken[2].id);
    verify_backup(site.postgres.major(), &restored.data_directory);
    let server = start_restored(&restored.data_directory).await;
    assert_eq!(server.psql("SELECT array_agg(n ORDER BY n) FROM t").unwrap(), "{1,2,3,4}");
}
