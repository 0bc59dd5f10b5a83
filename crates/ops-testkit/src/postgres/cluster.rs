//! Makes or adopts a data directory and starts a server on it. The running server stands in the parent module.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Launch, Postgres, USER};
use crate::cache;
use crate::error::{Error, ErrorKind};
use crate::process::{random_hex, run};
use crate::server::Folder;
use crate::supervise::{Supervised, log_tail};
use crate::tools::{bin_dir, default_major, public_copy};

const PATIENCE: Duration = Duration::from_secs(60);
/// Raised when the arguments of initdb below change, so that older templates are not used.
const TEMPLATE_FORMAT: u32 = 1;

/// A cluster to be made. Its settings go to `postgresql.conf`, so backups of it carry them.
#[derive(Debug, Clone)]
pub struct NewCluster {
    major: Option<u32>,
    checksums: bool,
    durable: bool,
    fresh_identity: bool,
    initdb_args: Vec<String>,
    settings: Vec<(String, String)>,
    patience: Duration,
}

impl Default for NewCluster {
    fn default() -> Self {
        Self {
            major: None,
            checksums: true,
            durable: false,
            fresh_identity: false,
            initdb_args: Vec::new(),
            settings: Vec::new(),
            patience: PATIENCE,
        }
    }
}

impl NewCluster {
    /// Asks for a major version instead of [`default_major`].
    ///
    /// # Errors
    /// [`ErrorKind::NotInstalled`] when it is not installed.
    pub fn major(mut self, major: u32) -> Result<Self, Error> {
        bin_dir(major)?;
        self.major = Some(major);
        Ok(self)
    }

    /// Turns data checksums on or off; they are on by default.
    #[must_use]
    pub fn checksums(mut self, on: bool) -> Self {
        self.checksums = on;
        self
    }

    /// Leaves `fsync` on: slower, and data survives a crash of the machine.
    #[must_use]
    pub fn durable(mut self, on: bool) -> Self {
        self.durable = on;
        self
    }

    /// Runs a real `initdb` (about a second) instead of copying a template.
    ///
    /// Clusters from one template share their system identifier, so a mix-up of two clusters goes unnoticed.
    #[must_use]
    pub fn fresh_identity(mut self, on: bool) -> Self {
        self.fresh_identity = on;
        self
    }

    /// Adds an argument of `initdb`, for example `--wal-segsize=1`; this also gives a fresh identity.
    #[must_use]
    pub fn initdb_arg(mut self, argument: impl Into<String>) -> Self {
        self.initdb_args.push(argument.into());
        self
    }

    /// Sets a parameter in `postgresql.conf`; the last value given counts.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Turns WAL archiving on with this command, which runs as the [`TestUser`](crate::TestUser).
    ///
    /// A program in it must be one that this user can execute: see [`public_copy`].
    #[must_use]
    pub fn archive_command(self, command: impl Into<String>) -> Self {
        self.setting("archive_mode", "on").setting("archive_command", command)
    }

    /// Sets how long a start or a stop may take; 60 seconds by default.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Makes the cluster, starts the server, and waits until it answers.
    ///
    /// # Errors
    /// [`ErrorKind::NotInstalled`] without a server program, [`ErrorKind::NotReady`] when it does not come up.
    pub fn start(self) -> Result<Postgres, Error> {
        let major = self.major.map_or_else(default_major, Ok)?;
        let bin = reachable_bin_dir(major)?;
        let folder = Folder::create()?;
        let data = folder.path().join("data");
        if self.fresh_identity || !self.initdb_args.is_empty() {
            self.initdb(&bin, major, &folder, &data)?;
        } else {
            let template = self.template(&bin, major, &folder)?;
            copy(&folder, &template, &data)?;
        }
        append_settings(&data.join("postgresql.conf"), &self.settings)?;

        let supervision = folder.supervision("QUIT");
        let arguments = arguments(folder.path(), self.durable, &[]);
        let launch = Launch { supervision, bin, data, arguments, patience: self.patience };
        let (process, port) = launch.start(None)?;
        let password = format!("te%st '{}' \"quoted\"", random_hex()?);
        let postgres = Postgres { process, folder, launch, port, password: Some(password.clone()), major };
        postgres.psql(&format!("ALTER ROLE {USER} PASSWORD {}", quoted(&password)))?;
        Ok(postgres)
    }

    /// Returns a cached data directory to copy from, made on the first use of these programs.
    fn template(&self, bin: &Path, major: u32, folder: &Folder) -> Result<PathBuf, Error> {
        let server = bin.join("postgres");
        let meta = fs::metadata(&server).map_err(|e| Error::io("read", &server, e))?;
        let version = format!("{}-{}-{TEMPLATE_FORMAT}", meta.len(), meta.mtime());
        let name = format!("template-{major}-{}", if self.checksums { "checksums" } else { "plain" });
        cache::entry(folder.user(), &name, &version, |entry| {
            let made = folder.path().join("template");
            self.initdb(bin, major, folder, &made)?;
            let to = entry.join("data");
            fs::rename(&made, &to).map_err(|e| Error::io("rename", &made, e))
        })
        .map(|entry| entry.join("data"))
    }

    fn initdb(&self, bin: &Path, major: u32, folder: &Folder, data: &Path) -> Result<(), Error> {
        let mut initdb = command(bin, "initdb");
        initdb.arg("-D").arg(data).args(["-U", USER, "--auth-local=trust", "--auth-host=scram-sha-256"]);
        initdb.args(["--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"]);
        match (self.checksums, major) {
            (true, _) => _ = initdb.arg("--data-checksums"),
            (false, 18..) => _ = initdb.arg("--no-data-checksums"),
            (false, _) => {}
        }
        let mut process = Supervised::start(initdb.args(&self.initdb_args), &folder.supervision("TERM"))?;
        let status = process.wait(PATIENCE);
        if status == Some(0) {
            process.release();
            // From here on the log is the server's: what initdb said belongs to no line format of the server.
            return fs::remove_file(folder.log()).map_err(|e| Error::io("remove", &folder.log(), e));
        }
        let message = format!("initdb of {} failed with status {status:?}", data.display());
        Err(Error::new(ErrorKind::NotReady, message).with_log(log_tail(&folder.log())))
    }
}

/// A server to be started on a data directory that exists already, for example a restored one.
///
/// The directory is given to the [`TestUser`](crate::TestUser), and used in place. Its configuration files are not
/// changed: settings of this builder and of the harness go to the command line, which has precedence over them.
#[derive(Debug, Clone)]
pub struct ExistingCluster {
    data: PathBuf,
    password: Option<String>,
    remove: bool,
    durable: bool,
    settings: Vec<(String, String)>,
    patience: Duration,
}

impl ExistingCluster {
    pub(super) fn new(data: PathBuf) -> Self {
        Self { data, password: None, remove: false, durable: false, settings: Vec::new(), patience: PATIENCE }
    }

    /// Says what the superuser's password is, so that [`Postgres::url`] has it: that of the cluster it came from.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Removes the data directory when the server is dropped or the test dies; otherwise it stays.
    #[must_use]
    pub fn remove_on_drop(mut self, remove: bool) -> Self {
        self.remove = remove;
        self
    }

    /// Leaves `fsync` as the cluster has it.
    #[must_use]
    pub fn durable(mut self, on: bool) -> Self {
        self.durable = on;
        self
    }

    /// Sets a parameter on the command line.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Sets how long a start (with its recovery) or a stop may take; 60 seconds by default.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Starts the server and waits until it answers, which is after recovery has become consistent.
    ///
    /// # Errors
    /// [`ErrorKind::NotInstalled`] when there is no server of its major version, [`ErrorKind::NotReady`] when it does
    /// not come up, for example because recovery failed.
    pub fn start(self) -> Result<Postgres, Error> {
        let data = fs::canonicalize(&self.data).map_err(|e| Error::io("find", &self.data, e))?;
        let version = data.join("PG_VERSION");
        let major = fs::read_to_string(&version).map_err(|e| Error::io("read", &version, e))?;
        let major = major.trim().parse().map_err(|_| {
            Error::new(ErrorKind::NotReady, format!("{} is not a major version", version.display()))
        })?;
        let bin = reachable_bin_dir(major)?;
        let folder = Folder::create()?;
        folder.user().own_tree(&data)?;

        let mut supervision = folder.supervision(if self.remove { "QUIT" } else { "INT" });
        supervision.second = self.remove.then(|| data.clone());
        let arguments = arguments(folder.path(), self.durable, &self.settings);
        let launch = Launch { supervision, bin, data, arguments, patience: self.patience };
        let (process, port) = launch.start(None)?;
        Ok(Postgres { process, folder, launch, port, password: self.password, major })
    }
}

/// Prepares a program of PostgreSQL without any `PG…` variable of the caller.
pub(super) fn command(bin: &Path, program: &str) -> Command {
    let mut command = Command::new(bin.join(program));
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(name);
        }
    }
    command
}

/// Returns the programs of a version where the servers' user can execute them.
fn reachable_bin_dir(major: u32) -> Result<PathBuf, Error> {
    let bin = bin_dir(major)?;
    // The server finds its libraries and its share folder relative to its program: they move together.
    let root = bin.parent().filter(|_| bin.ends_with("bin")).unwrap_or(&bin);
    let copy = public_copy(root)?;
    Ok(if root == bin { copy } else { copy.join("bin") })
}

/// What the harness sets for each start, on the command line: it wins over any file of a restored cluster.
fn arguments(socket_dir: &Path, durable: bool, settings: &[(String, String)]) -> Vec<String> {
    let mut all = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        format!("unix_socket_directories={}", socket_dir.display()),
        "logging_collector=off".to_owned(),
        "log_destination=stderr".to_owned(),
    ];
    if !durable {
        all.push("fsync=off".to_owned());
    }
    all.extend(settings.iter().map(|(name, value)| format!("{name}={value}")));
    all.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect()
}

fn append_settings(file: &Path, settings: &[(String, String)]) -> Result<(), Error> {
    let lines: String =
        settings.iter().map(|(name, value)| format!("{name} = {}\n", quoted(value))).collect();
    let written = File::options().append(true).open(file).and_then(|mut f| f.write_all(lines.as_bytes()));
    written.map_err(|e| Error::io("write", file, e))
}

/// Quotes a value for `postgresql.conf`; without a backslash in it, this is also an SQL string.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', "''"))
}

fn copy(folder: &Folder, from: &Path, to: &Path) -> Result<(), Error> {
    let mut cp = Command::new("cp");
    cp.args(["-a", "--reflink=auto", "--"]).arg(from).arg(to).current_dir(folder.path());
    folder.user().apply(&mut cp);
    run(&mut cp).map(drop)
}
