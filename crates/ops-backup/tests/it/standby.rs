//! Backups from a standby: by its files and over the network, beside an idle primary, and while it is promoted.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ops_backup::catalog::Origin;
use ops_backup::{
    Backup, BackupOptions, ChangeDetection, Engine, Error, ErrorKind, Monitor, Phase, PostgresEngine,
    RecoveryTarget, RemoteEngine, RestoreOptions, RestoreTarget, TakenFrom, backup, restore,
};
use ops_core::connection::ConnectionSettings;
use ops_testkit::{Postgres, TestUser};

use crate::end_to_end::{start_restored, verify_backup};
use crate::referees::{self, Load};
use crate::support::{Site, restore_command};

/// Restores `backup`, and returns where it is.
pub(crate) async fn restore_backup(
    site: &Site,
    name: &str,
    backup: &Backup,
    target: RecoveryTarget,
) -> PathBuf {
    let options = RestoreOptions {
        backup: Some(backup.id.clone()),
        target,
        restore_command: restore_command(&site.place()),
        ..RestoreOptions::default()
    };
    let place = RestoreTarget::check(&site.root.path().join(name)).unwrap();
    let plan = restore::plan(&site.repository, place, options).await.unwrap();
    restore::apply(&site.repository, plan, &Monitor::default()).await.unwrap().data_directory
}

/// A standby of the site's server, which follows it by streaming.
pub(crate) fn standby(site: &Site, archive_mode: &str) -> Postgres {
    let data = site.root.path().join("standby");
    site.run("pg_basebackup", &["-c", "fast", "-X", "stream", "-D", data.to_str().unwrap()]);
    std::fs::write(data.join("standby.signal"), "").unwrap();
    TestUser::find().unwrap().own_tree(&data).unwrap();
    let primary = format!(
        "host={} port={} user={}",
        site.postgres.socket_dir().display(),
        site.postgres.port(),
        site.postgres.user()
    );
    Postgres::from_data_dir(data)
        .setting("primary_conninfo", primary)
        .setting("archive_mode", archive_mode)
        .remove_on_drop(true)
        .start()
        .unwrap()
}

pub(crate) async fn replayed(site: &Site, standby: &Postgres) {
    let until = site.psql("SELECT pg_current_wal_lsn()");
    let asked = format!("SELECT pg_last_wal_replay_lsn() >= '{until}'");
    let started = Instant::now();
    while standby.psql(&asked).unwrap() != "t" {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "the standby does not follow: {}",
            standby.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn connection(server: &Postgres) -> ConnectionSettings {
    ConnectionSettings::parse(&server.socket_url()).unwrap()
}

/// By files, and over the network.
fn engines(server: &Postgres, taken_from: &TakenFrom, patience: Duration) -> [Box<dyn Engine>; 2] {
    let mut files = PostgresEngine::new(connection(server));
    files.taken_from = taken_from.clone();
    files.archive_timeout = patience;
    let mut network = RemoteEngine::new(connection(server));
    network.taken_from = taken_from.clone();
    network.archive_timeout = patience;
    [Box::new(files), Box::new(network)]
}

async fn take(site: &Site, engine: &dyn Engine) -> Result<Backup, Error> {
    backup(&site.repository, engine, &BackupOptions::default(), &Monitor::default()).await
}

fn asked(primary: Option<ConnectionSettings>) -> TakenFrom {
    TakenFrom::Standby { primary }
}

const LONG: Duration = Duration::from_secs(60);
const BOOKS: &str = "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(delta) FROM pgbench_history), \
                     (SELECT count(*) FROM pgbench_history)";

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_copied_under_load_and_shares_the_blocks_of_its_primary() {
    let site = Site::start().await;
    site.run("pgbench", &["-i", "-q", "-s", "4"]);
    let still = site.still();
    let standby = standby(&site, "off");
    let first = site.backup().await;
    let load = Load::start(&site.postgres);
    load.goes_on(&site.postgres).await;
    let taken_from = asked(Some(site.connection()));
    let mut backups = Vec::new();
    for engine in engines(&standby, &taken_from, LONG) {
        load.goes_on(&site.postgres).await;
        backups.push(take(&site, engine.as_ref()).await.unwrap());
    }
    load.stop(&site.postgres).await;
    let after = site.try_backup(&BackupOptions::default(), &Monitor::default()).await.unwrap();
    let origins: Vec<_> = backups.iter().map(|backup| backup.postgres().unwrap().origin).collect();
    assert_eq!(origins, [Origin::StandbyFiles, Origin::StandbyNetwork]);
    for (next, before) in backups.iter().chain([&after]).zip([&first].into_iter().chain(&backups)) {
        assert_eq!((next.base.as_ref(), next.bad_pages), (Some(&before.id), 0));
        let shared = next.raw_bytes - next.new_bytes;
        assert!(shared > still, "{shared} bytes of {} are shared", next.raw_bytes);
    }
    let books = site.psql(BOOKS);
    site.switch_wal().await;
    for (number, backup) in backups.iter().enumerate() {
        let data = restore_backup(&site, &format!("{number}"), backup, RecoveryTarget::Latest).await;
        verify_backup(site.postgres.major(), &data);
        let mut server = start_restored(&data).await;
        assert_eq!(server.psql(BOOKS).unwrap(), books);
        referees::amcheck(&server);
        referees::checksums(&mut server);
        // The end of the backup alone is consistent too.
        let data = restore_backup(&site, &format!("{number} end"), backup, RecoveryTarget::Immediate).await;
        referees::amcheck(&start_restored(&data).await);
    }
}

/// A standby writes no WAL: the segment that a backup ends in is archived only when the primary goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_primary_is_asked_for_its_wal_or_the_backup_says_what_it_waits_for() {
    let site = Site::start().await;
    let standby = standby(&site, "on");
    site.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n");
    replayed(&site, &standby).await;
    standby.psql("CHECKPOINT").unwrap();
    for engine in engines(&standby, &asked(None), Duration::from_secs(2)) {
        let error = take(&site, engine.as_ref()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
    assert!(site.repository.backups().await.unwrap().is_empty());
    for engine in engines(&standby, &asked(Some(site.connection())), LONG) {
        // Something that is not yet in the archive.
        site.psql("INSERT INTO t VALUES (7)");
        replayed(&site, &standby).await;
        take(&site, engine.as_ref()).await.unwrap();
    }
    let newest = site.repository.backups().await.unwrap().pop().unwrap();
    let data = restore_backup(&site, "restored", &newest, RecoveryTarget::Immediate).await;
    assert_eq!(start_restored(&data).await.psql("SELECT count(*) FROM t").unwrap(), "1002");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_must_be_what_is_asked_for() {
    let site = Site::start().await;
    let standby = standby(&site, "off");
    let other = Postgres::builder().fresh_identity(true).start().unwrap();
    for (server, taken_from, kind) in [
        (&standby, TakenFrom::Primary, ErrorKind::WrongRole),
        (&site.postgres, asked(None), ErrorKind::WrongRole),
        (&standby, asked(Some(connection(&standby))), ErrorKind::WrongRole),
        (&standby, asked(Some(connection(&other))), ErrorKind::Configuration),
    ] {
        for engine in engines(server, &taken_from, LONG) {
            let error = take(&site, engine.as_ref()).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{engine:?}: {error}");
        }
    }
    site.psql("CREATE ROLE plain LOGIN");
    let plain = site.postgres.socket_url().replace("user=postgres", "user=plain");
    let plain = asked(Some(ConnectionSettings::parse(&plain).unwrap()));
    for engine in engines(&standby, &plain, LONG) {
        let error = take(&site, engine.as_ref()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Postgres, "{error}");
    }
    assert!(site.repository.backups().await.unwrap().is_empty());
}

/// A standby that is promoted in the middle is no source of a consistent copy any more; nor is one that is stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_promoted_or_stopped_makes_no_backup() {
    for (way, stopped) in [(0, false), (1, false), (0, true), (1, true)] {
        let site = Site::start().await;
        site.run("pgbench", &["-i", "-q", "-s", "3"]);
        let mut standby = standby(&site, "off");
        replayed(&site, &standby).await;
        let engine = &engines(&standby, &asked(None), LONG)[way];
        let monitor = Monitor::default();
        let mut progress = monitor.subscribe();
        let options = BackupOptions {
            bytes_per_second: Some(20_000_000),
            change_detection: ChangeDetection::Hash,
            ..BackupOptions::default()
        };
        let mut taken = std::pin::pin!(backup(&site.repository, engine.as_ref(), &options, &monitor));
        let meanwhile = async {
            progress.wait_for(|now| now.phase == Phase::Copy && now.bytes_done > 5_000_000).await.unwrap();
            if stopped {
                standby.kill();
            } else {
                standby.psql("SELECT pg_promote()").unwrap();
            }
        };
        tokio::select! {
            early = &mut taken => panic!("way {way}: it ended before anything happened: {early:?}"),
            () = meanwhile => {}
        }
        let error = taken.await.unwrap_err();
        let kinds =
            if stopped { [ErrorKind::Unavailable, ErrorKind::Postgres] } else { [ErrorKind::Postgres; 2] };
        assert!(kinds.contains(&error.kind()), "way {way}, stopped {stopped}: {error}: {:?}", error.kind());
        assert!(site.repository.backups().await.unwrap().is_empty(), "way {way}, stopped {stopped}");
    }
}
