//! Damage to a repository: each kind is found, and named.

use std::fs;
use std::path::{Path, PathBuf};

use ops_backup::restore;
use ops_backup::{
    ErrorKind, Monitor, RecoveryTarget, RestoreOptions, RestoreTarget, VerifyOptions, VerifyReport, verify,
};

use crate::support::Site;

type Change<'a> = &'a dyn Fn(&mut Vec<u8>);

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

async fn report(site: &Site) -> VerifyReport {
    let options = VerifyOptions { record: false, ..VerifyOptions::default() };
    verify(&site.repository, &options, &Monitor::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_flipped_cut_and_missing_objects() {
    let site = Site::start().await;
    assert!(!report(&site).await.is_proven(), "an empty repository proves nothing");
    let backup = site.backup().await;
    site.switch_wal().await;
    site.psql("CREATE TABLE t AS SELECT 1");
    site.switch_wal().await;
    assert_eq!(report(&site).await.problems, []);

    let flip = |at: fn(usize) -> usize| {
        move |bytes: &mut Vec<u8>| {
            let at = at(bytes.len());
            bytes[at] ^= 0x40;
        }
    };
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1);
    let objects = files_below(&site.place());
    let mut damaged = 0;
    for object in &objects {
        let name = object.strip_prefix(site.place()).unwrap().to_str().unwrap();
        // WAL before the backup is read as well, but no backup needs it.
        let original = fs::read(object).unwrap();
        let changes: [Change; 4] =
            [&flip(|_| 0), &flip(|length| length / 2), &flip(|length| length - 1), &cut];
        for (number, change) in changes.iter().enumerate() {
            let mut bytes = original.clone();
            change(&mut bytes);
            fs::write(object, &bytes).unwrap();
            let problems = report(&site).await.problems;
            assert_eq!(problems.len(), 1, "change {number} of {name}: {problems:?}");
            assert_eq!(problems[0].object, name, "change {number}");
            damaged += 1;
        }
        fs::write(object, &original).unwrap();
    }
    assert!(damaged >= 20, "{damaged}");

    // Every object that is needed is missed.
    for object in objects.iter().filter(|path| path.components().any(|part| part.as_os_str() == "packs")) {
        let name = object.strip_prefix(site.place()).unwrap().to_str().unwrap();
        let aside = site.root.path().join("aside");
        fs::rename(object, &aside).unwrap();
        let problems = report(&site).await.problems;
        assert_eq!((problems.len(), problems[0].object.as_str()), (1, name));
        assert_eq!(problems[0].backups, [backup.id.as_str()]);
        fs::rename(&aside, object).unwrap();
    }
    let segments: Vec<_> = objects.iter().filter(|path| path.file_name().unwrap().len() == 24).collect();
    let needed = segments.len() - 2;
    let aside = site.root.path().join("aside");
    fs::rename(segments[needed], &aside).unwrap();
    let problems = report(&site).await.problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    let name = segments[needed].file_name().unwrap().to_str().unwrap();
    assert_eq!(problems[0].object, format!("WAL segment {name}"));

    // Recovery to the end would stop at the gap without a word, so the plan refuses.
    let target = RestoreTarget::check(&site.root.path().join("restored")).unwrap();
    let error = restore::plan(&site.repository, target, RestoreOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains(name), "{error}");
    fs::rename(&aside, segments[needed]).unwrap();
    assert_eq!(report(&site).await.problems, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_from_a_damaged_pack_fails_and_leaves_nothing() {
    let site = Site::start().await;
    let backup = site.backup().await;
    let packs = files_below(&site.place().join("packs"));
    let largest = packs.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(largest, bytes).unwrap();
    let data = site.root.path().join("restored");
    fs::create_dir(&data).unwrap();
    let options = RestoreOptions { target: RecoveryTarget::Immediate, ..RestoreOptions::default() };
    let plan = restore::plan(&site.repository, RestoreTarget::check(&data).unwrap(), options).await.unwrap();
    assert_eq!(plan.backup().id, backup.id);
    let error = restore::apply(&site.repository, plan, &Monitor::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(largest.file_name().unwrap().to_str().unwrap()), "{error}");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "the directory is empty again");
}
