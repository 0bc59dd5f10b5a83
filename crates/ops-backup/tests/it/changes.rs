//! How changed data is found: by hash always, by times only where nothing makes them doubtful.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ops_backup::{
    Backup, BackupOptions, BaseChoice, ChangeDetection, Compression, ErrorKind, Monitor, Repository,
    TreeEngine, backup,
};

use crate::engines::{in_memory, noise, restore_tree, snapshot, tree};

struct Fixture {
    tree: tempfile::TempDir,
    repository: Repository,
}

impl Fixture {
    async fn new() -> Self {
        Fixture { tree: tree(), repository: in_memory().await }
    }

    /// All files look as if they had been there for a day.
    fn age(&self) {
        for (path, (kind, ..)) in snapshot(self.tree.path()) {
            if kind == "file" {
                self.touch(&path, Duration::from_secs(86_400));
            }
        }
    }

    fn touch(&self, path: &Path, ago: Duration) {
        let file = File::options().append(true).open(self.tree.path().join(path)).unwrap();
        file.set_modified(SystemTime::now() - ago).unwrap();
    }

    async fn backup(&self, options: &BackupOptions) -> Backup {
        let engine = TreeEngine::new("t", self.tree.path());
        backup(&self.repository, &engine, options, &Monitor::default()).await.unwrap()
    }

    async fn assert_restores(&self, backup: &Backup) {
        let restored = tempfile::tempdir().unwrap();
        restore_tree(&self.repository, restored.path(), &backup.id).await;
        assert!(snapshot(restored.path()) == snapshot(self.tree.path()), "{backup:?}");
    }

    /// Changes the content of a file behind the back of its time and size.
    fn change_secretly(&self, path: &str) {
        let path = self.tree.path().join(path);
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let mut content = fs::read(&path).unwrap();
        content[0] ^= 1;
        fs::write(&path, content).unwrap();
        File::options().append(true).open(&path).unwrap().set_modified(modified).unwrap();
    }
}

fn hash() -> BackupOptions {
    BackupOptions { change_detection: ChangeDetection::Hash, ..BackupOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_tree_adds_next_to_nothing_and_every_backup_stands_alone() {
    let fixture = Fixture::new().await;
    fixture.age();
    let first = fixture.backup(&BackupOptions::default()).await;
    assert_eq!((first.new_bytes, &first.base), (first.raw_bytes, &None));
    for options in
        [BackupOptions::default(), hash(), BackupOptions { compression: Compression::Lz4, ..hash() }]
    {
        let next = fixture.backup(&options).await;
        assert!(next.base.is_some());
        assert_eq!((next.new_bytes, next.files, next.raw_bytes), (0, first.files, first.raw_bytes));
        assert!(next.added_bytes < 10_000, "{next:?}");
        assert_eq!(next.stored_bytes, first.stored_bytes);
        fixture.assert_restores(&next).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_changed_is_stored_wherever_it_is() {
    let fixture = Fixture::new().await;
    fixture.age();
    fixture.backup(&BackupOptions::default()).await;
    let at = |path: &str| fixture.tree.path().join(path);
    // A block in the middle, one at the end, a file that grew, one that shrank, one that came, one that went.
    let large = File::options().write(true).open(at("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&large, b"changed", 40 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&large, b"changed", (70 << 20) - 7).unwrap();
    fs::write(at("a/b/size 262144"), noise(6, 262_144 + 20_000)).unwrap();
    fs::write(at("a/b/size 262145"), noise(7, 100_000)).unwrap();
    fs::write(at("many/new"), noise(99, 5000)).unwrap();
    fs::remove_file(at("many/7")).unwrap();
    fs::remove_file(at("a/link")).unwrap();
    let next = fixture.backup(&BackupOptions::default()).await;
    fixture.assert_restores(&next).await;
    let expected = 2 * 16_384 + 20_000 + 16_384 + 5000 + 16_384;
    assert!(next.new_bytes <= expected, "{} new bytes, expected at most {expected}", next.new_bytes);
    assert!(next.added_bytes < 200_000, "{next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_change_is_found_by_hash_and_wherever_a_time_is_doubtful() {
    type Doubt = fn(&Fixture);
    let doubts: [(&str, Option<Doubt>); 5] = [
        ("nothing", None),
        (
            "a time in the future",
            Some(|fixture| {
                let file = File::options().append(true).open(fixture.tree.path().join("many/9")).unwrap();
                file.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
            }),
        ),
        ("an earlier time", Some(|fixture| fixture.touch(Path::new("many/9"), Duration::from_secs(200_000)))),
        (
            "another size at the same time",
            Some(|fixture| {
                let path = fixture.tree.path().join("many/9");
                let modified = fs::metadata(&path).unwrap().modified().unwrap();
                fs::write(&path, b"x").unwrap();
                File::options().append(true).open(&path).unwrap().set_modified(modified).unwrap();
            }),
        ),
        ("written just before the base", None),
    ];
    for (name, doubt) in doubts {
        let fixture = Fixture::new().await;
        fixture.age();
        if name == "written just before the base" {
            fixture.touch(Path::new("many/100"), Duration::from_millis(500));
        }
        fixture.backup(&BackupOptions::default()).await;
        fixture.change_secretly("many/100");
        if let Some(doubt) = doubt {
            doubt(&fixture);
        }
        let by_times = fixture.backup(&BackupOptions::default()).await;
        if name == "nothing" {
            assert_eq!(by_times.new_bytes, 0, "this is what a file system can hide");
            let by_hash = fixture.backup(&hash()).await;
            assert_eq!(by_hash.new_bytes, 150);
            fixture.assert_restores(&by_hash).await;
        } else {
            assert!(by_times.new_bytes >= 150, "{name}: {by_times:?}");
            fixture.assert_restores(&by_times).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packs_that_are_hardly_used_are_not_referred_to_again() {
    let fixture = Fixture::new().await;
    fixture.age();
    let first = fixture.backup(&BackupOptions::default()).await;
    let at = |path: &str| fixture.tree.path().join(path);
    for large in ["sparse", "a/b/size 3000000"] {
        fs::remove_file(at(large)).unwrap();
    }
    // What is left uses little of the packs; it is stored once more, and then rests.
    let mut last = first.stored_bytes;
    for round in 0..4 {
        let next = fixture.backup(&BackupOptions::default()).await;
        fixture.assert_restores(&next).await;
        assert!(round < 2 || next.new_bytes == 0, "round {round}: {next:?}");
        last = next.stored_bytes;
    }
    assert!(last < first.stored_bytes / 2, "{last} of {}", first.stored_bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_can_be_chosen_or_done_without() {
    let fixture = Fixture::new().await;
    let first = fixture.backup(&BackupOptions::default()).await;
    let alone = fixture.backup(&BackupOptions { base: BaseChoice::None, ..BackupOptions::default() }).await;
    assert_eq!((alone.new_bytes, &alone.base), (alone.raw_bytes, &None));
    let chosen = BackupOptions { base: BaseChoice::Backup(first.id.clone()), ..BackupOptions::default() };
    assert_eq!(fixture.backup(&chosen).await.base, Some(first.id));
    let missing = BackupOptions { base: BaseChoice::Backup("none".to_owned()), ..BackupOptions::default() };
    let engine = TreeEngine::new("t", fixture.tree.path());
    let error = backup(&fixture.repository, &engine, &missing, &Monitor::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let elsewhere = TreeEngine::new("other", fixture.tree.path());
    let other = backup(&fixture.repository, &elsewhere, &BackupOptions::default(), &Monitor::default()).await;
    assert_eq!(other.unwrap().base, None, "another source");
}
