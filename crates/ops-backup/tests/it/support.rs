//! What the tests share: a server that archives into a repository, and the commands it does so with.
//!
//! The server calls this very test program for each WAL file: [`wal_command`] is a test that does nothing unless the
//! environment asks it to push or to fetch. So no other program is needed.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use ops_backup::location::{self, LocationOptions};
use ops_backup::postgres::control::ControlFile;
use ops_backup::wal::service::{Service, ServiceOptions, client};
use ops_backup::wal::{self, Fetched, Pushed};
use ops_backup::{Backup, BackupOptions, Key, Monitor, PostgresEngine, Repository, backup};
use ops_core::connection::ConnectionSettings;
use ops_testkit::{NewCluster, Postgres, TestUser, public_copy};
use tempfile::TempDir;

use crate::wal::raw_key;

const REPOSITORY: &str = "OPS_BACKUP_TEST_REPOSITORY";
const PUSH: &str = "OPS_BACKUP_TEST_PUSH";
const FETCH: &str = "OPS_BACKUP_TEST_FETCH";
const SERVE: &str = "OPS_BACKUP_TEST_SERVE";
/// Set where a segment that is not complete is fetched too.
const TAIL: &str = "OPS_BACKUP_TEST_TAIL";
/// Set where the repository is encrypted.
const ENCRYPTED: &str = "OPS_BACKUP_TEST_ENCRYPTED";
/// Endpoint, key and secret of an S3 repository.
#[cfg(feature = "s3")]
const S3: &str = "OPS_BACKUP_TEST_S3";

/// Exits as the binary will: 0 done, 1 proven absent, above 125 for a failed fetch.
#[test]
#[expect(clippy::exit, reason = "PostgreSQL reads the exit code of its commands")]
fn wal_command() {
    let Ok(repository) = env::var(REPOSITORY) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let code = runtime.block_on(async {
        let store = location::open(&repository, &location_options()).unwrap();
        let key = env::var(ENCRYPTED).is_ok().then(raw_key);
        // What is not to be read is an error of its own, and never an absent file.
        let repository = match Repository::open_or_create(store, key.as_ref()).await {
            Ok(repository) => repository,
            Err(error) => {
                eprintln!("open the repository: {error}");
                return 126;
            }
        };
        if let Ok(data_directory) = env::var(SERVE) {
            let service = Service::bind(repository, &ServiceOptions::new(data_directory)).await.unwrap();
            service.run(tokio_util::sync::CancellationToken::new()).await.unwrap();
            return 0;
        }
        if let Ok(path) = env::var(PUSH) {
            let path = Path::new(&path);
            let pushed = match client::push(path, None) {
                Some(pushed) => pushed,
                None => wal::push(&repository, &wal::cluster_of_segment(path).unwrap(), path).await,
            };
            return match pushed {
                Ok(Pushed::Stored | Pushed::AlreadyThere) => 0,
                Err(error) => {
                    eprintln!("wal push: {error}");
                    74
                }
            };
        }
        let request = env::var(FETCH).unwrap();
        let (name, path) = request.split_once(' ').unwrap();
        let path = Path::new(path);
        let tail = env::var(TAIL).is_ok();
        let fetched = match client::fetch(name, path, None) {
            Some(fetched) if !tail => fetched,
            _ => {
                let cluster = ControlFile::read(Path::new(".")).unwrap().cluster;
                match tail {
                    true => wal::tail::fetch(&repository, &cluster, name, path).await,
                    false => wal::fetch(&repository, &cluster, name, path).await,
                }
            }
        };
        match fetched {
            Ok(Fetched::Written) => 0,
            Ok(Fetched::Absent) => 1,
            Err(error) => {
                eprintln!("wal fetch: {error}");
                126
            }
        }
    });
    std::process::exit(code);
}

fn this_program() -> String {
    public_copy(&env::current_exe().unwrap()).unwrap().display().to_string()
}

pub(crate) fn archive_command(repository: &Path) -> String {
    push_command(&environment(repository, false))
}

/// A service for the server in `data_directory`.
pub(crate) fn serve_command(data_directory: &Path, repository: &Path) -> Command {
    let mut command = Command::new(this_program());
    command.args(["--exact", "support::wal_command", "-q", "--nocapture"]);
    command.env(REPOSITORY, repository).env(SERVE, data_directory);
    command
}

pub(crate) fn restore_command(repository: &Path) -> String {
    fetch_command(&environment(repository, false))
}

/// Also gives segments that are not complete.
pub(crate) fn restore_command_with_tail(repository: &Path) -> String {
    format!("{TAIL}=1 {}", restore_command(repository))
}

/// For a repository that [`raw_key`] opens.
pub(crate) fn restore_command_with_key(repository: &Path) -> String {
    fetch_command(&environment(repository, true))
}

fn environment(repository: &Path, encrypted: bool) -> String {
    let key = if encrypted { format!(" {ENCRYPTED}=1") } else { String::new() };
    format!("{REPOSITORY}={}{key}", repository.display())
}

fn push_command(environment: &str) -> String {
    format!("{environment} {PUSH}=%p {} --exact support::wal_command -q --nocapture", this_program())
}

fn fetch_command(environment: &str) -> String {
    format!("{environment} {FETCH}='%f %p' {} --exact support::wal_command -q --nocapture", this_program())
}

#[cfg(not(feature = "s3"))]
fn location_options() -> LocationOptions {
    LocationOptions::default()
}

#[cfg(feature = "s3")]
fn location_options() -> LocationOptions {
    let Ok(s3) = env::var(S3) else { return LocationOptions::default() };
    let [endpoint, key, secret] = s3.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{S3} has three parts")
    };
    s3_options(endpoint, key, secret)
}

#[cfg(feature = "s3")]
pub(crate) fn s3_options(endpoint: &str, key: &str, secret: &str) -> LocationOptions {
    let credentials = location::S3Credentials {
        access_key_id: key.to_owned(),
        secret_access_key: secret.into(),
        session_token: None,
    };
    let mut options = LocationOptions::default();
    options.s3.endpoint = Some(endpoint.to_owned());
    options.s3.credentials = Some(credentials);
    options.s3.allow_http = true;
    options
}

/// The archive and the restore command for a repository in S3.
#[cfg(feature = "s3")]
pub(crate) fn s3_commands(location: &str, endpoint: &str, key: &str, secret: &str) -> (String, String) {
    let environment = format!("{REPOSITORY}={location} {S3}='{endpoint} {key} {secret}'");
    (push_command(&environment), fetch_command(&environment))
}

pub(crate) fn store(path: &Path) -> Arc<dyn ObjectStore> {
    location::open(path.to_str().unwrap(), &LocationOptions::default()).unwrap()
}

/// A directory that root, the test's user and the server's user can all enter.
pub(crate) fn shared_dir() -> TempDir {
    let root = tempfile::Builder::new().prefix("ops-backup-").tempdir_in("/tmp").unwrap();
    let user = TestUser::find().unwrap();
    user.own(root.path()).unwrap();
    root
}

/// A server that archives into a repository.
pub(crate) struct Site {
    pub(crate) postgres: Postgres,
    pub(crate) repository: Repository,
    pub(crate) root: TempDir,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Site::start_with(|builder| builder).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(NewCluster) -> NewCluster) -> Self {
        Site::make(change, str::to_owned, None).await
    }

    /// With an archive command that is made of the usual one.
    pub(crate) async fn start_with_command(
        change: impl FnOnce(NewCluster) -> NewCluster,
        command: impl FnOnce(&str) -> String,
    ) -> Self {
        Site::make(change, command, None).await
    }

    /// With a repository that [`raw_key`] opens.
    pub(crate) async fn start_encrypted() -> Self {
        Site::make(|builder| builder, str::to_owned, Some(raw_key())).await
    }

    async fn make(
        change: impl FnOnce(NewCluster) -> NewCluster,
        command: impl FnOnce(&str) -> String,
        key: Option<Key>,
    ) -> Self {
        let root = shared_dir();
        let place = root.path().join("repository");
        TestUser::find().unwrap().create_dir(&place).unwrap();
        let archive = command(&push_command(&environment(&place, key.is_some())));
        let builder = Postgres::builder().checksums(true).archive_command(archive);
        let postgres = change(builder).start().unwrap();
        // The first push creates the folders that the server's user must be able to write.
        postgres.psql("SELECT pg_switch_wal()").unwrap();
        wait_until("the first segment is archived", &postgres, || place.join("pg").exists()).await;
        let repository = Repository::open(store(&place), key.as_ref()).await.unwrap();
        Site { postgres, repository, root }
    }

    pub(crate) fn place(&self) -> PathBuf {
        self.root.path().join("repository")
    }

    pub(crate) fn connection(&self) -> ConnectionSettings {
        ConnectionSettings::parse(&self.postgres.url()).unwrap()
    }

    pub(crate) fn engine(&self) -> PostgresEngine {
        PostgresEngine::new(self.connection())
    }

    pub(crate) async fn backup(&self) -> Backup {
        self.try_backup(&BackupOptions::default(), &Monitor::default()).await.unwrap()
    }

    pub(crate) async fn try_backup(
        &self,
        options: &BackupOptions,
        monitor: &Monitor,
    ) -> Result<Backup, ops_backup::Error> {
        backup(&self.repository, &self.engine(), options, monitor).await
    }

    pub(crate) fn psql(&self, sql: &str) -> String {
        self.postgres.psql(sql).unwrap()
    }

    /// Makes a table of 30 MB that nothing changes, whatever a load does to its own, and returns its bytes: backups share
    /// them.
    pub(crate) fn still(&self) -> u64 {
        self.psql(
            "CREATE TABLE still AS SELECT repeat(md5(n::text), 50) FROM generate_series(1, 20000) AS n",
        );
        self.psql("VACUUM FREEZE still; SELECT pg_relation_size('still')").parse().unwrap()
    }

    /// Runs a client program of the server, and returns what it printed.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.postgres.command(program).args(arguments).output().unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} failed: {text}");
        text
    }

    /// Archives everything that was written so far.
    pub(crate) async fn switch_wal(&self) {
        switch_wal(&self.postgres, &self.place()).await;
    }
}

/// Archives everything that `server` has written so far. A record comes first: at the very start of a segment there is
/// nothing to switch from, and majors disagree on the name of that place.
pub(crate) async fn switch_wal(server: &Postgres, repository: &Path) {
    let switch = "SELECT pg_walfile_name(pg_switch_wal()) FROM pg_create_restore_point('switch')";
    let name = server.psql(switch).unwrap();
    let system = server.psql("SELECT system_identifier FROM pg_control_system()").unwrap();
    let path = repository.join(format!("pg/{system}/wal/{}/{name}", &name[..8]));
    wait_until(&format!("{name} is archived"), server, || path.exists()).await;
}

async fn wait_until(what: &str, postgres: &Postgres, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "not within a minute: {what}: {}",
            postgres.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
