//! WAL as it is received from real servers. The referee is the server itself: its files, and what its views say.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use object_store::{ObjectStore, ObjectStoreExt as _};
use ops_backup::postgres::control::ControlFile;
use ops_backup::restore;
use ops_backup::wal::receive::{ReceiveOptions, Status, receive};
use ops_backup::wal::{self, Fetched};
use ops_backup::{
    Cluster, Error, ErrorKind, Key, Lsn, Monitor, RestoreOptions, RestoreTarget, RetryPolicy, VerifyOptions,
    verify,
};
use ops_backup::{Repository, SystemIdentifier};
use ops_core::connection::ConnectionSettings;
use ops_testkit::{Mode, Postgres, TestUser};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::end_to_end::start_restored;
use crate::faulty::{Fault, FaultyStore};
use crate::stranger::{Reader, Secret, kind};
use crate::support::{Site, restore_command, restore_command_with_tail, store};
use crate::wal::raw_key;

const MIB: u64 = 1 << 20;
const SLOT: &str = "receiver";

/// A server with small segments that keeps all of them, to compare with.
fn server() -> Postgres {
    server_with(&[("wal_keep_size", "4GB")])
}

fn server_with(settings: &[(&str, &str)]) -> Postgres {
    let mut builder = Postgres::builder().initdb_arg("--wal-segsize=1").setting("autovacuum", "off");
    for (name, value) in settings {
        builder = builder.setting(*name, *value);
    }
    builder.start().unwrap()
}

fn connection(server: &Postgres) -> ConnectionSettings {
    ConnectionSettings::parse(&server.socket_url()).unwrap()
}

/// As the server's own files say, whether it runs or not.
fn cluster(server: &Postgres) -> Cluster {
    ControlFile::read(server.data_dir()).unwrap().cluster
}

pub(crate) fn options(interval: Duration) -> ReceiveOptions {
    let mut options = ReceiveOptions::new(SLOT);
    options.create_slot = true;
    options.flush_interval = interval;
    options.retry_pause = Duration::from_millis(20);
    options
}

const SOON: Duration = Duration::from_millis(100);
/// Longer than any test.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);

/// A receiver in a task of its own.
pub(crate) struct Receiving {
    task: JoinHandle<Result<Status, Error>>,
    stop: CancellationToken,
    status: watch::Receiver<Status>,
}

impl Receiving {
    pub(crate) fn start(repository: &Repository, server: &Postgres, options: ReceiveOptions) -> Self {
        Receiving::from(repository, connection(server), options)
    }

    fn from(repository: &Repository, server: ConnectionSettings, options: ReceiveOptions) -> Self {
        let (sender, status) = watch::channel(Status::default());
        let stop = CancellationToken::new();
        let (repository, token) = (repository.clone(), stop.clone());
        let task =
            tokio::spawn(async move { receive(&repository, &server, &options, &token, &sender).await });
        Receiving { task, stop, status }
    }

    pub(crate) async fn until(&mut self, what: &str, holds: impl FnMut(&Status) -> bool) -> Status {
        let mut watched = self.status.clone();
        let waited = tokio::time::timeout(Duration::from_secs(60), watched.wait_for(holds)).await;
        match waited {
            Ok(Ok(status)) => status.clone(),
            Ok(Err(_)) => panic!("the receiver ended before: {what}: {:?}", (&mut self.task).await),
            Err(_) => panic!("not within a minute: {what}: {:?}", self.status.borrow()),
        }
    }

    async fn until_durable(&mut self, lsn: Lsn) -> Status {
        self.until(&format!("durable up to {lsn}"), |status| status.durable >= Some(lsn)).await
    }

    pub(crate) async fn stop(self) -> Status {
        self.stop.cancel();
        self.task.await.unwrap().unwrap()
    }

    async fn fails(self) -> Error {
        let ended = tokio::time::timeout(Duration::from_secs(60), self.task).await;
        ended.expect("ends within a minute").unwrap().unwrap_err()
    }
}

fn lsn(server: &Postgres, sql: &str) -> Lsn {
    server.psql(&format!("SELECT {sql}")).unwrap().parse().unwrap()
}

pub(crate) fn flushed(server: &Postgres) -> Lsn {
    lsn(server, "pg_current_wal_flush_lsn()")
}

fn file_name(timeline: u32, number: u64) -> String {
    format!("{timeline:08X}{:08X}{:08X}", number / 4096, number % 4096)
}

/// What the repository has of a segment, complete or not.
async fn stored(repository: &Repository, cluster: &Cluster, name: &str) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    match wal::tail::fetch(repository, cluster, name, &out).await.unwrap() {
        Fetched::Written => Some(std::fs::read(&out).unwrap()),
        Fetched::Absent => None,
    }
}

/// Whether the repository holds everything from `from` to `to`, as the server has it in its files.
async fn assert_holds(repository: &Repository, server: &Postgres, timeline: u32, from: Lsn, to: Lsn) {
    let cluster = cluster(server);
    for number in from.0 / MIB..to.0.div_ceil(MIB) {
        let name = file_name(timeline, number);
        let end = usize::try_from((to.0 - number * MIB).min(MIB)).unwrap();
        let original = std::fs::read(server.data_dir().join("pg_wal").join(&name)).unwrap();
        let found = stored(repository, &cluster, &name).await;
        let found = found.unwrap_or_else(|| panic!("{name} is not there, and {to} is called durable"));
        assert!(found[..end] == original[..end], "{name} is not what the server has, up to byte {end}");
    }
}

async fn objects(store: &dyn ObjectStore, part: &str) -> Vec<String> {
    let listed: Vec<_> =
        store.list(None).map_ok(|object| object.location.to_string()).try_collect().await.unwrap();
    listed.into_iter().filter(|path| path.contains(part)).collect()
}

fn pgbench(server: &Postgres, seconds: u32) -> std::process::Child {
    let mut pgbench = server.command("pgbench");
    pgbench.args(["-n", "-c", "4", "-T", &seconds.to_string()]);
    pgbench.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The load of pgbench, and what the server believes of us against what is really there.
#[tokio::test(flavor = "multi_thread")]
async fn everything_is_received_and_nothing_is_reported_before_it_is_durable() {
    let server = server();
    server.command("pgbench").args(["-i", "-q", "-s", "2"]).output().unwrap();
    let memory = Arc::new(InMemory::new());
    let key: Key = raw_key();
    let repository = Repository::open_or_create(Arc::clone(&memory) as _, Some(&key)).await.unwrap();
    let mut first = Receiving::start(&repository, &server, options(SOON));
    // Another receiver, with a slot of its own and in another step, into the same repository.
    let mut other = options(Duration::from_millis(170));
    other.slot = "other".to_owned();
    let mut second = Receiving::start(&repository, &server, other);
    first.until("streaming", |status| status.streaming).await;
    second.until("streaming", |status| status.streaming).await;
    let from = lsn(&server, "restart_lsn FROM pg_replication_slots ORDER BY 1 DESC LIMIT 1");

    let mut load = pgbench(&server, 3);
    let mut reports = 0;
    while load.try_wait().unwrap().is_none() {
        let reported = server.psql("SELECT min(flush_lsn) FROM pg_stat_replication").unwrap();
        if let Ok(reported) = reported.parse::<Lsn>() {
            reports += 1;
            assert_holds(
                &repository,
                &server,
                1,
                Lsn(reported.0.saturating_sub(3 * MIB).max(from.0)),
                reported,
            )
            .await;
        }
    }
    assert!(reports > 3, "{reports}");
    let end = flushed(&server);
    let status = first.until_durable(end).await;
    assert!(status.segments > 3 && status.reconnects == 0 && status.warning.is_none(), "{status:?}");
    assert_eq!(status.lag_bytes, status.server_end.unwrap().0.saturating_sub(status.durable.unwrap().0));
    second.until_durable(end).await;
    assert_holds(&repository, &server, 1, from, end).await;
    first.stop().await;
    second.stop().await;
    // The pieces of complete segments are gone; what is left is of the last one.
    let last = file_name(1, end.0 / MIB);
    let left = objects(memory.as_ref(), "/tail/").await;
    assert!(!left.is_empty() && left.iter().all(|path| path.contains(&last)), "{last}: {left:?}");
    // The slot has let go of what is durable.
    assert!(lsn(&server, "min(restart_lsn) FROM pg_replication_slots") >= end);
}

/// What is cancelled has stored everything that came, however long the interval is.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_end_and_a_clean_shutdown_wait_for_nothing_and_lose_nothing() {
    let mut server = server();
    let repository = Repository::open_or_create(Arc::new(InMemory::new()), None).await.unwrap();
    let mut receiving = Receiving::start(&repository, &server, options(NEVER));
    receiving.until("streaming", |status| status.streaming).await;
    server.psql("CREATE TABLE t AS SELECT generate_series(1, 100) AS n").unwrap();
    let end = flushed(&server);
    receiving.until("received", |status| status.received >= Some(end)).await;
    let status = receiving.stop().await;
    assert!(status.durable >= Some(end), "{status:?}");
    assert_holds(&repository, &server, 1, Lsn(end.0 / MIB * MIB), end).await;

    // A server that shuts down waits for its receivers: it hears at once that everything is durable.
    let mut receiving = Receiving::start(&repository, &server, options(NEVER));
    receiving.until("streaming", |status| status.streaming).await;
    server.psql("INSERT INTO t SELECT generate_series(1, 100)").unwrap();
    server.stop(Mode::Fast).unwrap();
    let end = receiving
        .until("the end", |status| !status.streaming && status.reconnects > 0)
        .await
        .durable
        .unwrap();
    // The checkpoint of the shutdown is the last record.
    let control = Command::new(ops_testkit::bin_dir(server.major()).unwrap().join("pg_controldata"))
        .arg(server.data_dir())
        .output()
        .unwrap();
    let control = String::from_utf8_lossy(&control.stdout).into_owned();
    let checkpoint =
        control.lines().find_map(|line| line.strip_prefix("Latest checkpoint location:")).unwrap();
    assert!(end > checkpoint.trim().parse().unwrap(), "{end} {checkpoint}");
    assert_holds(&repository, &server, 1, Lsn(end.0 / MIB * MIB), end).await;
    // It comes back, and so do we.
    server.restart().unwrap();
    server.psql("INSERT INTO t SELECT generate_series(1, 100)").unwrap();
    let end = flushed(&server);
    receiving.until("received again", |status| status.received >= Some(end)).await;
    receiving.stop().await;
    assert_holds(&repository, &server, 1, Lsn(end.0 / MIB * MIB), end).await;
}

/// Where the server waits for us before a commit returns, the commit is in the repository then.
#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_commit_returns_once_it_is_durable() {
    let server = server();
    let repository = Repository::open_or_create(Arc::new(InMemory::new()), None).await.unwrap();
    let mut receiving = Receiving::start(&repository, &server, options(SOON));
    receiving.until("streaming", |status| status.streaming).await;
    server.psql("CREATE TABLE t (n int)").unwrap();
    server.psql("ALTER SYSTEM SET synchronous_standby_names = '*'; SELECT pg_reload_conf()").unwrap();
    let is_sync = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    while server.psql(is_sync).unwrap() == "0" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..3 {
        // A position before the record of the commit, shown before it.
        let before = server
            .psql("BEGIN; INSERT INTO t VALUES (1); SELECT pg_current_wal_insert_lsn(); COMMIT")
            .unwrap()
            .parse::<Lsn>()
            .unwrap();
        let durable = receiving.status.borrow().durable.unwrap();
        assert!(durable > before, "{durable} {before}");
        assert_holds(&repository, &server, 1, Lsn(durable.0 / MIB * MIB), durable).await;
    }
    receiving.stop().await;
}

const CHILD: &str = "OPS_BACKUP_TEST_RECEIVE";

/// A receiver in a process of its own, to be killed: see [`a_receiver_is_killed_again_and_again`].
#[tokio::test(flavor = "multi_thread")]
async fn receive_command() {
    let Ok(task) = env::var(CHILD) else { return };
    let (place, server) = task.split_once(' ').unwrap();
    let repository = Repository::open(store(Path::new(place)), None).await.unwrap();
    let server = ConnectionSettings::parse(server).unwrap();
    let (status, _) = watch::channel(Status::default());
    receive(&repository, &server, &options(SOON), &CancellationToken::new(), &status).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_killed_again_and_again() {
    let server = server();
    server.command("pgbench").args(["-i", "-q"]).output().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::open_or_create(store(folder.path()), None).await.unwrap();
    server.psql(&format!("SELECT pg_create_physical_replication_slot('{SLOT}', true)")).unwrap();
    let from = lsn(&server, "restart_lsn FROM pg_replication_slots");
    let mut load = pgbench(&server, 60);
    let mut pause = 40_u64;
    for _ in 0..20 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "receive::receive_command", "-q", "--nocapture"])
            .env(CHILD, format!("{} {}", folder.path().display(), server.socket_url()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A number that looks like chance, between 60 and 460 ms.
        pause = (pause * 7919 + 13) % 401;
        tokio::time::sleep(Duration::from_millis(60 + pause)).await;
        assert!(child.try_wait().unwrap().is_none(), "the receiver ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        let reported = lsn(&server, "restart_lsn FROM pg_replication_slots");
        if reported > from {
            let recent = Lsn(reported.0.saturating_sub(2 * MIB).max(from.0));
            assert_holds(&repository, &server, 1, recent, reported).await;
        }
    }
    load.kill().unwrap();
    load.wait().unwrap();
    let mut receiving = Receiving::start(&repository, &server, options(SOON));
    let end = flushed(&server);
    receiving.until_durable(end).await;
    receiving.stop().await;
    assert!(end.0 - from.0 > 5 * MIB, "too little load: {from} to {end}");
    assert_holds(&repository, &server, 1, from, end).await;
    let left = objects(store(folder.path()).as_ref(), "/tail/").await;
    assert!(left.iter().all(|path| path.contains(&file_name(1, end.0 / MIB))), "{left:?}");
}

/// Every operation of the store meets every fault once. What is called durable is there, and in the end everything is.
///
/// Each case begins with pieces of a segment that is to be completed, and meets a segment that is archived already.
#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_the_store_at_every_operation() {
    let server = server();
    let before: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let repository = Repository::open_or_create(Arc::clone(&before), None).await.unwrap();
    let mut receiving = Receiving::start(&repository, &server, options(Duration::from_millis(20)));
    receiving.until("streaming", |status| status.streaming).await;
    server.psql("CREATE TABLE t (n int, x text); SELECT pg_switch_wal()").unwrap();
    for _ in 0..3 {
        server.psql("INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, 100) AS n").unwrap();
        receiving.until_durable(flushed(&server)).await;
    }
    let from = receiving.stop().await.durable.unwrap();
    let pieces = objects(before.as_ref(), "/tail/").await;
    assert!(pieces.len() > 2, "{pieces:?}");
    server.psql("INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, 9000) AS n").unwrap();
    let end = flushed(&server);
    assert!(end.0 / MIB > from.0 / MIB + 1, "{from} to {end}");
    // This server does not archive, so it does not say in its own directory what is finished.
    let name = file_name(1, from.0 / MIB + 1);
    let elsewhere = tempfile::tempdir().unwrap();
    let archived = elsewhere.path().join(&name);
    std::fs::copy(server.data_dir().join("pg_wal").join(&name), &archived).unwrap();
    wal::push(&repository, &cluster(&server), &archived).await.unwrap();

    let faults = [
        Fault::Fail,
        Fault::Hang,
        Fault::LoseAnswer,
        Fault::Truncate,
        Fault::Reset,
        Fault::Flip,
        Fault::BreakAfter,
        Fault::Full,
    ];
    let mut at = 0;
    loop {
        let cases = faults.map(|fault| meets(&server, &before, (fault, at), from, end));
        let reached = join_all(cases).await;
        if reached.iter().all(|reached| !reached) {
            break;
        }
        at += 1;
    }
    assert!(at > 12, "only {at} operations");
}

async fn copy(store: &Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    let copied = InMemory::new();
    for path in objects(store.as_ref(), "").await {
        let path = object_store::path::Path::from(path);
        let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
        copied.put(&path, bytes.into()).await.unwrap();
    }
    Arc::new(copied)
}

/// Says whether the fault came at all.
async fn meets(
    server: &Postgres,
    before: &Arc<dyn ObjectStore>,
    (fault, at): (Fault, usize),
    from: Lsn,
    end: Lsn,
) -> bool {
    let case = format!("{fault:?} at {at}");
    let slot = format!("{fault:?}_{at}").to_lowercase();
    server.psql(&format!("SELECT pg_copy_physical_replication_slot('{SLOT}', '{slot}')")).unwrap();
    let store = copy(before).await;
    let sound = Repository::open(Arc::clone(&store), None).await.unwrap();
    let faulty = FaultyStore::new(store, fault, usize::MAX);
    let mut policy = RetryPolicy::default();
    (policy.attempts, policy.stall) = (2, Duration::from_millis(300));
    policy.first_pause = Duration::from_millis(1);
    let repository = Repository::open(Arc::clone(&faulty) as _, None).await.unwrap().with_retries(policy);
    faulty.arm(at);
    let mut options = options(Duration::from_millis(20));
    options.slot.clone_from(&slot);
    let receiving = Receiving::start(&repository, server, options.clone());
    let lasting = matches!(fault, Fault::BreakAfter | Fault::Full);
    let patience = if lasting { Duration::from_millis(400) } else { Duration::from_secs(30) };
    let mut watched = receiving.status.clone();
    let done = watched.wait_for(|status| status.durable >= Some(end));
    let done = matches!(tokio::time::timeout(patience, done).await, Ok(Ok(_)));
    let reached = faulty.operations() > at;
    if done {
        receiving.stop.cancel();
        let abort = receiving.task.abort_handle();
        // A store that has broken since may keep the end from being stored.
        let ended =
            tokio::time::timeout(Duration::from_secs(if lasting { 1 } else { 30 }), receiving.task).await;
        assert!(lasting || ended.is_ok_and(|ended| ended.unwrap().is_ok()), "{case}");
        abort.abort();
    } else if receiving.task.is_finished() {
        let error = receiving.fails().await;
        // Damage that is read is never overlooked; all else passes.
        assert!(fault == Fault::Flip && error.kind() == ErrorKind::Corrupt, "{case}: {error}");
    } else {
        assert!(lasting, "{case}: {:?}", receiving.status.borrow());
        receiving.task.abort();
        let _ = receiving.task.await;
    }
    assert!(reached || done, "{case}");
    let reported = lsn(server, &format!("restart_lsn FROM pg_replication_slots WHERE slot_name = '{slot}'"));
    let begin = Lsn(from.0 / MIB * MIB);
    assert_holds(&sound, server, 1, begin, reported).await;
    // The next receiver, on a sound store, ends what this one began.
    let mut again = Receiving::start(&sound, server, options);
    again.until_durable(end).await;
    again.stop().await;
    assert_holds(&sound, server, 1, begin, end).await;
    // The server needs a moment to see that nobody uses it any more.
    while server.psql(&format!("SELECT pg_drop_replication_slot('{slot}')")).is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    reached
}

/// A store that is slower than the server, and a server that is impatient: nobody hangs up, and memory is bounded, because
/// nothing is read that cannot be stored. The server's owner is warned.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_store_slows_the_receiver_and_nothing_else() {
    let server = server_with(&[("wal_sender_timeout", "2500ms"), ("wal_keep_size", "4GB")]);
    let config =
        ThrottleConfig { wait_put_per_call: Duration::from_millis(1800), ..ThrottleConfig::default() };
    let slow = Arc::new(ThrottledStore::new(InMemory::new(), ThrottleConfig::default()));
    let repository = Repository::open_or_create(Arc::clone(&slow) as _, None).await.unwrap();
    let mut options = options(SOON);
    options.warn_lag = 2 * MIB;
    let mut receiving = Receiving::start(&repository, &server, options);
    receiving.until("streaming", |status| status.streaming).await;
    let from = flushed(&server);
    slow.config_mut(|slow| *slow = config);
    server.psql("CREATE TABLE t AS SELECT n, repeat('x', 200) FROM generate_series(1, 24000) AS n").unwrap();
    let end = flushed(&server);
    let warned = receiving.until("a warning", |status| status.warning.is_some()).await;
    assert!(warned.warning.unwrap().contains("fills the server's disk") && warned.lag_bytes > 2 * MIB);
    // Two segments are in memory at most, and what one message holds.
    let status = receiving.until("some are stored", |status| status.segments >= 3).await;
    let ahead = status.received.unwrap().0 - status.durable.unwrap().0;
    assert!(ahead <= 2 * MIB + (256 << 10), "{status:?}");
    slow.config_mut(|slow| *slow = ThrottleConfig::default());
    let status = receiving.until_durable(end).await;
    assert_eq!(status.reconnects, 0, "{}", server.log());
    let status = receiving.until("the warning ends", |status| status.warning.is_none()).await;
    assert!(status.lag_bytes < 2 * MIB, "{status:?}");
    receiving.stop().await;
    assert_holds(&repository, &server, 1, from, end).await;
}

/// Turns the server into a standby of nobody, which can be promoted.
fn into_standby(server: &mut Postgres) {
    server.stop(Mode::Fast).unwrap();
    let signal = server.data_dir().join("standby.signal");
    std::fs::write(&signal, "").unwrap();
    TestUser::find().unwrap().own(&signal).unwrap();
    server.restart().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_is_followed_with_its_history_first() {
    for watched in [true, false] {
        let mut server = server();
        let memory = Arc::new(InMemory::new());
        let repository = Repository::open_or_create(Arc::clone(&memory) as _, None).await.unwrap();
        server
            .psql("CREATE TABLE t AS SELECT n, repeat('x', 200) FROM generate_series(1, 5000) AS n")
            .unwrap();
        let mut receiving = Receiving::start(&repository, &server, options(SOON));
        server.psql("INSERT INTO t SELECT generate_series(1, 100)").unwrap();
        receiving.until_durable(flushed(&server)).await;
        receiving.stop().await;
        into_standby(&mut server);
        let mut receiving = Receiving::start(&repository, &server, options(SOON));
        receiving.until("streaming", |status| status.streaming).await;
        if !watched {
            receiving.stop().await;
            server.psql("SELECT pg_promote()").unwrap();
            receiving = Receiving::start(&repository, &server, options(SOON));
        } else {
            server.psql("SELECT pg_promote()").unwrap();
        }
        server.psql("INSERT INTO t SELECT n, repeat('y', 200) FROM generate_series(1, 9000) AS n").unwrap();
        let end = flushed(&server);
        let status = receiving.until_durable(end).await;
        assert_eq!((status.timeline, status.reconnects), (2, 0), "{status:?}");
        receiving.stop().await;
        let fork = Lsn(server
            .psql("SELECT pg_read_file('pg_wal/00000002.history')")
            .unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<Lsn>()
            .unwrap()
            .0);
        assert_holds(&repository, &server, 2, fork, end).await;
        let cluster = cluster(&server);
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let fetched = wal::fetch(&repository, &cluster, "00000002.history", &out).await.unwrap();
        assert_eq!(fetched, Fetched::Written);
        assert_eq!(
            std::fs::read(&out).unwrap(),
            std::fs::read(server.data_dir().join("pg_wal/00000002.history")).unwrap()
        );
        // The last segment of timeline 1 is no segment, and its beginning is that of the first one of timeline 2.
        let number = fork.0 / MIB;
        let fetched = wal::fetch(&repository, &cluster, &file_name(1, number), &out).await.unwrap();
        assert_eq!(fetched, Fetched::Absent, "an incomplete segment is passed off as one");
        let tail = stored(&repository, &cluster, &file_name(1, number)).await.unwrap();
        let first = stored(&repository, &cluster, &file_name(2, number)).await.unwrap();
        let length = usize::try_from(fork.0 % MIB).unwrap();
        assert!(tail[..length] == first[..length] && tail[length..].iter().all(|byte| *byte == 0));
    }
}

/// The promise of it all: the server dies for ever, and its last commit is there.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_commit_of_a_server_that_was_killed_is_restored() {
    let mut site = Site::start().await;
    site.psql("CREATE TABLE t (n int)");
    site.backup().await;
    // Nothing is stored for the sake of time: only because the connection is lost.
    let mut receiving = Receiving::start(&site.repository, &site.postgres, options(NEVER));
    receiving.until("streaming", |status| status.streaming).await;
    site.switch_wal().await;
    site.psql("INSERT INTO t SELECT generate_series(1, 1000)");
    let end = flushed(&site.postgres);
    receiving.until("received", |status| status.received >= Some(end)).await;
    site.postgres.kill();
    receiving.until("stored", |status| status.durable >= Some(end)).await;
    receiving.stop.cancel();
    receiving.task.await.unwrap().unwrap();

    let restored = |name: &str, with_tail: bool| {
        let options = RestoreOptions {
            restore_command: restore_command(&site.place()),
            restore_command_with_tail: with_tail.then(|| restore_command_with_tail(&site.place())),
            ..RestoreOptions::default()
        };
        let target = RestoreTarget::check(&site.root.path().join(name)).unwrap();
        (options, target)
    };
    for (name, with_tail, expected) in [("segments", false, "0"), ("tail", true, "1000")] {
        let (options, target) = restored(name, with_tail);
        let plan = restore::plan(&site.repository, target, options).await.unwrap();
        let replay = plan.summary().replay.unwrap();
        assert_eq!(replay.tail_from.is_some(), with_tail);
        assert_eq!(replay.wal_end >= end, with_tail, "{replay:?}");
        let done = restore::apply(&site.repository, plan, &Monitor::default()).await.unwrap();
        let server = start_restored(&done.data_directory).await;
        assert_eq!(server.psql("SELECT count(*) FROM t").unwrap(), expected, "{name}: {}", server.log());
    }
    let listed = ops_backup::list(&site.repository).await.unwrap();
    let known = listed.clusters[0].wal.last().unwrap().received_until;
    assert!(known >= Some(end), "{known:?}, written until {end}");
    let report = verify(&site.repository, &VerifyOptions::default(), &Monitor::default()).await.unwrap();
    assert!(report.is_proven(), "{:?}", report.problems);
    // By the document alone: the pieces, one after the other, are what recovery was given.
    let reader = Reader::open(&site.place(), &Secret::Nothing).unwrap();
    let cluster = cluster(&site.postgres);
    let name =
        format!("{:08X}{:08X}{:08X}", 1, end.0 >> 32, (end.0 & 0xFFFF_FFFF) / cluster.segment_size.bytes());
    let place = format!("pg/{}/tail/00000001/{name}", cluster.system_identifier);
    let mut beginning = Vec::new();
    for number in 0..reader.names(&place).unwrap().len() {
        let content = reader.unseal(kind::TAIL, &format!("{place}/{number}")).unwrap();
        let (offset, bytes) = content.split_first_chunk::<8>().unwrap();
        assert_eq!(u64::from_le_bytes(*offset), beginning.len() as u64);
        beginning.extend_from_slice(bytes);
    }
    let given = stored(&site.repository, &cluster, &name).await.unwrap();
    assert!(given.starts_with(&beginning) && given[beginning.len()..].iter().all(|byte| *byte == 0));
    assert!(beginning.len() as u64 >= end.0 % cluster.segment_size.bytes());

    // A piece that is damaged is found.
    let store = store(&site.place());
    let piece = objects(store.as_ref(), "/tail/").await.into_iter().next().unwrap();
    let path = object_store::path::Path::from(piece.clone());
    let mut bytes = store.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    store.put(&path, bytes.into()).await.unwrap();
    let report = verify(&site.repository, &VerifyOptions::default(), &Monitor::default()).await.unwrap();
    assert!(report.problems.iter().any(|problem| problem.object == piece), "{:?}", report.problems);
}

/// A frozen sender keeps the connection open and says nothing: after a minute of that it is taken for gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_frozen_is_left_and_received_from_again() {
    let server = server();
    let repository = Repository::open_or_create(Arc::new(InMemory::new()), None).await.unwrap();
    let mut receiving = Receiving::start(&repository, &server, options(SOON));
    receiving.until("streaming", |status| status.streaming).await;
    let from = flushed(&server);
    server.psql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n").unwrap();
    receiving.until_durable(flushed(&server)).await;
    let sender = server.psql("SELECT pid FROM pg_stat_replication").unwrap();
    let signal = |signal: &str| {
        assert!(Command::new("kill").args([signal, &sender]).status().unwrap().success(), "{signal}");
    };
    signal("-STOP");
    server.psql("INSERT INTO t SELECT generate_series(1, 1000)").unwrap();
    let mut status = receiving.status.clone();
    let left = status.wait_for(|status| !status.streaming);
    let left = tokio::time::timeout(Duration::from_secs(180), left).await.map(drop);
    // Whatever became of it, the server must be able to stop.
    signal("-CONT");
    left.expect("it is left within three minutes");
    let end = flushed(&server);
    let status = receiving.until_durable(end).await;
    assert!(status.reconnects >= 1, "{status:?}");
    receiving.stop().await;
    assert_holds(&repository, &server, 1, from, end).await;
}

/// What ends a receiver, and with which words.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_pass_is_told_at_once() {
    let server =
        server_with(&[("max_slot_wal_keep_size", "2MB"), ("min_wal_size", "2MB"), ("max_wal_size", "4MB")]);
    let repository = Repository::open_or_create(Arc::new(InMemory::new()), None).await.unwrap();
    let mut absent = options(SOON);
    absent.create_slot = false;
    let error = Receiving::start(&repository, &server, absent.clone()).fails().await;
    assert!(
        error.kind() == ErrorKind::NotFound && error.to_string().contains("no physical replication slot"),
        "{error}"
    );

    let mut stranger = options(SOON);
    stranger.system_identifier = Some(SystemIdentifier(7));
    let error = Receiving::start(&repository, &server, stranger).fails().await;
    assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("of cluster 7"), "{error}");

    // A receiver that was away for too long: the server has given up the slot.
    let mut receiving = Receiving::start(&repository, &server, options(SOON));
    receiving.until("streaming", |status| status.streaming).await;
    receiving.stop().await;
    let fill = "INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, 9000) AS n; CHECKPOINT";
    server.psql("CREATE TABLE t (n int, x text)").unwrap();
    for _ in 0..6 {
        server.psql(fill).unwrap();
    }
    assert_eq!(server.psql("SELECT wal_status FROM pg_replication_slots").unwrap(), "lost");
    let error = Receiving::start(&repository, &server, options(SOON)).fails().await;
    let shown = error.to_string();
    assert!(error.kind() == ErrorKind::NotFound && shown.contains("has given it up"), "{shown}");
    server.psql(&format!("SELECT pg_drop_replication_slot('{SLOT}')")).unwrap();

    // Or its WAL is gone all the same.
    server.psql(&format!("SELECT pg_create_physical_replication_slot('{SLOT}', true)")).unwrap();
    let kept = server.psql("SELECT pg_walfile_name(restart_lsn + 1) FROM pg_replication_slots").unwrap();
    server.psql("SELECT pg_switch_wal()").unwrap();
    std::fs::remove_file(server.data_dir().join("pg_wal").join(&kept)).unwrap();
    let error = Receiving::start(&repository, &server, options(SOON)).fails().await;
    let shown = error.to_string();
    assert!(
        error.kind() == ErrorKind::NotFound && shown.contains(&format!("from segment {kept} on")),
        "{shown}"
    );

    // The slot is dropped under a receiver. A checkpoint makes new slots begin behind the file that is gone.
    server.psql(&format!("SELECT pg_drop_replication_slot('{SLOT}'); CHECKPOINT")).unwrap();
    let mut receiving = Receiving::start(&repository, &server, options(SOON));
    receiving.until("streaming", |status| status.streaming).await;
    let slot = absent.slot.clone();
    let started = Instant::now();
    let drop = format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots; SELECT pg_drop_replication_slot('{slot}')"
    );
    // It comes back at once, with a new slot, because it may make one.
    while server.psql(&drop).is_err() {
        assert!(started.elapsed() < Duration::from_secs(30));
    }
    receiving.until("it is back", |status| status.streaming && status.reconnects > 0).await;
    receiving.stop().await;

    // A server that cannot be reached ends the first attempt, after some patience, which cancellation ends.
    let nowhere = ConnectionSettings::parse("host=/nonexistent user=postgres").unwrap();
    let receiving = Receiving::from(&repository, nowhere, options(SOON));
    tokio::time::sleep(SOON).await;
    receiving.stop.cancel();
    let _ = receiving.task.await.unwrap();
}

/// Another copy of the cluster that claims the same place: its content betrays it.
#[tokio::test(flavor = "multi_thread")]
async fn a_clone_that_goes_its_own_way_is_refused() {
    let mut server = server();
    let repository = Repository::open_or_create(Arc::new(InMemory::new()), None).await.unwrap();
    let mut receiving = Receiving::start(&repository, &server, options(SOON));
    receiving.until("streaming", |status| status.streaming).await;
    receiving.stop().await;
    // What both then write differs in a segment that neither ends; one that is archived is refused by its content.
    server.psql("SELECT pg_switch_wal()").unwrap();
    server.stop(Mode::Fast).unwrap();
    let copy = tempfile::Builder::new().prefix("ops-clone-").tempdir_in("/tmp").unwrap();
    TestUser::find().unwrap().own(copy.path()).unwrap();
    let data = copy.path().join("data");
    assert!(Command::new("cp").arg("-a").arg(server.data_dir()).arg(&data).status().unwrap().success());
    server.restart().unwrap();
    server.psql("CREATE TABLE mine AS SELECT 1 AS n").unwrap();
    let mut receiving = Receiving::start(&repository, &server, options(SOON));
    receiving.until_durable(flushed(&server)).await;
    receiving.stop().await;
    let clone = Postgres::from_data_dir(&data).remove_on_drop(true).start().unwrap();
    clone.psql("CREATE TABLE yours AS SELECT 2 AS n").unwrap();
    let error = Receiving::start(&repository, &clone, options(SOON)).fails().await;
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains("another copy of the cluster"), "{error}");
}
