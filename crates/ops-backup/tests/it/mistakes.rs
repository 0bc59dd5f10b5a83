//! What naive backup programs get wrong, and the test here that would catch it.
//!
//! | # | mistake | caught by |
//! |---|---|---|
//! | 1 | an archived segment that is not durable, a lost answer taken for a failure, another segment overwritten | [`faults`](crate::faults) (`a_push_that_reports_success_…`, `a_store_that_overwrites_…`), [`wal`](crate::wal) (`a_push_is_judged_…`), [`store`](crate::store) |
//! | 2 | a failed fetch reported as "no such segment": recovery ends early | `faults::a_failing_store_is_never_taken_for_an_absent_segment`, `rehearse::a_missing_or_damaged_wal_segment_fails`, [`mistake_02_recovery_stops_where_the_archive_fails`] |
//! | 3 | a copy that archives into the original's repository, replicates from it, or writes into its tablespaces | [`rehearse`](crate::rehearse) (`a_time_before_the_damage_…` asks the copy for its settings), `clusters::a_tablespace_is_restored_to_its_new_place_only`, `wal::a_push_is_judged_…` (two histories of one timeline) |
//! | 4 | a restore over a live or another cluster; WAL that is nowhere else removed | [`delta`](crate::delta) (`only_what_differs_…`, `crashed_foreign_and_plain_directories_are_refused`) |
//! | 5 | changes found by page position or coarse times | [`updates`](crate::updates), `incremental::changes_without_a_new_position_are_found`, [`changes`](crate::changes) |
//! | 6 | a label that is not the server's, a session lost half-way, the stop segment not waited for, a promotion during the backup | [`mistake_06_the_label_is_the_servers_own`], [`mistake_06_a_lost_session_is_no_backup`], [`mistake_06_a_standby_is_refused`], `clusters::servers_that_cannot_be_backed_up_…` |
//! | 7 | a backup that ended after the target; the newest timeline whatever it is; timelines ordered like time | `targets::the_backup_must_end_before_the_target_and_lead_to_it`, [`load`](crate::load) |
//! | 8 | expiry that races a running backup or a reader, or removes the last good backup | `exhaustive::an_expiry_…`, `crashes::an_expiry_…`; in the library `repo/gc/tests.rs`, `job/expire/tests.rs`, `plan/retention/tests.rs` |
//! | 9 | the whole body within 30 seconds, buffers without bounds, no `fsync`, no resumption within a body | `cloud` (`a_body_that_breaks_off_…`, `a_silent_server_…`), [`store`](crate::store); in the library `repo/store/` |
//! | 10 | torn pages reported, damage excused, blocks counted within one file only | in the library `engine/postgres/reader.rs` and `postgres/{page,control}.rs`; `updates::a_damaged_page_in_the_second_file_…`, `clusters::a_damaged_page_…` |
//! | 11 | files that shrink, vanish or grow meanwhile; a torn `pg_control`, or one that is not last; unlogged and temporary files | [`mistake_11_files_come_and_go_during_the_backup`], `updates::temporary_files_and_relations_are_left_out`, `end_to_end`; in the library `engine/postgres/reader.rs`, `postgres/control.rs`; `exhaustive::a_restore_…` |
//! | 12 | a manifest that `pg_verifybackup` refuses, or that describes the source and not the copy | `majors`, every restore here through `verify_backup`; `referees::a_quiet_cluster_is_restored_as_the_server_copies_it` |
//! | 13 | all files, or the whole manifest, in memory | `cargo xtask bench backup` (its bars of memory); `engine/list.rs` |
//! | 14 | a file or an `fsync` for each small thing | `clusters::many_small_relations_share_few_packs`; in the library `transfer/read/request.rs`; the benchmark |
//! | 15 | WAL segments taken for 16 MiB; `.partial`, `.history`, `.backup`; gaps at forks | [`mistake_15_wal_segments_of_any_size`], `wal::a_push_is_judged_…`, [`load`](crate::load); in the library `postgres/segment.rs` |
//! | 16 | a verification that never starts the server | [`rehearse`](crate::rehearse), which also records what fails |
//! | 17 | ciphertext that can be swapped; a key that the rehearsal does not need | [`mistake_17_an_encrypted_cluster_comes_back_with_its_key_only`], `wal::what_was_changed_in_the_store_is_refused`, [`damage`](crate::damage); in the library `repo/{crypt,seal}.rs`, `job/verify/tests.rs` |
//! | 18 | secrets in commands, logs and spans; a rehearsal that anyone can connect to | [`mistake_18_no_secret_is_written_anywhere`], `rehearse::a_time_before_the_damage_…` (no TCP), `cloud` |

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ops_backup::rehearse::RunAs;
use ops_backup::restore;
use ops_backup::{
    BackupOptions, ErrorKind, Key, Monitor, Phase, PostgresEngine, RecoveryTarget, RehearseOptions,
    Repository, RestoreOptions, RestoreTarget, VerifyOptions, backup, rehearse, verify,
};
use ops_core::connection::ConnectionSettings;
use ops_core::evidence::Outcome;
use ops_testkit::Postgres;

use crate::end_to_end::{restore_to, start_restored, verify_backup};
use crate::referees::{amcheck, dump};
use crate::support::{Site, restore_command, restore_command_with_key, store};
use crate::wal::raw_key;

/// A server that cannot read the archive must not open as if the archive had ended.
#[tokio::test(flavor = "multi_thread")]
async fn mistake_02_recovery_stops_where_the_archive_fails() {
    let site = Site::start().await;
    site.psql("CREATE TABLE t AS SELECT 1 AS n");
    let backup = site.backup().await;
    site.psql("INSERT INTO t VALUES (2)");
    site.switch_wal().await;
    site.psql("INSERT INTO t VALUES (3)");
    let segment = site.psql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    site.switch_wal().await;
    let restored = restore_to(&site, "restored", RecoveryTarget::Latest).await;
    // This one file is there, and cannot be read.
    let system = backup.postgres().unwrap().cluster.system_identifier;
    let path = site.place().join(format!("pg/{system}/wal/{}/{segment}", &segment[..8]));
    let sound = fs::read(&path).unwrap();
    fs::write(&path, &sound[..sound.len() / 2]).unwrap();
    let patience = Duration::from_secs(60);
    let refused = Postgres::from_data_dir(&restored.data_directory)
        .setting("archive_mode", "off")
        .patience(patience)
        .start();
    if let Ok(server) = refused {
        // It answers while it recovers; it must not leave recovery.
        let mut server = server;
        server.wait_exit(patience).expect("the server stops by itself");
        assert!(server.log().contains("could not restore file"), "{}", server.log());
    }
    assert!(restored.data_directory.join("recovery.signal").exists(), "it has not opened");
    fs::write(&path, sound).unwrap();
    let server = start_restored(&restored.data_directory).await;
    assert_eq!(server.psql("SELECT sum(n) FROM t").unwrap(), "6");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistake_06_the_label_is_the_servers_own() {
    let site = Site::start().await;
    fs::write(site.postgres.data_dir().join("backup_label"), "of somebody else").unwrap();
    let engine = PostgresEngine { label: "nightly \u{e4}\n of monday".replace('\n', " "), ..site.engine() };
    let backup =
        backup(&site.repository, &engine, &BackupOptions::default(), &Monitor::default()).await.unwrap();
    fs::remove_file(site.postgres.data_dir().join("backup_label")).unwrap();
    site.switch_wal().await;
    let restored = restore_to(&site, "restored", RecoveryTarget::Latest).await;
    let label = fs::read_to_string(restored.data_directory.join("backup_label")).unwrap();
    let facts = backup.postgres().unwrap();
    let first = site.psql(&format!("SELECT pg_walfile_name('{}')", facts.start_lsn));
    for line in [
        format!("START WAL LOCATION: {} (file {first})\n", facts.start_lsn),
        "BACKUP METHOD: streamed\n".to_owned(),
        "BACKUP FROM: primary\n".to_owned(),
        "LABEL: nightly \u{e4}  of monday\n".to_owned(),
        "START TIMELINE: 1\n".to_owned(),
    ] {
        assert!(label.contains(&line), "{line:?} is not in {label}");
    }
    // The server wrote the same into the archive.
    let history =
        fs::read_dir(site.place().join(format!("pg/{}/wal/00000001", facts.cluster.system_identifier)))
            .unwrap();
    let histories =
        history.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "backup"));
    assert_eq!(histories.count(), 1);
    let server = start_restored(&restored.data_directory).await;
    assert!(server.log().contains("consistent recovery state reached"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn mistake_06_a_lost_session_is_no_backup() {
    let site = Site::start().await;
    let monitor = Monitor::default();
    let mut progress = monitor.subscribe();
    let options =
        BackupOptions { bytes_per_second: Some(20_000_000), workers: 1, ..BackupOptions::default() };
    let (ended, ()) = tokio::join!(site.try_backup(&options, &monitor), async {
        progress.wait_for(|progress| progress.phase == Phase::Copy && progress.bytes_done > 0).await.unwrap();
        let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                      WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
        assert_eq!(site.psql(others), "1");
    });
    let error = ended.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Postgres | ErrorKind::Unavailable), "{error}");
    assert!(site.repository.backups().await.unwrap().is_empty());
    let next = site.backup().await;
    assert!(next.new_bytes < next.raw_bytes / 2, "what was stored is used: {next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistake_06_a_standby_is_refused() {
    let site = Site::start().await;
    site.backup().await;
    site.switch_wal().await;
    let standby = restore_to(&site, "standby", RecoveryTarget::Latest).await.data_directory;
    fs::rename(standby.join("recovery.signal"), standby.join("standby.signal")).unwrap();
    let server = Postgres::from_data_dir(&standby).remove_on_drop(true).start().unwrap();
    assert_eq!(server.psql("SELECT pg_is_in_recovery()").unwrap(), "t");
    let engine = PostgresEngine::new(ConnectionSettings::parse(&server.socket_url()).unwrap());
    let refused = backup(&site.repository, &engine, &BackupOptions::default(), &Monitor::default()).await;
    let error = refused.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongRole, "{error}");
    assert_eq!(site.repository.backups().await.unwrap().len(), 1);
}

const CHURN: [&str; 9] = [
    "TRUNCATE breathing",
    "CREATE TABLE fleeting AS SELECT n, repeat('x', 200) AS x FROM generate_series(1, 5000) AS n",
    "INSERT INTO breathing SELECT generate_series(1, 100000)",
    "DELETE FROM breathing",
    "VACUUM breathing",
    "DROP TABLE fleeting",
    "CREATE DATABASE fleeting STRATEGY file_copy",
    "DROP DATABASE fleeting",
    "UPDATE counter SET n = n + 1",
];

/// The same program in the same environment.
fn again(command: &Command) -> Command {
    let mut again = Command::new(command.get_program());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => again.env(name, value),
            None => again.env_remove(name),
        };
    }
    again
}

#[tokio::test(flavor = "multi_thread")]
async fn mistake_11_files_come_and_go_during_the_backup() {
    let site = Site::start().await;
    site.psql("CREATE TABLE steady AS SELECT n, md5(n::text) AS x FROM generate_series(1, 20000) AS n");
    site.psql(
        "CREATE INDEX ON steady (n); CREATE TABLE breathing (n int); CREATE TABLE counter AS SELECT 0 AS n",
    );
    let over = Arc::new(AtomicBool::new(false));
    let churn = {
        let (over, psql) = (Arc::clone(&over), site.postgres.command("psql"));
        std::thread::spawn(move || {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) {
                let mut churn = again(&psql);
                churn.args(["-XqAt", "-v", "ON_ERROR_STOP=1"]);
                // Each by itself: a database is not made in a transaction.
                for statement in CHURN {
                    churn.args(["-c", statement]);
                }
                assert!(churn.status().unwrap().success());
                rounds += 1;
            }
            rounds
        })
    };
    let options = BackupOptions { bytes_per_second: Some(30_000_000), ..BackupOptions::default() };
    let mut backups = Vec::new();
    for _ in 0..3 {
        backups.push(site.try_backup(&options, &Monitor::default()).await.unwrap());
    }
    over.store(true, Ordering::Relaxed);
    let rounds = churn.join().unwrap();
    assert!(rounds > 0);
    site.switch_wal().await;
    let expected = dump(&site.postgres);
    for backup in backups {
        assert_eq!(backup.bad_pages, 0, "{backup:?}");
        let options = RestoreOptions {
            backup: Some(backup.id.clone()),
            restore_command: restore_command(&site.place()),
            ..RestoreOptions::default()
        };
        let target = RestoreTarget::check(&site.root.path().join(&backup.id)).unwrap();
        let plan = restore::plan(&site.repository, target, options).await.unwrap();
        let restored = restore::apply(&site.repository, plan, &Monitor::default()).await.unwrap();
        verify_backup(site.postgres.major(), &restored.data_directory);
        let server = start_restored(&restored.data_directory).await;
        amcheck(&server);
        assert_eq!(server.psql("SELECT n FROM counter").unwrap(), rounds.to_string());
        server.psql("DROP EXTENSION amcheck").unwrap();
        assert!(dump(&server) == expected, "the rows differ");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mistake_15_wal_segments_of_any_size() {
    for megabytes in [1, 64] {
        let site = Site::start_with(|cluster| cluster.initdb_arg(format!("--wal-segsize={megabytes}"))).await;
        site.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n");
        let backup = site.backup().await;
        assert_eq!(backup.postgres().unwrap().cluster.segment_size.bytes(), megabytes << 20);
        site.psql("CREATE TABLE more AS SELECT n, repeat('x', 1000) AS x FROM generate_series(1, 3000) AS n");
        site.psql("SELECT pg_create_restore_point('here')");
        site.switch_wal().await;
        site.psql("DROP TABLE more");
        site.switch_wal().await;
        let report = verify(&site.repository, &VerifyOptions::default(), &Monitor::default()).await.unwrap();
        assert!(report.is_proven(), "{report:?}");
        let restored = restore_to(&site, "restored", RecoveryTarget::Name("here".to_owned())).await;
        let server = start_restored(&restored.data_directory).await;
        let found = server.psql("SELECT (SELECT sum(n) FROM t), (SELECT count(*) FROM more)").unwrap();
        assert_eq!(found, "500500|3000", "segments of {megabytes} MiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mistake_17_an_encrypted_cluster_comes_back_with_its_key_only() {
    let site = Site::start_encrypted().await;
    site.psql("CREATE TABLE t AS SELECT n, 'a telling word' AS x FROM generate_series(1, 10000) AS n");
    site.backup().await;
    site.psql("INSERT INTO t VALUES (0, 'and another')");
    site.switch_wal().await;
    for key in [None, Some(Key::Raw([8; 32].into()))] {
        let refused = Repository::open(store(&site.place()), key.as_ref()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongKey, "{refused}");
    }
    for object in files_below(&site.place()) {
        // A push may still be renaming what it wrote.
        let Ok(content) = fs::read(&object) else { continue };
        for word in [&b"telling word"[..], b"and another", b"base/", b"PG_VERSION"] {
            assert!(!content.windows(word.len()).any(|part| part == word), "{}", object.display());
        }
    }
    // The rehearsal goes the way of a disaster: the key opens the repository, and the command of the server uses it too.
    let scratch = crate::rehearse::scratch();
    let bin_dir = ops_testkit::bin_dir(site.postgres.major()).unwrap();
    let mut options = RehearseOptions::new(scratch.path(), &bin_dir, restore_command_with_key(&site.place()));
    let server = fs::metadata(site.postgres.data_dir()).unwrap();
    options.run_as = Some(RunAs {
        uid: std::os::unix::fs::MetadataExt::uid(&server),
        gid: std::os::unix::fs::MetadataExt::gid(&server),
    });
    options.assertions = vec![crate::rehearse::assertion("rows", "SELECT count(*) FROM t", "10001")];
    let passed = rehearse(&site.repository, &options, &Monitor::default()).await.unwrap();
    assert_eq!(passed.record.outcome, Outcome::Passed, "{:#?}", passed.record.checks);
    options.restore_command = restore_command(&site.place());
    let failed = rehearse(&site.repository, &options, &Monitor::default()).await.unwrap();
    assert_eq!(failed.record.outcome, Outcome::Failed, "the server has no key: {:#?}", failed.record.checks);
}

fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { waiting.push(path) } else { found.push(path) }
        }
    }
    found
}

/// What this crate says through `tracing`, to the end of the process: all tests of it.
#[derive(Clone, Default)]
struct Eavesdropper(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    spans: u64,
    /// What must not be said.
    secrets: Vec<String>,
    said: Vec<String>,
}

impl Eavesdropper {
    fn hear(&self, metadata: &tracing::Metadata<'_>, record: impl Fn(&mut dyn tracing::field::Visit)) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{}={value:?} ", field.name()));
            }
        }
        let mut text = Text(format!("{} ", metadata.name()));
        record(&mut text);
        let mut heard = self.0.lock().unwrap();
        heard.spans += 1;
        if heard.secrets.iter().any(|secret| text.0.contains(secret)) {
            heard.said.push(text.0);
        }
    }
}

impl tracing::Subscriber for Eavesdropper {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("ops_")
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        self.hear(span.metadata(), |visitor| span.record(visitor));
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        self.hear(event.metadata(), |visitor| event.record(visitor));
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn mistake_18_no_secret_is_written_anywhere() {
    let heard = Eavesdropper::default();
    tracing::subscriber::set_global_default(heard.clone()).expect("no other test listens");
    let site = Site::start().await;
    let password = site.postgres.password().unwrap().to_owned();
    // As it is, as a string is shown, and as it stands in a URL.
    let quoted = format!("{password:?}");
    let url = site.postgres.url();
    let encoded = url.split(':').nth(2).unwrap().split('@').next().unwrap().to_owned();
    let passphrase = "correct horse battery staple";
    let secrets = vec![password, quoted.trim_matches('"').to_owned(), encoded, passphrase.to_owned()];
    heard.0.lock().unwrap().secrets.clone_from(&secrets);

    let key = Key::passphrase(passphrase.into()).unwrap();
    let place = site.root.path().join("encrypted");
    let encrypted = Repository::open_or_create(store(&place), Some(&key)).await.unwrap();
    let wrong = Repository::open(store(&place), Some(&raw_key())).await.unwrap_err();
    let backup = site.backup().await;
    site.switch_wal().await;
    let restored = restore_to(&site, "restored", RecoveryTarget::Latest).await;
    let engine = PostgresEngine { data_directory: Some("/nowhere".into()), ..site.engine() };
    let failed =
        ops_backup::backup(&encrypted, &engine, &BackupOptions::default(), &Monitor::default()).await;
    let wrong_url = url.replace("postgres:", "nobody:");
    let engine_of_nobody = PostgresEngine::new(ConnectionSettings::parse(&wrong_url).unwrap());
    let nobody =
        ops_backup::backup(&encrypted, &engine_of_nobody, &BackupOptions::default(), &Monitor::default())
            .await;
    let said = format!(
        "{:?} {wrong:?} {wrong} {engine:?} {engine_of_nobody:?} {:?} {:?} {key:?} {backup:?}",
        restored,
        failed.unwrap_err(),
        nobody.unwrap_err()
    );
    for secret in &secrets {
        assert!(!said.contains(secret), "{said}");
        for file in ["postgresql.auto.conf", "backup_manifest", "backup_label"] {
            let text = fs::read_to_string(restored.data_directory.join(file)).unwrap();
            assert!(!text.contains(secret), "{file}: {text}");
        }
    }
    let heard = heard.0.lock().unwrap();
    assert!(heard.spans > 10, "only {} spans and events", heard.spans);
    assert_eq!(heard.said, Vec::<String>::new());
}
