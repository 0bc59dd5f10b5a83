//! Git, by its own program: it knows every format of its objects, and none of its promises is remade here.

use crate::scan::error::{Error, ErrorKind};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A repository.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    /// The folder in which git is called.
    folder: PathBuf,
}

impl Git {
    /// The repository that a path is in; None where it is in none.
    ///
    /// # Errors
    /// Fails where git is missing, or refuses the repository for another reason (its owner, its format).
    pub(crate) fn discover(path: &Path) -> Result<Option<Self>, Error> {
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let git = Self { folder: folder.to_path_buf() };
        let done = git.command(["rev-parse", "--git-dir"]).output().map_err(missing)?;
        if done.status.success() {
            return Ok(Some(git));
        }
        let said = String::from_utf8_lossy(&done.stderr);
        if said.contains("not a git repository") {
            return Ok(None);
        }
        Err(failed("rev-parse", &said))
    }

    /// The repository that a path is in.
    ///
    /// # Errors
    /// As [`discover`](Self::discover), and where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Self::discover(path)?.ok_or_else(|| {
            Error::new(ErrorKind::NotARepository, format!("{} is in no git repository", path.display()))
        })
    }

    /// Refuses a repository whose history is not all there.
    pub(crate) fn require_history(&self) -> Result<(), Error> {
        let incomplete = |what: &str| {
            Err(Error::new(
                ErrorKind::Incomplete,
                format!("{} is a {what} clone: a part of its history is not here", self.folder.display()),
            ))
        };
        if self.text(["rev-parse", "--is-shallow-repository"])?.trim() == "true" {
            return incomplete("shallow");
        }
        let promises = self
            .command([
                "config",
                "--get-regexp",
                r"^(remote\..*\.(promisor|partialclonefilter)|extensions\.partialclone)$",
            ])
            .output()
            .map_err(missing)?;
        if !promises.stdout.is_empty() {
            return incomplete("partial");
        }
        Ok(())
    }

    /// The object that a revision names.
    pub(crate) fn commit(&self, revision: &str) -> Result<String, Error> {
        let unknown =
            || Error::new(ErrorKind::UnknownRevision, format!("{revision} is no commit of this repository"));
        if revision.starts_with('-') {
            return Err(unknown());
        }
        let done =
            self.command(["rev-parse", "--verify", "--quiet", &format!("{revision}^{{commit}}")]).output();
        let done = done.map_err(missing)?;
        let id = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        if done.status.success() && !id.is_empty() { Ok(id) } else { Err(unknown()) }
    }

    /// Whether there are files to look at: a bare repository has none.
    pub(crate) fn has_work_tree(&self) -> Result<bool, Error> {
        Ok(self.text(["rev-parse", "--is-inside-work-tree"])?.trim() == "true")
    }

    /// The file of the repository's own settings.
    pub(crate) fn config(&self) -> Result<PathBuf, Error> {
        let folder = self.text(["rev-parse", "--path-format=absolute", "--git-common-dir"])?;
        Ok(Path::new(folder.trim_end_matches('\n')).join("config"))
    }

    /// The output of a command.
    pub(crate) fn bytes<const N: usize>(&self, args: [&str; N]) -> Result<Vec<u8>, Error> {
        let done = self.command(args).output().map_err(missing)?;
        if done.status.success() {
            return Ok(done.stdout);
        }
        Err(failed(args[0], &String::from_utf8_lossy(&done.stderr)))
    }

    /// The output of a command, as text.
    pub(crate) fn text<const N: usize>(&self, args: [&str; N]) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.bytes(args)?).into_owned())
    }

    /// Starts a command whose output is read as it comes.
    pub(crate) fn start<const N: usize>(&self, args: [&str; N], stdin: Stdio) -> Result<Child, Error> {
        self.command(args).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(missing)
    }

    fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(&self.folder)
            .args(["-c", "core.quotePath=false", "-c", "log.showRoot=true", "-c", "core.fsmonitor=false"])
            // A pack is read from one end to the other: mapping all of it at once wins no time and costs its size. Of what
            // deltas refer to it keeps a quarter less than by default, so that both processes stay below 200 MB.
            .args(["-c", "core.packedGitLimit=16m", "-c", "core.packedGitWindowSize=1m"])
            .args(["-c", "core.deltaBaseCacheLimit=72m"])
            .args(args)
            .stdin(Stdio::null())
            .env("LC_ALL", "C")
            // Nothing is fetched, asked or written, and nothing stands in for what is really there.
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1");
        command
    }
}

fn missing(source: std::io::Error) -> Error {
    Error::new(ErrorKind::GitMissing, "git does not start").caused_by(source)
}

pub(crate) fn failed(command: &str, said: &str) -> Error {
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    Error::new(ErrorKind::GitFailed, format!("git {command} failed: {}", line.trim()))
}
