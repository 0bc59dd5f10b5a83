//! Restore rehearsals of a real backup by a real server: what passes, what must not, and what is left behind.
//!
//! One source cluster is made for all tests and stopped: what is proven here needs the repository alone.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ops_backup::rehearse::{Assertion, Keep, Requirement, RunAs, Wanted};
use ops_backup::{
    ErrorKind, Monitor, Phase, RecoveryTarget, Rehearsal, RehearseOptions, Repository, rehearse,
};
use ops_core::evidence::{Envelope, Outcome, SigningKey};
use ops_testkit::{Mode, Postgres, TestUser};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::support::{Site, restore_command, store};

/// A repository with one backup, the WAL after it, and the moments to recover to.
struct Fixture {
    /// It is stopped; its folder holds the repository, and goes when this process ends.
    source: Postgres,
    repository: PathBuf,
    bin_dir: PathBuf,
    /// A file that a copy makes where it runs a command of the original.
    trap: PathBuf,
    /// Just before all rows of the ledger were deleted, and where the WAL was then.
    before: Timestamp,
    before_lsn: String,
    /// After the last commit of the source.
    after: Timestamp,
}

static FIXTURE: OnceCell<Fixture> = OnceCell::const_new();

async fn fixture() -> &'static Fixture {
    FIXTURE.get_or_init(make_fixture).await
}

const LEDGER: &str = "SELECT count(*) || ' ' || coalesce(sum(amount), 0) FROM ledger";
const LEDGER_BEFORE: &str = "1000 500500";

async fn make_fixture() -> Fixture {
    let site =
        Site::start_with(|cluster| cluster.fresh_identity(true).setting("max_connections", "123")).await;
    site.psql("CREATE TABLE ledger AS SELECT id, id AS amount FROM generate_series(1, 1000) id");
    let space = site.postgres.dir().join("space");
    TestUser::find().unwrap().create_dir(&space).unwrap();
    site.psql(&format!("CREATE TABLESPACE space LOCATION '{}'", space.display()));
    site.psql("CREATE TABLE elsewhere TABLESPACE space AS SELECT 7 AS x");
    // What a copy must never obey.
    let trap = site.postgres.dir().join("a-command-of-the-original-ran");
    site.psql(&format!("ALTER SYSTEM SET archive_cleanup_command = 'touch {}'", trap.display()));
    site.psql(&format!("ALTER SYSTEM SET recovery_end_command = 'touch {}'", trap.display()));
    site.psql("ALTER SYSTEM SET session_preload_libraries = 'no_such_library'");
    site.psql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    site.run("pgbench", &["-i", "-q", "-s", "2"]);
    let mut load = site.postgres.command("pgbench");
    let load = load.args(["-n", "-c", "2", "-T", "120"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut load = load.unwrap();
    site.backup().await;

    let now = || {
        let microseconds = site.psql("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint");
        Timestamp::from_microsecond(microseconds.parse().unwrap()).unwrap()
    };
    for _ in 0..3 {
        site.psql("UPDATE ledger SET amount = amount");
        site.switch_wal().await;
    }
    // In this order: what was committed up to the position was committed before the moment.
    let before_lsn = site.psql("SELECT pg_current_wal_lsn()");
    let before = now();
    site.psql("DELETE FROM ledger");
    load.kill().unwrap();
    load.wait().unwrap();
    site.psql("CREATE TABLE last (x int)");
    let after = now();
    site.switch_wal().await;
    let place = site.place();
    let Site { postgres: mut source, root, .. } = site;
    source.stop(Mode::Fast).unwrap();
    let repository = source.dir().join("repository");
    copy_tree(&place, &repository);
    root.close().unwrap();
    let bin_dir = ops_testkit::bin_dir(source.major()).unwrap();
    Fixture { source, repository, bin_dir, trap, before, before_lsn, after }
}

async fn open(path: &Path) -> Repository {
    Repository::open(store(path), None).await.unwrap()
}

fn copy_tree(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}

/// A directory that every user can pass through.
pub(crate) fn scratch() -> TempDir {
    let scratch = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    scratch
}

impl Fixture {
    /// A copy of the repository that may be damaged.
    fn copy(&self) -> TempDir {
        let copy = scratch();
        copy_tree(&self.repository, &copy.path().join("repository"));
        copy
    }

    /// A rehearsal up to the moment before the damage, with WAL from `repository`.
    fn options(&self, repository: &Path, scratch: &Path) -> RehearseOptions {
        let mut options = RehearseOptions::new(scratch, &self.bin_dir, restore_command(repository));
        options.target = RecoveryTarget::Time(self.before);
        let server = fs::metadata(self.source.data_dir()).unwrap();
        options.run_as = Some(RunAs { uid: server.uid(), gid: server.gid() });
        options
    }

    async fn rehearse(&self, options: &RehearseOptions) -> Rehearsal {
        rehearse(&open(&self.repository).await, options, &Monitor::default()).await.unwrap()
    }
}

pub(crate) fn assertion(name: &str, query: &str, expect: &str) -> Assertion {
    let database = "postgres".to_owned();
    Assertion { name: name.to_owned(), database, query: query.to_owned(), expect: expect.to_owned() }
}

fn check<'a>(rehearsal: &'a Rehearsal, name: &str) -> (Outcome, &'a str) {
    let check = rehearsal.record.checks.iter().find(|check| check.name == name);
    let check = check.unwrap_or_else(|| panic!("no check {name}: {:#?}", rehearsal.record.checks));
    (check.outcome, &check.detail)
}

/// Asserts that nothing of a rehearsal is left: no process, no file.
fn assert_clean(scratch: &Path) {
    assert_eq!(processes_of(scratch), Vec::<String>::new());
    let left: Vec<_> = fs::read_dir(scratch).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

/// The command lines that name a directory.
fn processes_of(directory: &Path) -> Vec<String> {
    let wanted = directory.display().to_string();
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    processes.filter(|line| line.contains(&wanted)).collect()
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_before_the_damage_is_recovered_and_proven() {
    let fixture = fixture().await;
    let scratch = scratch();
    let mut options = fixture.options(&fixture.repository, scratch.path());
    options.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736".to_owned();
    options.wanted = Wanted { time: None, lsn: Some(fixture.before_lsn.parse().unwrap()) };
    let inside = format!(
        "SELECT pg_tablespace_location(oid) LIKE '{}/%' FROM pg_tablespace",
        scratch.path().display()
    );
    let setting = |name: &str, value: &str| assertion(name, &format!("SHOW {name}"), value);
    options.assertions = vec![
        assertion("ledger", LEDGER, LEDGER_BEFORE),
        assertion("load", "SELECT count(*) > 0 FROM pgbench_history", "t"),
        assertion("writable", "SELECT pg_is_in_recovery()", "f"),
        setting("listen_addresses", ""),
        setting("archive_mode", "off"),
        setting("archive_cleanup_command", ""),
        setting("primary_conninfo", ""),
        setting("max_logical_replication_workers", "0"),
        setting("recovery_end_command", ""),
        setting("max_connections", "123"),
        assertion("tablespace", "SELECT x FROM elsewhere", "7"),
        assertion("place", &format!("{inside} WHERE spcname = 'space'"), "t"),
        assertion("tcp", "SELECT count(*) FROM pg_stat_activity WHERE client_addr IS NOT NULL", "0"),
    ];
    let rehearsal = fixture.rehearse(&options).await;
    let record = &rehearsal.record;
    assert_eq!(record.outcome, Outcome::Passed, "{:#?}", record.checks);
    let names: Vec<&str> = record.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names[..6], ["restore", "pg_verifybackup", "start", "replay", "promote", "pg_amcheck"]);
    assert_eq!(names.len(), 6 + options.assertions.len());
    assert!(check(&rehearsal, "replay").1.contains("recovery stopping before commit"));
    assert_eq!(record.kind, "restore-rehearsal");
    assert_eq!(record.trace_id, options.trace_id);
    assert_eq!(record.attributes["system_identifier"].len(), 19);
    assert!(record.attributes["last_transaction_time"].parse::<Timestamp>().unwrap() <= fixture.before);
    assert!(record.subjects.iter().all(|subject| subject.digest["sha256"].len() == 64));
    assert_eq!(record.subjects.len(), 2);
    let key = SigningKey::generate().unwrap();
    assert_eq!(Envelope::sign(record, &key).unwrap().verify(&[key.verifying_key()]).unwrap(), *record);

    let measured = rehearsal.measurements;
    let parts = measured.restore.unwrap() + measured.start.unwrap() + measured.replay.unwrap();
    assert_eq!(record.measurements["recovery_time_seconds"], parts.as_secs_f64());
    assert!(record.measurements["data_lost_seconds"] < 60.0);
    assert_eq!(record.measurements["data_lost_bytes"], 0.0, "all WAL up to the noted position was replayed");
    assert!(measured.verify.is_some() && measured.checks.is_some());
    assert_eq!(rehearsal.kept, None);
    assert_clean(scratch.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_target_goes_to_the_end_of_the_archive() {
    let fixture = fixture().await;
    let scratch = scratch();
    let mut options = fixture.options(&fixture.repository, scratch.path());
    options.target = RecoveryTarget::Latest;
    options.keep = Keep::Directory;
    options.amcheck = Requirement::Skipped;
    options.environment.push(("TRACEPARENT".into(), "00-aa".into()));
    options.restore_command = format!("echo fetching with $TRACEPARENT >&2; {}", options.restore_command);
    options.assertions =
        vec![assertion("ledger", LEDGER, "0 0"), assertion("last", "SELECT count(*) FROM last", "0")];
    let rehearsal = fixture.rehearse(&options).await;
    assert_eq!(rehearsal.record.outcome, Outcome::Passed, "{:#?}", rehearsal.record.checks);
    assert_eq!(rehearsal.record.attributes["pg_amcheck"], "skipped");
    assert!(rehearsal.measurements.data_lost_bytes.unwrap() < 16 << 20);
    assert!(rehearsal.measurements.data_lost.is_some());
    let kept = rehearsal.kept.unwrap();
    assert!(kept.join("data/PG_VERSION").exists());
    assert!(!kept.join("data/postmaster.pid").exists(), "the server was stopped in order");
    assert!(fs::read_to_string(kept.join("server.log")).unwrap().contains("fetching with 00-aa"));
    assert_eq!(processes_of(scratch.path()), Vec::<String>::new());
    assert!(!fixture.trap.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_answer_fails_the_rehearsal_and_is_named() {
    let fixture = fixture().await;
    let scratch = scratch();
    let mut options = fixture.options(&fixture.repository, scratch.path());
    options.amcheck = Requirement::Skipped;
    options.assertions = vec![
        assertion("right", LEDGER, LEDGER_BEFORE),
        assertion("wrong", LEDGER, "1000 500501"),
        assertion("null", "SELECT NULL::text", ""),
        assertion("two rows", "SELECT generate_series(1, 2)", "1"),
        assertion("no table", "SELECT count(*) FROM nowhere", "1"),
        Assertion { database: "nowhere".to_owned(), ..assertion("no database", "SELECT 1", "1") },
        assertion("last", "SELECT 1", "1"),
    ];
    let rehearsal = fixture.rehearse(&options).await;
    assert_eq!(rehearsal.record.outcome, Outcome::Failed);
    for (name, outcome, words) in [
        ("right", Outcome::Passed, "\"1000 500500\""),
        ("wrong", Outcome::Failed, "the answer is \"1000 500500\", expected \"1000 500501\""),
        ("null", Outcome::Failed, "the answer is null"),
        ("two rows", Outcome::Failed, "no single value"),
        ("no table", Outcome::Failed, "does not exist"),
        ("no database", Outcome::Failed, "does not exist"),
        ("last", Outcome::Passed, "\"1\""),
    ] {
        let (found, detail) = check(&rehearsal, &format!("assertion:{name}"));
        assert_eq!(found, outcome, "{name}");
        assert!(detail.contains(words), "{name}: {detail}");
    }
    assert_clean(scratch.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_after_the_end_of_the_archive_fails() {
    let fixture = fixture().await;
    let scratch = scratch();
    let mut options = fixture.options(&fixture.repository, scratch.path());
    options.target = RecoveryTarget::Time(fixture.after + Duration::from_secs(3600));
    let rehearsal = fixture.rehearse(&options).await;
    assert_eq!(rehearsal.record.outcome, Outcome::Failed);
    let (outcome, detail) = check(&rehearsal, "replay");
    assert_eq!(outcome, Outcome::Failed);
    assert!(detail.contains("recovery ended before configured recovery target was reached"), "{detail}");
    assert!(!rehearsal.record.measurements.contains_key("recovery_time_seconds"));
    assert_clean(scratch.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_before_every_backup_fails_with_a_record() {
    let fixture = fixture().await;
    let scratch = scratch();
    let mut options = fixture.options(&fixture.repository, scratch.path());
    options.target = RecoveryTarget::Time("2020-01-01T00:00:00Z".parse().unwrap());
    let rehearsal = fixture.rehearse(&options).await;
    assert_eq!(rehearsal.record.outcome, Outcome::Failed);
    assert_eq!(check(&rehearsal, "restore").0, Outcome::Failed);
    assert_eq!(rehearsal.record.subjects.len(), 1);
    assert_clean(scratch.path());
}

/// The objects below one folder of a repository, in order.
fn objects(repository: &Path, folder: &str) -> Vec<PathBuf> {
    let find = Command::new("find").arg(repository.join(folder)).args(["-type", "f"]).output().unwrap();
    let mut paths: Vec<PathBuf> =
        String::from_utf8(find.stdout).unwrap().lines().map(PathBuf::from).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_a_pack_fails() {
    let fixture = fixture().await;
    let copy = fixture.copy();
    let scratch = scratch();
    let repository = copy.path().join("repository");
    let packs = objects(&repository, "packs");
    let largest = packs.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(largest, bytes).unwrap();
    let options = fixture.options(&repository, scratch.path());
    let rehearsal = rehearse(&open(&repository).await, &options, &Monitor::default()).await.unwrap();
    assert_eq!(rehearsal.record.outcome, Outcome::Failed, "{:#?}", rehearsal.record.checks);
    assert_eq!(check(&rehearsal, "restore").0, Outcome::Failed);
    assert_clean(scratch.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_damaged_wal_segment_fails() {
    let fixture = fixture().await;
    type Damage = fn(&Path);
    let remove: Damage = |segment| fs::remove_file(segment).unwrap();
    let cut: Damage = |segment| fs::write(segment, &fs::read(segment).unwrap()[..100]).unwrap();
    for (what, damage, target) in [
        ("removed, time", remove, RecoveryTarget::Time(fixture.before)),
        ("removed, latest", remove, RecoveryTarget::Latest),
        ("cut, latest", cut, RecoveryTarget::Latest),
    ] {
        let copy = fixture.copy();
        let scratch = scratch();
        let repository = copy.path().join("repository");
        // The segment after the one in which the backup ended: needed for all targets.
        let segments =
            objects(&repository, "pg").into_iter().filter(|path| path.file_name().unwrap().len() == 24);
        let segments: Vec<PathBuf> = segments.collect();
        let before: u64 =
            u64::from_str_radix(fixture.before_lsn.split_once('/').unwrap().1, 16).unwrap() >> 24;
        let needed = segments
            .iter()
            .rposition(|path| path.to_str().unwrap().ends_with(&format!("{:08X}", before - 1)));
        damage(&segments[needed.unwrap()]);
        let mut options = fixture.options(&repository, scratch.path());
        options.target = target;
        let rehearsal = rehearse(&open(&repository).await, &options, &Monitor::default()).await.unwrap();
        assert_eq!(rehearsal.record.outcome, Outcome::Failed, "{what}: {:#?}", rehearsal.record.checks);
        assert_clean(scratch.path());
    }
}

/// A directory of PostgreSQL's programs in which one waits for ever.
fn programs_with_a_sleeper(fixture: &Fixture, folder: &Path, sleeper: &str) {
    for name in ["postgres", "pg_verifybackup", "pg_amcheck"] {
        let does = if name == sleeper {
            "sleep 600".to_owned()
        } else {
            format!("exec {} \"$@\"", fixture.bin_dir.join(name).display())
        };
        fs::write(folder.join(name), format!("#!/bin/sh\n{does}\n")).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_in_any_phase_leaves_nothing() {
    let fixture = fixture().await;
    let programs = scratch();
    programs_with_a_sleeper(fixture, programs.path(), "pg_verifybackup");
    type Change = fn(&mut RehearseOptions, &Path);
    let cases: [(Phase, Change); 5] = [
        (Phase::Copy, |_, _| {}),
        (Phase::Verify, |options, programs| options.bin_dir = programs.to_owned()),
        (Phase::Replay, |options, _| options.restore_command = "sleep 600".to_owned()),
        (Phase::Check, |options, _| options.assertions = vec![assertion("slow", "SELECT pg_sleep(600)", "")]),
        (Phase::Finish, |_, _| {}),
    ];
    for (phase, change) in cases {
        let scratch = scratch();
        let mut options = fixture.options(&fixture.repository, scratch.path());
        change(&mut options, programs.path());
        let token = CancellationToken::new();
        let monitor = Monitor::new(token.clone());
        let mut progress = monitor.subscribe();
        let repository = open(&fixture.repository).await;
        let canceller = tokio::spawn(async move {
            progress.wait_for(|progress| progress.phase == phase).await.unwrap();
            if !matches!(phase, Phase::Copy | Phase::Finish) {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            token.cancel();
        });
        let error = rehearse(&repository, &options, &monitor).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{phase:?}");
        assert_clean(scratch.path());
        canceller.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rehearsal_over_its_budget_fails_and_leaves_nothing() {
    let fixture = fixture().await;
    let scratch = scratch();
    let mut options = fixture.options(&fixture.repository, scratch.path());
    options.restore_command = "sleep 600".to_owned();
    options.budget = Some(Duration::from_secs(5));
    let rehearsal = fixture.rehearse(&options).await;
    assert_eq!(rehearsal.record.outcome, Outcome::Failed);
    assert_eq!(
        check(&rehearsal, "time_budget"),
        (Outcome::Failed, "not done within 5s, ended in phase start")
    );
    assert_clean(scratch.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_future_leaves_nothing() {
    let fixture = fixture().await;
    let scratch = scratch();
    let mut options = fixture.options(&fixture.repository, scratch.path());
    options.restore_command = "sleep 600".to_owned();
    let repository = open(&fixture.repository).await;
    let monitor = Monitor::default();
    let dropped =
        tokio::time::timeout(Duration::from_secs(5), rehearse(&repository, &options, &monitor)).await;
    assert!(dropped.is_err());
    assert_clean(scratch.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_cannot_try_is_an_error_not_a_failed_backup() {
    let fixture = fixture().await;
    let programs = scratch();
    fs::write(programs.path().join("postgres"), "#!/bin/sh\necho 'postgres (PostgreSQL) 9.6.24'\n").unwrap();
    fs::set_permissions(programs.path().join("postgres"), fs::Permissions::from_mode(0o755)).unwrap();
    let empty = scratch();
    for (bin_dir, words) in
        [(programs.path(), "PostgreSQL 9, but"), (empty.path(), "is not a PostgreSQL server")]
    {
        let scratch = scratch();
        let mut options = fixture.options(&fixture.repository, scratch.path());
        options.bin_dir = bin_dir.to_owned();
        let error =
            rehearse(&open(&fixture.repository).await, &options, &Monitor::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(words), "{error}");
        assert_clean(scratch.path());
    }
    // A referee that cannot run leaves the rehearsal unjudged.
    programs_with_a_sleeper(fixture, programs.path(), "");
    fs::remove_file(programs.path().join("pg_amcheck")).unwrap();
    let scratch = scratch();
    let mut options = fixture.options(&fixture.repository, scratch.path());
    options.bin_dir = programs.path().to_owned();
    let rehearsal = fixture.rehearse(&options).await;
    assert_eq!(rehearsal.record.outcome, Outcome::Error, "{:#?}", rehearsal.record.checks);
    assert_eq!(check(&rehearsal, "pg_amcheck").0, Outcome::Error);
    assert_clean(scratch.path());
}

/// The process that `killing_this_process_leaves_nothing` kills; on its own it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let Some(repository) = std::env::var_os("OPS_TEST_VICTIM_REPOSITORY") else { return };
    let variable = |name| std::env::var(name).unwrap();
    let mut options = RehearseOptions::new(
        variable("OPS_TEST_VICTIM_SCRATCH"),
        variable("OPS_TEST_VICTIM_BIN_DIR"),
        variable("OPS_TEST_VICTIM_COMMAND"),
    );
    options.run_as = Some(RunAs {
        uid: variable("OPS_TEST_VICTIM_UID").parse().unwrap(),
        gid: variable("OPS_TEST_VICTIM_GID").parse().unwrap(),
    });
    options.assertions = vec![assertion("slow", "SELECT pg_sleep(600)", "")];
    let _ = rehearse(&open(Path::new(&repository)).await, &options, &Monitor::default()).await;
}

fn start_victim(fixture: &Fixture, options: &RehearseOptions) -> Child {
    let user = options.run_as.unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "rehearse::victim"])
        .env("OPS_TEST_VICTIM_REPOSITORY", &fixture.repository)
        .env("OPS_TEST_VICTIM_SCRATCH", &options.scratch)
        .env("OPS_TEST_VICTIM_BIN_DIR", &options.bin_dir)
        .env("OPS_TEST_VICTIM_COMMAND", &options.restore_command)
        .env("OPS_TEST_VICTIM_UID", user.uid.to_string())
        .env("OPS_TEST_VICTIM_GID", user.gid.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_this_process_leaves_nothing() {
    let fixture = fixture().await;
    let scratch = scratch();
    let options = fixture.options(&fixture.repository, scratch.path());
    for socket in ["", "run/.s.PGSQL.5432"] {
        let mut victim = start_victim(fixture, &options);
        let place = scratch.path().join(format!("rehearsal-{}-1", victim.id())).join(socket);
        eventually("the rehearsal comes to the place where it is killed", || place.exists()).await;
        victim.kill().unwrap();
        victim.wait().unwrap();
        eventually("all processes of the rehearsal end", || processes_of(scratch.path()).is_empty()).await;
        assert_clean(scratch.path());
    }
}
