//! Compression on the way from the server: the same backup in fewer bytes, and no damage of it goes unseen.

use std::sync::atomic::Ordering;

use ops_backup::{ErrorKind, RecoveryTarget, RemoteEngine, WireCompression};
use ops_core::connection::ConnectionSettings;
use ops_testkit::TestUser;

use crate::end_to_end::{start_restored, verify_backup};
use crate::network::{Wire, at_rest, proxy, try_with};
use crate::support::Site;

/// A server with something in a tablespace, and the wire to it.
async fn site(major: u32) -> (Site, std::sync::Arc<Wire>, RemoteEngine) {
    let site = Site::start_with(|cluster| at_rest(cluster.major(major).unwrap())).await;
    let place = site.root.path().join("tablespace");
    TestUser::find().unwrap().create_dir(&place).unwrap();
    site.psql(&format!("CREATE TABLESPACE fast LOCATION '{}'", place.display()));
    site.psql(
        "CREATE TABLE t TABLESPACE fast AS SELECT n, md5(n::text) AS x FROM generate_series(1, 50000) AS n",
    );
    site.psql("VACUUM FREEZE");
    let wire = Wire::new();
    let port = proxy(site.postgres.port(), std::sync::Arc::clone(&wire)).await;
    let url = site.postgres.url().replace(&format!(":{}/", site.postgres.port()), &format!(":{port}/"));
    let engine = RemoteEngine::new(ConnectionSettings::parse(&url).unwrap());
    (site, wire, engine)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_compressed_is_the_same_in_fewer_bytes() {
    for major in ops_testkit::installed_majors() {
        let (site, wire, engine) = site(major).await;
        let mut passed = Vec::new();
        for wire_compression in [WireCompression::Auto, WireCompression::Lz4, WireCompression::Zstd] {
            let before = wire.passed();
            let taken = try_with(&site, &RemoteEngine { wire_compression, ..engine.clone() }).await;
            if major < 15 && wire_compression != WireCompression::Auto {
                assert_eq!(taken.unwrap_err().kind(), ErrorKind::Unsupported);
                continue;
            }
            let taken = taken.unwrap();
            // What a checkpoint and the end of a backup change.
            assert!(taken.base.is_none() || taken.new_bytes < 300_000, "{wire_compression:?}: {taken:?}");
            passed.push(wire.passed() - before);
        }
        let [plain, lz4, zstd] = passed[..] else {
            assert!(major < 15, "PostgreSQL {major}");
            continue;
        };
        println!("PostgreSQL {major}: {plain} bytes, {lz4} with LZ4, {zstd} with zstd");
        assert!(lz4 < plain / 2 && zstd < lz4, "PostgreSQL {major}: {plain} {lz4} {zstd}");
        // The one that came by zstd, without a base.
        let alone = ops_backup::BackupOptions {
            base: ops_backup::BaseChoice::None,
            ..ops_backup::BackupOptions::default()
        };
        let engine = RemoteEngine { wire_compression: WireCompression::Zstd, ..engine };
        let monitor = ops_backup::Monitor::default();
        let taken = ops_backup::backup(&site.repository, &engine, &alone, &monitor).await.unwrap();
        site.switch_wal().await;
        let data = site.root.path().join("restored");
        let options = ops_backup::RestoreOptions {
            backup: Some(taken.id.clone()),
            target: RecoveryTarget::Immediate,
            tablespaces_into: Some(site.root.path().join("restored spaces")),
            restore_command: crate::support::restore_command(&site.place()),
            ..Default::default()
        };
        let target = ops_backup::RestoreTarget::check(&data).unwrap();
        let plan = ops_backup::restore::plan(&site.repository, target, options).await.unwrap();
        ops_backup::restore::apply(&site.repository, plan, &monitor).await.unwrap();
        verify_backup(major, &data);
        TestUser::find().unwrap().own_tree(&site.root.path().join("restored spaces")).unwrap();
        let server = start_restored(&data).await;
        assert_eq!(server.psql("SELECT count(*) FROM t").unwrap(), "50000");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_stream_that_is_cut_or_changed_leaves_no_backup() {
    let (site, wire, engine) = site(15).await;
    try_with(&site, &engine).await.unwrap();
    for wire_compression in [WireCompression::Lz4, WireCompression::Zstd] {
        let engine = RemoteEngine { wire_compression, ..engine.clone() };
        let before = wire.passed();
        let whole = try_with(&site, &engine).await.unwrap();
        let all = wire.passed() - before;
        let count = site.repository.backups().await.unwrap().len();
        for cut in [3_000, all / 4, all * 3 / 4, all - 60_000] {
            wire.left.store(cut, Ordering::Relaxed);
            let error = try_with(&site, &engine).await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Postgres),
                "cut at {cut}: {error}: {:?}",
                error.kind()
            );
        }
        wire.left.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(site.repository.backups().await.unwrap().len(), count, "{wire_compression:?}");
        let mut found = 0;
        for share in [15, 30, 45, 60, 75, 90] {
            let at = wire.left.load(Ordering::Relaxed) - all * share / 100;
            wire.flips.store(at, Ordering::Relaxed);
            let taken = try_with(&site, &engine).await;
            assert_eq!(wire.flips.load(Ordering::Relaxed), 0, "it came by");
            match taken {
                Err(error) => {
                    let is_known = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unavailable);
                    assert!(is_known, "{share} %: {error}: {:?}", error.kind());
                    found += 1;
                }
                // What says how far the server is means nothing for the backup.
                Ok(taken) => assert!(taken.new_bytes < 300_000 && taken.files == whole.files, "{taken:?}"),
            }
        }
        assert!(found >= 5, "{wire_compression:?}: {found} of 6");
    }
}
