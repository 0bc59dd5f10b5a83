//! What is promised to the server, in front of a store that fails at every operation, one after the other.

use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use tempfile::TempDir;

use super::fetching::Fetching;
use super::pushing::Pushing;
use super::status::StatusHandle;
use crate::error::ErrorKind;
use crate::repo::Repository;
use crate::repo::fake::{self, Fault, FaultyStore};
use crate::wal::sample::{archived, archived_history, cluster, name, segment};
use crate::wal::{self, Fetched, PushOptions, Pushed, archive};

/// A WAL directory with segments 1 to `last` of timeline 1, which wait to be archived.
fn wal_directory(last: u64) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("archive_status")).unwrap();
    for number in 1..=last {
        put(directory.path(), &name(1, number), &segment(1, number, number as u8));
    }
    directory
}

fn put(directory: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(directory.join(name), bytes).unwrap();
    std::fs::write(directory.join(format!("archive_status/{name}.ready")), b"").unwrap();
}

fn pushing(repository: &Repository, directory: &Path) -> Arc<Pushing> {
    let (options, count) = (PushOptions::default(), StatusHandle::default().totals());
    Arc::new(Pushing::new(repository.clone(), cluster(), directory.to_owned(), options, 3, count))
}

fn fetching(repository: &Repository, directory: &Path, status: &StatusHandle) -> Arc<Fetching> {
    let count = status.totals();
    Arc::new(Fetching::new(repository.clone(), cluster(), directory.to_owned(), 3, count).unwrap())
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..10_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    panic!("it never came true");
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_is_durable_whatever_the_store_does() {
    const LAST: u64 = 4;
    for fault in [Fault::Fail, Fault::Break, Fault::LoseAnswer] {
        for at in 0.. {
            let memory = Arc::new(InMemory::new());
            let sound =
                Repository::open_or_create(Arc::clone(&memory) as Arc<dyn ObjectStore>, None).await.unwrap();
            archive::register(&sound, &cluster()).await.unwrap();
            let faulty = FaultyStore::new(&memory, fault, at);
            let Ok(repository) = Repository::open(Arc::clone(&faulty) as Arc<dyn ObjectStore>, None).await
            else {
                continue;
            };
            let directory = wal_directory(LAST);
            let out = directory.path().join("out");
            let pushing = pushing(&repository, directory.path());
            let mut acknowledged = 0;
            'files: for number in 1..=LAST {
                for _ in 0..3 {
                    if pushing.push(&name(1, number)).await.is_err() {
                        continue;
                    }
                    let fetched = wal::fetch(&sound, &cluster(), &name(1, number), &out).await.unwrap();
                    assert_eq!(
                        fetched,
                        Fetched::Written,
                        "{fault:?} at {at}: {number} was acknowledged and lost"
                    );
                    assert_eq!(std::fs::read(&out).unwrap(), segment(1, number, number as u8));
                    acknowledged += 1;
                    continue 'files;
                }
                break;
            }
            let overcome = fault != Fault::Break && fault != Fault::LoseAnswer;
            assert!(
                acknowledged == LAST || !overcome,
                "{fault:?} at {at}: only {acknowledged} were acknowledged"
            );
            if faulty.operations() <= at {
                assert!(at > LAST as usize && acknowledged == LAST, "{fault:?}: only {at} operations");
                break;
            }
        }
    }
}

#[tokio::test]
async fn files_are_stored_ahead_and_acknowledged_only_while_they_are_the_same() {
    let repository = fake::repository().await;
    archive::register(&repository, &cluster()).await.unwrap();
    let directory = wal_directory(6);
    let pushing = pushing(&repository, directory.path());
    assert_eq!(pushing.push(&name(1, 1)).await.unwrap(), Pushed::Stored);
    until(async || archive::has_segment(&repository, &cluster(), 1, 6).await.unwrap()).await;

    // The answer of what was stored ahead is that it was stored, and not that it was there.
    assert_eq!(pushing.push(&name(1, 2)).await.unwrap(), Pushed::Stored);
    // Told once. After that the repository is asked.
    assert_eq!(pushing.push(&name(1, 2)).await.unwrap(), Pushed::AlreadyThere);
    // Another file of the same name, as after a server was set back, is not the one that was stored.
    std::fs::remove_file(directory.path().join(name(1, 3))).unwrap();
    put(directory.path(), &name(1, 3), &segment(1, 3, 99));
    assert_eq!(pushing.push(&name(1, 3)).await.unwrap_err().kind(), ErrorKind::Conflict);
    std::fs::remove_file(directory.path().join(name(1, 4))).unwrap();
    assert_eq!(pushing.push(&name(1, 4)).await.unwrap_err().kind(), ErrorKind::Io);
    for bad in ["", "../pg_control", "a/b", ".ops-backup"] {
        assert_eq!(pushing.push(bad).await.unwrap_err().kind(), ErrorKind::Configuration, "{bad}");
    }
}

/// Primary and standby may both archive the same files. A stray copy that writes others under the same names may not.
#[tokio::test]
async fn two_hosts_that_archive_agree_and_a_stray_copy_is_refused() {
    let primary = fake::repository().await;
    archive::register(&primary, &cluster()).await.unwrap();
    let standby = fake::another(&primary).await;
    let directories = [wal_directory(8), wal_directory(8)];
    let services = [pushing(&primary, directories[0].path()), pushing(&standby, directories[1].path())];
    for number in 1..=8 {
        let file = name(1, number);
        let [one, other] = [services[0].push(&file), services[1].push(&file)];
        let (one, other) = futures_util::join!(one, other);
        assert!(one.is_ok() && other.is_ok(), "{number}: {one:?} {other:?}");
    }
    let stray = tempfile::tempdir().unwrap();
    std::fs::create_dir(stray.path().join("archive_status")).unwrap();
    put(stray.path(), &name(1, 8), &segment(1, 8, 99));
    put(stray.path(), &name(2, 9), &segment(1, 9, 99));
    let stray = pushing(&fake::another(&primary).await, stray.path());
    assert_eq!(stray.push(&name(1, 8)).await.unwrap_err().kind(), ErrorKind::Conflict);
    // On a timeline of its own it is kept apart.
    assert!(stray.push(&name(2, 9)).await.is_ok());
}

#[tokio::test]
async fn nothing_is_stored_ahead_that_the_server_has_not_finished() {
    let repository = fake::repository().await;
    archive::register(&repository, &cluster()).await.unwrap();
    let directory = wal_directory(2);
    // The segment that is being written, and one that is archived.
    std::fs::write(directory.path().join(name(1, 3)), segment(1, 3, 3)).unwrap();
    std::fs::write(directory.path().join(name(1, 4)), segment(1, 4, 4)).unwrap();
    std::fs::write(directory.path().join(format!("archive_status/{}.done", name(1, 4))), b"").unwrap();
    let pushing = pushing(&repository, directory.path());
    pushing.push(&name(1, 1)).await.unwrap();
    pushing.push(&name(1, 2)).await.unwrap();
    assert_eq!(archive::segments(&repository, &cluster(), 1).await.unwrap(), [1, 2].into());
}

#[tokio::test(start_paused = true)]
async fn recovery_is_never_told_that_a_file_is_absent_because_the_store_fails() {
    for fault in [Fault::Fail, Fault::Break] {
        for at in 0.. {
            let memory = Arc::new(InMemory::new());
            let sound =
                Repository::open_or_create(Arc::clone(&memory) as Arc<dyn ObjectStore>, None).await.unwrap();
            archived(&sound, 1, 1..=4).await;
            let faulty = FaultyStore::new(&memory, fault, at);
            let Ok(repository) = Repository::open(Arc::clone(&faulty) as Arc<dyn ObjectStore>, None).await
            else {
                continue;
            };
            let directory = tempfile::tempdir().unwrap();
            let fetching = fetching(&repository, directory.path(), &StatusHandle::default());
            let out = directory.path().join("RECOVERYXLOG");
            for number in 1..=4 {
                std::fs::remove_file(&out).ok();
                match fetching.fetch(&name(1, number), "RECOVERYXLOG").await {
                    Ok(fetched) => {
                        assert_eq!(fetched, Fetched::Written, "{fault:?} at {at}: {number}");
                        assert_eq!(std::fs::read(&out).unwrap(), segment(1, number, number as u8));
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Storage, "{fault:?} at {at}: {error}");
                        assert!(fault == Fault::Break && !out.exists(), "{fault:?} at {at}: {error}");
                    }
                }
            }
            fetching.clear().await;
            let left: Vec<_> =
                std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
            assert!(left.iter().all(|file| file == "RECOVERYXLOG"), "{left:?}");
            if faulty.operations() <= at {
                break;
            }
        }
    }
}

#[tokio::test]
async fn files_are_fetched_ahead_across_a_fork_and_an_absent_one_may_still_arrive() {
    let repository = fake::repository().await;
    archived(&repository, 1, 1..=5).await;
    // Timeline 2 begins in segment 4.
    archived(&repository, 2, 4..=6).await;
    archived_history(&repository, 2, "1\t0/400100\tno reason\n").await;

    let directory = tempfile::tempdir().unwrap();
    let status = StatusHandle::default();
    let fetching = fetching(&repository, directory.path(), &status);
    let out = directory.path().join("RECOVERYXLOG");
    let fetch = async |file: &str| fetching.fetch(file, "RECOVERYXLOG").await.unwrap();
    assert_eq!(fetch("00000003.history").await, Fetched::Absent);
    assert_eq!(fetch("00000002.history").await, Fetched::Written);
    for (timeline, number) in [(1, 2), (1, 3), (2, 4), (2, 5), (2, 6)] {
        assert_eq!(fetch(&name(timeline, number)).await, Fetched::Written, "{timeline} {number}");
        assert_eq!(std::fs::read(&out).unwrap(), segment(timeline, number, number as u8));
    }
    // All but the history and the first segment.
    assert_eq!(status.get().totals.fetched_ahead, 4);

    assert_eq!(fetch(&name(2, 7)).await, Fetched::Absent);
    archived(&repository, 2, 7..=7).await;
    assert_eq!(fetch(&name(2, 7)).await, Fetched::Written);
    // A file that was fetched ahead and lost is fetched again.
    archived(&repository, 2, 8..=9).await;
    assert_eq!(fetch(&name(2, 8)).await, Fetched::Written);
    let ahead = directory.path().join(".ops-backup").join(name(2, 9));
    until(async || ahead.exists()).await;
    std::fs::remove_file(&ahead).unwrap();
    assert_eq!(fetch(&name(2, 9)).await, Fetched::Written);
    assert_eq!(std::fs::read(&out).unwrap(), segment(2, 9, 9));
}
