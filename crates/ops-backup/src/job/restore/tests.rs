//! Restores of small samples: that what was stored comes back, and that what is damaged or missing is named.

use std::path::Path;

use crate::error::ErrorKind;
use crate::job::restore::{self, RestoreOptions, RestoreTarget};
use crate::monitor::Monitor;
use crate::repo::Repository;
use crate::repo::content::{BLOCK, PIECE};
use crate::transfer::read::sample::{Sample, bytes, overwrite, repository};

async fn restore(
    repository: &Repository,
    to: &Path,
    workers: usize,
) -> crate::error::Result<restore::Restored> {
    let options = RestoreOptions { workers, ..RestoreOptions::default() };
    let plan = restore::plan(repository, RestoreTarget::check(to).unwrap(), options).await?;
    restore::apply(repository, plan, &Monitor::default()).await
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("dir/", Vec::new()),
        ("dir/empty", Vec::new()),
        ("dir/one byte", bytes(1, 1)),
        ("dir-before", bytes(2, BLOCK)),
        ("dir/frames", bytes(3, 9 * BLOCK + 17)),
        ("a", bytes(4, 16 * BLOCK)),
        ("large", bytes(5, 40 * BLOCK + 1)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_is_restored_whoever_reads() {
    let root = tempfile::tempdir().unwrap();
    for (encrypted, workers) in [(false, 1), (true, 3)] {
        let repository = repository(encrypted).await;
        Sample::new(&repository, "b1").store(&files()).await;
        let to = root.path().join(format!("{encrypted}"));
        let restored = restore(&repository, &to, workers).await.unwrap();
        assert_eq!(
            (restored.files, restored.bytes, restored.written_bytes),
            (6, restored.bytes, restored.bytes)
        );
        for (path, expected) in files() {
            if path.ends_with('/') {
                assert!(to.join(path).is_dir());
                continue;
            }
            assert_eq!(std::fs::read(to.join(path)).unwrap(), expected, "{path}");
        }
        let metadata = std::fs::metadata(to.join("large")).unwrap();
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!(
            (metadata.mtime(), metadata.mtime_nsec(), metadata.mode() & 0o777),
            (1_600_000_000, 7, 0o640)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_several_pieces_is_put_together() {
    let root = tempfile::tempdir().unwrap();
    let repository = repository(false).await;
    let content = bytes(9, 2 * usize::try_from(PIECE).unwrap() + 3 * BLOCK + 5);
    let sample = Sample { frame_blocks: 64, ..Sample::new(&repository, "b1") };
    sample.store(&[("huge", content.clone())]).await;
    let to = root.path().join("to");
    restore(&repository, &to, 2).await.unwrap();
    assert!(std::fs::read(to.join("huge")).unwrap() == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_any_pack_fails_the_restore_and_leaves_nothing() {
    use futures_util::TryStreamExt as _;
    let root = tempfile::tempdir().unwrap();
    let repository = repository(false).await;
    Sample::new(&repository, "b1").store(&files()).await;
    let listed: Vec<_> =
        repository.store().list(Some(&"packs".into())).try_collect::<Vec<_>>().await.unwrap();
    assert!(listed.len() > 4);
    for object in listed {
        let original = repository.read(&object.location).await.unwrap();
        for at in [45, original.len() / 2, original.len() - 1] {
            let mut damaged = original.to_vec();
            damaged[at] ^= 4;
            overwrite(&repository, &object.location, damaged).await;
            let to = root.path().join("to");
            let error = restore(&repository, &to, 2).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains(object.location.as_ref()), "{error}");
            assert!(!to.exists());
        }
        overwrite(&repository, &object.location, original.to_vec()).await;
    }
    restore(&repository, &root.path().join("to"), 2).await.unwrap();
}
