//! The WAL service beside a real server: killed at any moment, and replayed from.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ops_backup::postgres::control::ControlFile;
use ops_backup::wal::service::{Service, ServiceOptions, client};
use ops_backup::wal::{self, Fetched};
use ops_backup::{BackupOptions, ErrorKind, Monitor, RestoreOptions, RestoreTarget, audit_wal, restore};
use ops_testkit::{Mode, Postgres, TestUser};
use sha2::{Digest as _, Sha256};

use crate::support::{Site, restore_command, serve_command, shared_dir};

/// A service in a process of its own, as the user of the server.
struct Served(Child);

impl Served {
    fn start(data_directory: &Path, repository: &Path) -> Self {
        let mut command = serve_command(data_directory, repository);
        TestUser::find().unwrap().apply(&mut command);
        Served(command.stdout(Stdio::null()).spawn().unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `archive_command` that notes the sum of each file, and then that it was acknowledged.
fn noting(command: &str, notes: &Path) -> String {
    let notes = notes.display();
    format!("sum=$(sha256sum < %p) && {command} && echo \"%f $sum\" >> {notes}")
}

async fn until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < patience, "it took too long until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A number that looks random and is the same in every run.
fn dice(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Under load the service is killed 160 times and the server 40 times. Whatever was acknowledged is in the repository as it
/// was; the archive has no gap; and a restore through the service has every row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_two_hundred_times_it_loses_nothing_that_was_acknowledged() {
    const KILLS: u32 = 200;
    let folder = shared_dir();
    let noted = folder.path().join("acknowledged");
    let mut site = Site::start_with_command(
        |builder| builder.initdb_arg("--wal-segsize=1").setting("max_wal_size", "32MB"),
        |push| noting(push, &noted),
    )
    .await;
    site.psql("CREATE TABLE load (id bigserial PRIMARY KEY, filler text)");
    let data = site.postgres.data_dir().to_owned();
    let place = site.place();
    let taken = site.try_backup(&BackupOptions::default(), &Monitor::default()).await.unwrap();
    let mut state = 7;
    let mut served = Some(Served::start(&data, &place));
    let insert =
        "INSERT INTO load (filler) SELECT repeat(md5(i::text), 30) FROM generate_series(1, 400) AS i";
    let mut rows: u64 = 0;
    for kill in 0..KILLS {
        site.psql(insert);
        rows += 400;
        std::thread::sleep(Duration::from_millis(dice(&mut state) % 30));
        if kill % 5 == 4 {
            site.postgres.kill();
            site.postgres.restart().unwrap();
        } else {
            served.take().unwrap().kill();
            served = Some(Served::start(&data, &place));
        }
    }
    site.switch_wal().await;
    let waiting = || {
        let status = std::fs::read_dir(data.join("pg_wal/archive_status")).unwrap();
        status.filter(|note| note.as_ref().unwrap().file_name().to_string_lossy().ends_with(".ready")).count()
    };
    until("everything is archived", Duration::from_secs(120), || waiting() == 0).await;

    let cluster = ControlFile::read(&data).unwrap().cluster;
    let acknowledged: BTreeMap<String, String> = std::fs::read_to_string(&noted)
        .unwrap()
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, sum)| (name.to_owned(), sum.trim_end_matches([' ', '-']).to_owned()))
        .collect();
    assert!(acknowledged.len() > 60, "only {} files were archived", acknowledged.len());
    let out = folder.path().join("out");
    for (name, sum) in &acknowledged {
        let fetched = wal::fetch(&site.repository, &cluster, name, &out).await.unwrap();
        assert_eq!(fetched, Fetched::Written, "{name} was acknowledged and lost");
        assert_eq!(sha256(&std::fs::read(&out).unwrap()), *sum, "{name} is not what was acknowledged");
    }
    let audit = audit_wal(&site.repository).await.unwrap();
    assert!(audit.is_whole(), "{audit:?}");
    assert_eq!(audit.clusters[0].backups[0].id, taken.id);

    // And back, through a service that is killed while it prefetches.
    drop(served);
    let copy = folder.path().join("copy");
    let target = RestoreTarget::check(&copy).unwrap();
    let options = RestoreOptions { restore_command: restore_command(&place), ..RestoreOptions::default() };
    let plan = restore::plan(&site.repository, target, options).await.unwrap();
    restore::apply(&site.repository, plan, &Monitor::default()).await.unwrap();
    TestUser::find().unwrap().own_tree(&copy).unwrap();
    let killer = std::thread::spawn({
        let (copy, place) = (copy.clone(), place.clone());
        move || {
            for pause in [150, 250, 100, 300, 50, 200] {
                let served = Served::start(&copy, &place);
                std::thread::sleep(Duration::from_millis(pause));
                served.kill();
            }
            Served::start(&copy, &place)
        }
    });
    let restored = Postgres::from_data_dir(&copy).start().unwrap();
    let promoted = || restored.psql("SELECT pg_is_in_recovery()").unwrap() == "f";
    until("the copy is promoted", Duration::from_secs(120), promoted).await;
    assert_eq!(restored.psql("SELECT count(*) FROM load").unwrap(), rows.to_string(), "{}", restored.log());
    drop(killer.join().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_service_serves_a_server_and_a_client_does_without_it() {
    let mut site =
        Site::start_with(|builder| builder.initdb_arg("--wal-segsize=1").setting("wal_keep_size", "64MB"))
            .await;
    let data = site.postgres.data_dir().to_owned();
    let first = data.join("pg_wal").join(site.psql("SELECT pg_walfile_name(pg_switch_wal())"));
    site.switch_wal().await;
    let sockets = tempfile::tempdir().unwrap();
    let ask = |path: &Path| {
        let (path, sockets) = (path.to_owned(), sockets.path().to_owned());
        tokio::task::spawn_blocking(move || client::push(&path, Some(&sockets)))
    };
    // Nobody is there.
    assert!(ask(&first).await.unwrap().is_none());

    let mut options = ServiceOptions::new(&data);
    options.socket_directory = Some(sockets.path().to_owned());
    let service = Service::bind(site.repository.clone(), &options).await.unwrap();
    let second = Service::bind(site.repository.clone(), &options).await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Busy, "{second}");
    let (socket, status) = (service.socket().to_owned(), service.status());
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(service.run(stop.clone()));
    assert!(ask(&first).await.unwrap().unwrap().is_ok());
    assert_eq!(status.get().totals.push_answers, 1);
    let absent = ask(&data.join("pg_wal/0000000100000000000000FF")).await.unwrap().unwrap().unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::Io, "{absent}");
    stop.cancel();
    running.await.unwrap().unwrap();
    assert!(!socket.exists(), "the socket stays behind");
    assert!(ask(&first).await.unwrap().is_none());

    // A directory into which others can write is not trusted by either side.
    std::fs::set_permissions(sockets.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let refused = Service::bind(site.repository.clone(), &options).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Configuration, "{refused}");

    // A stray copy of the cluster archives other content under the same name: it is refused.
    site.postgres.stop(Mode::Fast).unwrap();
    std::fs::set_permissions(sockets.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mut bytes = std::fs::read(&first).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&first, bytes).unwrap();
    let service = Service::bind(site.repository.clone(), &options).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(service.run(stop.clone()));
    let refused = ask(&first).await.unwrap().unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    stop.cancel();
    running.await.unwrap().unwrap();
}
