//! What every engine must do, whatever its source is: the contract of `engine/mod.rs`, seen from outside.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::memory::InMemory;
use ops_backup::{
    BackupOptions, ChangeDetection, Monitor, Repository, RestoreOptions, RestoreTarget, TreeEngine,
    VerifyOptions, backup, restore, verify,
};
use tempfile::TempDir;

/// What is at each path: kind, mode, time and content.
pub(crate) type Snapshot = BTreeMap<PathBuf, (String, u32, i64, Vec<u8>)>;

pub(crate) fn snapshot(root: &Path) -> Snapshot {
    let mut found = Snapshot::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let below = path.strip_prefix(root).unwrap().to_owned();
            let nanoseconds = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
            let value = if metadata.is_dir() {
                waiting.push(path);
                ("directory".to_owned(), metadata.mode() & 0o7777, 0, Vec::new())
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path).unwrap().display().to_string();
                ("link".to_owned(), 0, 0, target.into_bytes())
            } else {
                ("file".to_owned(), metadata.mode() & 0o7777, nanoseconds, fs::read(&path).unwrap())
            };
            found.insert(below, value);
        }
    }
    found
}

pub(crate) async fn in_memory() -> Repository {
    Repository::open_or_create(Arc::new(InMemory::new()), None).await.unwrap()
}

/// Bytes that compress a little and differ everywhere.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&(state & 0xFFFF_0FFF_00FF_FFFF).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A tree with everything that the engine keeps: sizes around each limit, deep and odd names, links, holes, hard links.
pub(crate) fn tree() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    for directory in ["empty", "a/b/c/d", "many", "a b", "ü"] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    for (number, size) in
        [0, 1, 16_383, 16_384, 16_385, 262_143, 262_144, 262_145, 3_000_000].iter().enumerate()
    {
        fs::write(at(&format!("a/b/size {size}")), noise(number as u64, *size)).unwrap();
    }
    for number in 0..700 {
        fs::write(at(&format!("many/{number}")), noise(1000 + number, 50 + number as usize)).unwrap();
    }
    fs::write(at("a-b"), b"sorts before a/b").unwrap();
    fs::write(at("ü/\u{1F4BE} \"quoted\"\n"), b"odd name").unwrap();
    symlink("../outside/the/tree", at("a/dangling")).unwrap();
    symlink("b", at("a/link")).unwrap();
    fs::hard_link(at("a-b"), at("many/hard")).unwrap();
    fs::set_permissions(at("a/b/c"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(at("a/b/size 1"), fs::Permissions::from_mode(0o4711)).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(70 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 65 << 20).unwrap();
    root
}

pub(crate) async fn restore_tree(repository: &Repository, into: &Path, backup: &str) {
    try_restore_tree(repository, into, backup).await.unwrap();
}

pub(crate) async fn try_restore_tree(
    repository: &Repository,
    into: &Path,
    backup: &str,
) -> Result<(), ops_backup::Error> {
    let options = RestoreOptions { backup: Some(backup.to_owned()), ..RestoreOptions::default() };
    let target = RestoreTarget::check(into)?;
    let plan = restore::plan(repository, target, options).await?;
    restore::apply(repository, plan, &Monitor::default()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_comes_back_as_it_was() {
    let (tree, repository, restored) = (tree(), in_memory().await, tempfile::tempdir().unwrap());
    let engine = TreeEngine::new("t", tree.path());
    let backup = backup(&repository, &engine, &BackupOptions::default(), &Monitor::default()).await.unwrap();
    restore_tree(&repository, restored.path(), &backup.id).await;
    let (expected, found) = (snapshot(tree.path()), snapshot(restored.path()));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (path, expected) in &expected {
        assert!(found[path] == *expected, "{path:?}: {:?}, not {:?}", found[path].0, expected.0);
    }
}

/// More than a worker has wait for one pack: packs are closed before they are full, and nothing waits for the end.
#[tokio::test(flavor = "multi_thread")]
async fn very_small_files_come_back_and_are_found_again() {
    const FILES: u32 = 20_000;
    let (tree, repository, restored) =
        (tempfile::tempdir().unwrap(), in_memory().await, tempfile::tempdir().unwrap());
    for number in 0..FILES {
        fs::write(tree.path().join(format!("{number:05}")), number.to_le_bytes()).unwrap();
    }
    let engine = TreeEngine::new("t", tree.path());
    let options =
        BackupOptions { change_detection: ChangeDetection::Hash, workers: 1, ..BackupOptions::default() };
    let first = backup(&repository, &engine, &options, &Monitor::default()).await.unwrap();
    fs::write(tree.path().join("07777"), b"changed").unwrap();
    let second = backup(&repository, &engine, &options, &Monitor::default()).await.unwrap();
    assert_eq!((first.files, first.new_bytes), (FILES.into(), u64::from(FILES) * 4));
    assert_eq!(second.new_bytes, 7, "the others are found in the first");
    let report = verify(&repository, &VerifyOptions::default(), &Monitor::default()).await.unwrap();
    assert!(report.is_proven(), "{:?}", report.problems);
    // Of the first: three with content, and one with listings. Of the second: one with each.
    assert_eq!(report.packs, 4 + 2);
    restore_tree(&repository, restored.path(), &second.id).await;
    assert!(snapshot(tree.path()) == snapshot(restored.path()));
}
