//! A fault at every operation of every job, over a small tree in memory: afterwards the repository is whole, the backups
//! that were there restore as they were, and a new one succeeds.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use ops_backup::{
    Backup, BackupOptions, Error, Key, Monitor, Repository, Retention, RetryPolicy, TreeEngine,
    VerifyOptions, backup, expire, verify,
};
use tempfile::TempDir;

use crate::engines::{Snapshot, noise, restore_tree, snapshot};
use crate::faulty::{Fault, FaultyStore};
use crate::wal::raw_key;

/// A repository with two backups of a tree, and what must come out of them.
pub(crate) struct Scene {
    pub(crate) store: Arc<InMemory>,
    pub(crate) key: Option<Key>,
    pub(crate) tree: TempDir,
    /// Backups with what they hold.
    kept: Vec<(String, Snapshot)>,
    /// So many of the oldest of them may be gone afterwards.
    pub(crate) given_up: usize,
}

/// A directory in memory where there is such a place: a restore makes its whole file system durable, which takes long on
/// a disk that others use.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Small files that stand in a listing, and one that has a piece of its own.
pub(crate) fn change(tree: &Path, generation: u64) {
    std::fs::create_dir_all(tree.join("folder")).unwrap();
    std::fs::write(tree.join("same"), noise(1, 20_000)).unwrap();
    std::fs::write(tree.join("folder/large"), noise(2, 300_000)).unwrap();
    std::fs::write(tree.join("folder/changing"), noise(10 + generation, 5_000)).unwrap();
}

impl Scene {
    pub(crate) async fn new(key: Option<Key>) -> Self {
        let memory = Arc::new(InMemory::new());
        let scene = Scene::new_in(Arc::clone(&memory) as Arc<dyn ObjectStore>, key).await;
        Scene { store: memory, ..scene }
    }

    /// A scene whose repository lies in `store`.
    pub(crate) async fn new_in(store: Arc<dyn ObjectStore>, key: Option<Key>) -> Self {
        let mut scene = Scene { store: Arc::default(), key, tree: scratch(), kept: Vec::new(), given_up: 0 };
        let repository = Repository::open_or_create(store, scene.key.as_ref()).await.unwrap();
        for generation in 0..2 {
            change(scene.tree.path(), generation);
            let taken = scene.back_up(&repository).await.unwrap();
            scene.kept.push((taken.id, snapshot(scene.tree.path())));
        }
        change(scene.tree.path(), 2);
        scene
    }

    /// What backup number `index` holds.
    pub(crate) fn content(&self, index: usize) -> &Snapshot {
        &self.kept[index].1
    }

    pub(crate) async fn back_up(&self, repository: &Repository) -> Result<Backup, Error> {
        let options = BackupOptions { workers: 1, ..BackupOptions::default() };
        backup(repository, &TreeEngine::new("t", self.tree.path()), &options, &Monitor::default()).await
    }

    pub(crate) async fn open(&self, store: Arc<dyn ObjectStore>) -> Result<Repository, Error> {
        Repository::open(store, self.key.as_ref()).await
    }

    /// The repository after whatever happened to a copy of its store, as it is found two hours later.
    async fn is_whole(&self, store: Arc<dyn ObjectStore>, committed: Option<&Backup>, context: &str) {
        let later = FaultyStore::aged(store).await;
        self.is_whole_now(later, committed, context).await;
    }

    /// The same, with the time that it is.
    pub(crate) async fn is_whole_now(
        &self,
        store: Arc<dyn ObjectStore>,
        committed: Option<&Backup>,
        context: &str,
    ) {
        let repository = self.open(store).await.unwrap();
        let backups = repository.backups().await.unwrap();
        let is_there = |id: &String| backups.iter().any(|backup| backup.id == *id);
        for id in
            self.kept[self.given_up..].iter().map(|(id, _)| id).chain(committed.map(|backup| &backup.id))
        {
            assert!(is_there(id), "{context}: backup {id} is gone");
        }
        let options = VerifyOptions { record: false, workers: 1, ..VerifyOptions::default() };
        let report = verify(&repository, &options, &Monitor::default()).await.unwrap();
        assert!(report.is_proven(), "{context}: {:?}", report.problems);
        let new = self.back_up(&repository).await.unwrap_or_else(|error| panic!("{context}: {error:?}"));
        let now = snapshot(self.tree.path());
        let news = [Some(&new), committed].into_iter().flatten().map(|backup| (&backup.id, &now));
        let kept = self.kept.iter().map(|(id, content)| (id, content)).filter(|(id, _)| is_there(id));
        for (id, expected) in kept.chain(news) {
            let place = scratch();
            restore_tree(&repository, place.path(), id).await;
            assert!(snapshot(place.path()) == *expected, "{context}: backup {id} holds something else");
        }
    }
}

/// A process of its own, as far as its background work goes: what still runs at the end is cut off.
fn process<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// What nobody waits for in a test.
const IMPATIENT: RetryPolicy = RetryPolicy {
    attempts: 3,
    first_pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(2),
    budget: Duration::from_secs(60),
    stall: Duration::from_millis(100),
    slowest: 1 << 20,
};

/// Runs `job` with each fault at each of its operations; `after` sees what it left. Returns how many runs there were.
///
/// The clock is the real one: with a paused one, a thread that waits for the store would never see it give up.
fn at_every_operation<T>(
    scene: &Scene,
    job: impl AsyncFn(&Scene, &Repository) -> Result<T, Error>,
    after: impl AsyncFn(&Scene, Arc<dyn ObjectStore>, Option<&T>, &str),
) -> usize {
    let mut runs = 0;
    for fault in Fault::PASSING.into_iter().chain([Fault::Full]) {
        for at in 0.. {
            let context = format!("{fault:?} at {at}");
            let copy = Arc::new(scene.store.fork()) as Arc<dyn ObjectStore>;
            let faulty = FaultyStore::new(Arc::clone(&copy), fault, usize::MAX);
            let result = process(async {
                let shared = Arc::clone(&faulty) as Arc<dyn ObjectStore>;
                let repository = scene.open(shared).await.unwrap().with_retries(IMPATIENT);
                faulty.arm(at);
                job(scene, &repository).await
            });
            runs += 1;
            if let Err(error) = &result {
                assert!(fault.is_told_by(error), "{context}: {error:?}");
                assert!(!fault.is_overcome(), "{context} is not overcome: {error:?}");
            }
            let operations = faulty.operations();
            process(after(scene, copy, result.as_ref().ok(), &context));
            if operations <= at {
                assert!(at > 1 && result.is_ok(), "{context}: {:?}", result.err());
                break;
            }
        }
    }
    runs
}

/// Once for a repository that is not encrypted, once for one that is.
fn scenes() -> impl Iterator<Item = Scene> {
    [None, Some(raw_key())].into_iter().map(|key| process(Scene::new(key)))
}

#[test]
fn a_backup_with_a_fault_at_any_operation_harms_nothing() {
    for scene in scenes() {
        let after =
            async |scene: &Scene, store: Arc<dyn ObjectStore>, taken: Option<&Backup>, context: &str| {
                scene.is_whole(store, taken, context).await;
            };
        let runs =
            at_every_operation(&scene, async |scene, repository| scene.back_up(repository).await, after);
        assert!(runs > 100, "{runs}");
    }
}

#[test]
fn a_restore_with_a_fault_at_any_operation_is_right_or_leaves_nothing() {
    for scene in scenes() {
        let (id, content) = &scene.kept[1];
        let job = async |_: &Scene, repository: &Repository| {
            let place = scratch();
            let restored = crate::engines::try_restore_tree(repository, place.path(), id).await;
            match &restored {
                Ok(()) => assert!(snapshot(place.path()) == *content, "restored something else"),
                Err(_) => assert!(snapshot(place.path()).is_empty(), "a failed restore leaves files"),
            }
            restored
        };
        at_every_operation(&scene, job, async |_, _, _, _| {});
    }
}

#[test]
fn a_verification_with_a_fault_at_any_operation_never_proves_too_much() {
    for scene in scenes() {
        let job = async |_: &Scene, repository: &Repository| {
            let options = VerifyOptions { workers: 1, ..VerifyOptions::default() };
            verify(repository, &options, &Monitor::default()).await
        };
        at_every_operation(&scene, job, async |scene, store, _, context| {
            scene.is_whole(store, None, context).await;
        });
    }
}

/// Gives up all but the newest backup, and a day later removes what it alone needed.
pub(crate) async fn expire_all_but_the_newest(repository: &Repository) -> Result<(), Error> {
    let policy = Retention { last: Some(1), grace: SignedDuration::from_hours(1), ..Retention::default() };
    for later in [SignedDuration::ZERO, SignedDuration::from_hours(24)] {
        let plan = expire::plan(repository, &policy, Timestamp::now() + later).await?;
        expire::apply(repository, plan, &Monitor::default()).await?;
    }
    Ok(())
}

#[test]
fn an_expiry_with_a_fault_at_any_operation_removes_nothing_that_is_needed() {
    for mut scene in scenes() {
        scene.given_up = 1;
        let job = async |_: &Scene, repository: &Repository| expire_all_but_the_newest(repository).await;
        let after = async |scene: &Scene, store: Arc<dyn ObjectStore>, _: Option<&()>, context: &str| {
            scene.is_whole(Arc::clone(&store), None, context).await;
            // The next expiry goes on where this one was stopped.
            let repository = scene.open(FaultyStore::aged(store).await).await.unwrap();
            expire_all_but_the_newest(&repository)
                .await
                .unwrap_or_else(|error| panic!("{context}: {error:?}"));
            assert_eq!(repository.backups().await.unwrap().len(), 1, "{context}");
        };
        at_every_operation(&scene, job, after);
    }
}

/// The keys of an encrypted repository: whatever a change of them meets, the key that was there opens it, and the change
/// can be made.
#[test]
fn a_change_of_keys_with_a_fault_at_any_operation_locks_nobody_out() {
    let scene = process(Scene::new(Some(raw_key())));
    let new = Key::Raw([9; 32].into());
    let job = async |_: &Scene, repository: &Repository| {
        let added = repository.add_key(&new).await?;
        repository.remove_key(&added).await?;
        repository.add_key(&new).await
    };
    let after = async |scene: &Scene, store: Arc<dyn ObjectStore>, added: Option<&_>, context: &str| {
        scene.is_whole(Arc::clone(&store), None, context).await;
        let repository = scene.open(Arc::clone(&store)).await.unwrap();
        if added.is_none() {
            repository.add_key(&new).await.unwrap_or_else(|error| panic!("{context}: {error:?}"));
        }
        let opened = Repository::open(store, Some(&new)).await;
        assert!(opened.is_ok(), "{context}: {opened:?}");
    };
    at_every_operation(&scene, job, after);
}

/// Nothing rests on a list: with lists that show nothing new, every job does its work.
#[tokio::test]
async fn with_stale_lists_every_job_is_right() {
    for key in [None, Some(raw_key())] {
        let mut scene = Scene::new(key).await;
        let copy = Arc::new(scene.store.fork()) as Arc<dyn ObjectStore>;
        let stale = FaultyStore::with_stale_lists(Arc::clone(&copy)).await;
        let repository = scene.open(stale).await.unwrap();
        let taken = scene.back_up(&repository).await.unwrap();
        let place = scratch();
        restore_tree(&repository, place.path(), &taken.id).await;
        assert!(snapshot(place.path()) == snapshot(scene.tree.path()));
        let report = verify(&repository, &VerifyOptions::default(), &Monitor::default()).await.unwrap();
        assert!(report.is_proven(), "{:?}", report.problems);
        scene.is_whole(Arc::clone(&copy), Some(&taken), "after stale lists").await;
        scene.given_up = 2;
        expire_all_but_the_newest(&repository).await.unwrap();
        scene.is_whole(copy, None, "after an expiry with stale lists").await;
    }
}
