//! Every bit flipped, every object removed: verification names exactly that.

use futures_util::TryStreamExt as _;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::*;
use crate::repo::content::BLOCK;
use crate::transfer::read::sample::{Sample, bytes, overwrite, repository};

const QUIET: VerifyOptions =
    VerifyOptions { backup: None, workers: 2, max_age: None, sample: None, seed: None, record: false };

async fn report(repository: &Repository, options: &VerifyOptions) -> VerifyReport {
    verify(repository, options, &Monitor::default()).await.unwrap()
}

async fn objects(repository: &Repository) -> Vec<Path> {
    let listed: Vec<_> = repository.store().list(None).try_collect().await.unwrap();
    let mut paths: Vec<Path> = listed.into_iter().map(|object| object.location).collect();
    paths.sort();
    paths
}

/// Flips bits of every object, and expects exactly this object to be named.
async fn every_flip_is_found(repository: &Repository, bits: impl Fn(usize) -> std::ops::Range<usize>) {
    for path in objects(repository).await {
        let original = repository.read(&path).await.unwrap();
        for byte in 0..original.len() {
            for bit in bits(byte) {
                let mut changed = original.to_vec();
                changed[byte] ^= 1 << bit;
                overwrite(repository, &path, changed).await;
                let problems = report(repository, &QUIET).await.problems;
                let named: Vec<&str> = problems.iter().map(|problem| problem.object.as_str()).collect();
                assert_eq!(named, [path.as_ref()], "bit {bit} of byte {byte}: {problems:?}");
            }
        }
        overwrite(repository, &path, original.to_vec()).await;
    }
    assert_eq!(report(repository, &QUIET).await.problems, []);
}

async fn small(encrypted: bool) -> Repository {
    let repository = repository(encrypted).await;
    let files = [("a", bytes(1, 30)), ("dir/", Vec::new()), ("dir/b", bytes(2, 40))];
    Sample::new(&repository, "b1").store(&files).await;
    assert!(report(&repository, &VerifyOptions { record: true, ..QUIET }).await.is_proven());
    repository
}

#[tokio::test]
async fn one_flipped_bit_in_each_byte_of_an_encrypted_repository_is_found() {
    every_flip_is_found(&small(true).await, |byte| byte % 8..byte % 8 + 1).await;
}

#[tokio::test]
async fn one_flipped_bit_in_each_byte_of_a_plain_repository_is_found() {
    every_flip_is_found(&small(false).await, |byte| byte % 8..byte % 8 + 1).await;
}

#[tokio::test]
#[ignore = "takes a minute"]
async fn every_flipped_bit_is_found() {
    for encrypted in [false, true] {
        every_flip_is_found(&small(encrypted).await, |_| 0..8).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_missing_object_that_a_backup_needs_is_named_with_the_backups() {
    let repository = repository(false).await;
    let first = [("a", bytes(1, 3 * BLOCK)), ("large", bytes(2, 40 * BLOCK))];
    Sample::new(&repository, "b1").store(&first).await;
    Sample::new(&repository, "b2").store(&[("c", bytes(3, 5))]).await;
    let whole = report(&repository, &QUIET).await;
    assert!(whole.is_proven() && whole.complete, "{whole:?}");
    assert_eq!((whole.backups.len(), whole.packs), (2, 5));
    let mut missed = 0;
    for path in objects(&repository).await {
        let needed = ["packs", "backups"].contains(&path.parts().next().unwrap().as_ref());
        if !needed {
            continue;
        }
        let original = repository.read(&path).await.unwrap();
        repository.store().delete(&path).await.unwrap();
        let found = report(&repository, &QUIET).await;
        let [problem] = &found.problems[..] else { panic!("{path}: {:?}", found.problems) };
        assert_eq!(problem.object, path.as_ref());
        assert_eq!(problem.backups, [path.parts().nth(1).unwrap().as_ref()]);
        missed += 1;
        overwrite(&repository, &path, original.to_vec()).await;
    }
    assert_eq!(missed, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_proven_lately_is_not_read_again_but_must_be_there() {
    let repository = repository(true).await;
    Sample::new(&repository, "b1").store(&[("a", bytes(1, 3 * BLOCK))]).await;
    let lately = VerifyOptions { max_age: Some(Duration::from_secs(3600)), record: true, ..QUIET };
    let first = report(&repository, &lately).await;
    assert_eq!((first.packs, first.packs_proven_before), (2, 0));
    Sample::new(&repository, "b2").store(&[("b", bytes(2, 3 * BLOCK))]).await;
    let second = report(&repository, &lately).await;
    assert_eq!((second.packs, second.packs_proven_before, second.complete), (2, 2, true));
    let ledgers = objects(&repository).await.into_iter().filter(|path| path.as_ref().starts_with("ledger"));
    assert_eq!(ledgers.count(), 1, "merged into one");
    // A flipped bit escapes, by request; a pack that is cut or gone does not.
    let pack =
        objects(&repository).await.into_iter().find(|path| path.as_ref().starts_with("packs")).unwrap();
    let original = repository.read(&pack).await.unwrap();
    overwrite(&repository, &pack, original[..original.len() - 1].to_vec()).await;
    let found = report(&repository, &lately).await;
    assert_eq!(found.problems.len(), 1, "{found:?}");
    let mut flipped = original.to_vec();
    flipped[60] ^= 1;
    overwrite(&repository, &pack, flipped).await;
    assert_eq!(report(&repository, &lately).await.problems, []);
    let never = VerifyOptions { max_age: Some(Duration::ZERO), record: true, ..QUIET };
    assert_eq!(report(&repository, &never).await.problems.len(), 1);
    assert_eq!(report(&repository, &lately).await.problems.len(), 1, "damage takes the proof away");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_proves_no_backup_whole_and_the_log_says_what_was_found() {
    let repository = repository(false).await;
    let files: Vec<(String, Vec<u8>)> = (0..60).map(|n| (format!("f{n:02}"), bytes(n, BLOCK))).collect();
    let files: Vec<(&str, Vec<u8>)> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
    Sample::new(&repository, "b1").store(&files).await;
    let part = VerifyOptions { sample: Some(0.25), seed: Some(7), record: true, ..QUIET };
    let first = report(&repository, &part).await;
    assert!(!first.complete && first.packs > 2 && first.packs_left_out > 20, "{first:?}");
    assert_eq!(report(&repository, &part).await.packs, first.packs, "the same seed, the same sample");
    assert_eq!(repository.state().await.unwrap().backups["b1"].verified, None);
    report(&repository, &VerifyOptions { record: true, ..QUIET }).await;
    assert!(repository.state().await.unwrap().backups["b1"].verified.is_some());
    let pack =
        objects(&repository).await.into_iter().find(|path| path.as_ref().starts_with("packs")).unwrap();
    repository.store().delete(&pack).await.unwrap();
    report(&repository, &VerifyOptions { record: true, ..QUIET }).await;
    let kept = &repository.state().await.unwrap().backups["b1"];
    assert!(kept.verified.is_none() && kept.damaged.is_some());
    for share in [0.0, -1.0, 1.5, f64::NAN] {
        let wrong = VerifyOptions { sample: Some(share), ..QUIET };
        let error = verify(&repository, &wrong, &Monitor::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
}
