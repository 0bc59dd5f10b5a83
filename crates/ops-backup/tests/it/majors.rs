//! Every major version of PostgreSQL that is installed: `cargo xtask test` adds one to that of the system.

use ops_backup::RecoveryTarget;

use crate::end_to_end::{restore_to, start_restored, verify_backup};
use crate::support::Site;

#[tokio::test(flavor = "multi_thread")]
async fn each_major_is_backed_up_restored_and_accepted_by_its_own_tools() {
    let majors = ops_testkit::installed_majors();
    assert!(!majors.is_empty(), "no PostgreSQL is installed: run `cargo xtask setup`");
    for major in majors.into_iter().filter(|major| *major >= 15) {
        let site = Site::start_with(|cluster| cluster.major(major).unwrap()).await;
        site.psql("CREATE TABLE t AS SELECT generate_series(1, 50000) AS n");
        let backup = site.backup().await;
        assert_eq!((backup.postgres().unwrap().cluster.major, backup.bad_pages), (major, 0));
        site.psql("INSERT INTO t VALUES (7)");
        site.switch_wal().await;
        let restored = restore_to(&site, "restored", RecoveryTarget::Latest).await;
        verify_backup(major, &restored.data_directory);
        let server = start_restored(&restored.data_directory).await;
        assert_eq!(server.psql("SELECT sum(n) FROM t").unwrap(), "1250025007", "PostgreSQL {major}");
    }
}
