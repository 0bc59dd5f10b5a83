//! A load runs through everything that happens to a cluster: backups, a crash, a promotion, two timelines at once.
//!
//! pgbench keeps its own books: the balances of accounts, tellers and branches and the history must have the same sum at
//! every moment that can be restored.

use std::path::Path;
use std::time::{Duration, Instant};

use ops_backup::restore::{self, Restored};
use ops_backup::{
    AfterCrash, Backup, BackupOptions, Monitor, PostgresEngine, RecoveryTarget, RestoreOptions,
    RestoreTarget, TargetTimeline, VerifyOptions, backup, verify,
};
use ops_core::connection::ConnectionSettings;
use ops_testkit::{Mode, Postgres, TestUser};

use crate::end_to_end::{start_restored, verify_backup};
use crate::referees::{self, Load};
use crate::support::{self, Site, archive_command, restore_command};

/// The books agree, and this is what they say.
fn books(server: &Postgres) -> String {
    let sums = "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches), \
                (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history)";
    let sums = server.psql(sums).unwrap();
    let all: Vec<_> = sums.split('|').collect();
    assert!(all.iter().all(|sum| *sum == all[0]), "the books do not agree: {sums}");
    let rows = "SELECT (SELECT count(*) FROM pgbench_history), (SELECT sum(hashtext(h::text)) FROM pgbench_history h), \
                (SELECT sum(hashtext(a::text)) FROM pgbench_accounts a)";
    server.psql(rows).unwrap()
}

async fn promoted(data: &Path, site: &Site) -> Postgres {
    let server = Postgres::from_data_dir(data)
        .setting("archive_mode", "on")
        .setting("archive_command", archive_command(&site.place()))
        .remove_on_drop(true)
        .start()
        .unwrap();
    let started = Instant::now();
    while server.psql("SELECT pg_is_in_recovery()").unwrap() == "t" {
        assert!(started.elapsed() < Duration::from_secs(60), "still in recovery: {}", server.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server
}

/// What is asked of a restore, and what it must bring back.
struct Wish<'a> {
    name: &'a str,
    backup: Option<&'a Backup>,
    target: RecoveryTarget,
    timeline: TargetTimeline,
    expected_backup: &'a Backup,
    books: &'a str,
}

impl Wish<'_> {
    fn options(&self, site: &Site) -> RestoreOptions {
        RestoreOptions {
            backup: self.backup.map(|backup| backup.id.clone()),
            target: self.target.clone(),
            timeline: self.timeline,
            restore_command: restore_command(&site.place()),
            ..RestoreOptions::default()
        }
    }

    async fn comes_true(&self, site: &Site, target: RestoreTarget) -> (Postgres, Restored) {
        let plan = restore::plan(&site.repository, target, self.options(site)).await.unwrap();
        let warnings = plan.summary().warnings.join("; ");
        let torn = self.timeline == TargetTimeline::Latest && self.backup.is_none();
        assert_eq!(
            warnings.contains("newest timeline in the archive, 2, does not descend"),
            torn,
            "{warnings}"
        );
        let restored = restore::apply(&site.repository, plan, &Monitor::default()).await.unwrap();
        assert_eq!(restored.backup, self.expected_backup.id, "{}", self.name);
        verify_backup(site.postgres.major(), &restored.data_directory);
        TestUser::find().unwrap().own_tree(&restored.data_directory).unwrap();
        let server = start_restored(&restored.data_directory).await;
        assert_eq!(books(&server), self.books, "{}", self.name);
        (server, restored)
    }
}

/// What happens on the first timeline, under load, up to the point named `fork`.
struct Past {
    full: Backup,
    incremental: Backup,
    after_crash: Backup,
    books: String,
}

async fn through_a_crash(site: &mut Site) -> Past {
    site.run("pgbench", &["-i", "-q", "-s", "2"]);
    let load = Load::start(&site.postgres);
    load.goes_on(&site.postgres).await;
    let full = site.backup().await;
    load.goes_on(&site.postgres).await;
    let incremental = site.backup().await;
    assert_eq!(incremental.base.as_ref(), Some(&full.id));
    load.goes_on(&site.postgres).await;

    site.postgres.kill();
    drop(load);
    site.postgres.restart().unwrap();
    assert!(site.postgres.log().contains("automatic recovery in progress"), "{}", site.postgres.log());
    let load = Load::start(&site.postgres);
    load.goes_on(&site.postgres).await;
    let after_crash = site.backup().await;
    assert_eq!((after_crash.base.as_ref(), after_crash.bad_pages), (Some(&incremental.id), 0));
    load.goes_on(&site.postgres).await;
    load.stop(&site.postgres).await;
    let books = books(&site.postgres);
    site.psql("SELECT pg_create_restore_point('fork')");
    site.switch_wal().await;
    Past { full, incremental, after_crash, books }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_agree_after_a_crash_and_on_either_timeline() {
    let mut site = Site::start().await;
    let Past { full, incremental, after_crash, books: at_fork } = through_a_crash(&mut site).await;

    // A copy is promoted at the fork and goes on by itself.
    let fork = RecoveryTarget::Name("fork".to_owned());
    let promoted_data = site.root.path().join("promoted");
    let wish = Wish {
        name: "the copy",
        backup: Some(&full),
        target: fork.clone(),
        timeline: TargetTimeline::Latest,
        expected_backup: &full,
        books: &at_fork,
    };
    let target = RestoreTarget::check(&promoted_data).unwrap();
    let plan = restore::plan(&site.repository, target, wish.options(&site)).await.unwrap();
    restore::apply(&site.repository, plan, &Monitor::default()).await.unwrap();
    let mut copy = promoted(&promoted_data, &site).await;
    assert_eq!(books(&copy), at_fork);
    let load = Load::start(&copy);
    load.goes_on(&copy).await;
    let engine = PostgresEngine::new(ConnectionSettings::parse(&copy.socket_url()).unwrap());
    let of_copy =
        backup(&site.repository, &engine, &BackupOptions::default(), &Monitor::default()).await.unwrap();
    assert_eq!((of_copy.postgres().unwrap().timeline, of_copy.bad_pages), (2, 0));
    load.goes_on(&copy).await;
    load.stop(&copy).await;
    let on_second = books(&copy);
    support::switch_wal(&copy, &site.place()).await;

    // Meanwhile the old server lives on, behind the fork, and is backed up last of all.
    let load = Load::start(&site.postgres);
    load.goes_on(&site.postgres).await;
    let stray = site.backup().await;
    assert_eq!(stray.postgres().unwrap().timeline, 1);
    load.goes_on(&site.postgres).await;
    load.stop(&site.postgres).await;
    let on_first = books(&site.postgres);
    site.psql("SELECT pg_create_restore_point('behind')");
    site.switch_wal().await;
    assert!(on_first != on_second && on_first != at_fork && on_second != at_fork);
    let behind = RecoveryTarget::Name("behind".to_owned());

    let report = verify(&site.repository, &VerifyOptions::default(), &Monitor::default()).await.unwrap();
    assert!(report.is_proven(), "{report:?}");
    let archive = referees::archive(&site, "archive").await;
    for backup in [&full, &incremental, &after_crash, &of_copy, &stray] {
        referees::waldump(backup, &archive);
    }

    let (latest, first) = (TargetTimeline::Latest, TargetTimeline::Id(1));
    let wish = |name, backup, target: &RecoveryTarget, timeline, expected_backup, books| Wish {
        name,
        backup,
        target: target.clone(),
        timeline,
        expected_backup,
        books,
    };
    let end = RecoveryTarget::Latest;
    for wish in [
        wish(
            "the timeline of the copy, although a backup of the old one is newer",
            None,
            &end,
            TargetTimeline::Id(2),
            &of_copy,
            &on_second,
        ),
        // Two servers claim to be the one: the newest backup is believed, and the plan says so.
        wish("the newest backup of all", None, &end, latest, &stray, &on_first),
        wish("through the crash and over the fork", Some(&full), &end, latest, &full, &on_second),
        wish(
            "the fork itself, along the old timeline",
            Some(&incremental),
            &fork,
            first,
            &incremental,
            &at_fork,
        ),
        wish("behind the fork", Some(&after_crash), &behind, first, &after_crash, &on_first),
        wish("the end of the old timeline", None, &end, first, &stray, &on_first),
    ] {
        let data = site.root.path().join(wish.name);
        let (mut server, restored) = wish.comes_true(&site, RestoreTarget::check(&data).unwrap()).await;
        referees::amcheck(&server);
        referees::checksums(&mut server);
        drop((server, restored));
    }

    // The promoted copy becomes the old server again, without being copied whole.
    copy.stop(Mode::Fast).unwrap();
    let target = RestoreTarget::check_delta(&promoted_data, AfterCrash::Refused).unwrap();
    let back = wish("back to the old timeline", Some(&stray), &behind, first, &stray, &on_first);
    let (mut server, restored) = back.comes_true(&site, target).await;
    assert!(restored.kept_bytes > restored.bytes / 3, "{restored:?}");
    referees::amcheck(&server);
    referees::checksums(&mut server);
}
