//! Who the servers run as, and what that user can reach. No server and no process stands here.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::error::{Error, ErrorKind};

/// The user that test servers run as: never root, because PostgreSQL refuses that.
///
/// A test that runs as root starts its servers as `postgres` where that user exists, else as `nobody`. Any other
/// user starts them as itself, and every method here then does nothing special.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestUser {
    uid: u32,
    gid: u32,
    root_test: bool,
}

impl TestUser {
    /// Finds the user for the current process.
    ///
    /// # Errors
    /// [`ErrorKind::NotInstalled`] for root on a machine that has neither `postgres` nor `nobody`.
    pub fn find() -> Result<Self, Error> {
        let me = rustix::process::geteuid();
        if !me.is_root() {
            let gid = rustix::process::getegid().as_raw();
            return Ok(Self { uid: me.as_raw(), gid, root_test: false });
        }
        let path = Path::new("/etc/passwd");
        let passwd = fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
        let (uid, gid) =
            ["postgres", "nobody"].iter().find_map(|name| ids(&passwd, name)).ok_or_else(|| {
                Error::new(
                    ErrorKind::NotInstalled,
                    "there is no user postgres or nobody to run a test server as",
                )
            })?;
        Ok(Self { uid, gid, root_test: true })
    }

    /// Returns the numeric user id.
    #[must_use]
    pub fn uid(self) -> u32 {
        self.uid
    }

    /// Makes a command run as this user.
    pub fn apply(self, command: &mut Command) {
        if self.root_test {
            command.gid(self.gid).uid(self.uid);
        }
    }

    /// Returns the words before a command line that make a shell of the test's user run it as this user.
    ///
    /// setpriv(1) becomes the program, with the same process id; su(1) would stay as its parent.
    pub(crate) fn prefix(self) -> Vec<String> {
        if !self.root_test {
            return Vec::new();
        }
        let [reuid, regid] = [format!("--reuid={}", self.uid), format!("--regid={}", self.gid)];
        vec!["setpriv".to_owned(), reuid, regid, "--clear-groups".to_owned(), "--".to_owned()]
    }

    /// Creates a directory that only this user (and root) can enter, for example an archive that a server writes to.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it exists already or its parent does not.
    pub fn create_dir(self, path: &Path) -> Result<(), Error> {
        fs::DirBuilder::new().mode(0o700).create(path).map_err(|e| Error::io("create", path, e))?;
        self.own(path)
    }

    /// Gives one file or directory to this user.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it does not exist.
    pub fn own(self, path: &Path) -> Result<(), Error> {
        if self.root_test {
            chown(path, Some(self.uid), Some(self.gid))
                .map_err(|e| Error::io("change the owner of", path, e))?;
        }
        Ok(())
    }

    /// Gives a directory and all that is in it to this user. Symbolic links are not followed.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when it cannot be read.
    pub fn own_tree(self, path: &Path) -> Result<(), Error> {
        if !self.root_test {
            return Ok(());
        }
        let owner = format!("{}:{}", self.uid, self.gid);
        let mut chown = Command::new("chown");
        chown.args(["--recursive", "--no-dereference", &owner, "--"]).arg(path);
        crate::process::run(&mut chown).map(drop)
    }

    /// Says whether this user can read (and enter or execute) a path, judged by mode bits alone.
    pub(crate) fn can_execute(self, path: &Path) -> bool {
        const EXECUTE: u32 = 0o1;
        const READ: u32 = 0o4;
        let mut ancestors = path.ancestors().skip(1);
        !self.root_test || (self.may(path, READ | EXECUTE) && ancestors.all(|part| self.may(part, EXECUTE)))
    }

    fn may(self, path: &Path, bits: u32) -> bool {
        let Ok(meta) = fs::metadata(path) else { return path.as_os_str().is_empty() };
        let shift = match () {
            () if meta.uid() == self.uid => 6,
            () if meta.gid() == self.gid => 3,
            () => 0,
        };
        (meta.mode() >> shift) & bits == bits
    }
}

/// Finds user and group id of a name in the text of `/etc/passwd`.
fn ids(passwd: &str, name: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some((uid, gid))
    })
}

#[cfg(test)]
mod tests {
    use super::ids;

    #[test]
    fn ids_are_found_by_whole_name() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\npostgres2:x:7:8::/:\npostgres:x:101:104:a,b:/v:/bin/sh\nbad:x\n";
        for (name, expected) in [
            ("postgres", Some((101, 104))),
            ("root", Some((0, 0))),
            ("post", None),
            ("bad", None),
            ("", None),
        ] {
            assert_eq!(ids(passwd, name), expected, "{name}");
        }
    }
}
