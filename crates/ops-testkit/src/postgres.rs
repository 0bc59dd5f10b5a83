//! A disposable PostgreSQL server. How a cluster comes into being stands in `postgres::cluster`.

use std::cell::Cell;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::error::{Error, ErrorKind};
use crate::process::{free_port, percent_encode, run};
use crate::server::{self, Folder};
use crate::supervise::{Supervised, Supervision};

mod cluster;

pub use cluster::{ExistingCluster, NewCluster};

const USER: &str = "postgres";
const DATABASE: &str = "postgres";

/// A running PostgreSQL server that ends with the test, however the test ends.
///
/// It listens on a unix socket in a private directory (no password) and on 127.0.0.1 (SCRAM, with a password that is
/// hard to quote). Text is UTF-8, the locale is C, `fsync` is off unless it is asked for.
///
/// ```
/// # fn main() -> Result<(), ops_testkit::Error> {
/// # if ops_testkit::default_major().is_err() { return Ok(()) }
/// let mut postgres = ops_testkit::Postgres::start()?;
/// assert_eq!(postgres.psql("SELECT 6 * 7")?, "42");
/// postgres.kill();
/// postgres.restart()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Postgres {
    // Declared, and so dropped, before the folder it runs in.
    process: Supervised,
    folder: Folder,
    launch: Launch,
    port: u16,
    password: Option<String>,
    major: u32,
}

/// How a server is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Sessions are ended, then a checkpoint is written: a clean shutdown.
    Fast,
    /// The server ends without a checkpoint, and recovers at the next start.
    Immediate,
}

impl Postgres {
    /// Starts a new cluster of the default major version with default settings.
    ///
    /// # Errors
    /// As [`NewCluster::start`].
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// Describes a new cluster.
    #[must_use]
    pub fn builder() -> NewCluster {
        NewCluster::default()
    }

    /// Describes a server on an existing data directory, for example a restored one, which is used in place.
    #[must_use]
    pub fn from_data_dir(data: impl Into<PathBuf>) -> ExistingCluster {
        ExistingCluster::new(data.into())
    }

    /// Returns the major version.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Returns the process id of the server.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns the data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.launch.data
    }

    /// Returns a private folder that the server can write to, and that is removed with it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the directory of the unix socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the TCP port on 127.0.0.1, which is also the number in the socket's name. It stays for all restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the name of the superuser.
    #[must_use]
    pub fn user(&self) -> &'static str {
        USER
    }

    /// Returns the name of the database that always exists.
    #[must_use]
    pub fn database(&self) -> &'static str {
        DATABASE
    }

    /// Returns the superuser's password, where it is known: it contains a percent sign, quotes and a space.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Returns a URL for TCP on 127.0.0.1, with the password where it is known.
    #[must_use]
    pub fn url(&self) -> String {
        let password = self.password.as_ref().map(|p| format!(":{}", percent_encode(p)));
        let password = password.unwrap_or_default();
        format!("postgresql://{USER}{password}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// Returns a URL for the unix socket, which needs no password.
    #[must_use]
    pub fn socket_url(&self) -> String {
        let host = percent_encode(&self.socket_dir().to_string_lossy());
        format!("postgresql:///{DATABASE}?user={USER}&host={host}&port={}", self.port)
    }

    /// Returns everything the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.log()).unwrap_or_default()).into_owned()
    }

    /// Runs SQL through `psql` and returns what it prints, unaligned and without headers.
    ///
    /// Each statement is its own transaction. (`psql -c` would make one of them all, so that a `pg_switch_wal()` at
    /// the end would come before the commit.)
    ///
    /// # Errors
    /// [`ErrorKind::Command`] at the first statement that fails; [`Error::log`] has what `psql` said.
    pub fn psql(&self, sql: &str) -> Result<String, Error> {
        // A file, not a pipe: a long script and a long answer cannot block each other.
        let file = tempfile::tempfile().and_then(|mut file| {
            file.write_all(sql.as_bytes())?;
            file.rewind()?;
            Ok(file)
        });
        let file = file.map_err(|e| Error::io("write", Path::new("the input of psql"), e))?;
        let mut psql = self.command("psql");
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-"]).stdin(Stdio::from(file));
        let output = run(&mut psql)?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Prepares a client program of this server's version, set up by its environment to connect through the socket.
    ///
    /// It runs as the user of the test; [`TestUser::apply`](crate::TestUser::apply) changes that.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = cluster::command(&self.launch.bin, program);
        command.env("PGHOST", self.socket_dir()).env("PGPORT", self.port.to_string());
        command.env("PGUSER", USER).env("PGDATABASE", DATABASE);
        command
    }

    /// Says whether the server process is there.
    pub fn is_running(&mut self) -> bool {
        self.process.wait(Duration::ZERO).is_none()
    }

    /// Stops the server and waits for its end. The data directory stays.
    ///
    /// # Errors
    /// [`ErrorKind::NotReady`] when it does not end in time.
    pub fn stop(&mut self, mode: Mode) -> Result<(), Error> {
        let signal = match mode {
            Mode::Fast => Signal::INT,
            Mode::Immediate => Signal::QUIT,
        };
        server::stop("PostgreSQL", &mut self.process, signal, self.launch.patience)
    }

    /// Kills the server and all its children with SIGKILL, and waits until they are gone.
    pub fn kill(&mut self) {
        server::kill(&mut self.process);
    }

    /// Waits until the server ends by itself, and returns its exit status (128 + signal).
    ///
    /// # Errors
    /// [`ErrorKind::NotReady`] when it still runs after `patience`.
    pub fn wait_exit(&mut self, patience: Duration) -> Result<i32, Error> {
        self.process.wait(patience).ok_or_else(|| {
            let message = format!("PostgreSQL still runs after {} s", patience.as_secs());
            Error::new(ErrorKind::NotReady, message)
        })
    }

    /// Starts the server again on the same port and directory, after a fast stop if it still runs.
    ///
    /// # Errors
    /// [`ErrorKind::NotReady`] when it does not come up; [`Error::log`] has the end of its log.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.stop(Mode::Fast)?;
        let (process, _) = self.launch.start(Some(self.port))?;
        std::mem::replace(&mut self.process, process).release();
        Ok(())
    }
}

/// All that a start of the server program needs, the first time and each time after.
#[derive(Debug)]
struct Launch {
    supervision: Supervision,
    bin: PathBuf,
    data: PathBuf,
    arguments: Vec<String>,
    patience: Duration,
}

impl Launch {
    /// Starts the server on the given port, else on a free one, and returns the port with it.
    fn start(&self, fixed: Option<u16>) -> Result<(Supervised, u16), Error> {
        let port = Cell::new(0);
        let command = || {
            port.set(fixed.map_or_else(free_port, Ok)?);
            let mut server = cluster::command(&self.bin, "postgres");
            server.arg("-D").arg(&self.data).arg("-p").arg(port.get().to_string()).args(&self.arguments);
            Ok(server)
        };
        let probe = || {
            let mut psql = cluster::command(&self.bin, "psql");
            psql.arg("-XqAt").arg("-h").arg(&self.supervision.directory).args(["-U", USER, "-d", DATABASE]);
            psql.env("PGCONNECT_TIMEOUT", "5");
            run(psql.arg("-p").arg(port.get().to_string()).args(["-c", "SELECT 1"])).map(drop)
        };
        let process = server::start("PostgreSQL", &self.supervision, self.patience, command, probe)?;
        Ok((process, port.get()))
    }
}
