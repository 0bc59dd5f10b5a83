//! The whole way through a real S3 server.

use std::sync::Arc;

use ops_backup::location::{LocationOptions, S3Checksum};
use ops_backup::{
    BackupOptions, ErrorKind, Monitor, PostgresEngine, Repository, RestoreOptions, RestoreTarget,
    VerifyOptions, backup, location, restore, verify,
};
use ops_core::connection::ConnectionSettings;
use ops_testkit::{Postgres, S3};

use crate::end_to_end::{start_restored, verify_backup};
use crate::store::keeps_its_contract;
use crate::support::{s3_commands, s3_options, shared_dir};

fn options(s3: &S3) -> LocationOptions {
    s3_options(&s3.endpoint(), s3.access_key(), s3.secret_key())
}

/// With each checksum. Encryption by the server needs keys that this one is not given: `cloud.rs` sees it asked for.
#[tokio::test(flavor = "multi_thread")]
async fn seaweedfs_keeps_the_contract() {
    let s3 = ops_testkit::or_skip!(S3::start());
    let mut options = options(&s3);
    for (place, checksum) in
        [("plain", None), ("sha256", Some(S3Checksum::Sha256)), ("crc64", Some(S3Checksum::Crc64Nvme))]
    {
        options.s3.checksum = checksum;
        let store = location::open(&format!("s3://{}/{place}/shop", s3.bucket()), &options).unwrap();
        keeps_its_contract(&store, "contract").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_wal_verify_and_restore_through_s3() {
    let s3 = ops_testkit::or_skip!(S3::start());
    let location = format!("s3://{}/team/shop", s3.bucket());
    let (endpoint, key, secret) = (s3.endpoint(), s3.access_key(), s3.secret_key());
    let store = location::open(&location, &s3_options(&endpoint, key, secret)).unwrap();
    assert_eq!(
        Repository::open(Arc::clone(&store), None).await.unwrap_err().kind(),
        ErrorKind::NotARepository
    );
    let repository = Repository::open_or_create(Arc::clone(&store), None).await.unwrap();
    Repository::open_or_create(store, None).await.unwrap();

    let (archive_command, restore_command) = s3_commands(&location, &endpoint, key, secret);
    let postgres = Postgres::builder().checksums(true).archive_command(archive_command).start().unwrap();
    // Incompressible, so that there are several packs.
    postgres
        .psql("CREATE TABLE t AS SELECT n, (SELECT string_agg(md5((n * 64 + i)::text), '') FROM generate_series(1, 64) AS i) AS noise FROM generate_series(1, 20000) AS n")
        .unwrap();
    let server = PostgresEngine::new(ConnectionSettings::parse(&postgres.url()).unwrap());
    let taken = backup(&repository, &server, &BackupOptions::default(), &Monitor::default()).await.unwrap();
    assert!(taken.stored_bytes > 20 << 20, "{taken:?}");
    postgres.psql("DELETE FROM t WHERE n > 5").unwrap();
    let sum = "SELECT count(*), md5(string_agg(noise, '' ORDER BY n)) FROM t";
    let expected = postgres.psql(sum).unwrap();
    let last = postgres
        .psql("SELECT pg_walfile_name(pg_switch_wal()) FROM pg_create_restore_point('switch')")
        .unwrap();
    while postgres.psql("SELECT coalesce(max(last_archived_wal), '') FROM pg_stat_archiver").unwrap() < last {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let report = verify(&repository, &VerifyOptions::default(), &Monitor::default()).await.unwrap();
    assert!(report.is_proven() && report.packs > 1, "{report:?}");

    let root = shared_dir();
    let options = RestoreOptions { restore_command, ..RestoreOptions::default() };
    let target = RestoreTarget::check(&root.path().join("restored")).unwrap();
    let plan = restore::plan(&repository, target, options).await.unwrap();
    let restored = restore::apply(&repository, plan, &Monitor::default()).await.unwrap();
    verify_backup(postgres.major(), &restored.data_directory);
    let server = start_restored(&restored.data_directory).await;
    assert_eq!(server.psql(sum).unwrap(), expected);

    let wrong = location::open(&location, &s3_options(&endpoint, key, "wrong")).unwrap();
    let error = Repository::open(wrong, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
}
