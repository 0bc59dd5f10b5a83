//! Restores into the data directory of a cluster that is there already, and restores of a part of one.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use ops_backup::restore::{self, Restored};
use ops_backup::{AfterCrash, ErrorKind, Monitor, RecoveryTarget, RestoreOptions, RestoreTarget};
use ops_testkit::{Mode, Postgres, TestUser};

use crate::end_to_end::{start_restored, verify_backup};
use crate::support::{Site, restore_command};

fn options(site: &Site) -> RestoreOptions {
    RestoreOptions { restore_command: restore_command(&site.place()), ..RestoreOptions::default() }
}

async fn delta(site: &Site, data: &Path, options: RestoreOptions) -> Result<Restored, ops_backup::Error> {
    let target = RestoreTarget::check_delta(data, AfterCrash::Refused)?;
    let plan = restore::plan(&site.repository, target, options).await?;
    let saved = plan.summary().saved_wal.map(|saved| saved.directory);
    let restored = restore::apply(&site.repository, plan, &Monitor::default()).await?;
    assert_eq!(restored.saved_wal, saved);
    assert_eq!(restored.written_bytes + restored.kept_bytes, restored.bytes);
    Ok(restored)
}

fn relation_files(data: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for database in fs::read_dir(data.join("base")).unwrap() {
        for file in fs::read_dir(database.unwrap().path()).unwrap() {
            let file = file.unwrap();
            if file.metadata().unwrap().len() >= 8192 {
                files.push(file.path());
            }
        }
    }
    files.sort();
    files
}

/// Overwrites a few bytes in one page of a hundred.
fn damage(data: &Path) -> u64 {
    let mut pages = 0;
    for (number, path) in relation_files(data).into_iter().enumerate() {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        let length = file.metadata().unwrap().len();
        for page in (0..length / 8192).filter(|page| (page + number as u64).is_multiple_of(100)) {
            file.write_all_at(b"damage", page * 8192 + 3000).unwrap();
            pages += 1;
        }
    }
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_differs_is_written_and_wal_that_is_nowhere_else_is_saved() {
    let mut site = Site::start().await;
    site.run("pgbench", &["-i", "-q", "-s", "3"]);
    site.psql("CREATE TABLE dropped AS SELECT generate_series(1, 5000) AS n");
    let dropped = site.psql("SELECT pg_relation_filepath('dropped')");
    site.psql("CHECKPOINT");
    site.backup().await;
    site.psql("CREATE TABLE later AS SELECT generate_series(1, 5000) AS n");
    let later = site.psql("SELECT pg_relation_filepath('later')");
    site.psql("CREATE TABLE switched AS SELECT 7 AS n");
    site.switch_wal().await;
    site.psql("CREATE TABLE unarchived AS SELECT 8 AS n");
    let newest = site.psql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    site.psql("DROP TABLE dropped");
    site.psql("CHECKPOINT");
    site.psql("ALTER SYSTEM SET archive_command = 'false'");
    site.psql("SELECT pg_reload_conf()");
    // A server that is stopped before it has seen that would archive the newest segment at its end.
    while site.psql("SHOW archive_command") != "false" {}
    let data = site.postgres.data_dir().to_owned();

    // A live cluster is never written to, also where its pid file was removed by a person.
    let live = RestoreTarget::check_delta(&data, AfterCrash::Accepted).unwrap_err();
    assert_eq!(live.kind(), ErrorKind::BadTarget);
    assert!(live.to_string().contains("running"), "{live}");
    fs::rename(data.join("postmaster.pid"), site.root.path().join("aside")).unwrap();
    let live = RestoreTarget::check_delta(&data, AfterCrash::Accepted).unwrap_err();
    assert!(live.to_string().contains("is running"), "{live}");
    fs::rename(site.root.path().join("aside"), data.join("postmaster.pid")).unwrap();
    site.postgres.stop(Mode::Fast).unwrap();

    let pages = damage(&data);
    assert!(pages > 20, "{pages}");
    fs::write(data.join("global/foreign"), "x").unwrap();
    fs::create_dir_all(data.join("extra/dir")).unwrap();
    fs::write(data.join("extra/dir/file"), "x").unwrap();
    let longer = relation_files(&data)[0].clone();
    let mut content = fs::read(&longer).unwrap();
    content.extend([7; 8192]);
    fs::write(&longer, content).unwrap();
    // Another name of a file, as in a snapshot of hard links, keeps its content.
    let linked = relation_files(&data)[1].clone();
    let snapshot = site.root.path().join("snapshot");
    fs::hard_link(&linked, &snapshot).unwrap();
    let before = fs::read(&snapshot).unwrap();

    let target = RestoreTarget::check_delta(&data, AfterCrash::Refused).unwrap();
    let summary = restore::plan(&site.repository, target, options(&site)).await.unwrap().summary();
    let removal = summary.removal.unwrap();
    for gone in ["global/foreign", "extra/dir/file", "extra/", &later] {
        assert!(
            removal.examples.iter().any(|example| example == gone) || removal.files > 15,
            "{gone}: {removal:?}"
        );
    }
    assert!(summary.saved_wal.unwrap().files.contains(&newest));
    assert!(data.join("global/foreign").exists(), "a plan changes nothing");

    let restored = delta(&site, &data, options(&site)).await.unwrap();
    assert!(restored.written_bytes < restored.bytes / 4, "{restored:?}");
    assert!(restored.written_bytes >= pages * 8192 / 2, "{restored:?}");
    let saved = restored.saved_wal.unwrap();
    assert_eq!(fs::metadata(saved.join(&newest)).unwrap().len(), 16 << 20);
    assert_eq!(fs::read(&snapshot).unwrap(), before);
    for gone in ["global/foreign", "extra", later.as_str(), "postmaster.pid", "ops-backup.restore"] {
        assert!(!data.join(gone).exists(), "{gone}");
    }
    assert!(data.join(&dropped).exists());
    verify_backup(site.postgres.major(), &data);
    TestUser::find().unwrap().own_tree(&data).unwrap();
    let server = start_restored(&data).await;
    let found =
        "SELECT (SELECT count(*) FROM dropped), (SELECT n FROM switched), to_regclass('unarchived') IS NULL";
    assert_eq!(server.psql(found).unwrap(), "5000|7|t");
    let check = server.command("pg_amcheck").args(["--install-missing", "--all"]).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_restore_that_failed_cannot_be_started_and_can_be_run_again() {
    let mut site = Site::start().await;
    site.run("pgbench", &["-i", "-q", "-s", "3"]);
    site.backup().await;
    site.switch_wal().await;
    let data = site.postgres.data_dir().to_owned();
    site.postgres.stop(Mode::Fast).unwrap();
    damage(&data);
    let mut packs = Vec::new();
    for folder in fs::read_dir(site.place().join("packs")).unwrap() {
        packs.extend(fs::read_dir(folder.unwrap().path()).unwrap().map(|pack| pack.unwrap().path()));
    }
    let largest = packs.into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let original = fs::read(&largest).unwrap();
    fs::write(&largest, &original[..original.len() / 2]).unwrap();
    let error = delta(&site, &data, options(&site)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(!data.join("global/pg_control").exists());
    let refused = RestoreTarget::check(&data).unwrap_err();
    assert!(refused.to_string().contains("delta restore goes on"), "{refused}");
    assert!(site.postgres.restart().is_err(), "no server starts from it");

    fs::write(&largest, &original).unwrap();
    let restored = delta(&site, &data, options(&site)).await.unwrap();
    assert!(restored.kept_bytes > 0, "{restored:?}");
    verify_backup(site.postgres.major(), &data);
    TestUser::find().unwrap().own_tree(&data).unwrap();
    let server = start_restored(&data).await;
    assert_eq!(server.psql("SELECT count(*) FROM pgbench_accounts").unwrap(), "300000");
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn crashed_foreign_and_plain_directories_are_refused() {
    let mut site = Site::start().await;
    site.backup().await;
    site.switch_wal().await;
    let plain = site.root.path().join("plain");
    fs::create_dir(&plain).unwrap();
    fs::write(plain.join("letter"), "dear").unwrap();
    let error = RestoreTarget::check_delta(&plain, AfterCrash::Accepted).unwrap_err();
    assert!(error.to_string().contains("not the data directory"), "{error}");

    let mut other = Postgres::builder().fresh_identity(true).start().unwrap();
    other.stop(Mode::Fast).unwrap();
    let error = delta(&site, other.data_dir(), options(&site)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadTarget);
    assert!(error.to_string().contains("the backup is of cluster"), "{error}");
    assert!(other.data_dir().join("global/pg_control").exists());
    // The files of another major are not those of the backup, whatever the identifier says.
    let upgraded = site.root.path().join("upgraded");
    let plan = restore::plan(&site.repository, RestoreTarget::check(&upgraded).unwrap(), options(&site))
        .await
        .unwrap();
    restore::apply(&site.repository, plan, &Monitor::default()).await.unwrap();
    fs::write(upgraded.join("PG_VERSION"), "14\n").unwrap();
    let error = delta(&site, &upgraded, options(&site)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadTarget);
    assert!(error.to_string().contains("of PostgreSQL 14, and the backup is"), "{error}");

    let data = site.postgres.data_dir().to_owned();
    site.postgres.kill();
    let error = RestoreTarget::check_delta(&data, AfterCrash::Refused).unwrap_err();
    assert!(error.to_string().contains("was not shut down"), "{error}");
    assert!(RestoreTarget::check_delta(&data, AfterCrash::Accepted).is_ok());

    // A restore that was never started is one of a cluster that nobody has used.
    let fresh = site.root.path().join("fresh");
    let plan =
        restore::plan(&site.repository, RestoreTarget::check(&fresh).unwrap(), options(&site)).await.unwrap();
    restore::apply(&site.repository, plan, &Monitor::default()).await.unwrap();
    let again = delta(&site, &fresh, options(&site)).await.unwrap();
    assert!(again.written_bytes < 100_000, "{again:?}");
    verify_backup(site.postgres.major(), &fresh);
}

#[tokio::test(flavor = "multi_thread")]
async fn selected_databases_are_restored_and_the_others_can_be_dropped() {
    let site = Site::start().await;
    for name in ["wanted", "unwanted"] {
        site.psql(&format!("CREATE DATABASE {name}"));
        site.run("pgbench", &["-i", "-q", "-s", "1", name]);
    }
    let backup = site.backup().await;
    assert!(backup.postgres().unwrap().databases.iter().any(|database| database.name == "wanted"));
    site.switch_wal().await;
    let data = site.root.path().join("restored");
    let place = || RestoreTarget::check(&data).unwrap();
    let missing = RestoreOptions { databases: vec!["absent".to_owned()], ..options(&site) };
    let error = restore::plan(&site.repository, place(), missing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("unwanted"), "{error}");

    let some = RestoreOptions { databases: vec!["wanted".to_owned()], ..options(&site) };
    let plan = restore::plan(&site.repository, place(), some).await.unwrap();
    let summary = plan.summary();
    let to_drop: Vec<_> =
        summary.databases.unwrap().to_drop.into_iter().map(|database| database.name).collect();
    assert_eq!(to_drop, ["unwanted"]);
    assert!(summary.warnings.iter().any(|warning| warning.contains("drop them")), "{:?}", summary.warnings);
    restore::apply(&site.repository, plan, &Monitor::default()).await.unwrap();
    verify_backup(site.postgres.major(), &data);
    let server = start_restored(&data).await;
    let count = server
        .command("psql")
        .args(["-Atc", "SELECT count(*) FROM pgbench_accounts", "wanted"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&count.stdout).trim(), "100000");
    server.psql("DROP DATABASE unwanted").unwrap();
    let check = server.command("pg_amcheck").args(["--install-missing", "--all"]).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_a_tablespace_is_restored_over_itself() {
    let mut site = Site::start().await;
    let user = TestUser::find().unwrap();
    let place = site.root.path().join("tablespace");
    user.create_dir(&place).unwrap();
    site.psql(&format!("CREATE TABLESPACE fast LOCATION '{}'", place.display()));
    site.psql("CREATE TABLE t TABLESPACE fast AS SELECT generate_series(1, 50000) AS n");
    site.backup().await;
    site.psql("CREATE TABLE later TABLESPACE fast AS SELECT 1 AS n");
    site.switch_wal().await;
    let data = site.postgres.data_dir().to_owned();
    site.postgres.stop(Mode::Fast).unwrap();
    // Another version of the server has a folder of its own in the same place.
    fs::create_dir(place.join("PG_99_1")).unwrap();
    fs::write(place.join("PG_99_1/file"), "of another").unwrap();
    let to = RestoreOptions { target: RecoveryTarget::Immediate, ..options(&site) };
    let restored = delta(&site, &data, to).await.unwrap();
    assert!(restored.written_bytes < restored.bytes / 4, "{restored:?}");
    assert_eq!(fs::read_to_string(place.join("PG_99_1/file")).unwrap(), "of another");
    fs::remove_dir_all(place.join("PG_99_1")).unwrap();
    verify_backup(site.postgres.major(), &data);
    user.own_tree(&data).unwrap();
    user.own_tree(&place).unwrap();
    let server = start_restored(&data).await;
    assert_eq!(server.psql("SELECT sum(n), to_regclass('later') IS NULL FROM t").unwrap(), "1250025000|t");
}
