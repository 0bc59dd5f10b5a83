//! The audit of a real archive: what a missing segment costs, and which one.

use ops_backup::audit_wal;

use crate::support::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_segment_is_named_with_the_backups_that_it_cuts() {
    let site = Site::start_with(|builder| builder.initdb_arg("--wal-segsize=1")).await;
    let first = site.backup().await;
    let mut switched = Vec::new();
    for _ in 0..4 {
        switched.push(
            site.psql("SELECT pg_walfile_name(pg_current_wal_lsn()) FROM pg_create_restore_point('x')"),
        );
        site.switch_wal().await;
    }
    let second = site.backup().await;
    let audit = audit_wal(&site.repository).await.unwrap();
    assert!(audit.is_whole(), "{audit:?}");
    assert_eq!(audit.clusters[0].backups.len(), 2);

    let system = audit.clusters[0].cluster.system_identifier;
    let file = |name: &str| site.place().join(format!("pg/{system}/wal/{}/{name}", &name[..8]));
    let lost = &switched[1..3];
    for name in lost {
        std::fs::rename(file(name), site.place().join(name)).unwrap();
    }
    let audit = audit_wal(&site.repository).await.unwrap();
    let checked = &audit.clusters[0];
    let [gap] = &checked.timelines[0].gaps[..] else { panic!("{audit:?}") };
    assert_eq!((&gap.first, &gap.last, gap.segments), (&lost[0], &lost[1], 2));
    assert_eq!(gap.cuts, std::slice::from_ref(&first.id));
    let reach: Vec<_> =
        checked.backups.iter().map(|backup| (&backup.id, backup.restorable, backup.gap.as_ref())).collect();
    assert_eq!(reach, [(&first.id, true, Some(&lost[0])), (&second.id, true, None)]);
    assert!(!audit.is_whole());

    for name in lost {
        std::fs::rename(site.place().join(name), file(name)).unwrap();
    }
    assert!(audit_wal(&site.repository).await.unwrap().is_whole());
}
