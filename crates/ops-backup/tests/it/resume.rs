//! Backups that are cancelled, fail or are killed: nothing is visible, and the next one stores only the rest.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ops_backup::{
    Backup, BackupOptions, ChangeDetection, Compression, Error, ErrorKind, Monitor, Phase, Repository,
    TreeEngine, backup,
};
use tokio_util::sync::CancellationToken;

use crate::engines::{in_memory, noise, restore_tree, snapshot};
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
    for number in 0..30 {
        fs::write(tree.path().join(format!("{number}")), noise(number, 700_000)).unwrap();
    }
    let repository = in_memory().await;
    let engine = TreeEngine::new("t", tree.path());
    // Dropped after so many wake-ups, wherever that is.
    let mut dropped = 0;
    for polls in 0..400 {
        let before = repository.backups().await.unwrap().len();
        let (options, monitor) = (eager(), Monitor::default());
        let mut running = Box::pin(backup(&repository, &engine, &options, &monitor));
        let mut seen = 0;
        let ended = std::future::poll_fn(|context| {
            seen += 1;
            match running.as_mut().poll(context) {
                std::task::Poll::Ready(result) => std::task::Poll::Ready(Some(result)),
                std::task::Poll::Pending if seen > polls => std::task::Poll::Ready(None),
                std::task::Poll::Pending => std::task::Poll::Pending,
            }
        })
        .await;
        drop(running);
        match ended {
            None => {
                dropped += 1;
                // The lease tells the repository in the background.
                let started = Instant::now();
                while let Err(error) = backup(&repository, &engine, &eager(), &Monitor::default()).await {
                    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                    assert!(started.elapsed() < Duration::from_secs(20), "{error}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            Some(result) => {
                result.unwrap();
                break;
            }
        }
        assert!(repository.backups().await.unwrap().len() > before);
    }
    assert!(dropped > 3, "{dropped}");
    let restored = tempfile::tempdir().unwrap();
    let newest = repository.backups().await.unwrap().pop().unwrap();
    restore_tree(&repository, restored.path(), &newest.id).await;
    assert!(snapshot(restored.path()) == snapshot(tree.path()));
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
