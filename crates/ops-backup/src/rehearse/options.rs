//! What a rehearsal is asked to do, and the checks of that request. Nothing here touches a server or a file.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::{Lsn, SystemIdentifier};
use crate::postgres::recovery::RecoveryTarget;

/// How a rehearsal is done.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RehearseOptions {
    /// The backup to rehearse; otherwise the newest one that can reach the target.
    pub backup: Option<String>,
    /// The cluster to rehearse, where the repository holds backups of several.
    pub system_identifier: Option<SystemIdentifier>,
    /// Where replay stops.
    pub target: RecoveryTarget,
    /// An existing directory with room for the restored cluster. A new directory in it takes everything that the
    /// rehearsal writes. Its path must be short, because the path of a Unix socket is limited to 107 bytes.
    pub scratch: PathBuf,
    /// The directory of `postgres`, `pg_controldata`, `pg_verifybackup` and `pg_amcheck`, of the backup's major version.
    pub bin_dir: PathBuf,
    /// The server's `restore_command`: a shell command with `%f` and `%p` that fetches WAL from this repository.
    /// It runs as [`RehearseOptions::run_as`] and must end with 1 only where a segment is proven absent.
    pub restore_command: String,
    /// As [`RestoreOptions::restore_command_with_tail`](crate::RestoreOptions::restore_command_with_tail).
    pub restore_command_with_tail: Option<String>,
    /// The user of the server and of the tools. A caller that is root must name one, because PostgreSQL refuses root.
    pub run_as: Option<RunAs>,
    /// Variables to add to the environment of the server and of the tools, `TRACEPARENT` for example.
    /// The other variables are inherited, except those that begin with `PG`.
    pub environment: Vec<(OsString, OsString)>,
    /// A superuser of the cluster.
    pub user: String,
    /// A database of the cluster that sessions without another need can use.
    pub database: String,
    /// Server settings to add, such as `shared_preload_libraries` where the WAL or the assertions need one.
    /// The restored `postgresql.conf` is not read; settings that lock the copy down are refused here.
    pub settings: Vec<(String, String)>,
    /// Whether the restored files must pass stock `pg_verifybackup` before the server starts.
    pub verify_backup: Requirement,
    /// Whether all tables and B-tree indexes must pass `pg_amcheck`.
    pub amcheck: Requirement,
    /// Questions that the recovered databases must answer as expected.
    pub assertions: Vec<Assertion>,
    /// The state that ought to be recovered, to measure lost data against. What is `None` follows from the target.
    pub wanted: Wanted,
    /// The most that everything before the clean-up may take; a rehearsal that takes longer has failed.
    pub budget: Option<Duration>,
    /// Whether the restored directory stays. The server is stopped either way.
    pub keep: Keep,
    /// The trace id for the record, empty for none.
    pub trace_id: String,
    /// The name and version of the calling program, for the record.
    pub tool: String,
}

impl RehearseOptions {
    /// Asks for a rehearsal up to the end of the archive with every check that needs no knowledge of the data.
    pub fn new(
        scratch: impl Into<PathBuf>,
        bin_dir: impl Into<PathBuf>,
        restore_command: impl Into<String>,
    ) -> Self {
        RehearseOptions {
            backup: None,
            system_identifier: None,
            target: RecoveryTarget::Latest,
            scratch: scratch.into(),
            bin_dir: bin_dir.into(),
            restore_command: restore_command.into(),
            restore_command_with_tail: None,
            run_as: None,
            environment: Vec::new(),
            user: "postgres".to_owned(),
            database: "postgres".to_owned(),
            settings: Vec::new(),
            verify_backup: Requirement::Required,
            amcheck: Requirement::Required,
            assertions: Vec::new(),
            wanted: Wanted::default(),
            budget: None,
            keep: Keep::Nothing,
            trace_id: String::new(),
            tool: concat!("ops-backup ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// Finds requests that cannot work, before anything is written.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::new(ErrorKind::Configuration, message));
        let me = rustix::process::geteuid();
        match self.run_as {
            None if me.is_root() => {
                return refuse("a rehearsal by root needs the user to run PostgreSQL as".to_owned());
            }
            Some(RunAs { uid: 0, .. }) => return refuse("PostgreSQL does not run as root".to_owned()),
            Some(RunAs { uid, .. }) if !me.is_root() && uid != me.as_raw() => {
                return refuse(format!("only root can run PostgreSQL as user {uid}"));
            }
            _ => {}
        }
        if self.restore_command.trim().is_empty() {
            return refuse("a rehearsal needs a restore command to fetch WAL with".to_owned());
        }
        for (name, _) in &self.settings {
            if !is_setting_name(name) {
                return refuse(format!("{name:?} is not the name of a server setting"));
            }
            if super::lockdown::LOCKED.iter().any(|(locked, _)| locked.eq_ignore_ascii_case(name)) {
                return refuse(format!("the setting {name:?} is fixed in a rehearsal"));
            }
        }
        for (at, assertion) in self.assertions.iter().enumerate() {
            if self.assertions[..at].iter().any(|other| other.name == assertion.name) {
                return refuse(format!("two assertions have the name {:?}", assertion.name));
            }
        }
        Ok(())
    }
}

/// The numeric ids of the user that PostgreSQL runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunAs {
    /// The user.
    pub uid: u32,
    /// The user's group.
    pub gid: u32,
}

/// Whether something must be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// The rehearsal fails without it.
    Required,
    /// It is left out, and the record says so.
    Skipped,
}

/// What a rehearsal leaves on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing, however the rehearsal ends.
    Nothing,
    /// The whole directory, with the server's log, also when the rehearsal fails.
    Directory,
}

/// A question to the recovered cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// A name, unique within the rehearsal.
    pub name: String,
    /// The database to ask.
    pub database: String,
    /// SQL that returns one row of one column.
    pub query: String,
    /// The value that it must have, as text.
    pub expect: String,
}

/// The state that ought to be recovered.
///
/// Who notes both on the source reads the position first and the clock after it: what was committed up to the position
/// was then committed before the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Every commit up to this moment ought to be there. By default the target time; unknown for other targets.
    pub time: Option<Timestamp>,
    /// All WAL up to this position ought to be replayed. By default the end of the archive for the latest target;
    /// unknown for other targets.
    pub lsn: Option<Lsn>,
}

fn is_setting_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> RehearseOptions {
        let mut options = RehearseOptions::new("/tmp", "/usr/bin", "fetch %f %p");
        options.run_as = Some(match rustix::process::geteuid() {
            root if root.is_root() => RunAs { uid: 65534, gid: 65534 },
            me => RunAs { uid: me.as_raw(), gid: rustix::process::getegid().as_raw() },
        });
        options
    }

    fn assertion(name: &str) -> Assertion {
        let text = || "x".to_owned();
        Assertion { name: name.to_owned(), database: text(), query: text(), expect: text() }
    }

    #[test]
    fn what_cannot_work_is_refused_before_it_starts() {
        type Change = fn(&mut RehearseOptions);
        let cases: &[(&str, Change)] = &[
            ("", |_| {}),
            ("", |options| options.settings.push(("work_mem".into(), "64MB".into()))),
            ("", |options| options.assertions = vec![assertion("a"), assertion("b")]),
            ("does not run as root", |options| options.run_as = Some(RunAs { uid: 0, gid: 0 })),
            ("needs a restore command", |options| options.restore_command = " ".into()),
            ("is fixed", |options| options.settings.push(("Archive_Mode".into(), "on".into()))),
            ("is fixed", |options| options.settings.push(("listen_addresses".into(), "*".into()))),
            ("not the name", |options| options.settings.push(("a=b".into(), "c".into()))),
            ("two assertions", |options| options.assertions = vec![assertion("a"), assertion("a")]),
        ];
        for (complaint, change) in cases {
            let mut options = options();
            change(&mut options);
            let result = options.check().map_err(|error| error.to_string());
            match *complaint {
                "" => assert_eq!(result, Ok(())),
                complaint => {
                    assert!(
                        result.as_ref().is_err_and(|text| text.contains(complaint)),
                        "{complaint}: {result:?}"
                    );
                }
            }
        }
    }
}
