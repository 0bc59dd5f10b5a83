//! From a running cluster to a restored one, judged by PostgreSQL's own tools.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ops_backup::restore::{self, Restored};
use ops_backup::{Monitor, RecoveryTarget, RestoreOptions, RestoreTarget, VerifyOptions, verify};
use ops_testkit::{Postgres, bin_dir};

use crate::support::{Site, restore_command};

pub(crate) async fn restore_to(site: &Site, name: &str, target: RecoveryTarget) -> Restored {
    let options = RestoreOptions {
        target,
        restore_command: restore_command(&site.place()),
        ..RestoreOptions::default()
    };
    let place = RestoreTarget::check(&site.root.path().join(name)).unwrap();
    let plan = restore::plan(&site.repository, place, options).await.unwrap();
    restore::apply(&site.repository, plan, &Monitor::default()).await.unwrap()
}

/// Stock `pg_verifybackup` must accept the restored files; the WAL is proven by replay instead.
pub(crate) fn verify_backup(major: u32, data: &Path) {
    let program = bin_dir(major).unwrap().join("pg_verifybackup");
    let output = std::process::Command::new(program).arg("-n").arg(data).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) async fn start_restored(data: &Path) -> Postgres {
    let server =
        Postgres::from_data_dir(data).setting("archive_mode", "off").remove_on_drop(true).start().unwrap();
    let started = Instant::now();
    while server.psql("SELECT pg_is_in_recovery()").unwrap() == "t" {
        assert!(started.elapsed() < Duration::from_secs(60), "still in recovery: {}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_cluster_is_restored_to_the_moment_before_the_damage() {
    let site = Site::start().await;
    site.run("pgbench", &["-i", "-q", "-s", "3"]);
    site.psql("CREATE TABLE ledger AS SELECT n AS id, n * 7 AS amount FROM generate_series(1, 10000) AS n");
    site.psql("CREATE UNLOGGED TABLE scratch AS SELECT 1 AS n");
    let mut load = site.postgres.command("pgbench").args(["-n", "-c", "2", "-T", "60"]).spawn().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let backup = site.backup().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    load.kill().unwrap();
    load.wait().unwrap();
    assert_eq!(backup.bad_pages, 0);
    assert!(backup.raw_bytes > 40_000_000 && backup.stored_bytes < backup.raw_bytes, "{backup:?}");

    // pgbench's sessions may still be ending.
    while site.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'") != "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let sums = "SELECT (SELECT sum(amount) FROM ledger), (SELECT sum(abalance) FROM pgbench_accounts), \
                (SELECT count(*) FROM pgbench_history), (SELECT sum(delta) FROM pgbench_history)";
    let expected = site.psql(sums);
    let before: Timestamp = site
        .psql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
        .parse()
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    site.psql("DELETE FROM ledger WHERE id > 10");
    site.psql("UPDATE pgbench_accounts SET abalance = 0");
    site.switch_wal().await;

    let restored = restore_to(&site, "restored", RecoveryTarget::Time(before)).await;
    assert_eq!(restored.backup, backup.id);
    verify_backup(site.postgres.major(), &restored.data_directory);
    let server = start_restored(&restored.data_directory).await;
    assert_eq!(server.psql(sums).unwrap(), expected);
    assert_eq!(server.psql("SELECT count(*) FROM scratch").unwrap(), "0", "an unlogged table is reset");
    let amcheck = server.command("pg_amcheck").args(["--install-missing", "--all"]).output().unwrap();
    assert!(amcheck.status.success(), "{}", String::from_utf8_lossy(&amcheck.stdout));
    drop(server);

    let latest = restore_to(&site, "latest", RecoveryTarget::Latest).await;
    let server = start_restored(&latest.data_directory).await;
    assert_eq!(server.psql("SELECT count(*) FROM ledger").unwrap(), "10");

    let report = verify(&site.repository, &VerifyOptions::default(), &Monitor::default()).await.unwrap();
    assert!(report.is_proven() && report.complete, "{report:?}");
    assert!(report.packs > 0 && report.wal_files > 1, "{report:?}");
}
