//! Backups that are cancelled, fail or are killed: nothing is visible, and the next one stores only the rest.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use ops_backup::{
    Backup, BackupOptions, ChangeDetection, Compression, Error, ErrorKind, Monitor, Phase, Repository,
    TreeEngine, backup,
};
use tokio_util::sync::CancellationToken;

use crate::engines::{in_memory, noise, restore_tree, snapshot};
use crate::faulty::{Fault, FaultyStore};
use crate::support::store;

/// Forty large files and many small ones: several packs, in more than one part.
fn large_tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for number in 0..40 {
        fs::write(root.path().join(format!("large {number:02}")), noise(number, 2_000_000)).unwrap();
    }
    fs::create_dir(root.path().join("small")).unwrap();
    for number in 0..500 {
        fs::write(root.path().join(format!("small/{number}")), noise(1000 + number, 3_000)).unwrap();
    }
    fs::write(root.path().join("larger"), noise(77, 150_000_000)).unwrap();
    root
}

fn eager() -> BackupOptions {
    BackupOptions { checkpoint_interval: Duration::ZERO, ..BackupOptions::default() }
}

/// Runs a backup that is cancelled once it has read so many bytes.
async fn cancelled_at(
    repository: &Repository,
    tree: &Path,
    bytes: u64,
    options: &BackupOptions,
) -> Result<Backup, Error> {
    let cancellation = CancellationToken::new();
    let monitor = Monitor::new(cancellation.clone());
    let mut progress = monitor.subscribe();
    let stop = tokio::spawn(async move {
        let reached =
            progress.wait_for(|progress| progress.phase == Phase::Copy && progress.bytes_done >= bytes).await;
        if reached.is_ok() {
            cancellation.cancel();
        }
    });
    let result = backup(repository, &TreeEngine::new("t", tree), options, &monitor).await;
    drop(monitor);
    stop.abort();
    result
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cancelled_backup_has_stored_is_not_stored_again() {
    let tree = large_tree();
    let total: u64 = snapshot(tree.path()).values().map(|(.., content)| content.len() as u64).sum();
    for compression in [Compression::Zstd(3), Compression::Lz4, Compression::None] {
        let repository = in_memory().await;
        let options = BackupOptions { workers: 1, ..eager() };
        let error = cancelled_at(&repository, tree.path(), 120_000_000, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(repository.backups().await.unwrap().is_empty());
        // With another setting, and a second stop later on.
        let options = BackupOptions { compression, ..options };
        cancelled_at(&repository, tree.path(), 200_000_000, &options).await.unwrap_err();
        let last = BackupOptions { change_detection: ChangeDetection::Hash, ..options };
        let engine = TreeEngine::new("t", tree.path());
        let whole = backup(&repository, &engine, &last, &Monitor::default()).await.unwrap();
        assert_eq!(whole.raw_bytes, total);
        assert!(whole.new_bytes < total - 140_000_000, "{} of {total}", whole.new_bytes);
        let restored = tempfile::tempdir().unwrap();
        restore_tree(&repository, restored.path(), &whole.id).await;
        assert!(snapshot(restored.path()) == snapshot(tree.path()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_stopped_anywhere_does_not_exist_and_does_no_harm() {
    let tree = tempfile::tempdir().unwrap();
    for number in 0..8 {
        fs::write(tree.path().join(format!("{number}")), noise(number, 700_000)).unwrap();
    }
    let engine = TreeEngine::new("t", tree.path());
    let origin = Arc::new(InMemory::new());
    Repository::open_or_create(Arc::clone(&origin) as Arc<dyn ObjectStore>, None).await.unwrap();
    for at in 0.. {
        let copy = Arc::new(origin.fork()) as Arc<dyn ObjectStore>;
        let store = FaultyStore::new(Arc::clone(&copy), Fault::Hang, usize::MAX);
        let repository = Repository::open(Arc::clone(&store) as Arc<dyn ObjectStore>, None).await.unwrap();
        store.arm(at);
        let (options, monitor) = (eager(), Monitor::default());
        // Dropped while operation `at` of the store is under way, wherever that is.
        let ended = tokio::select! {
            ended = backup(&repository, &engine, &options, &monitor) => Some(ended.unwrap()),
            () = reaches(&store, at) => None,
        };
        store.arm(usize::MAX);
        if ended.is_none() {
            after_the_stop(&repository, &engine).await;
        }
        // Two, where the stop came after the commit.
        for backup in repository.backups().await.unwrap() {
            let restored = tempfile::tempdir().unwrap();
            restore_tree(&repository, restored.path(), &backup.id).await;
            assert!(snapshot(restored.path()) == snapshot(tree.path()), "stopped at operation {at}");
        }
        if ended.is_some() {
            assert!(at > 8, "only {at} operations");
            break;
        }
    }
}

/// Waits until operation `at` of the store has begun.
async fn reaches(store: &FaultyStore, at: usize) {
    while store.operations() <= at {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Backs up again; the lease of the dropped one tells the repository in the background that it is over.
async fn after_the_stop(repository: &Repository, engine: &TreeEngine) {
    let started = Instant::now();
    loop {
        match backup(repository, engine, &eager(), &Monitor::default()).await {
            Ok(_) => return,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                assert!(started.elapsed() < Duration::from_secs(20), "{error}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

const CHILD: &str = "OPS_BACKUP_TEST_BACKUP";

/// Backs up a tree slowly, when another test has started it for that.
#[test]
fn backup_command() {
    let Ok(places) = env::var(CHILD) else { return };
    let (tree, place) = places.split_once('|').unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let repository = Repository::open(store(Path::new(place)), None).await.unwrap();
        let options = BackupOptions { bytes_per_second: Some(60_000_000), workers: 2, ..eager() };
        backup(&repository, &TreeEngine::new("t", tree), &options, &Monitor::default()).await.unwrap();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_backup_is_resumed_by_the_next() {
    let (tree, place) = (large_tree(), tempfile::tempdir().unwrap());
    let repository = Repository::open_or_create(store(place.path()), None).await.unwrap();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "resume::backup_command", "-q", "--nocapture"])
        .env(CHILD, format!("{}|{}", tree.path().display(), place.path().display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let backups = place.path().join("backups");
    let started = Instant::now();
    let parts = || {
        let jobs = fs::read_dir(&backups).into_iter().flatten();
        jobs.flat_map(|job| fs::read_dir(job.unwrap().path()).unwrap()).count()
    };
    while parts() < 4 {
        assert!(child.try_wait().unwrap().is_none(), "the backup ended before it was killed");
        assert!(started.elapsed() < Duration::from_secs(60), "no part was written");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(repository.backups().await.unwrap().is_empty());

    let engine = TreeEngine::new("t", tree.path());
    let options = BackupOptions { compression: Compression::Lz4, ..BackupOptions::default() };
    let whole = backup(&repository, &engine, &options, &Monitor::default()).await.unwrap();
    assert!(whole.new_bytes < whole.raw_bytes - 30_000_000, "{whole:?}");
    let restored = tempfile::tempdir().unwrap();
    restore_tree(&repository, restored.path(), &whole.id).await;
    assert!(snapshot(restored.path()) == snapshot(tree.path()));
}
