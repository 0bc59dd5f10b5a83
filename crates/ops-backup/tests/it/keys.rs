//! Keys of a repository that holds a backup: they change, and the data does not.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use ops_backup::{
    BackupOptions, ErrorKind, Key, KeyKind, Monitor, Repository, TreeEngine, VerifyOptions, backup, verify,
};
use secrecy::SecretString;

use crate::engines::{noise, restore_tree, snapshot};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_outlives_the_key_that_it_was_made_with() {
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let tree = tempfile::tempdir().unwrap();
    std::fs::write(tree.path().join("file"), noise(1, 500_000)).unwrap();
    let old = Key::from_file_bytes(&noise(2, 32)).unwrap();
    let first = Repository::open_or_create(Arc::clone(&memory), Some(&old)).await.unwrap();
    let engine = TreeEngine::new("t", tree.path());
    let taken = backup(&first, &engine, &BackupOptions::default(), &Monitor::default()).await.unwrap();

    let new = Key::passphrase(SecretString::from("a passphrase that somebody remembers")).unwrap();
    first.add_key(&new).await.unwrap();
    let second = Repository::open(Arc::clone(&memory), Some(&new)).await.unwrap();
    let keys = second.keys().await.unwrap();
    assert_eq!(
        keys.iter().map(|key| (key.kind, key.in_use)).collect::<Vec<_>>(),
        [(KeyKind::Raw, false), (KeyKind::Passphrase, true)]
    );
    second.remove_key(&keys[0].id).await.unwrap();
    let refused = Repository::open(Arc::clone(&memory), Some(&old)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WrongKey);
    for key in [None, Some(&Key::generate().unwrap())] {
        let refused = Repository::open(Arc::clone(&memory), key).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongKey);
    }

    let restored = tempfile::tempdir().unwrap();
    restore_tree(&second, restored.path(), &taken.id).await;
    assert!(snapshot(restored.path()) == snapshot(tree.path()));
    let report = verify(&second, &VerifyOptions::default(), &Monitor::default()).await.unwrap();
    assert!(report.is_proven(), "{:?}", report.problems);
    let next = backup(&second, &engine, &BackupOptions::default(), &Monitor::default()).await.unwrap();
    assert!(next.added_bytes < 100_000, "the blocks are found again: {}", next.added_bytes);
}
