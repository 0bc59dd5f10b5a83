//! Why a scan could not be done at all; what it could not read on its way is a gap of the report instead.

use std::fmt;
use std::io;

/// What went wrong, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The path is in no git repository, and the scan needs one.
    NotARepository,
    /// The repository lacks history: a shallow or partial clone. No verdict over it would be true.
    Incomplete,
    /// A revision is not known.
    UnknownRevision,
    /// Git is not installed, or does not start.
    GitMissing,
    /// Git failed.
    GitFailed,
    /// The path or stream cannot be read.
    Unreadable,
    /// The file of suppressions or the baseline is not well-formed.
    InvalidFile,
    /// A known value is too short to be looked for, or a pattern is no pattern.
    InvalidOption,
    /// Somebody asked to stop.
    Stopped,
}

impl ErrorKind {
    /// Returns the stable machine-readable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotARepository => "not_a_repository",
            Self::Incomplete => "incomplete",
            Self::UnknownRevision => "unknown_revision",
            Self::GitMissing => "git_missing",
            Self::GitFailed => "git_failed",
            Self::Unreadable => "unreadable",
            Self::InvalidFile => "invalid_file",
            Self::InvalidOption => "invalid_option",
            Self::Stopped => "stopped",
        }
    }
}

/// Why there is no report. Its text names paths and revisions, never a value.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<io::Error>,
}

impl Error {
    /// Returns what went wrong, for callers that act on it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the stable machine-readable name of the kind.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn caused_by(mut self, source: io::Error) -> Self {
        self.source = Some(source);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
