//! What every kind of test server shares: its folder, its log, and how to wait until it is ready.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::error::{Error, ErrorKind};
use crate::process::{descendants, is_running};
use crate::supervise::{Supervised, Supervision, log_tail};
use crate::user::TestUser;

/// How often a server is started again when somebody else took its port first.
const PORT_ATTEMPTS: u32 = 8;

/// A private folder in `/tmp` that belongs to the server's user.
///
/// Its path is short, because the path of a unix socket is limited to 107 bytes.
#[derive(Debug)]
pub(crate) struct Folder {
    directory: TempDir,
    user: TestUser,
}

impl Folder {
    pub(crate) fn create() -> Result<Self, Error> {
        let user = TestUser::find()?;
        let parent = Path::new("/tmp");
        // The unix socket in it asks for no password.
        let private = fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix("ops-").permissions(private).tempdir_in(parent);
        let directory = directory.map_err(|e| Error::io("create a directory in", parent, e))?;
        user.own(directory.path())?;
        Ok(Self { directory, user })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn user(&self) -> TestUser {
        self.user
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path().join("server.log")
    }

    /// Writes a file that the server's user can read, and nobody else.
    pub(crate) fn write(&self, name: &str, content: &str) -> Result<PathBuf, Error> {
        let path = self.path().join(name);
        fs::write(&path, content).map_err(|e| Error::io("write", &path, e))?;
        self.user.own(&path)?;
        Ok(path)
    }

    pub(crate) fn supervision(&self, stop_signal: &'static str) -> Supervision {
        let directory = self.path().to_owned();
        Supervision { user: self.user, directory, second: None, log: self.log(), stop_signal }
    }
}

/// Starts a server and waits until `probe` succeeds; tries once more when the port was taken in between.
///
/// `command` is called for each attempt, so that it may choose another port.
pub(crate) fn start(
    what: &str,
    how: &Supervision,
    patience: Duration,
    mut command: impl FnMut() -> Result<Command, Error>,
    mut probe: impl FnMut() -> Result<(), Error>,
) -> Result<Supervised, Error> {
    let mut attempt = 1;
    loop {
        let seen = fs::metadata(&how.log).map_or(0, |meta| meta.len());
        let mut process = Supervised::start(&command()?, how)?;
        let failure = match wait_ready(&mut process, patience, &mut probe) {
            Ok(()) => return Ok(process),
            Err(failure) => failure,
        };
        let log = fs::read(&how.log).unwrap_or_default();
        let new = log.get(usize::try_from(seen).unwrap_or(usize::MAX)..).unwrap_or_default();
        let port_taken = String::from_utf8_lossy(new).to_lowercase().contains("address already in use");
        kill(&mut process);
        // The folder may hold the data of an earlier start: whoever owns it removes it.
        process.release();
        if port_taken && attempt < PORT_ATTEMPTS {
            attempt += 1;
            std::thread::sleep(Duration::from_millis(50));
            continue;
        }
        let message = format!("{what} {failure}");
        return Err(Error::new(ErrorKind::NotReady, message).with_log(log_tail(&how.log)));
    }
}

fn wait_ready(
    process: &mut Supervised,
    patience: Duration,
    probe: &mut impl FnMut() -> Result<(), Error>,
) -> Result<(), String> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = process.wait(Duration::from_millis(20)) {
            return Err(format!("ended with status {status} before it was ready"));
        }
        match probe() {
            Ok(()) => return Ok(()),
            Err(_) if Instant::now() < deadline => {}
            Err(last) => return Err(format!("was not ready after {} s ({last:?})", patience.as_secs())),
        }
    }
}

/// Sends a signal and waits for the end.
pub(crate) fn stop(
    what: &str,
    process: &mut Supervised,
    signal: Signal,
    patience: Duration,
) -> Result<(), Error> {
    process.signal(signal);
    match process.wait(patience) {
        Some(_) => Ok(()),
        None => {
            let message = format!("{what} did not stop within {} s", patience.as_secs());
            Err(Error::new(ErrorKind::NotReady, message))
        }
    }
}

/// Ends a server and all its children at once, as a crash of the machine would.
pub(crate) fn kill(process: &mut Supervised) {
    let children = descendants(process.pid());
    process.signal(Signal::KILL);
    for &child in &children {
        if let Some(pid) = rustix::process::Pid::from_raw(child.cast_signed()) {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    process.wait(Duration::from_secs(10));
    while children.iter().any(|&child| is_running(child)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
}
