//! Backups of real PostgreSQL clusters.

use crate::support::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_backed_up_whole() {
    let site = Site::start().await;
    site.psql("CREATE TABLE t AS SELECT n, repeat(md5(n::text), 4) AS x FROM generate_series(1, 50000) AS n");
    let backup = site.backup().await;
    assert!(backup.files > 900 && backup.raw_bytes > 25_000_000, "{backup:?}");
    assert_eq!((backup.bad_pages, backup.new_bytes), (0, backup.raw_bytes), "{backup:?}");
    assert!(backup.added_bytes < backup.raw_bytes && backup.stored_bytes <= backup.added_bytes, "{backup:?}");
    assert_eq!(site.repository.backups().await.unwrap().len(), 1);
}
