//! Why a secret could not be fetched, renewed or changed.

use std::fmt;

/// What went wrong, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The source does not answer, or not in time: try again.
    Unavailable,
    /// The source answers that we may not.
    Refused,
    /// There is no such secret, or it is empty.
    Missing,
    /// What is there cannot be used: not text, too large, not well-formed.
    Invalid,
    /// The lease cannot be renewed: it has ended, or it never could.
    NotRenewable,
    /// The caller's own check refused the new secret.
    NotValidated,
    /// The last good secret is older than the policy allows.
    Stale,
    /// Somebody else is at it.
    Busy,
    /// A file of ours cannot be written or read.
    Io,
    /// The watch has ended.
    Ended,
}

impl ErrorKind {
    /// Returns the stable machine-readable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Refused => "refused",
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::NotRenewable => "not_renewable",
            Self::NotValidated => "not_validated",
            Self::Stale => "stale",
            Self::Busy => "busy",
            Self::Io => "io",
            Self::Ended => "ended",
        }
    }
}

/// What failed on which object. Its text names sources and accounts, never a value.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// An error of a provider or target. The message must not hold a value: providers are the ones that know it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Returns what went wrong, for callers that act on it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the stable machine-readable name of the kind.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// An error of our own files; the system's text names no content.
    pub(crate) fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("{what}: {error}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
