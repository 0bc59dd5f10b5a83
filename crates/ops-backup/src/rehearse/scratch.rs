//! The directory that a rehearsal writes in, and its removal however this process ends. No server stands here.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::options::{Keep, RunAs};
use crate::error::{Error, ErrorKind, Result};

/// Waits until nobody holds the other end of its stdin, then removes the directory unless it is kept.
///
/// The holders are this process and the supervisors of its children. So the directory goes when the last child has
/// ended, also when this process was killed. Backends of a killed server may write for a moment longer.
const JANITOR: &str = r#"
while read -r _; do :; done
[ "$2" = remove ] || exit 0
tries=0
until rm -rf -- "$1"; do
  tries=$((tries + 1))
  [ "$tries" -lt 50 ] || exit 1
  sleep 0.2
done
"#;

/// A private directory. Dropping it waits for its children's end and removes it, unless it is kept.
#[derive(Debug)]
pub(super) struct Scratch {
    root: PathBuf,
    keep: Keep,
    janitor: Child,
    /// The write end of the janitor's stdin; open until the end.
    lifeline: Option<OwnedFd>,
}

impl Scratch {
    /// Creates a new directory in `parent` that only `run_as` can enter.
    pub(super) fn create(parent: &Path, run_as: Option<RunAs>, keep: Keep) -> Result<Self> {
        let parent = fs::canonicalize(parent).map_err(|error| {
            Error::io(format_args!("use the scratch directory {}", parent.display()), error)
        })?;
        let root = create_unique(&parent)?;
        let mut janitor = start_janitor(&root, keep).map_err(|error| Error::io("start /bin/sh", error))?;
        let lifeline = janitor.stdin.take().map(OwnedFd::from);
        let scratch = Scratch { root, keep, janitor, lifeline };
        for directory in [scratch.root.clone(), scratch.sockets(), scratch.tablespaces()] {
            let created = if directory.exists() { Ok(()) } else { create_private(&directory) };
            created
                .and_then(|()| own(&directory, run_as))
                .map_err(|error| Error::io(format_args!("create {}", directory.display()), error))?;
        }
        // The limit of sockaddr_un is 108 bytes with the final zero.
        if scratch.sockets().join(".s.PGSQL.5432").as_os_str().len() > 107 {
            let message =
                format!("scratch directory {} has too long a path for a Unix socket", parent.display());
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        Ok(scratch)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The restored cluster; not created here.
    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(super) fn tablespaces(&self) -> PathBuf {
        self.root.join("tablespaces")
    }

    pub(super) fn sockets(&self) -> PathBuf {
        self.root.join("run")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("server.log")
    }

    /// Writes a file that `run_as` can read.
    pub(super) fn write(&self, name: &str, text: &str, run_as: Option<RunAs>) -> Result<PathBuf> {
        let path = self.root.join(name);
        fs::write(&path, text)
            .and_then(|()| own(&path, run_as))
            .map_err(|error| Error::io(format_args!("write {}", path.display()), error))?;
        Ok(path)
    }

    /// Returns what a child's supervisor must hold as long as it needs the directory.
    pub(super) fn lifeline(&self) -> io::Result<Stdio> {
        let lifeline = self.lifeline.as_ref().expect("it is taken only on the way out");
        lifeline.try_clone().map(Stdio::from)
    }

    /// Waits for the children's end and removes the directory, or returns it where it is kept.
    pub(super) async fn close(mut self) -> Result<Option<PathBuf>> {
        let root = self.root.clone();
        let kept = (self.keep == Keep::Directory).then(|| root.clone());
        match Error::joined(tokio::task::spawn_blocking(move || self.finish()).await) {
            Ok(status) if status.success() => Ok(kept),
            Ok(_) => Err(Error::new(ErrorKind::Io, format!("cannot remove {}", root.display()))),
            Err(error) => Err(Error::io(format_args!("remove {}", root.display()), error)),
        }
    }

    fn finish(&mut self) -> io::Result<ExitStatus> {
        drop(self.lifeline.take());
        self.janitor.wait()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // After an orderly end this returns at once. Else it waits, so that nothing outlives the caller's view.
        let _ = self.finish();
    }
}

fn start_janitor(root: &Path, keep: Keep) -> io::Result<Child> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", JANITOR, "ops-backup"]).arg(root);
    shell.arg(match keep {
        Keep::Nothing => "remove",
        Keep::Directory => "keep",
    });
    // Its own process group: Ctrl-C on a terminal must reach this process alone.
    shell.current_dir("/").process_group(0);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}

fn create_unique(parent: &Path) -> Result<PathBuf> {
    let process = std::process::id();
    for number in 1..1000 {
        let root = parent.join(format!("rehearsal-{process}-{number}"));
        match create_private(&root) {
            Ok(()) => return Ok(root),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io(format_args!("create {}", root.display()), error)),
        }
    }
    let message = format!("scratch directory {} is full of old rehearsals", parent.display());
    Err(Error::new(ErrorKind::Configuration, message))
}

fn create_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

fn own(path: &Path, run_as: Option<RunAs>) -> io::Result<()> {
    run_as.map_or(Ok(()), |user| chown(path, Some(user.uid), Some(user.gid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_removed_when_closed_and_when_dropped_and_kept_on_request() {
        let parent = tempfile::tempdir().unwrap();
        for close in [true, false] {
            let scratch = Scratch::create(parent.path(), None, Keep::Nothing).unwrap();
            let root = scratch.root().to_owned();
            fs::write(root.join("file"), "x").unwrap();
            if close {
                assert_eq!(scratch.close().await.unwrap(), None);
            } else {
                drop(scratch);
            }
            assert!(!root.exists(), "close: {close}");
        }
        let scratch = Scratch::create(parent.path(), None, Keep::Directory).unwrap();
        let root = scratch.root().to_owned();
        assert_eq!(scratch.close().await.unwrap(), Some(root.clone()));
        assert!(root.exists());
    }

    #[test]
    fn it_stays_while_a_child_holds_its_lifeline() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(parent.path(), None, Keep::Nothing).unwrap();
        let root = scratch.root().to_owned();
        let marker = root.join("marker");
        let mut child = Command::new("/bin/sh")
            .args(["-c", "sleep 0.5; [ -d \"$1\" ]", "child"])
            .arg(&root)
            .stderr(scratch.lifeline().unwrap())
            .spawn()
            .unwrap();
        fs::write(marker, "x").unwrap();
        drop(scratch);
        assert!(child.wait().unwrap().success(), "the directory was there until the child's end");
        assert!(!root.exists());
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_and_removed() {
        let parent = tempfile::tempdir().unwrap();
        let long = parent.path().join("x".repeat(100));
        fs::create_dir(&long).unwrap();
        let error = Scratch::create(&long, None, Keep::Nothing).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert_eq!(fs::read_dir(&long).unwrap().count(), 0);
    }
}
