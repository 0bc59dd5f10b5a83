//! Clusters of unusual shape, and servers that cannot be backed up.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;

use ops_backup::restore;
use ops_backup::{
    Backup, BackupOptions, ErrorKind, Monitor, Phase, PostgresEngine, Repository, RestoreOptions,
    RestoreTarget, backup,
};
use ops_core::connection::ConnectionSettings;
use ops_testkit::{Postgres, TestUser};
use tokio_util::sync::CancellationToken;

use crate::end_to_end::{restore_to, start_restored, verify_backup};
use crate::support::{Site, archive_command, restore_command, store, switch_wal};

#[tokio::test(flavor = "multi_thread")]
async fn a_tablespace_is_restored_to_its_new_place_only() {
    let site = Site::start().await;
    let user = TestUser::find().unwrap();
    let original = site.root.path().join("tablespace");
    user.create_dir(&original).unwrap();
    site.psql(&format!("CREATE TABLESPACE fast LOCATION '{}'", original.display()));
    site.psql("CREATE TABLE t TABLESPACE fast AS SELECT generate_series(1, 50000) AS n");
    let oid: u32 = site.psql("SELECT oid FROM pg_tablespace WHERE spcname = 'fast'").parse().unwrap();
    let backup = site.backup().await;
    assert_eq!(backup.postgres().unwrap().tablespaces.len(), 1);
    site.switch_wal().await;

    let data = site.root.path().join("restored");
    let options =
        RestoreOptions { restore_command: restore_command(&site.place()), ..RestoreOptions::default() };
    let refused =
        restore::plan(&site.repository, RestoreTarget::check(&data).unwrap(), options.clone()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::BadTarget, "the original tablespace is in use");

    let moved = site.root.path().join("moved");
    let options = RestoreOptions { tablespaces: BTreeMap::from([(oid, moved.clone())]), ..options };
    let plan = restore::plan(&site.repository, RestoreTarget::check(&data).unwrap(), options).await.unwrap();
    assert_eq!(plan.summary().tablespaces[&oid], moved);
    restore::apply(&site.repository, plan, &Monitor::default()).await.unwrap();
    assert!(!data.join("tablespace_map").exists());
    assert_eq!(std::fs::read_link(data.join(format!("pg_tblspc/{oid}"))).unwrap(), moved);
    verify_backup(site.postgres.major(), &data);
    user.own_tree(&moved).unwrap();
    let server = start_restored(&data).await;
    assert_eq!(server.psql("SELECT sum(n) FROM t").unwrap(), "1250025000");
    server.psql("INSERT INTO t VALUES (1)").unwrap();
    assert_eq!(site.psql("SELECT count(*) FROM t"), "50000", "the original is untouched");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_relations_share_few_packs() {
    let site = Site::start().await;
    site.psql(
        "DO $$ BEGIN FOR i IN 1..1000 LOOP \
         EXECUTE format('CREATE TABLE small_%s AS SELECT %s AS n', i, i); END LOOP; END $$",
    );
    let backup = site.backup().await;
    assert!(backup.files > 1900, "{}", backup.files);
    let packs = std::fs::read_dir(site.place().join("packs")).unwrap().count();
    assert!(packs <= 4, "{packs} packs");
    site.switch_wal().await;
    let restored = restore_to(&site, "restored", ops_backup::RecoveryTarget::Immediate).await;
    verify_backup(site.postgres.major(), &restored.data_directory);
    let server = start_restored(&restored.data_directory).await;
    let sum = "SELECT sum((xpath('/row/n/text()', query_to_xml('SELECT n FROM ' || relname, false, true, '')))[1]::text::int) \
               FROM pg_class WHERE relname LIKE 'small\\_%' AND relkind = 'r'";
    assert_eq!(server.psql(sum).unwrap(), "500500");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_is_reported_by_file_and_block_and_does_not_stop_the_backup() {
    let site = Site::start().await;
    site.psql("CREATE TABLE t AS SELECT n, repeat('x', 500) FROM generate_series(1, 5000) AS n");
    let file = site.psql("SELECT pg_relation_filepath('t')");
    site.psql("CHECKPOINT");
    let handle = std::fs::OpenOptions::new().write(true).open(site.postgres.data_dir().join(&file)).unwrap();
    for block in [3_u64, 200] {
        handle.write_all_at(b"damage", block * 8192 + 4000).unwrap();
    }
    let backup = site.backup().await;
    assert_eq!(backup.bad_pages, 2);
    let found: Vec<_> =
        backup.bad_page_examples.iter().map(|page| (page.file.as_str(), page.block)).collect();
    assert_eq!(found, [(file.as_str(), 3), (file.as_str(), 200)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_share_a_repository_at_the_same_time_and_one_cluster_does_not() {
    let site = Site::start().await;
    let other = Postgres::builder()
        .checksums(true)
        .fresh_identity(true)
        .archive_command(archive_command(&site.place()))
        .start()
        .unwrap();
    site.psql("CREATE TABLE t AS SELECT 'one' AS x");
    other.psql("CREATE TABLE t AS SELECT 'two' AS x").unwrap();
    // Its own push makes the folders that it must be able to write.
    switch_wal(&other, &site.place()).await;
    // Each host has its own view of the repository.
    let elsewhere = Repository::open(store(&site.place()), None).await.unwrap();
    let of_other = PostgresEngine::new(ConnectionSettings::parse(&other.url()).unwrap());
    let slowly = BackupOptions { bytes_per_second: Some(20_000_000), ..BackupOptions::default() };
    let (monitor, one) = (Monitor::default(), site.engine());
    let mut progress = monitor.subscribe();
    let (first, second, again) = tokio::join!(
        backup(&site.repository, &one, &slowly, &monitor),
        site_backup(&elsewhere, &of_other),
        async {
            progress.wait_for(|progress| progress.phase == Phase::Copy).await.unwrap();
            site_backup(&elsewhere, &site.engine()).await
        }
    );
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Busy);
    let (first, second) = (first.unwrap(), second.unwrap());
    site.switch_wal().await;
    switch_wal(&other, &site.place()).await;
    for (name, taken, expected) in [("one", &first, "one"), ("two", &second, "two")] {
        let target = || RestoreTarget::check(&site.root.path().join(name)).unwrap();
        let options =
            RestoreOptions { restore_command: restore_command(&site.place()), ..RestoreOptions::default() };
        let either = restore::plan(&site.repository, target(), options.clone()).await.unwrap_err();
        assert_eq!(either.kind(), ErrorKind::Configuration, "{either}");
        let system_identifier = Some(taken.postgres().unwrap().cluster.system_identifier);
        let options = RestoreOptions { system_identifier, ..options };
        let plan = restore::plan(&site.repository, target(), options).await.unwrap();
        let restored = restore::apply(&site.repository, plan, &Monitor::default()).await.unwrap();
        let server = start_restored(&restored.data_directory).await;
        assert_eq!(server.psql("SELECT x FROM t").unwrap(), expected);
    }
}

async fn site_backup(repository: &Repository, engine: &PostgresEngine) -> Result<Backup, ops_backup::Error> {
    backup(repository, engine, &BackupOptions::default(), &Monitor::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_cannot_be_backed_up_are_refused_with_the_reason() {
    let site = Site::start().await;
    let other = Postgres::builder().fresh_identity(true).start().unwrap();
    let engine =
        |url: &str| PostgresEngine::new(ops_core::connection::ConnectionSettings::parse(url).unwrap());
    let run = async |engine: PostgresEngine| {
        let options = BackupOptions::default();
        backup(&site.repository, &engine, &options, &Monitor::default()).await.unwrap_err()
    };
    let error = run(engine(&other.url())).await;
    assert_eq!(
        (error.kind(), error.to_string().contains("archive_mode")),
        (ErrorKind::Postgres, true),
        "{error}"
    );

    let foreign = PostgresEngine { data_directory: Some(other.data_dir().to_owned()), ..site.engine() };
    let error = run(foreign).await;
    assert_eq!(
        (error.kind(), error.to_string().contains("holds cluster")),
        (ErrorKind::Configuration, true),
        "{error}"
    );

    let empty = tempfile::tempdir().unwrap();
    let nothing = PostgresEngine { data_directory: Some(empty.path().to_owned()), ..site.engine() };
    let error = run(nothing).await;
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("is not a PostgreSQL data directory"), "{error}");

    let error = run(engine("postgresql://postgres@127.0.0.1:1/postgres")).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");

    // An archiver that reports success and stores nothing is found out.
    site.psql("ALTER SYSTEM SET archive_command = 'true'");
    site.psql("SELECT pg_reload_conf()");
    let hasty = PostgresEngine { archive_timeout: std::time::Duration::from_secs(2), ..site.engine() };
    let error = run(hasty).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(site.repository.backups().await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_backup_does_not_exist_and_a_cancelled_restore_leaves_nothing() {
    let site = Site::start().await;
    site.run("pgbench", &["-i", "-q", "-s", "5"]);
    let cancellation = CancellationToken::new();
    let monitor = Monitor::new(cancellation.clone());
    let mut progress = monitor.subscribe();
    let stop = tokio::spawn(async move {
        progress.wait_for(|progress| progress.phase == Phase::Copy && progress.bytes_done > 0).await.unwrap();
        cancellation.cancel();
    });
    let error = site.try_backup(&BackupOptions::default(), &monitor).await.unwrap_err();
    stop.await.unwrap();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(site.repository.backups().await.unwrap().len(), 0);

    site.backup().await;
    let data = site.root.path().join("restored");
    let plan =
        restore::plan(&site.repository, RestoreTarget::check(&data).unwrap(), RestoreOptions::default())
            .await
            .unwrap();
    let cancellation = CancellationToken::new();
    let monitor = Monitor::new(cancellation.clone());
    let mut progress = monitor.subscribe();
    let stop = tokio::spawn(async move {
        progress.wait_for(|progress| progress.phase == Phase::Copy && progress.bytes_done > 0).await.unwrap();
        cancellation.cancel();
    });
    let error = restore::apply(&site.repository, plan, &monitor).await.unwrap_err();
    stop.await.unwrap();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(!data.exists());
}
