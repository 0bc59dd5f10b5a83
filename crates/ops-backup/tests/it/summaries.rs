//! The server's incremental mode: only changed pages come, and what is stored is a backup like any other.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ops_backup::{
    Backup, BackupOptions, BaseChoice, ChangeDetection, Error, ErrorKind, IncrementalUse, Monitor,
    RecoveryTarget, RemoteEngine, VerifyOptions, WireCompression, backup, verify,
};
use ops_core::connection::ConnectionSettings;
use ops_testkit::{NewCluster, TestUser};

use crate::end_to_end::{start_restored, verify_backup};
use crate::network::{NEEDLE, Wire, engine, proxy};
use crate::referees::{self, Load};
use crate::standby::{replayed, restore_backup, standby};
use crate::support::{Site, restore_command};

/// The installed majors that can.
fn majors(here: &str) -> Vec<u32> {
    let installed = ops_testkit::installed_majors();
    for major in [17, 18].into_iter().filter(|major| !installed.contains(major)) {
        ops_testkit::record_skip(here, &format!("PostgreSQL {major} is not installed"));
    }
    installed.into_iter().filter(|major| *major >= 17).collect()
}

fn summarizing(major: u32) -> impl FnOnce(NewCluster) -> NewCluster {
    move |cluster| {
        let cluster = cluster.major(major).unwrap().setting("summarize_wal", "on");
        cluster.setting("autovacuum", "off")
    }
}

async fn take(site: &Site, engine: &RemoteEngine, options: &BackupOptions) -> Result<Backup, Error> {
    backup(&site.repository, engine, options, &Monitor::default()).await
}

/// What changed since the last one, compressed on its way; fails where the server is asked for more.
async fn changes(site: &Site) -> Backup {
    let wire_compression = WireCompression::Zstd;
    let engine = RemoteEngine { incremental: IncrementalUse::Require, wire_compression, ..engine(site) };
    take(site, &engine, &BackupOptions::default()).await.unwrap()
}

async fn whole(site: &Site) -> Backup {
    let options = BackupOptions { change_detection: ChangeDetection::Hash, ..BackupOptions::default() };
    take(site, &engine(site), &options).await.unwrap()
}

fn step(backup: &Backup) -> Option<u32> {
    backup.postgres().unwrap().incremental.as_ref().map(|line| line.step)
}

/// Everything that a file can go through: it grows past each limit, shrinks below it, comes, goes, and comes again.
fn prepare(site: &Site) {
    let place = site.root.path().join("tablespace");
    TestUser::find().unwrap().create_dir(&place).unwrap();
    site.psql(&format!("CREATE TABLESPACE fast LOCATION '{}'", place.display()));
    for (name, rows) in [
        ("scattered", 80_000),
        ("shrinks", 60_000),
        ("shrinks_much", 60_000),
        ("grows", 1000),
        ("goes", 9000),
    ] {
        site.psql(&format!(
            "CREATE TABLE {name} AS SELECT n, repeat(md5(n::text), 4) AS x FROM generate_series(1, {rows}) AS n"
        ));
    }
    site.psql("CREATE TABLE outside TABLESPACE fast AS SELECT n, md5(n::text) AS x FROM generate_series(1, 50000) AS n");
    site.psql("CREATE INDEX scattered_n ON scattered (n)");
    site.psql("CREATE TABLE emptied AS SELECT generate_series(1, 20000) AS n");
    site.psql("CREATE UNLOGGED TABLE unlogged AS SELECT generate_series(1, 9000) AS n");
    site.psql("CREATE DATABASE goes_too");
    site.psql("VACUUM FREEZE");
}

fn change(site: &Site, round: u32) {
    for sql in [
        "UPDATE scattered SET x = 'changed' || x WHERE n % 4000 = 7",
        "DELETE FROM shrinks WHERE n > 30000 AND ctid > '(700,0)'",
        "VACUUM (TRUNCATE) shrinks",
        "DELETE FROM shrinks_much WHERE n > 300",
        "VACUUM (TRUNCATE) shrinks_much",
        "INSERT INTO grows SELECT n, repeat(md5(n::text), 4) FROM generate_series(1, 40000) AS n",
        "UPDATE outside SET x = 'changed' WHERE n % 9000 = 1",
        "TRUNCATE emptied",
        "INSERT INTO emptied SELECT generate_series(1, 30000)",
        "INSERT INTO unlogged SELECT generate_series(1, 1000)",
        "DROP TABLE goes",
        "CREATE TABLE goes AS SELECT generate_series(1, 7000) AS n",
    ] {
        site.psql(sql);
    }
    site.psql(&format!("CREATE TABLE comes_{round} AS SELECT generate_series(1, 100000) AS n"));
    site.psql(&format!("CREATE DATABASE comes_{round} STRATEGY wal_log"));
    site.psql(&format!("CREATE DATABASE copied_{round} STRATEGY file_copy"));
    site.psql("DROP DATABASE IF EXISTS goes_too");
}

const SUMS: &str = "SELECT (SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM (TABLE scattered UNION ALL TABLE shrinks \
                    UNION ALL TABLE shrinks_much UNION ALL TABLE grows UNION ALL TABLE outside) AS t), \
                    (SELECT sum(n) FROM emptied), (SELECT sum(n) FROM goes)";

/// Restores as it is, without replay; returns the data directory.
async fn restore_at_rest(site: &Site, name: &str, backup: &Backup) -> std::path::PathBuf {
    let data = site.root.path().join(name);
    let oid = backup.postgres().unwrap().tablespaces[0].oid;
    let options = ops_backup::RestoreOptions {
        backup: Some(backup.id.clone()),
        target: RecoveryTarget::Latest,
        tablespaces: [(oid, site.root.path().join(format!("{name} tablespace")))].into(),
        restore_command: restore_command(&site.place()),
        ..Default::default()
    };
    let target = ops_backup::RestoreTarget::check(&data).unwrap();
    let plan = ops_backup::restore::plan(&site.repository, target, options).await.unwrap();
    ops_backup::restore::apply(&site.repository, plan, &Monitor::default()).await.unwrap();
    TestUser::find().unwrap().own_tree(&site.root.path().join(format!("{name} tablespace"))).unwrap();
    data
}

fn label(data: &Path) -> String {
    std::fs::read_to_string(data.join("backup_label")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_make_whole_backups() {
    for major in majors("summaries::changes_make_whole_backups") {
        let site = Site::start_with(summarizing(major)).await;
        prepare(&site);
        let first = take(&site, &engine(&site), &BackupOptions::default()).await.unwrap();
        assert_eq!(step(&first), None, "there is nothing to add changes to");
        change(&site, 1);
        let second = changes(&site).await;
        change(&site, 2);
        site.psql("VACUUM FREEZE");
        site.psql("CHECKPOINT");
        let third = changes(&site).await;
        assert_eq!((step(&second), step(&third)), (Some(1), Some(2)));
        let line = third.postgres().unwrap().incremental.as_ref().unwrap();
        assert_eq!((&line.whole, line.whole_at), (&first.id, first.started_at));
        // The server at rest: what is read whole is what the changes have made.
        let read = whole(&site).await;
        assert_eq!(step(&read), None);
        assert_eq!(read.files, third.files, "PostgreSQL {major}: the same files");
        assert!(read.new_bytes < 300_000, "PostgreSQL {major}: {read:?}");
        let sums = site.psql(SUMS);
        site.switch_wal().await;
        let restored = restore_at_rest(&site, "restored", &third).await;
        let again = restore_at_rest(&site, "again", &read).await;
        referees::assert_same_relations(&again, &restored, "by changes");
        assert!(!label(&restored).contains("INCREMENTAL"), "{}", label(&restored));
        let middle = restore_at_rest(&site, "middle", &second).await;
        for data in [&restored, &middle] {
            verify_backup(major, data);
            let mut server = start_restored(data).await;
            assert_eq!(server.psql(SUMS).unwrap(), sums, "PostgreSQL {major}");
            assert_eq!(server.psql("SELECT count(*) FROM unlogged").unwrap(), "0");
            referees::amcheck(&server);
            referees::checksums(&mut server);
        }
        let report = verify(&site.repository, &VerifyOptions::default(), &Monitor::default()).await.unwrap();
        assert!(report.is_proven() && report.complete, "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_each_backup_takes_little_and_restores_alone() {
    let Some(major) = majors("summaries::under_load_each_backup_takes_little_and_restores_alone").pop()
    else {
        return;
    };
    let site = Site::start_with(|cluster| {
        cluster.major(major).unwrap().setting("summarize_wal", "on").setting("shared_buffers", "16MB")
    })
    .await;
    site.run("pgbench", &["-i", "-q", "-s", "6"]);
    let first = take(&site, &engine(&site), &BackupOptions::default()).await.unwrap();
    let load = Load::start(&site.postgres);
    let mut line = Vec::new();
    for _ in 0..4 {
        load.goes_on(&site.postgres).await;
        line.push(changes(&site).await);
    }
    load.goes_on(&site.postgres).await;
    // Everything is read while the load goes on: nothing was lost, and some pages show it.
    let read = whole(&site).await;
    load.stop(&site.postgres).await;
    let audit = read.postgres().unwrap().audit.clone().unwrap();
    assert_eq!((&audit.backup, audit.stale_pages), (&line[3].id, 0), "PostgreSQL {major}: {audit:?}");
    assert!(line.iter().all(|backup| backup.bad_pages == 0 && backup.files >= first.files), "{line:?}");
    let books = "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches), \
                     (SELECT sum(delta) FROM pgbench_history), (SELECT count(*) FROM pgbench_history)";
    let expected = site.psql(books);
    site.switch_wal().await;
    for backup in [&line[0], &line[3]] {
        let data = restore_backup(&site, &backup.id, backup, RecoveryTarget::Latest).await;
        verify_backup(major, &data);
        let mut server = start_restored(&data).await;
        assert_eq!(server.psql(books).unwrap(), expected, "PostgreSQL {major}");
        referees::amcheck(&server);
        referees::checksums(&mut server);
    }
}

/// What is read again finds a change that the line has lost: here one that no WAL tells of.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_change_is_found_when_everything_is_read() {
    let Some(major) = majors("summaries::a_lost_change_is_found_when_everything_is_read").pop() else {
        return;
    };
    let mut site = Site::start_with(summarizing(major)).await;
    site.psql("CREATE TABLE t AS SELECT n, repeat('x', 500) AS x FROM generate_series(1, 3000) AS n");
    site.psql("CREATE TABLE small AS SELECT n, repeat('x', 500) AS x FROM generate_series(1, 100) AS n");
    site.psql("VACUUM FREEZE");
    let first = take(&site, &engine(&site), &BackupOptions::default()).await.unwrap();
    let [file, small] =
        ["t", "small"].map(|table| site.psql(&format!("SELECT pg_relation_filepath('{table}')")));
    site.postgres.stop(ops_testkit::Mode::Fast).unwrap();
    let data = site.postgres.data_dir().to_owned();
    for (file, block) in [(&file, 3), (&file, 40), (&small, 5)] {
        let file = std::fs::File::options().write(true).open(data.join(file)).unwrap();
        file.write_all_at(b"other!", block * 8192 + 8000).unwrap();
    }
    for how in ["--disable", "--enable"] {
        let mut program = site.postgres.command("pg_checksums");
        assert!(program.arg(how).arg("-D").arg(&data).output().unwrap().status.success(), "{how}");
    }
    site.postgres.restart().unwrap();
    site.psql("UPDATE t SET x = 'changed' WHERE n = 2500");
    let second = changes(&site).await;
    assert_eq!(step(&second), Some(1));
    // After so long a time everything is read, without being asked for.
    let engine = RemoteEngine { whole_after: std::time::Duration::ZERO, ..engine(&site) };
    let third = take(&site, &engine, &BackupOptions::default()).await.unwrap();
    assert_eq!((step(&third), third.bad_pages), (None, 0));
    let audit = third.postgres().unwrap().audit.clone().unwrap();
    let mut expected = vec![(file.as_str(), 3), (file.as_str(), 40), (small.as_str(), 5)];
    expected.sort_unstable();
    let found: Vec<_> = audit.examples.iter().map(|page| (page.file.as_str(), page.block)).collect();
    assert_eq!((audit.stale_pages, found), (3, expected), "{audit:?}");
    assert_eq!((&audit.backup, audit.compared_pages >= 3), (&second.id, true));
    // It is read from the server, so the line begins anew with it; there is nothing to compare with the first one.
    assert!(first.postgres().unwrap().audit.is_none());
    assert_eq!(step(&changes(&site).await), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_anywhere_and_a_page_spoilt_on_the_way_leave_no_backup() {
    let here = "summaries::a_connection_cut_anywhere_and_a_page_spoilt_on_the_way_leave_no_backup";
    let Some(major) = majors(here).pop() else { return };
    let site = Site::start_with(summarizing(major)).await;
    site.psql("CREATE TABLE t AS SELECT n, repeat('x', 500) AS x FROM generate_series(1, 60000) AS n");
    // Whoever reads rows for the first time sets hints in all pages.
    site.psql("VACUUM FREEZE");
    let needle = std::str::from_utf8(NEEDLE).unwrap();
    let first = take(&site, &engine(&site), &BackupOptions::default()).await.unwrap();
    let change = |round: u32| {
        site.psql(&format!("UPDATE t SET x = '{round} {needle}' WHERE n % 400 = {round}"));
    };
    change(1);
    let wire = Wire::new();
    let port = proxy(site.postgres.port(), Arc::clone(&wire)).await;
    let url = site.postgres.url().replace(&format!(":{}/", site.postgres.port()), &format!(":{port}/"));
    let engine = RemoteEngine::new(ConnectionSettings::parse(&url).unwrap());
    let second = take(&site, &engine, &BackupOptions::default()).await.unwrap();
    assert_eq!(step(&second), Some(1));
    let all = wire.passed();
    assert!(all < first.raw_bytes / 4, "{all} of {} bytes came", first.raw_bytes);
    change(2);
    let mut cuts = vec![0, 700, 1_500, 2_500, 4_000, 20_000, 300_000, all / 3, all / 2, all * 3 / 4];
    cuts.extend([all - 300_000, all - 60_000]);
    for cut in cuts {
        wire.left.store(cut, Ordering::Relaxed);
        let error = take(&site, &engine, &BackupOptions::default()).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Postgres),
            "cut at {cut}: {error}: {:?}",
            error.kind()
        );
        assert_eq!(site.repository.backups().await.unwrap().len(), 2, "cut at {cut}");
    }
    wire.left.store(u64::MAX, Ordering::Relaxed);
    wire.spoils.store(true, Ordering::Relaxed);
    let error = take(&site, &engine, &BackupOptions::default()).await.unwrap_err();
    assert!(!wire.spoils.load(Ordering::Relaxed), "it came by");
    assert_eq!(
        (error.kind(), error.to_string().contains("in its manifest")),
        (ErrorKind::Corrupt, true),
        "{error}"
    );
    let third = take(&site, &engine, &BackupOptions::default()).await.unwrap();
    assert_eq!((step(&third), third.bad_pages), (Some(2), 0));
    site.switch_wal().await;
    let data = restore_backup(&site, "restored", &third, RecoveryTarget::Latest).await;
    verify_backup(major, &data);
    let server = start_restored(&data).await;
    let count = format!("SELECT count(*) FROM t WHERE x LIKE '%{needle}'");
    assert_eq!(server.psql(&count).unwrap(), "300");
}

/// The objects of a backup that hold the content of files: the large ones.
fn data_packs(site: &Site, backup: &Backup) -> Vec<std::path::PathBuf> {
    let packs = site.place().join("packs").join(&backup.id);
    let packs = packs.read_dir().unwrap().map(|entry| entry.unwrap().path());
    packs.filter(|path| path.metadata().unwrap().len() > 3_000_000).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_read_where_changes_are_not_enough() {
    let here = "summaries::everything_is_read_where_changes_are_not_enough";
    let Some(major) = majors(here).pop() else { return };
    let site = Site::start_with(summarizing(major)).await;
    site.psql("CREATE TABLE t AS SELECT n, md5(n::text) || md5((n + 1)::text) AS x FROM generate_series(1, 200000) AS n");
    let auto = || take_auto(&site);
    let required = || async {
        let engine = RemoteEngine { incremental: IncrementalUse::Require, ..engine(&site) };
        take(&site, &engine, &BackupOptions::default()).await.unwrap_err()
    };
    let error = required().await;
    assert!(error.to_string().contains("no sound backup"), "{error}");
    auto().await;
    let never = RemoteEngine { incremental: IncrementalUse::Never, ..engine(&site) };
    assert_eq!(step(&take(&site, &never, &BackupOptions::default()).await.unwrap()), None);
    let alone = BackupOptions { base: BaseChoice::None, ..BackupOptions::default() };
    assert_eq!(step(&take(&site, &engine(&site), &alone).await.unwrap()), None);
    assert_eq!(step(&auto().await), Some(1));

    // The server does not summarize, or has not.
    let summarize = |on: &str| {
        site.psql(&format!("ALTER SYSTEM SET summarize_wal = {on}"));
        site.psql("SELECT pg_reload_conf()");
        while site.psql("SHOW summarize_wal") != on {}
    };
    summarize("off");
    let error = required().await;
    assert_eq!(
        (error.kind(), error.to_string().contains("summarize_wal off")),
        (ErrorKind::Postgres, true),
        "{error}"
    );
    assert_eq!(step(&auto().await), None);
    for file in site.postgres.data_dir().join("pg_wal/summaries").read_dir().unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    site.switch_wal().await;
    site.psql("CHECKPOINT");
    summarize("on");
    site.psql("CHECKPOINT");
    assert_eq!(required().await.kind(), ErrorKind::Postgres);
    assert_eq!(step(&auto().await), None);
    assert_eq!(step(&auto().await), Some(1));

    // Some pages of the table change and most do not: those that its rows' first readers mark have been stored.
    site.psql("VACUUM FREEZE t");
    assert_eq!(step(&auto().await), Some(2));
    let update = |tuple: u32| {
        site.psql(&format!(
            "UPDATE t SET x = 'changed' WHERE ctid = ANY (ARRAY['(5,{tuple})', '(900,{tuple})']::tid[])"
        ));
    };
    let spoil = async |spoil: &dyn Fn(&Path)| {
        for backup in site.repository.backups().await.unwrap() {
            data_packs(&site, &backup).iter().for_each(|pack| spoil(pack));
        }
    };
    // What changes are added to cannot be read: nothing of the base is used.
    update(1);
    spoil(&|pack| std::fs::write(pack, vec![7; pack.metadata().unwrap().len() as usize]).unwrap()).await;
    assert_eq!(required().await.kind(), ErrorKind::Corrupt);
    let stored = auto().await;
    assert_eq!((step(&stored), stored.base.is_none()), (None, true));
    assert_eq!(step(&auto().await), Some(1));
    // The repository has lost packs, which is seen before the server is asked.
    update(2);
    spoil(&|pack| std::fs::remove_file(pack).unwrap()).await;
    let error = required().await;
    assert!(error.to_string().contains("no sound backup"), "{error}");
    assert_eq!(step(&auto().await), None);
    assert_eq!(step(&auto().await), Some(1));

    // A standby is promoted: another timeline.
    let standby = standby(&site, "on");
    replayed(&site, &standby).await;
    standby.psql("SELECT pg_promote()").unwrap();
    site.psql("SELECT 1");
    let promoted = RemoteEngine::new(ConnectionSettings::parse(&standby.socket_url()).unwrap());
    let on_two = take(&site, &promoted, &BackupOptions::default()).await.unwrap();
    assert_eq!((step(&on_two), on_two.postgres().unwrap().timeline), (None, 2));
    assert!(on_two.postgres().unwrap().audit.is_none(), "a standby lacks hints of its primary");
    standby.psql("UPDATE t SET x = 'promoted' WHERE n % 20000 = 1").unwrap();
    let last = take(&site, &promoted, &BackupOptions::default()).await.unwrap();
    assert_eq!((step(&last), last.base), (Some(1), Some(on_two.id)));
    let options = VerifyOptions { backup: Some(last.id.clone()), ..VerifyOptions::default() };
    let report = verify(&site.repository, &options, &Monitor::default()).await.unwrap();
    assert!(report.is_proven(), "{report:?}");
    crate::support::switch_wal(&standby, &site.place()).await;
    let last = site.repository.backup(&last.id).await.unwrap();
    let data = restore_backup(&site, "restored", &last, RecoveryTarget::Latest).await;
    let server = start_restored(&data).await;
    assert_eq!(server.psql("SELECT count(*) FROM t WHERE x = 'promoted'").unwrap(), "10");
    assert_eq!(server.psql("SELECT count(*) FROM t WHERE x = 'changed'").unwrap(), "4");
    referees::amcheck(&server);
}

async fn take_auto(site: &Site) -> Backup {
    take(site, &engine(site), &BackupOptions::default()).await.unwrap()
}
