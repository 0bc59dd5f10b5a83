//! Incremental backups of a running cluster: little is stored, and each is whole.

use ops_backup::{BackupOptions, ChangeDetection, Monitor, RecoveryTarget, VerifyOptions, verify};

use crate::end_to_end::{restore_to, start_restored, verify_backup};
use crate::support::Site;

const SUM: &str = "SELECT sum(n), sum(hashtext(x)), count(*) FROM t";

#[tokio::test(flavor = "multi_thread")]
async fn each_backup_of_a_changing_cluster_is_small_and_whole() {
    let site = Site::start().await;
    site.psql("CREATE TABLE t AS SELECT n, md5(n::text) || md5((n + 1)::text) AS x FROM generate_series(1, 300000) AS n");
    site.psql("CREATE INDEX ON t (n)");
    site.psql("VACUUM (FREEZE) t");
    let first = site.backup().await;
    let mut expected = Vec::new();
    let mut before = first.clone();
    for (round, change) in [
        "SELECT 1",
        "UPDATE t SET x = md5(x) WHERE n % 10000 = 7",
        "DELETE FROM t WHERE n BETWEEN 1000 AND 5000",
        "VACUUM t",
    ]
    .into_iter()
    .enumerate()
    {
        site.psql(change);
        let detection = if round % 2 == 0 { ChangeDetection::Metadata } else { ChangeDetection::Hash };
        let options = BackupOptions { change_detection: detection, ..BackupOptions::default() };
        let backup = site.try_backup(&options, &Monitor::default()).await.unwrap();
        assert_eq!((backup.base.as_deref(), backup.bad_pages), (Some(before.id.as_str()), 0));
        assert!(backup.added_bytes < first.added_bytes / 4, "{change}: {backup:?}");
        expected.push((backup.id.clone(), site.psql(SUM)));
        before = backup;
    }
    site.switch_wal().await;
    let report = verify(&site.repository, &VerifyOptions::default(), &Monitor::default()).await.unwrap();
    assert!(report.is_proven(), "{report:?}");
    for (id, sum) in expected {
        let options = ops_backup::RestoreOptions {
            backup: Some(id.clone()),
            target: RecoveryTarget::Immediate,
            restore_command: crate::support::restore_command(&site.place()),
            ..ops_backup::RestoreOptions::default()
        };
        let place = ops_backup::RestoreTarget::check(&site.root.path().join(&id)).unwrap();
        let plan = ops_backup::restore::plan(&site.repository, place, options).await.unwrap();
        let restored = ops_backup::restore::apply(&site.repository, plan, &Monitor::default()).await.unwrap();
        verify_backup(site.postgres.major(), &restored.data_directory);
        let server = start_restored(&restored.data_directory).await;
        assert_eq!(server.psql(SUM).unwrap(), sum, "{id}");
    }
}

/// The visibility map of a page that is updated changes without a new position; `CREATE DATABASE` copies pages with old ones.
#[tokio::test(flavor = "multi_thread")]
async fn changes_without_a_new_position_are_found() {
    let site = Site::start().await;
    site.psql("CREATE TABLE t AS SELECT n, 'x' AS x FROM generate_series(1, 100000) AS n");
    site.psql("VACUUM (FREEZE) t");
    site.psql("CHECKPOINT");
    site.backup().await;
    site.psql("UPDATE t SET x = 'y' WHERE n = 50000");
    site.psql("CREATE DATABASE copied TEMPLATE template0 STRATEGY file_copy");
    site.psql("CHECKPOINT");
    let next = site.backup().await;
    assert!(next.new_bytes > 5_000_000, "the files of the new database: {next:?}");
    site.switch_wal().await;
    let restored = restore_to(&site, "restored", RecoveryTarget::Latest).await;
    let server = start_restored(&restored.data_directory).await;
    assert_eq!(server.psql("SELECT n FROM t WHERE x = 'y'").unwrap(), "50000");
    assert_eq!(server.psql("SELECT count(*) FROM pg_database WHERE datname = 'copied'").unwrap(), "1");
    let amcheck = server.command("pg_amcheck").args(["--install-missing", "--all"]).output().unwrap();
    assert!(amcheck.status.success(), "{}", String::from_utf8_lossy(&amcheck.stdout));
}

/// After a crash and a promotion the times of files are not trusted; the backups of both timelines are whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_server_on_a_new_timeline_is_read_in_full_and_stores_little() {
    let site = Site::start().await;
    site.psql("CREATE TABLE t AS SELECT n, md5(n::text) AS x FROM generate_series(1, 100000) AS n");
    let first = site.backup().await;
    site.switch_wal().await;
    let restored = restore_to(&site, "promoted", RecoveryTarget::Latest).await;
    let push = crate::support::archive_command(&site.place());
    let server = ops_testkit::Postgres::from_data_dir(&restored.data_directory)
        .setting("archive_mode", "on")
        .setting("archive_command", push)
        .remove_on_drop(true)
        .start()
        .unwrap();
    let started = std::time::Instant::now();
    while server.psql("SELECT pg_is_in_recovery()").unwrap() == "t" {
        assert!(started.elapsed().as_secs() < 60, "still in recovery: {}", server.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let connection = ops_core::connection::ConnectionSettings::parse(&server.socket_url()).unwrap();
    let engine = ops_backup::PostgresEngine::new(connection);
    let next = ops_backup::backup(&site.repository, &engine, &BackupOptions::default(), &Monitor::default())
        .await
        .unwrap();
    assert_eq!((next.postgres().unwrap().timeline, next.base), (2, Some(first.id)));
    assert!(next.new_bytes < first.new_bytes / 4, "{} of {}", next.new_bytes, first.new_bytes);
}
