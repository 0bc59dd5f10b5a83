//! Requests that cannot be fulfilled, and places that cannot be used.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt as _};
use ops_backup::location::{self, LocationOptions};
use ops_backup::restore;
use ops_backup::{
    ErrorKind, Lsn, Monitor, RecoveryTarget, Repository, RestoreOptions, RestoreTarget, TargetTimeline,
};

use crate::support::Site;

#[tokio::test]
async fn only_a_repository_of_ours_is_opened() {
    for (marker, expected) in [
        (None, ErrorKind::NotARepository),
        (Some(&b"{}"[..]), ErrorKind::Corrupt),
        (Some(br#"{"format":"other","version":1,"created_at":"2026-01-01T00:00:00Z"}"#), ErrorKind::Corrupt),
        (
            Some(br#"{"format":"ops-backup repository","version":1,"created_at":"2026-01-01T00:00:00Z"}"#),
            ErrorKind::Unsupported,
        ),
    ] {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        if let Some(marker) = marker {
            store.put(&"repository.json".into(), marker.into()).await.unwrap();
            // Never written over either.
            assert_eq!(
                Repository::open_or_create(Arc::clone(&store), None).await.unwrap_err().kind(),
                expected
            );
        }
        assert_eq!(Repository::open(store, None).await.unwrap_err().kind(), expected);
    }
}

#[test]
fn locations_that_cannot_be_a_repository_are_refused() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    let file = root.path().join("file").display().to_string();
    for (location, expected, complaint) in [
        (file.clone(), ErrorKind::Configuration, "is a file"),
        (format!("file://{file}"), ErrorKind::Configuration, "is a file"),
        (format!("{file}/below"), ErrorKind::Io, "cannot create"),
        (root.path().join("a/b").display().to_string(), ErrorKind::Io, "cannot create"),
        ("ftp://host/x".to_owned(), ErrorKind::Configuration, "is neither"),
        (
            "s3://".to_owned(),
            ErrorKind::Configuration,
            if cfg!(feature = "s3") { "no bucket" } else { "leaves out" },
        ),
    ] {
        let error = location::open(&location, &LocationOptions::default()).unwrap_err();
        assert_eq!(error.kind(), expected, "{error}");
        assert!(error.to_string().contains(complaint), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backup_must_end_before_the_target_and_lead_to_it() {
    let site = Site::start().await;
    let early = Timestamp::now();
    let place = || RestoreTarget::check(&site.root.path().join("restored")).unwrap();
    let nothing = restore::plan(&site.repository, place(), RestoreOptions::default()).await.unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::Unreachable);

    let first = site.backup().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let between = Timestamp::now();
    let second = site.backup().await;
    let stop = |backup: &ops_backup::Backup| backup.postgres().unwrap().stop_lsn;
    let plan = |options: RestoreOptions| restore::plan(&site.repository, place(), options);
    let to = |target| RestoreOptions { target, ..RestoreOptions::default() };
    for (options, expected) in [
        (to(RecoveryTarget::Latest), Ok(&second.id)),
        (to(RecoveryTarget::Immediate), Ok(&second.id)),
        (to(RecoveryTarget::Time(Timestamp::now())), Ok(&second.id)),
        (to(RecoveryTarget::Time(between)), Ok(&first.id)),
        (to(RecoveryTarget::Time(early)), Err(ErrorKind::Unreachable)),
        (to(RecoveryTarget::Lsn(stop(&second))), Ok(&second.id)),
        (to(RecoveryTarget::Lsn(Lsn(stop(&second).0 - 1))), Ok(&first.id)),
        (to(RecoveryTarget::Lsn(Lsn(0x100))), Err(ErrorKind::Unreachable)),
        (to(RecoveryTarget::Lsn(Lsn(u64::MAX))), Err(ErrorKind::Unreachable)),
        (RestoreOptions { backup: Some(first.id.clone()), ..RestoreOptions::default() }, Ok(&first.id)),
        (
            RestoreOptions { backup: Some("none".to_owned()), ..RestoreOptions::default() },
            Err(ErrorKind::NotFound),
        ),
        (
            RestoreOptions { backup: Some(second.id.clone()), ..to(RecoveryTarget::Time(between)) },
            Err(ErrorKind::Unreachable),
        ),
        (
            RestoreOptions { timeline: TargetTimeline::Id(9), ..RestoreOptions::default() },
            Err(ErrorKind::Unreachable),
        ),
        (
            RestoreOptions {
                system_identifier: Some(ops_backup::SystemIdentifier(1)),
                ..RestoreOptions::default()
            },
            Err(ErrorKind::Unreachable),
        ),
    ] {
        let text = format!("{options:?}");
        let result = plan(options).await;
        let chosen = result.as_ref().map(|plan| &plan.backup().id).map_err(ops_backup::Error::kind);
        assert_eq!(chosen, expected, "{text}: {result:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_reported_before_and_during_a_backup_or_restore() {
    let site = Site::start().await;
    let small = site.root.path().join("small");
    fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "none"]).arg(&small).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        ops_testkit::skip!("a small tmpfs cannot be mounted");
    }
    let unmount = Unmount(small.clone());
    site.backup().await;
    let target = RestoreTarget::check(&small.join("data")).unwrap();
    let error = restore::plan(&site.repository, target, RestoreOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");

    let store =
        location::open(small.join("repository").to_str().unwrap(), &LocationOptions::default()).unwrap();
    let repository = Repository::open_or_create(store, None).await.unwrap();
    let error = ops_backup::backup(
        &repository,
        &site.engine(),
        &ops_backup::BackupOptions::default(),
        &Monitor::default(),
    )
    .await
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert_eq!(repository.backups().await.unwrap().len(), 0);
    drop(unmount);
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_around_tablespaces_is_made_with_them_and_goes_with_them() {
    let site = Site::start().await;
    let place = site.root.path().join("tablespace");
    ops_testkit::TestUser::find().unwrap().create_dir(&place).unwrap();
    site.psql(&format!("CREATE TABLESPACE fast LOCATION '{}'", place.display()));
    site.psql("CREATE TABLE t TABLESPACE fast AS SELECT generate_series(1, 1000) AS n");
    let taken = site.backup().await;
    let oid = taken.postgres().unwrap().tablespaces[0].oid;
    let (to, into) = (site.root.path().join("restored"), site.root.path().join("spaces"));
    let plan = async |into: &std::path::Path| {
        let options = RestoreOptions {
            target: RecoveryTarget::Immediate,
            tablespaces_into: Some(into.to_owned()),
            restore_command: crate::support::restore_command(&site.place()),
            ..RestoreOptions::default()
        };
        restore::plan(&site.repository, RestoreTarget::check(&to).unwrap(), options).await
    };
    for wrong in [into.join("below"), to.clone()] {
        assert_eq!(plan(&wrong).await.unwrap_err().kind(), ErrorKind::BadTarget, "{wrong:?}");
    }
    // A restore that does not come to its end leaves nothing of it.
    let ready = plan(&into).await.unwrap();
    assert!(!into.exists(), "a plan changes nothing");
    let cancellation = tokio_util::sync::CancellationToken::new();
    let monitor = Monitor::new(cancellation.clone());
    cancellation.cancel();
    restore::apply(&site.repository, ready, &monitor).await.unwrap_err();
    assert!(!into.exists() && !to.exists());
    let ready = plan(&into).await.unwrap();
    restore::apply(&site.repository, ready, &Monitor::default()).await.unwrap();
    assert!(into.join(oid.to_string()).read_dir().unwrap().count() == 1);
    assert_eq!(fs::read_link(to.join(format!("pg_tblspc/{oid}"))).unwrap(), into.join(oid.to_string()));
}
