//! The library's errors, worded for people: each kind has its exit code and a hint.

use ops_backup::{Error, ErrorKind};
use ops_cli::{Exit, Failure};

/// Words a library error for a person, with the exit code that belongs to its kind.
pub(crate) fn failed(error: &Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::Configuration
        | ErrorKind::Denied
        | ErrorKind::NotARepository
        | ErrorKind::Postgres
        | ErrorKind::WrongRole
        | ErrorKind::WrongKey => Exit::Config,
        ErrorKind::Unsupported | ErrorKind::NotFound | ErrorKind::Conflict => Exit::Input,
        ErrorKind::Corrupt | ErrorKind::Unreachable => Exit::No,
        ErrorKind::BadTarget => Exit::CannotCreate,
        ErrorKind::Storage | ErrorKind::Unavailable => Exit::Unavailable,
        ErrorKind::Timeout | ErrorKind::Busy | ErrorKind::Abandoned => Exit::Busy,
        ErrorKind::Cancelled => Exit::Interrupted,
        _ => Exit::Io,
    };
    let failure = Failure::from_error(exit, error);
    match hint(error.kind()) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn hint(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::NotARepository => "`ops-backup --repo PLACE init` creates a repository",
        ErrorKind::WrongKey => {
            "give the key that the repository was created with, or one that was added: --key-file FILE, \
             OPS_BACKUP_PASSPHRASE_FILE, or `key_file` under [backup] in ops.toml"
        }
        ErrorKind::Busy => "`ops-backup list` shows the jobs that are running",
        ErrorKind::Abandoned => "run the backup again: what this one has stored is not stored again",
        ErrorKind::Corrupt => {
            "`ops-backup verify` names everything that is damaged, and the backups that it costs"
        }
        ErrorKind::Unreachable => "`ops-backup list` shows which moments each backup can reach",
        ErrorKind::NoSpace => {
            "free some space and run the same command again; nothing half-written is visible"
        }
        ErrorKind::Conflict => {
            "find out who wrote the other file before you do anything else: another server, or a push by hand of a \
             segment that the server had not finished"
        }
        ErrorKind::Timeout => "look for the failure of archive_command in the server's log",
        ErrorKind::Unavailable => "is the server running, and does --postgres name it as psql would?",
        ErrorKind::Storage => "can this machine reach the store, and does it work?",
        ErrorKind::Denied => {
            "the store answers, and does not take these credentials or let them do this: look at the key, the secret, \
             the region and the clock, and at what the store allows them"
        }
        _ => return None,
    })
}
