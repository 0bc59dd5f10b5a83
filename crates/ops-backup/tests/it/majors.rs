//! Every supported major version of PostgreSQL: `cargo xtask setup --tests` adds those that the system lacks.

use ops_backup::{Monitor, RecoveryTarget, VerifyOptions, verify};

use crate::end_to_end::{restore_to, start_restored, verify_backup};
use crate::support::Site;

const SUPPORTED: [u32; 4] = [15, 16, 17, 18];

#[tokio::test(flavor = "multi_thread")]
async fn each_major_is_restored_to_a_point_in_time_and_accepted_by_its_own_tools() {
    let installed = ops_testkit::installed_majors();
    assert!(!installed.is_empty(), "no PostgreSQL is installed: run `cargo xtask setup`");
    for major in SUPPORTED {
        if installed.contains(&major) {
            is_restored_to_a_point_in_time(major).await;
        } else {
            let here = "majors::each_major_is_restored_to_a_point_in_time_and_accepted_by_its_own_tools";
            ops_testkit::record_skip(here, &format!("PostgreSQL {major} is not installed"));
        }
    }
}

async fn is_restored_to_a_point_in_time(major: u32) {
    let site = Site::start_with(|cluster| cluster.major(major).unwrap()).await;
    site.psql("CREATE TABLE t AS SELECT generate_series(1, 50000) AS n");
    let backup = site.backup().await;
    assert_eq!((backup.postgres().unwrap().cluster.major, backup.bad_pages), (major, 0));
    site.psql("INSERT INTO t VALUES (7)");
    site.psql("SELECT pg_create_restore_point('before the damage')");
    site.psql("DELETE FROM t WHERE n > 10");
    site.switch_wal().await;
    let report = verify(&site.repository, &VerifyOptions::default(), &Monitor::default()).await.unwrap();
    assert!(report.is_proven(), "PostgreSQL {major}: {:?}", report.problems);
    for (name, target, expected) in [
        ("before", RecoveryTarget::Name("before the damage".to_owned()), "1250025007"),
        ("latest", RecoveryTarget::Latest, "62"),
    ] {
        let restored = restore_to(&site, name, target).await;
        verify_backup(major, &restored.data_directory);
        let server = start_restored(&restored.data_directory).await;
        assert_eq!(server.psql("SELECT sum(n) FROM t").unwrap(), expected, "PostgreSQL {major} {name}");
        assert_eq!(server.major(), major);
    }
}
