//! What a machine does to a job: its process dies between any two steps, or its disk is full.

use std::env;
use std::io::ErrorKind as Io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use object_store::ObjectStore;
use ops_backup::location::{self, LocationOptions};
use ops_backup::{
    BackupOptions, ErrorKind, Monitor, Repository, RestoreOptions, RestoreTarget, RetryPolicy, TreeEngine,
    VerifyOptions, backup, restore, verify,
};

use crate::engines::snapshot;
use crate::exhaustive::{Scene, expire_all_but_the_newest, scratch};
use crate::faults::Disk;
use crate::faulty::{Fault, FaultyStore};
use crate::wal::raw_key;

/// What the child does: the job, the fault, the number of the operation, the repository, the tree, and whether it is encrypted.
const CHILD: &str = "OPS_BACKUP_TEST_CRASH";
const ABORT: i32 = 6;

fn directory(path: &Path) -> Arc<dyn ObjectStore> {
    location::open(path.to_str().unwrap(), &LocationOptions::default()).unwrap()
}

/// The process that dies. As a test of its own it does nothing.
#[test]
fn child() {
    let Ok(orders) = env::var(CHILD) else { return };
    let [job, fault, at, repository, tree, encrypted] = orders.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{orders:?}")
    };
    let fault = if fault == "before" { Fault::AbortBefore } else { Fault::AbortAfter };
    let key = (encrypted == "true").then(raw_key);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = FaultyStore::new(directory(Path::new(repository)), fault, usize::MAX);
        let shared = Arc::clone(&store) as Arc<dyn ObjectStore>;
        let repository = Repository::open(shared, key.as_ref()).await.unwrap();
        store.arm(at.parse().unwrap());
        match job {
            "backup" => {
                let engine = TreeEngine::new("t", tree);
                backup(&repository, &engine, &BackupOptions::default(), &Monitor::default()).await.unwrap();
            }
            _ => expire_all_but_the_newest(&repository).await.unwrap(),
        }
    });
}

/// Returns whether the child died at this operation; otherwise it ended before it.
fn dies(job: &str, fault: &str, at: usize, repository: &Path, tree: &Path, encrypted: bool) -> bool {
    let orders = format!("{job} {fault} {at} {} {} {encrypted}", repository.display(), tree.display());
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "crashes::child", "-q"])
        .env(CHILD, orders)
        .output()
        .unwrap();
    let died = output.status.signal() == Some(ABORT);
    assert!(died || output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    died
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// A write that the crash cut short leaves such a file, whatever it was about to become.
fn leave_a_half_written_record(repository: &Path) {
    let log = repository.join("log");
    let records = std::fs::read_dir(&log)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u64>().ok());
    let next = records.max().unwrap() + 1;
    std::fs::write(log.join(format!("{next:020}#1")), b"OPSBK").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_killed_at_any_step_harms_nothing() {
    is_harmless_to_kill("backup", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_that_is_killed_at_any_step_removes_nothing_that_is_needed() {
    is_harmless_to_kill("expire", 1).await;
}

/// Kills `job` before and after each operation; it may give up so many of the oldest backups.
async fn is_harmless_to_kill(job: &str, given_up: usize) {
    for encrypted in [false, true] {
        let root = scratch();
        let origin = root.path().join("origin");
        let mut scene = Scene::new_in(directory(&origin), encrypted.then(raw_key)).await;
        scene.given_up = given_up;
        for fault in ["before", "after"] {
            for at in 0.. {
                let place = root.path().join(format!("{fault}-{at}"));
                copy(&origin, &place);
                let died = dies(job, fault, at, &place, scene.tree.path(), encrypted);
                leave_a_half_written_record(&place);
                let context = format!("{job}, killed {fault} operation {at}");
                scene.is_whole_now(directory(&place), None, &context).await;
                std::fs::remove_dir_all(&place).unwrap();
                if !died {
                    assert!(at > 8, "only {at} operations");
                    break;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_repository_is_an_error_of_its_own_and_harms_nothing() {
    let Some(disk) = Disk::mount("4m") else {
        ops_testkit::skip!("no small file system can be mounted here")
    };
    let place = disk.path().join("repository");
    let scene = Scene::new_in(directory(&place), None).await;
    let filler = disk.path().join("filler");
    // Filled up to the last byte, then with room for some of the objects but not for all.
    for room in [0, 4 << 10, 8 << 10, 16 << 10] {
        // A job that failed could not always say so: to this very process it seems to run for ten minutes more.
        let repository = scene.open(FaultyStore::aged(directory(&place)).await).await.unwrap();
        fill(&filler, room);
        let error = scene.back_up(&repository).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{room} bytes free: {error:?}");
        let options = VerifyOptions { record: false, ..VerifyOptions::default() };
        let report = verify(&repository, &options, &Monitor::default()).await.unwrap();
        assert!(report.is_proven(), "{:?}", report.problems);
        assert_eq!(repository.backups().await.unwrap().len(), 2);
        std::fs::remove_file(&filler).unwrap();
    }
    scene.is_whole_now(FaultyStore::aged(directory(&place)).await, None, "after a full disk").await;
}

/// Takes all room of a file system but `room` bytes.
fn fill(filler: &Path, room: usize) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(filler).unwrap();
    let mut written = 0_u64;
    loop {
        match file.write(&[1; 4096]) {
            Ok(bytes) => written += bytes as u64,
            Err(error) if error.kind() == Io::StorageFull => break,
            Err(error) => panic!("{error}"),
        }
    }
    file.set_len(written.saturating_sub(room as u64)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_onto_a_full_disk_leaves_nothing_and_works_once_there_is_room() {
    let Some(disk) = Disk::mount("2m") else {
        ops_testkit::skip!("no small file system can be mounted here")
    };
    let root = scratch();
    let scene = Scene::new_in(directory(&root.path().join("repository")), None).await;
    let repository = scene.open(directory(&root.path().join("repository"))).await.unwrap();
    let id = repository.backups().await.unwrap().pop().unwrap().id;
    let options = || RestoreOptions { backup: Some(id.clone()), ..RestoreOptions::default() };
    let (place, filler) = (disk.path().join("restored"), disk.path().join("filler"));
    let target = || RestoreTarget::check(&place).unwrap();

    // The room is there when the restore is planned, and taken before it is done.
    let plan = restore::plan(&repository, target(), options()).await.unwrap();
    fill(&filler, 100 << 10);
    let error = restore::apply(&repository, plan, &Monitor::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    assert!(!place.exists(), "{:?}", snapshot(&place).keys());
    let error = restore::plan(&repository, target(), options()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");

    std::fs::remove_file(&filler).unwrap();
    let plan = restore::plan(&repository, target(), options()).await.unwrap();
    restore::apply(&repository, plan, &Monitor::default()).await.unwrap();
    assert!(snapshot(&place) == *scene.content(1));
}

/// The policy of a job that should rather fail than wait.
#[tokio::test]
async fn a_job_can_be_told_not_to_try_again() {
    let scene = Scene::new(None).await;
    let store = FaultyStore::new(Arc::clone(&scene.store) as Arc<dyn ObjectStore>, Fault::Fail, usize::MAX);
    let policy = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let shared = Arc::clone(&store) as Arc<dyn ObjectStore>;
    let repository = scene.open(shared).await.unwrap().with_retries(policy);
    store.arm(0);
    assert_eq!(repository.backups().await.unwrap_err().kind(), ErrorKind::Storage);
    assert_eq!(repository.backups().await.unwrap().len(), 2);
}
