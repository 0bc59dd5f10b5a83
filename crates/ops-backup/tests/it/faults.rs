//! A fault at each operation of a push and of a fetch: nothing is lost, nothing half-written shows.

use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use ops_backup::wal::{self, Fetched, Pushed};
use ops_backup::{Error, ErrorKind, Key, Repository};

use crate::faulty::{Fault, FaultyStore};
use crate::wal::{cluster, raw_key, segment, write};

const NAME: &str = "000000010000000000000003";

/// A repository in memory that works, and one over the same memory that meets `fault` at operation `at`.
async fn pair(key: Option<&Key>, fault: Fault, at: usize) -> (Repository, Arc<FaultyStore>) {
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let sound = Repository::open_or_create(Arc::clone(&memory), key).await.unwrap();
    (sound, FaultyStore::new(memory, fault, at))
}

async fn open(store: &Arc<FaultyStore>, key: Option<&Key>) -> Result<Repository, Error> {
    Repository::open(Arc::clone(store) as Arc<dyn ObjectStore>, key).await
}

#[tokio::test(start_paused = true)]
async fn a_push_that_reports_success_is_durable_and_can_always_be_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = segment(3, 7, 1, 1);
    let path = write(directory.path(), NAME, &bytes);
    let out = directory.path().join("out");
    for key in [None, Some(raw_key())] {
        for fault in Fault::PASSING.into_iter().chain([Fault::Full]) {
            for at in 0.. {
                let (sound, faulty) = pair(key.as_ref(), fault, at).await;
                let pushed = match open(&faulty, key.as_ref()).await {
                    Ok(repository) => wal::push(&repository, &cluster(7), &path).await,
                    Err(error) => Err(error),
                };
                let fetched = wal::fetch(&sound, &cluster(7), NAME, &out).await.unwrap();
                match &pushed {
                    Ok(_) => {
                        assert_eq!(fetched, Fetched::Written, "{fault:?} at {at}: acknowledged and lost");
                        assert_eq!(std::fs::read(&out).unwrap(), bytes);
                    }
                    Err(error) => {
                        assert!(fault.is_told_by(error), "{fault:?} at {at}: {error}");
                        assert!(!fault.is_overcome(), "{fault:?} at {at} is not overcome: {error}");
                    }
                }
                let again = wal::push(&sound, &cluster(7), &path).await.unwrap();
                assert_eq!(again == Pushed::AlreadyThere, fetched == Fetched::Written, "{fault:?} at {at}");
                if faulty.operations() <= at {
                    assert!(at > 2 && pushed.is_ok(), "{fault:?}: only {at} operations");
                    break;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_store_is_never_taken_for_an_absent_segment() {
    let directory = tempfile::tempdir().unwrap();
    let bytes = segment(3, 7, 1, 1);
    let path = write(directory.path(), NAME, &bytes);
    let out = directory.path().join("out");
    for key in [None, Some(raw_key())] {
        for fault in Fault::PASSING {
            for at in 0.. {
                let (sound, faulty) = pair(key.as_ref(), fault, at).await;
                wal::push(&sound, &cluster(7), &path).await.unwrap();
                std::fs::remove_file(&out).ok();
                let fetched = match open(&faulty, key.as_ref()).await {
                    Ok(repository) => wal::fetch(&repository, &cluster(7), NAME, &out).await,
                    Err(error) => Err(error),
                };
                match fetched {
                    Ok(fetched) => {
                        assert_eq!(fetched, Fetched::Written, "{fault:?} at {at}");
                        assert_eq!(std::fs::read(&out).unwrap(), bytes, "{fault:?} at {at}");
                    }
                    Err(error) => {
                        assert!(fault.is_told_by(&error), "{fault:?} at {at}: {error}");
                        assert!(!fault.is_overcome(), "{fault:?} at {at} is not overcome: {error}");
                        assert!(!out.exists(), "{fault:?} at {at}: a file in spite of a failure");
                    }
                }
                if faulty.operations() <= at {
                    break;
                }
            }
        }
    }
}

/// The disk that a server restores onto has no room: the answer is an error, and no half of a segment stays.
#[tokio::test]
async fn a_fetch_onto_a_full_disk_is_an_error_and_leaves_nothing() {
    let Some(disk) = Disk::mount("1200k") else {
        ops_testkit::skip!("no small file system can be mounted here")
    };
    let directory = tempfile::tempdir().unwrap();
    let (sound, _) = pair(None, Fault::Fail, usize::MAX).await;
    let path = write(directory.path(), NAME, &segment(3, 7, 1, 1));
    wal::push(&sound, &cluster(7), &path).await.unwrap();
    std::fs::write(disk.path().join("filler"), vec![1; 900 << 10]).unwrap();
    let out = disk.path().join("RECOVERYXLOG");
    let error = wal::fetch(&sound, &cluster(7), NAME, &out).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert_eq!(std::fs::read_dir(disk.path()).unwrap().count(), 1, "something is left beside the filler");
    std::fs::remove_file(disk.path().join("filler")).unwrap();
    assert_eq!(wal::fetch(&sound, &cluster(7), NAME, &out).await.unwrap(), Fetched::Written);
}

#[tokio::test]
async fn a_store_that_overwrites_is_refused() {
    let faulty = FaultyStore::new(Arc::new(InMemory::new()), Fault::Overwrite, usize::MAX);
    let error = Repository::open_or_create(faulty, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("If-None-Match"), "{error}");
}

/// A repository whose creation meets a fault is either usable with its key, or can still be created.
#[tokio::test(start_paused = true)]
async fn a_creation_that_meets_a_fault_can_be_done_again() {
    for key in [None, Some(raw_key())] {
        for fault in Fault::PASSING.into_iter().chain([Fault::Full]) {
            for at in 0.. {
                let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
                let faulty = FaultyStore::new(Arc::clone(&memory), fault, at);
                let store = Arc::clone(&faulty) as Arc<dyn ObjectStore>;
                let created = Repository::open_or_create(store, key.as_ref()).await;
                if let Err(error) = &created {
                    assert!(fault.is_told_by(error), "{fault:?} at {at}: {error}");
                    assert!(!fault.is_overcome(), "{fault:?} at {at} is not overcome: {error}");
                }
                let again = Repository::open_or_create(Arc::clone(&memory), key.as_ref()).await.unwrap();
                if let Ok(created) = created {
                    assert_eq!(created.id(), again.id(), "{fault:?} at {at}");
                }
                if faulty.operations() <= at {
                    break;
                }
            }
        }
    }
}

/// A small file system of its own.
pub(crate) struct Disk(tempfile::TempDir);

impl Disk {
    /// None where this user may not mount one.
    pub(crate) fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory.path())
            .output();
        mount.is_ok_and(|output| output.status.success()).then(|| Disk(directory))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.path()).output();
    }
}
