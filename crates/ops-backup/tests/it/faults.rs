//! A fault at each operation of a push, a fetch and a backup: nothing is lost, nothing half-written shows.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use ops_backup::wal::{self, Fetched, Pushed};
use ops_backup::{
    BackupOptions, ErrorKind, Monitor, RecoveryTarget, Repository, VerifyOptions, backup, verify,
};

use crate::end_to_end::{restore_to, start_restored};
use crate::store::{Fault, FaultyStore};
use crate::support::{Site, store};
use crate::wal::{cluster, segment, write};

const FAULTS: [Fault; 3] = [Fault::Fail, Fault::Break, Fault::LoseAnswer];

#[tokio::test(start_paused = true)]
async fn a_push_that_reports_success_is_durable_and_can_always_be_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let name = "000000010000000000000003";
    let bytes = segment(3, 7, 1, 1);
    let path = write(directory.path(), name, &bytes);
    let out = directory.path().join("out");
    let (mut failed, mut succeeded) = (0, 0);
    for fault in FAULTS {
        for at in 0.. {
            let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let sound = Repository::open_or_create(Arc::clone(&memory)).await.unwrap();
            let faulty = FaultyStore::new(memory, fault, at);
            let repository = Repository::open(Arc::clone(&faulty) as Arc<dyn ObjectStore>).await;
            let pushed = match &repository {
                Ok(repository) => wal::push(repository, &cluster(7), &path).await.ok(),
                Err(error) => {
                    assert_ne!(error.kind(), ErrorKind::NotARepository, "{fault:?} at {at}");
                    None
                }
            };
            let fetched = wal::fetch(&sound, &cluster(7), name, &out).await.unwrap();
            if pushed.is_some() {
                succeeded += 1;
                assert_eq!(fetched, Fetched::Written, "{fault:?} at {at}: acknowledged and lost");
                assert_eq!(std::fs::read(&out).unwrap(), bytes);
            } else {
                failed += 1;
            }
            let again = wal::push(&sound, &cluster(7), &path).await.unwrap();
            assert_eq!(again == Pushed::AlreadyThere, fetched == Fetched::Written, "{fault:?} at {at}");
            if faulty.operations() <= at {
                break;
            }
        }
    }
    assert!(failed > 0 && succeeded > 0, "{failed} {succeeded}");
}

#[tokio::test(start_paused = true)]
async fn a_failing_store_is_never_taken_for_an_absent_segment() {
    let directory = tempfile::tempdir().unwrap();
    let name = "000000010000000000000003";
    let path = write(directory.path(), name, &segment(3, 7, 1, 1));
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let sound = Repository::open_or_create(Arc::clone(&memory)).await.unwrap();
    wal::push(&sound, &cluster(7), &path).await.unwrap();
    for at in 0..3 {
        let faulty = FaultyStore::new(Arc::clone(&memory), Fault::Break, at);
        let result = match Repository::open(faulty).await {
            Ok(repository) => wal::fetch(&repository, &cluster(7), name, &directory.path().join("out")).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(fetched) => assert_eq!(fetched, Fetched::Written),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Storage, "{error}"),
        }
    }
}

#[tokio::test]
async fn a_store_that_overwrites_is_refused() {
    let faulty = FaultyStore::new(Arc::new(InMemory::new()), Fault::Overwrite, usize::MAX);
    let error = Repository::open_or_create(faulty).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("If-None-Match"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fault_at_any_operation_of_a_backup_the_repository_is_whole() {
    let site = Site::start().await;
    site.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n");
    let (mut failed, mut succeeded) = (0, 0);
    for fault in FAULTS {
        for at in 0.. {
            let faulty = FaultyStore::new(store(&site.place()), fault, at);
            let before = site.repository.backups().await.unwrap().len();
            let result = match Repository::open(Arc::clone(&faulty) as Arc<dyn ObjectStore>).await {
                Ok(repository) => {
                    let options = BackupOptions { workers: 1, ..BackupOptions::default() };
                    backup(&repository, &site.connection(), &options, &Monitor::default()).await
                }
                Err(error) => Err(error),
            };
            let after = site.repository.backups().await.unwrap().len();
            match &result {
                Ok(_) => succeeded += 1,
                Err(_) => failed += 1,
            }
            // An answer that is lost for good may leave a backup that the caller does not know of; never the reverse.
            assert!(after >= before + usize::from(result.is_ok()), "{fault:?} at {at}: {result:?}");
            if fault != Fault::LoseAnswer {
                assert_eq!(after - before, usize::from(result.is_ok()), "{fault:?} at {at}: {result:?}");
            }
            if faulty.operations() <= at {
                break;
            }
        }
    }
    assert!(failed > 5 && succeeded > 5, "{failed} {succeeded}");
    let busy = site.psql(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_backup_st%' AND pid <> pg_backend_pid()",
    );
    assert_eq!(busy, "0", "a failed backup leaves its session");
    let report = verify(&site.repository, &VerifyOptions::default(), &Monitor::default()).await.unwrap();
    assert!(report.is_proven(), "{:?}", report.problems);
    let restored = restore_to(&site, "restored", RecoveryTarget::Latest).await;
    let server = start_restored(&restored.data_directory).await;
    assert_eq!(server.psql("SELECT sum(n) FROM t").unwrap(), "500500");
}
