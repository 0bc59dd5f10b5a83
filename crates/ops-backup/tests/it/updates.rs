//! What a server does to its files, and what lies about it: nothing is missed, and little is stored.
//!
//! The judge is the cluster itself: after a backup of a cluster at rest, the restored relations are its own, byte for byte.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

use ops_backup::{Backup, BackupOptions, ChangeDetection, Monitor, RecoveryTarget};
use ops_testkit::{Mode, NewCluster};

use crate::end_to_end::{restore_to, verify_backup};
use crate::referees::assert_same_relations;
use crate::support::Site;

const PAGE: u64 = 8192;

fn at_rest(cluster: NewCluster) -> NewCluster {
    // Only what a test does changes a file.
    cluster.setting("autovacuum", "off").setting("bgwriter_lru_maxpages", "0")
}

fn detection(change_detection: ChangeDetection) -> BackupOptions {
    BackupOptions { change_detection, ..BackupOptions::default() }
}

async fn backup(site: &Site, change_detection: ChangeDetection) -> Backup {
    site.psql("CHECKPOINT");
    site.try_backup(&detection(change_detection), &Monitor::default()).await.unwrap()
}

/// Restores the newest backup and compares it with the cluster, which has not been touched since.
async fn assert_whole(site: &Site, context: &str) {
    let restored = restore_to(site, "compared", RecoveryTarget::Immediate).await;
    verify_backup(site.postgres.major(), &restored.data_directory);
    assert_same_relations(site.postgres.data_dir(), &restored.data_directory, context);
    fs::remove_dir_all(restored.data_directory).unwrap();
}

fn path(site: &Site, relation: &str) -> PathBuf {
    site.postgres.data_dir().join(site.psql(&format!("SELECT pg_relation_filepath('{relation}')")))
}

fn modified(path: &PathBuf) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

/// Changes a file and gives it back the time that it had.
fn secretly(path: &PathBuf, change: impl FnOnce(&File)) {
    let before = modified(path);
    let file = File::options().read(true).write(true).open(path).unwrap();
    change(&file);
    file.set_modified(before).unwrap();
}

/// The bar of the engine: a page in a hundred changed adds no more than 1.3 times those pages, and a hundredth of the data.
#[tokio::test(flavor = "multi_thread")]
async fn one_page_in_a_hundred_adds_little_more_than_itself() {
    let site = Site::start_with(at_rest).await;
    site.psql("CREATE EXTENSION IF NOT EXISTS pgcrypto");
    site.psql("CREATE TABLE t (n int, x bytea) WITH (fillfactor = 50)");
    site.psql("ALTER TABLE t ALTER x SET STORAGE PLAIN");
    // Four rows to a page, half of which stays free, and nothing that can be compressed.
    site.psql("INSERT INTO t SELECT n, gen_random_bytes(900) FROM generate_series(1, 32000) AS n");
    site.psql("VACUUM (FREEZE, ANALYZE) t");
    let first = backup(&site, ChangeDetection::Metadata).await;
    let data: u64 = site.psql("SELECT pg_relation_size('t')").parse().unwrap();
    let pages = data / PAGE;
    assert!(data > 50_000_000, "{data}");

    site.psql("SELECT setseed(0.5)");
    let update = "SELECT setseed(0.5); \
                  CREATE TEMP TABLE chosen AS SELECT p FROM generate_series(0, %PAGES% - 1) AS p ORDER BY random() LIMIT %PAGES% / 100; \
                  UPDATE t SET x = gen_random_bytes(900) FROM chosen WHERE t.ctid = format('(%s,1)', p)::tid";
    site.psql(&update.replace("%PAGES%", &pages.to_string()));
    assert_eq!(
        site.psql("SELECT pg_relation_size('t')"),
        data.to_string(),
        "each page has room for its own change"
    );
    let changed = pages / 100 * PAGE;
    for (round, change_detection) in
        [ChangeDetection::Metadata, ChangeDetection::Hash].into_iter().enumerate()
    {
        let next = backup(&site, change_detection).await;
        let bar = if round == 0 { changed * 13 / 10 + data / 100 } else { 1_000_000 };
        assert!(next.added_bytes <= bar, "round {round}: {} bytes added, the bar is {bar}", next.added_bytes);
        assert!(next.added_bytes < first.added_bytes / 20);
        assert_whole(&site, "after one page in a hundred").await;
    }
}

/// Each of these changes files in a way that positions or times of pages do not show.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_server_does_to_its_files_is_found() {
    let site = Site::start_with(|cluster| at_rest(cluster).checksums(false)).await;
    site.psql("CREATE TABLE t AS SELECT n, repeat(md5(n::text), 8) AS x FROM generate_series(1, 40000) AS n");
    site.psql("CREATE INDEX ON t (n)");
    site.psql("CREATE TABLE gone AS SELECT n FROM generate_series(1, 50000) AS n");
    let first = backup(&site, ChangeDetection::Metadata).await;
    for change in [
        // Hint bits alone: without checksums the page keeps its position, and the WAL knows nothing of it.
        "SELECT count(*) FROM t",
        "VACUUM (FREEZE) t",
        // The visibility map is cleared without a new position.
        "UPDATE t SET x = 'changed' WHERE n = 20000",
        "DELETE FROM t WHERE n > 20000; VACUUM t",
        // Truncated and extended again: pages of zeros where there were others.
        "INSERT INTO t SELECT n, 'new' FROM generate_series(20001, 90000) AS n",
        "VACUUM FULL t",
        "TRUNCATE t; INSERT INTO t SELECT n, 'newer' FROM generate_series(1, 1000) AS n",
        "DROP TABLE gone",
        "CREATE DATABASE copied STRATEGY file_copy",
        "DROP DATABASE copied",
        "REINDEX TABLE t",
    ] {
        site.psql(change);
        let next = backup(&site, ChangeDetection::Metadata).await;
        assert!(next.base.is_some() && next.added_bytes < first.added_bytes, "{change}: {next:?}");
        assert_whole(&site, change).await;
    }
}

/// A file system, or a person with `cp -p`, can change a file behind its time. Reading everything finds it, always.
#[tokio::test(flavor = "multi_thread")]
async fn what_hides_behind_an_old_time_is_found_by_hash() {
    let mut site = Site::start_with(at_rest).await;
    for table in ["a", "b"] {
        site.psql(&format!(
            "CREATE TABLE {table} AS SELECT n, '{table}' AS x FROM generate_series(1, 20000) AS n"
        ));
        site.psql(&format!("VACUUM (FREEZE) {table}"));
    }
    site.psql("CHECKPOINT");
    let (a, b) = (path(&site, "a"), path(&site, "b"));
    assert_eq!(fs::metadata(&a).unwrap().len(), fs::metadata(&b).unwrap().len());
    site.postgres.stop(Mode::Fast).unwrap();
    let original = fs::read(&a).unwrap();
    // Old enough that their times are trusted.
    let long_ago = SystemTime::now() - std::time::Duration::from_secs(86_400);
    for path in [&a, &b] {
        File::options().append(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
    site.postgres.restart().unwrap();
    backup(&site, ChangeDetection::Metadata).await;

    // A page of the other table in the place of one's own: its checksum is right there, and wrong here only if it is read
    // at another block. It is the same block.
    let mut page = [0; PAGE as usize];
    File::open(&b).unwrap().read_exact_at(&mut page, 3 * PAGE).unwrap();
    secretly(&a, |file| file.write_all_at(&page, 3 * PAGE).unwrap());
    assert!(fs::read(&a).unwrap() != original);
    let by_time = backup(&site, ChangeDetection::Metadata).await;
    let by_hash = backup(&site, ChangeDetection::Hash).await;
    assert_eq!(by_time.bad_pages + by_hash.bad_pages, 0);
    assert!(by_hash.new_bytes >= PAGE, "{by_hash:?}");
    assert_whole(&site, "a page of another table").await;

    // The whole file is another one of the same size and time, as after a drop and a new relation with the same number.
    fs::copy(&b, &a).unwrap();
    File::options().append(true).open(&a).unwrap().set_modified(long_ago).unwrap();
    backup(&site, ChangeDetection::Hash).await;
    assert_whole(&site, "another relation of the same number").await;

    // A time that goes back is an anomaly: all is read without being asked for.
    fs::write(&a, &original).unwrap();
    let file = File::options().append(true).open(&a).unwrap();
    file.set_modified(long_ago - std::time::Duration::from_secs(60)).unwrap();
    backup(&site, ChangeDetection::Metadata).await;
    assert_whole(&site, "an earlier time").await;
}

/// A relation of more than a gigabyte has a second file, whose pages are counted on from the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_in_the_second_file_of_a_relation_is_reported_by_its_block_there() {
    let mut site = Site::start_with(at_rest).await;
    site.psql("CREATE TABLE large AS SELECT repeat('x', 500) AS x FROM generate_series(1, 15) AS n");
    let first = path(&site, "large");
    site.postgres.stop(Mode::Fast).unwrap();
    // Pages of zeros, which the server extends relations with, and which take no room in a sparse file.
    File::options().write(true).open(&first).unwrap().set_len(1 << 30).unwrap();
    site.postgres.restart().unwrap();
    site.psql("INSERT INTO large SELECT repeat('y', 500) FROM generate_series(1, 200)");
    site.psql("CHECKPOINT");
    let second = PathBuf::from(format!("{}.1", first.display()));
    assert!(fs::metadata(&second).unwrap().len() > 5 * PAGE);
    let sound = backup(&site, ChangeDetection::Metadata).await;
    assert_eq!(
        (sound.bad_pages, sound.bad_page_examples),
        (0, vec![]),
        "pages of zeros and of the second file"
    );
    assert!(sound.added_bytes < 30_000_000, "a gigabyte of zeros");
    let file = File::options().write(true).open(&second).unwrap();
    file.write_all_at(b"damage", 4 * PAGE + 5000).unwrap();
    let damaged = backup(&site, ChangeDetection::Metadata).await;
    let name = second.strip_prefix(site.postgres.data_dir()).unwrap().to_str().unwrap().to_owned();
    let found: Vec<_> = damaged.bad_page_examples.iter().map(|page| (&page.file, page.block)).collect();
    assert_eq!((damaged.bad_pages, found), (1, vec![(&name, 4)]));
}

/// Files of a session that runs during the backup are not in it, nor is what a crash left behind.
#[tokio::test(flavor = "multi_thread")]
async fn temporary_files_and_relations_are_left_out() {
    let site = Site::start_with(at_rest).await;
    let url = site.postgres.url();
    let (session, driver) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(driver);
    session
        .batch_execute(
            "SET work_mem = '64kB'; CREATE TEMP TABLE mine AS SELECT generate_series(1, 10000) AS n; \
             CREATE UNLOGGED TABLE fleeting AS SELECT generate_series(1, 10000) AS n; \
             BEGIN; DECLARE c CURSOR FOR SELECT * FROM generate_series(1, 200000) AS n ORDER BY -n; FETCH 10 FROM c",
        )
        .await
        .unwrap();
    let mine: String = session.query_one("SELECT pg_relation_filepath('mine')", &[]).await.unwrap().get(0);
    let fleeting: String =
        session.query_one("SELECT pg_relation_filepath('fleeting')", &[]).await.unwrap().get(0);
    session.batch_execute("COMMIT; BEGIN; DECLARE d CURSOR FOR SELECT * FROM generate_series(1, 200000) AS n ORDER BY -n; FETCH 10 FROM d").await.unwrap();
    let data = site.postgres.data_dir();
    assert!(data.join(&mine).exists() && data.join(&fleeting).exists());
    assert!(data.join("base/pgsql_tmp").read_dir().unwrap().count() > 0, "a sort has spilled");
    fs::write(data.join("base/pgsql_tmp999.0"), "left by a crash").unwrap();
    fs::write(data.join("global/pg_internal.init.12"), "left by a crash").unwrap();
    fs::write(data.join("postgresql.auto.conf.tmp"), "half").unwrap();
    backup(&site, ChangeDetection::Metadata).await;
    let restored = restore_to(&site, "restored", RecoveryTarget::Immediate).await.data_directory;
    for left_out in [
        mine.as_str(),
        &fleeting,
        "base/pgsql_tmp",
        "base/pgsql_tmp999.0",
        "global/pg_internal.init",
        "global/pg_internal.init.12",
        "postgresql.auto.conf.tmp",
        "postmaster.pid",
        "postmaster.opts",
    ] {
        assert!(!restored.join(left_out).exists(), "{left_out}");
    }
    assert!(restored.join(format!("{fleeting}_init")).exists(), "the empty form of an unlogged table");
    assert_eq!(restored.join("pg_wal").read_dir().unwrap().count(), 1, "only archive_status");
    drop(session);
    driver.await.unwrap().unwrap();
}
