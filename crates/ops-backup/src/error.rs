//! The one error type of this crate: what was done to which object, a kind to act on, and a stable code.

use std::error::Error as StdError;
use std::fmt;

/// A shorthand for results of this crate.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option or setting cannot work as given.
    Configuration,
    /// The location holds no repository, or one of another format.
    NotARepository,
    /// The repository was written by a newer version, or the server's version is not supported.
    Unsupported,
    /// The named backup, segment or object does not exist.
    NotFound,
    /// An object of the same name but other content is already there.
    Conflict,
    /// The repository is encrypted and the key does not open it, or a key was given for one that is not.
    WrongKey,
    /// Another job holds what this one needs.
    Busy,
    /// The job did not say for too long that it lives, and another one gave it up: nothing is lost but its work.
    Abandoned,
    /// Stored or read data is not what its checksum or format says.
    Corrupt,
    /// The directory cannot take a restore: it is live, not empty, not a directory, or not writable.
    BadTarget,
    /// No backup in the repository can reach the recovery target.
    Unreachable,
    /// The file system has no room left.
    NoSpace,
    /// A file could not be read or written.
    Io,
    /// The object store failed or refused the request.
    Storage,
    /// The object store does not take these credentials, or does not let them do this.
    Denied,
    /// The PostgreSQL server does not answer or ended the session.
    Unavailable,
    /// The PostgreSQL server refused a request or is not set up for backups.
    Postgres,
    /// The PostgreSQL server is a standby where a primary is needed, or a primary where a standby is.
    WrongRole,
    /// Something did not happen within its time.
    Timeout,
    /// The caller cancelled the job.
    Cancelled,
}

impl ErrorKind {
    const ALL: [ErrorKind; 20] = [
        ErrorKind::Configuration,
        ErrorKind::NotARepository,
        ErrorKind::Unsupported,
        ErrorKind::NotFound,
        ErrorKind::Conflict,
        ErrorKind::WrongKey,
        ErrorKind::Busy,
        ErrorKind::Abandoned,
        ErrorKind::Corrupt,
        ErrorKind::BadTarget,
        ErrorKind::Unreachable,
        ErrorKind::NoSpace,
        ErrorKind::Io,
        ErrorKind::Storage,
        ErrorKind::Denied,
        ErrorKind::Unavailable,
        ErrorKind::Postgres,
        ErrorKind::WrongRole,
        ErrorKind::Timeout,
        ErrorKind::Cancelled,
    ];

    /// Returns the kind that `code` is of.
    pub(crate) fn from_code(code: &str) -> Option<Self> {
        ErrorKind::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Returns the stable code that machines match on.
    pub fn code(self) -> &'static str {
        match self {
            ErrorKind::Configuration => "backup.configuration",
            ErrorKind::NotARepository => "backup.not-a-repository",
            ErrorKind::Unsupported => "backup.unsupported",
            ErrorKind::NotFound => "backup.not-found",
            ErrorKind::Conflict => "backup.conflict",
            ErrorKind::WrongKey => "backup.wrong-key",
            ErrorKind::Busy => "backup.busy",
            ErrorKind::Abandoned => "backup.abandoned",
            ErrorKind::Corrupt => "backup.corrupt",
            ErrorKind::BadTarget => "backup.bad-target",
            ErrorKind::Unreachable => "backup.unreachable",
            ErrorKind::NoSpace => "backup.no-space",
            ErrorKind::Io => "backup.io",
            ErrorKind::Storage => "backup.storage",
            ErrorKind::Denied => "backup.denied",
            ErrorKind::Unavailable => "backup.unavailable",
            ErrorKind::Postgres => "backup.postgres",
            ErrorKind::WrongRole => "backup.wrong-role",
            ErrorKind::Timeout => "backup.timeout",
            ErrorKind::Cancelled => "backup.cancelled",
        }
    }
}

/// A failed operation.
///
/// `Display` names the operation and the object in one line; the cause is in [`std::error::Error::source`].
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Source>,
}

impl Error {
    /// Returns what went wrong, for callers that act on it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the stable code that machines match on.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), source: None }
    }

    pub(crate) fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Corrupt, message)
    }

    pub(crate) fn cancelled() -> Self {
        Error::new(ErrorKind::Cancelled, "the job was cancelled")
    }

    /// An error of the file system: `operation` is a verb and its object, for example `read "base/1/2"`.
    pub(crate) fn io(operation: impl fmt::Display, source: std::io::Error) -> Self {
        let kind =
            if source.kind() == std::io::ErrorKind::StorageFull { ErrorKind::NoSpace } else { ErrorKind::Io };
        Error::new(kind, format!("cannot {operation}")).with_source(source)
    }

    /// An error of the object store: `operation` is a verb and its object.
    pub(crate) fn storage(operation: impl fmt::Display, source: object_store::Error) -> Self {
        let kind = match &source {
            object_store::Error::NotFound { .. } => ErrorKind::NotFound,
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                ErrorKind::Denied
            }
            other if is_storage_full(other) => ErrorKind::NoSpace,
            _ => ErrorKind::Storage,
        };
        Error::new(kind, format!("cannot {operation}")).with_source(source)
    }

    /// An error of the PostgreSQL server or of the connection to it.
    pub(crate) fn postgres(operation: impl fmt::Display, source: tokio_postgres::Error) -> Self {
        let kind = if source.as_db_error().is_some() { ErrorKind::Postgres } else { ErrorKind::Unavailable };
        Error::new(kind, format!("cannot {operation}")).with_source(source)
    }

    /// A blocking task that panicked: a bug, passed on as a panic would be.
    pub(crate) fn joined<T>(result: std::result::Result<T, tokio::task::JoinError>) -> T {
        match result {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => unreachable!("a blocking task that has started is never aborted: {error}"),
            },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

fn is_storage_full(error: &(dyn StdError + 'static)) -> bool {
    let is_full = |error: &std::io::Error| error.kind() == std::io::ErrorKind::StorageFull;
    error.downcast_ref().is_some_and(is_full) || error.source().is_some_and(is_storage_full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures_through_the_chain() {
        let full = |kind: std::io::ErrorKind| object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(std::io::Error::from(kind)),
        };
        let error = Error::storage("write \"packs/x\"", full(std::io::ErrorKind::StorageFull));
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert_eq!(error.to_string(), "cannot write \"packs/x\"");
        let error = Error::storage("write \"packs/x\"", full(std::io::ErrorKind::TimedOut));
        assert_eq!(error.kind(), ErrorKind::Storage);
    }
}
