//! What a policy gives up and when it goes, by the clock of a store in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use jiff::SignedDuration;
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;

use super::*;
use crate::error::ErrorKind;
use crate::monitor::Monitor;
use crate::postgres::lsn::{Lsn, SystemIdentifier};
use crate::postgres::segment::{Cluster, SegmentName, SegmentSize};
use crate::repo::catalog::{Backup, BackupSource, PostgresBackup};
use crate::repo::fake::{self, Fault, FaultyStore, Pack};
use crate::repo::log::{Event, Proof};
use crate::repo::object_path;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn cluster() -> Cluster {
    let segment_size = SegmentSize::new(16 << 20).unwrap();
    Cluster { system_identifier: SystemIdentifier(7), major: 15, segment_size }
}

/// A backup that ended so many hours ago, and whose WAL is the segment of this number.
fn backup(id: &str, hours: i64, segment: u64) -> Backup {
    let at = Timestamp::now() - HOUR * i32::try_from(hours).unwrap();
    let source = PostgresBackup {
        cluster: cluster(),
        server_version: 150_006,
        catalog_version: 1,
        timeline: 1,
        start_lsn: Lsn(segment * (16 << 20) + 40),
        stop_lsn: Lsn(segment * (16 << 20) + 400),
        start_time: at,
        stop_time: at,
        page_checksums: true,
        tablespaces: Vec::new(),
        databases: Vec::new(),
        origin: crate::repo::catalog::Origin::default(),
        incremental: None,
        audit: None,
    };
    Backup { finished_at: at, source: BackupSource::Postgres(source), ..fake::backup(id) }
}

fn last(count: u32) -> Retention {
    Retention { last: Some(count), ..Retention::default() }
}

/// Three backups, each with two packs of its own and one of each before it, and ten segments of WAL.
async fn site() -> (Arc<InMemory>, Repository) {
    let memory = Arc::new(InMemory::new());
    let repository = Repository::open_or_create(Arc::clone(&memory) as _, None).await.unwrap();
    let mut first: Vec<Pack> = Vec::new();
    for (id, hours, segment) in [("a", 72, 1), ("b", 48, 4), ("c", 24, 8)] {
        let own = fake::commit(&repository, backup(id, hours, segment), 2, &first).await;
        first.push(own[0].clone());
    }
    for number in 0..10 {
        let name = SegmentName::new(1, number, cluster().segment_size);
        put(&repository, &format!("pg/7/wal/00000001/{name}")).await;
    }
    put(&repository, "pg/7/wal/00000002/00000002.history").await;
    put(&repository, "pg/7/cluster").await;
    (memory, repository)
}

async fn put(repository: &Repository, path: &str) {
    repository.create(&object_path(path), Bytes::from_static(b"wal")).await.unwrap();
}

async fn run_at(repository: &Repository, policy: &Retention, hours: i32) -> Result<Expired> {
    let plan = plan(repository, policy, Timestamp::now() + HOUR * hours).await?;
    apply(repository, plan, &Monitor::default()).await
}

/// What is stored but for the log, whose records tell who wrote them.
async fn stored(repository: &Repository) -> BTreeSet<String> {
    let all = repository.list_all("").await.unwrap().into_iter();
    all.map(|object| object.location.to_string()).filter(|path| !path.starts_with("log/")).collect()
}

#[tokio::test]
async fn what_a_policy_gives_up_goes_after_the_grace_time() {
    let (_, repository) = site().await;
    let before = stored(&repository).await;
    let plan_now = plan(&repository, &last(1), Timestamp::now()).await.unwrap();
    let summary = plan_now.summary();
    let shown: Vec<String> =
        summary.backups.iter().map(|one| format!("{} {}", one.decision.id, one.decision)).collect();
    assert_eq!(
        shown,
        ["a expired: no rule keeps it", "b expired: no rule keeps it", "c kept: last 1 of 1, the newest"]
    );
    assert_eq!(
        (summary.packs, summary.bytes, summary.due_packs),
        (2, 20, 0),
        "c needs one of a and one of b"
    );
    let wal = &summary.wal[0];
    assert_eq!((wal.first_kept.as_str(), wal.files, wal.due_files), ("000000010000000000000008", 8, 0));
    assert_eq!(stored(&repository).await, before, "a plan changes nothing");
    assert_eq!(repository.backups().await.unwrap().len(), 3);

    let expired = apply(&repository, plan_now, &Monitor::default()).await.unwrap();
    assert_eq!(expired.backups, ["a", "b"]);
    assert_eq!((expired.condemned_packs, expired.removed_packs, expired.wal_files), (2, 0, 0));
    assert_eq!(repository.backups().await.unwrap().len(), 1);
    assert!(before.is_subset(&stored(&repository).await), "a restore that has begun can go on");

    let idle = run_at(&repository, &last(1), 23).await.unwrap();
    assert_eq!(idle, Expired::default(), "nothing is due, and nothing is said twice");
    let removed = run_at(&repository, &last(1), 25).await.unwrap();
    assert_eq!(
        (removed.removed_packs, removed.removed_bytes, removed.wal_files, removed.wal_bytes),
        (2, 20, 8, 24)
    );
    let left: Vec<String> = stored(&repository).await.into_iter().collect();
    let zero = |number: u8| {
        fake::pack_ref(&("x".to_owned(), [number; 32])).path().to_string().replace("packs/x/", "")
    };
    assert_eq!(
        left,
        [
            "backups/c/manifest".to_owned(),
            format!("packs/a/{}", zero(0)),
            format!("packs/b/{}", zero(0)),
            format!("packs/c/{}", zero(0)),
            format!("packs/c/{}", zero(1)),
            "pg/7/cluster".to_owned(),
            "pg/7/wal/00000001/000000010000000000000008".to_owned(),
            "pg/7/wal/00000001/000000010000000000000009".to_owned(),
            "pg/7/wal/00000002/00000002.history".to_owned(),
            "repository.json".to_owned(),
        ]
    );
    assert_eq!(run_at(&repository, &last(1), 100).await.unwrap(), Expired::default());
}

#[tokio::test]
async fn older_backups_can_keep_only_what_makes_them_consistent() {
    let (_, repository) = site().await;
    let policy = Retention { wal: crate::plan::retention::WalRetention::Last(1), ..last(3) };
    assert_eq!(run_at(&repository, &policy, 0).await.unwrap().backups, Vec::<String>::new());
    assert_eq!(run_at(&repository, &policy, 25).await.unwrap().wal_files, 6);
    let left = stored(&repository).await;
    for (number, expected) in [(0, false), (1, true), (2, false), (4, true), (7, false), (8, true), (9, true)]
    {
        let path = format!("pg/7/wal/00000001/{:024X}", (1_u128 << 64) + number);
        assert_eq!(left.contains(&path), expected, "{path}");
    }
}

#[tokio::test]
async fn a_plan_that_is_out_of_date_gives_up_less_and_never_more() {
    let (_, repository) = site().await;
    let old = plan(&repository, &last(2), Timestamp::now()).await.unwrap();
    // Two are bad now: the one that the plan gives up is the newest good one.
    let proof = |id: &str| Proof { backup: id.to_owned(), complete: true, problems: 1 };
    let proofs = vec![proof("b"), proof("c")];
    repository.append(|_| Ok(Some(Event::Verify { proofs: proofs.clone() }))).await.unwrap();
    let expired = apply(&repository, old.clone(), &Monitor::default()).await.unwrap();
    assert_eq!(expired, Expired::default());
    // And a newer one does not make the old plan give up more.
    let _ = fake::commit(&repository, backup("d", 1, 9), 1, &[]).await;
    let proofs = vec![Proof { problems: 0, ..proof("c") }];
    repository.append(|_| Ok(Some(Event::Verify { proofs: proofs.clone() }))).await.unwrap();
    assert_eq!(apply(&repository, old, &Monitor::default()).await.unwrap().backups, ["a"]);
    assert_eq!(run_at(&repository, &last(2), 0).await.unwrap().backups, ["b"]);
}

#[tokio::test]
async fn a_running_backup_keeps_the_wal_of_its_cluster_and_what_it_builds_on() {
    let (_, repository) = site().await;
    let bases = |_: &State| vec!["a".to_owned()];
    let lease = repository.begin("d", "postgres/7", bases, false).await.unwrap();
    let expired = run_at(&repository, &last(1), 0).await.unwrap();
    assert_eq!((expired.backups.len(), expired.condemned_packs), (2, 1), "only that of b is not needed");
    let plan = plan(&repository, &last(1), Timestamp::now()).await.unwrap();
    assert_eq!(plan.summary().wal[0].waits.as_deref(), Some("backup d of it is running"));
    assert!(repository.state().await.unwrap().wal_decided.is_empty());
    lease.abandon("test").await.unwrap();
    assert_eq!(
        run_at(&repository, &last(1), 24 * 6).await.unwrap().removed_packs,
        1,
        "the job can be resumed"
    );
    assert_eq!(run_at(&repository, &last(1), 24 * 8).await.unwrap().removed_packs, 1);
}

#[tokio::test]
async fn the_begin_of_a_segment_goes_when_the_segment_may_go() {
    let (_, repository) = site().await;
    let piece = |segment: u64, number: u64| {
        let name = SegmentName::new(1, segment, cluster().segment_size);
        format!("pg/7/tail/00000001/{name}/{number}")
    };
    for (segment, number) in [(3, 0), (3, 1), (7, 0), (8, 0), (10, 0), (10, 1)] {
        put(&repository, &piece(segment, number)).await;
    }
    run_at(&repository, &last(1), 0).await.unwrap();
    run_at(&repository, &last(1), 25).await.unwrap();
    let left: Vec<String> =
        stored(&repository).await.into_iter().filter(|path| path.contains("/tail/")).collect();
    assert_eq!(left, [piece(8, 0), piece(10, 0), piece(10, 1)]);
}

#[tokio::test]
async fn nothing_is_given_up_while_the_log_is_damaged_or_the_job_cancelled() {
    let (memory, repository) = site().await;
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    let first = plan(&repository, &last(1), Timestamp::now()).await.unwrap();
    let error = apply(&repository, first.clone(), &Monitor::new(stop)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(repository.backups().await.unwrap().len(), 3);

    let newest = repository.state().await.unwrap().sequence;
    let path = object_path(&format!("log/{newest:020}"));
    memory.put(&path, Bytes::from_static(b"damaged").into()).await.unwrap();
    let other = fake::another(&repository).await;
    for error in [
        plan(&other, &last(1), Timestamp::now()).await.map(drop).unwrap_err(),
        apply(&other, first, &Monitor::default()).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("record 6 of the log cannot be read"), "{error}");
    }
    assert_eq!(other.backups().await.unwrap().len(), 2, "but the rest can be read");
}

#[tokio::test(start_paused = true)]
async fn after_a_fault_at_any_operation_the_next_run_ends_the_work() {
    let (memory, repository) = site().await;
    let fresh = memory.fork();
    for hours in [0, 25, 50] {
        run_at(&repository, &last(1), hours).await.unwrap();
    }
    let expected = stored(&repository).await;
    let (mut failed, mut succeeded) = (0, 0);
    for fault in [Fault::Fail, Fault::Break, Fault::LoseAnswer] {
        // The fault is in the run that gives up, or in the one that removes.
        for removing in [false, true] {
            for at in 0.. {
                let memory = Arc::new(fresh.fork());
                let honest = fake::through(Arc::clone(&memory) as _).await;
                if removing {
                    run_at(&honest, &last(1), 0).await.unwrap();
                }
                let faulty = FaultyStore::new(&memory, fault, at);
                let result = match Repository::open(Arc::clone(&faulty) as _, None).await {
                    Ok(repository) => run_at(&repository, &last(1), if removing { 25 } else { 0 }).await,
                    Err(error) => Err(error),
                };
                match result {
                    Ok(_) => succeeded += 1,
                    Err(_) => failed += 1,
                }
                let label = format!("{fault:?} at {at}, removing: {removing}");
                let during = stored(&honest).await;
                assert!(expected.is_subset(&during), "{label}: something that is needed is gone");
                for hours in [25, 50, 75] {
                    run_at(&honest, &last(1), hours).await.unwrap_or_else(|error| panic!("{label}: {error}"));
                }
                assert_eq!(stored(&honest).await, expected, "{label}");
                assert_eq!(honest.backups().await.unwrap().len(), 1, "{label}");
                if faulty.operations() <= at {
                    break;
                }
            }
        }
    }
    assert!(failed > 20 && succeeded > 20, "{failed} failed, {succeeded} succeeded");
}
