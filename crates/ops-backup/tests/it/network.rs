//! Backups through the replication protocol: they come out as those from files, and nothing half-sent counts.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ops_backup::catalog::Origin;
use ops_backup::{
    Backup, BackupOptions, ChangeDetection, Error, ErrorKind, Monitor, RecoveryTarget, RemoteEngine,
    VerifyOptions, backup, verify,
};
use ops_core::connection::ConnectionSettings;
use ops_testkit::{Mode, NewCluster, TestUser};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::end_to_end::{restore_to, start_restored, verify_backup};
use crate::referees::{self, Load};
use crate::support::Site;

pub(crate) fn engine(site: &Site) -> RemoteEngine {
    RemoteEngine::new(site.connection())
}

async fn over_network(site: &Site) -> Backup {
    try_with(site, &engine(site)).await.unwrap()
}

pub(crate) async fn try_with(site: &Site, engine: &RemoteEngine) -> Result<Backup, Error> {
    backup(&site.repository, engine, &BackupOptions::default(), &Monitor::default()).await
}

/// Every file is read, and compared by content.
async fn from_files(site: &Site) -> Backup {
    let options = BackupOptions { change_detection: ChangeDetection::Hash, ..BackupOptions::default() };
    site.try_backup(&options, &Monitor::default()).await.unwrap()
}

pub(crate) fn at_rest(cluster: NewCluster) -> NewCluster {
    cluster.setting("autovacuum", "off")
}

const BOOKS: &str = "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches), \
                     (SELECT sum(delta) FROM pgbench_history), (SELECT count(*) FROM pgbench_history)";

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_cluster_is_copied_without_its_files_and_either_way_builds_on_the_other() {
    let site = Site::start().await;
    site.run("pgbench", &["-i", "-q", "-s", "4"]);
    let still = site.still();
    let load = Load::start(&site.postgres);
    load.goes_on(&site.postgres).await;
    let first = over_network(&site).await;
    load.goes_on(&site.postgres).await;
    let second = from_files(&site).await;
    load.goes_on(&site.postgres).await;
    let third = over_network(&site).await;
    load.goes_on(&site.postgres).await;
    load.stop(&site.postgres).await;
    let origins = [&first, &second, &third].map(|backup| backup.postgres().unwrap().origin);
    assert_eq!(origins, [Origin::PrimaryNetwork, Origin::PrimaryFiles, Origin::PrimaryNetwork]);
    for (next, before) in [(&second, &first), (&third, &second)] {
        assert_eq!((next.base.as_ref(), next.bad_pages), (Some(&before.id), 0));
        let shared = next.raw_bytes - next.new_bytes;
        assert!(shared > still, "{shared} bytes of {} are shared", next.raw_bytes);
    }
    let facts = first.postgres().unwrap();
    assert!(facts.databases.iter().any(|database| database.name == "postgres"), "{facts:?}");
    assert!(facts.page_checksums && facts.start_time <= facts.stop_time);
    let books = site.psql(BOOKS);
    site.switch_wal().await;
    let archive = referees::archive(&site, "archive").await;
    for backup in [&first, &third] {
        referees::waldump(backup, &archive);
        let name = format!("restored {}", backup.id);
        let restored = crate::standby::restore_backup(&site, &name, backup, RecoveryTarget::Latest).await;
        referees::verify_backup_and_wal(backup, &restored, &archive);
        let mut server = start_restored(&restored).await;
        assert_eq!(server.psql(BOOKS).unwrap(), books);
        referees::amcheck(&server);
        referees::checksums(&mut server);
    }
    let report = verify(&site.repository, &VerifyOptions::default(), &Monitor::default()).await.unwrap();
    assert!(report.is_proven() && report.complete, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_cluster_with_a_tablespace_is_the_same_by_both_ways() {
    let site = Site::start_with(at_rest).await;
    let place = site.root.path().join("tablespace");
    TestUser::find().unwrap().create_dir(&place).unwrap();
    site.psql(&format!("CREATE TABLESPACE fast LOCATION '{}'", place.display()));
    site.psql(
        "CREATE TABLE t TABLESPACE fast AS SELECT n, md5(n::text) AS x FROM generate_series(1, 50000) AS n",
    );
    site.psql("CREATE UNLOGGED TABLE unlogged AS SELECT generate_series(1, 1000) AS n");
    site.psql("CREATE DATABASE another");
    site.run("pgbench", &["-i", "-q", "-s", "3"]);
    site.psql("VACUUM");
    site.psql("CHECKPOINT");
    std::fs::write(site.postgres.data_dir().join("standby.signal.old"), "kept").unwrap();
    std::fs::write(site.postgres.data_dir().join("backup_label.old"), "left out").unwrap();

    let sent = over_network(&site).await;
    let read = from_files(&site).await;
    let again = over_network(&site).await;
    assert_eq!((sent.files, read.files), (read.files, again.files), "the same files");
    let facts = [&sent, &read, &again].map(|backup| backup.postgres().unwrap());
    assert_eq!(facts[0].tablespaces, facts[1].tablespaces);
    assert_eq!(facts[0].databases, facts[1].databases);
    assert_eq!(facts[0].catalog_version, facts[1].catalog_version);
    // What a checkpoint, the end of the backup and the passing of time change.
    assert!(read.new_bytes < 300_000 && again.new_bytes < 300_000, "{read:?} {again:?}");

    site.switch_wal().await;
    let oid = facts[0].tablespaces[0].oid;
    for (name, backup) in [("read", &read), ("sent", &sent)] {
        let data = site.root.path().join(name);
        let options = ops_backup::RestoreOptions {
            backup: Some(backup.id.clone()),
            target: RecoveryTarget::Immediate,
            tablespaces: [(oid, site.root.path().join(format!("{name} tablespace")))].into(),
            restore_command: crate::support::restore_command(&site.place()),
            ..Default::default()
        };
        let target = ops_backup::RestoreTarget::check(&data).unwrap();
        let plan = ops_backup::restore::plan(&site.repository, target, options).await.unwrap();
        ops_backup::restore::apply(&site.repository, plan, &Monitor::default()).await.unwrap();
        verify_backup(site.postgres.major(), &data);
        assert!(data.join("standby.signal.old").exists() && !data.join("backup_label.old").exists());
        assert!(!data.join("tablespace_map").exists());
        assert_eq!(data.join("pg_wal").read_dir().unwrap().count(), 1, "only archive_status");
    }
    let (read, sent) = (site.root.path().join("read"), site.root.path().join("sent"));
    referees::assert_same_relations(&read, &sent, "sent as read");
    let tree = |root: &std::path::Path| {
        let listed = std::process::Command::new("find")
            .current_dir(root)
            .args([".", "-printf", "%p %m %y\n"])
            .output();
        let text = String::from_utf8(listed.unwrap().stdout).unwrap();
        text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(tree(&read), tree(&sent), "directories and modes");
    TestUser::find().unwrap().own_tree(&site.root.path().join("sent tablespace")).unwrap();
    let server = start_restored(&sent).await;
    assert_eq!(server.psql("SELECT count(*) FROM t").unwrap(), "50000");
    assert_eq!(server.psql("SELECT count(*) FROM unlogged").unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_major_is_copied_over_the_network() {
    let installed = ops_testkit::installed_majors();
    // 14 speaks the older form of the protocol; it is tried where somebody has it.
    let old = installed.contains(&14).then_some(14);
    for major in old.into_iter().chain([16, 17, 18]) {
        if !installed.contains(&major) {
            let here = "network::every_major_is_copied_over_the_network";
            ops_testkit::record_skip(here, &format!("PostgreSQL {major} is not installed"));
            continue;
        }
        let site = Site::start_with(|cluster| cluster.major(major).unwrap()).await;
        site.psql("CREATE TABLE t AS SELECT generate_series(1, 50000) AS n");
        let taken = over_network(&site).await;
        assert_eq!((taken.postgres().unwrap().cluster.major, taken.bad_pages), (major, 0));
        site.psql("INSERT INTO t VALUES (7)");
        site.switch_wal().await;
        let restored = restore_to(&site, "restored", RecoveryTarget::Latest).await;
        verify_backup(major, &restored.data_directory);
        let server = start_restored(&restored.data_directory).await;
        assert_eq!(server.psql("SELECT count(*) FROM t").unwrap(), "50001", "PostgreSQL {major}");
    }
}

/// The server itself ends such a backup with an error, when everything is sent: it is kept, and counted as damaged.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_is_found_in_what_the_server_sends() {
    let mut site = Site::start_with(at_rest).await;
    site.psql("CREATE TABLE t AS SELECT n, repeat('x', 500) AS x FROM generate_series(1, 2000) AS n");
    site.psql("CHECKPOINT");
    let file = site.psql("SELECT pg_relation_filepath('t')");
    over_network(&site).await;
    site.postgres.stop(Mode::Fast).unwrap();
    let path = site.postgres.data_dir().join(&file);
    for block in [3, 40] {
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .write_all_at(b"damage", block * 8192 + 5000)
            .unwrap();
    }
    site.postgres.restart().unwrap();
    let damaged = over_network(&site).await;
    let found: Vec<_> =
        damaged.bad_page_examples.iter().map(|page| (page.file.as_str(), page.block)).collect();
    assert_eq!((damaged.bad_pages, found), (2, vec![(file.as_str(), 3), (file.as_str(), 40)]));
    assert!(site.postgres.log().contains("checksum verification failed"), "the server agrees");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_replicate_is_told_so_and_nothing_is_left() {
    let site = Site::start().await;
    let password = "it''s %secret%";
    site.psql(&format!("CREATE ROLE plain LOGIN PASSWORD '{password}'"));
    site.psql(&format!("CREATE ROLE replica LOGIN REPLICATION PASSWORD '{password}'"));
    let url = |role: &str, password: &str| {
        let port = site.postgres.port();
        ConnectionSettings::parse(&format!(
            "host=127.0.0.1 port={port} user={role} dbname=postgres password='{password}'"
        ))
        .unwrap()
    };
    for (role, password, kind, cause) in [
        ("replica", "wrong", ErrorKind::Postgres, "password authentication failed"),
        ("plain", "it\\'s %secret%", ErrorKind::Postgres, "SQLSTATE 42501"),
        ("nobody", "x", ErrorKind::Postgres, "password authentication failed"),
    ] {
        let error = try_with(&site, &RemoteEngine::new(url(role, password))).await.unwrap_err();
        let mut chain = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            chain += &format!(": {error}");
            source = error.source();
        }
        assert_eq!(error.kind(), kind, "{role}: {chain}");
        assert!(chain.contains(cause) && !chain.contains("secret"), "{role}: {chain}");
    }
    assert!(site.repository.backups().await.unwrap().is_empty());
    // Not a superuser, and not let into any database: only the names of the databases are missing.
    site.psql("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC");
    let taken = try_with(&site, &RemoteEngine::new(url("replica", "it\\'s %secret%"))).await.unwrap();
    let facts = taken.postgres().unwrap();
    assert_eq!(facts.databases, []);
    let now = jiff::Timestamp::now();
    assert!(facts.start_time <= facts.stop_time && facts.stop_time.duration_since(now).abs().as_secs() < 60);
}

/// What is done to the bytes that the server sends.
pub(crate) struct Wire {
    /// So many are passed on; then the connection is cut.
    pub(crate) left: AtomicU64,
    /// The first text of this kind is changed on the way.
    pub(crate) spoils: AtomicBool,
    /// A bit of the byte before which so many are left is changed; zero for none.
    pub(crate) flips: AtomicU64,
}

impl Wire {
    /// Passes on everything, as it is.
    pub(crate) fn new() -> Arc<Self> {
        let (left, flips) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        Arc::new(Wire { left, spoils: AtomicBool::new(false), flips })
    }

    /// Returns how many bytes were passed on.
    pub(crate) fn passed(&self) -> u64 {
        u64::MAX - self.left.load(Ordering::Relaxed)
    }
}

pub(crate) const NEEDLE: &[u8] = b"a needle in the stream";

/// Stands between the server and whoever asks it.
pub(crate) async fn proxy(to: u16, wire: Arc<Wire>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let wire = Arc::clone(&wire);
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                let mut buffer = vec![0; 16 << 10];
                while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                    let left = wire.left.load(Ordering::Relaxed);
                    let may = usize::try_from(left).unwrap_or(usize::MAX).min(read);
                    wire.left.fetch_sub(may as u64, Ordering::Relaxed);
                    let found = buffer[..read].windows(NEEDLE.len()).position(|bytes| bytes == NEEDLE);
                    if let Some(at) = found
                        && wire.spoils.swap(false, Ordering::Relaxed)
                    {
                        buffer[at] ^= 1;
                    }
                    let flips = wire.flips.load(Ordering::Relaxed);
                    if flips > left - may as u64 && flips <= left {
                        buffer[usize::try_from(left - flips).unwrap()] ^= 1;
                        wire.flips.store(0, Ordering::Relaxed);
                    }
                    if to_client.write_all(&buffer[..may]).await.is_err() || may < read {
                        break;
                    }
                }
                up.abort();
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_anywhere_leaves_no_backup_and_the_next_one_is_whole() {
    let site = Site::start_with(at_rest).await;
    site.psql("CREATE TABLE t AS SELECT n, md5(n::text) AS x FROM generate_series(1, 100000) AS n");
    let needle = std::str::from_utf8(NEEDLE).unwrap();
    site.psql(&format!("CREATE TABLE n AS SELECT n, '{needle}' AS x FROM generate_series(1, 1000) AS n"));
    let wire = Wire::new();
    let port = proxy(site.postgres.port(), Arc::clone(&wire)).await;
    let url = site.postgres.url().replace(&format!(":{}/", site.postgres.port()), &format!(":{port}/"));
    let engine = RemoteEngine::new(ConnectionSettings::parse(&url).unwrap());

    // How many bytes a whole one takes: the last cut is close to the end.
    let whole = try_with(&site, &engine).await.unwrap();
    let all = wire.passed();
    assert!(all > whole.raw_bytes, "{all} of {}", whole.raw_bytes);
    let mut cuts = vec![0, 1, 100, 700, 1_500, 3_000, 10_000, 100_000, 5_000_000, all / 2, all * 9 / 10];
    cuts.extend([all - 200_000, all - 60_000, all - 20_000]);
    for cut in cuts {
        wire.left.store(cut, Ordering::Relaxed);
        let error = try_with(&site, &engine).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Postgres),
            "cut at {cut}: {error}: {:?}",
            error.kind()
        );
        assert_eq!(site.repository.backups().await.unwrap().len(), 1, "cut at {cut}");
    }
    wire.left.store(u64::MAX, Ordering::Relaxed);
    // One bit that changes on the way makes a page wrong, and the file another one than the server's manifest says.
    wire.spoils.store(true, Ordering::Relaxed);
    let error = try_with(&site, &engine).await.unwrap_err();
    assert!(!wire.spoils.load(Ordering::Relaxed), "it came by");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("by the server's manifest"), "{error}");
    assert_eq!(site.repository.backups().await.unwrap().len(), 1);
    let next = try_with(&site, &engine).await.unwrap();
    assert!(next.new_bytes < 300_000, "{next:?}");
    site.switch_wal().await;
    let restored = restore_to(&site, "restored", RecoveryTarget::Latest).await;
    let server = start_restored(&restored.data_directory).await;
    assert_eq!(server.psql("SELECT count(*) FROM t").unwrap(), "100000");
    // No backup is left running on the server.
    let running = "SELECT count(*) FROM pg_stat_progress_basebackup";
    while site.psql(running) != "0" {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
