//! The one error of this crate. Only what every module needs to report a failure stands here.

use std::fmt;
use std::path::Path;

/// Why a test server or a test tool could not be used.
///
/// `Display` is one line. `Debug`, which `unwrap` and `expect` print, adds the end of the server's log.
pub struct Error {
    kind: ErrorKind,
    message: String,
    log: Option<String>,
    source: Option<std::io::Error>,
}

/// What a test can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The program is not on this machine: skip the test.
    NotInstalled,
    /// A binary of this workspace has not been built yet; the message names the command that builds it.
    NotBuilt,
    /// The server ended, or was not ready in time; [`Error::log`] has the end of its log.
    NotReady,
    /// A command against a server failed; [`Error::log`] has what it printed.
    Command,
    /// The operating system refused a file or a process.
    Io,
    /// An `OPS_…` variable of the environment has an unusable value.
    Settings,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), log: None, source: None }
    }

    pub(crate) fn io(operation: &str, object: &Path, source: std::io::Error) -> Self {
        let message = format!("cannot {operation} {}", object.display());
        Self { kind: ErrorKind::Io, message, log: None, source: Some(source) }
    }

    pub(crate) fn with_log(mut self, log: impl Into<String>) -> Self {
        self.log = Some(log.into());
        self
    }

    /// Returns what the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns a name that stays the same when the message changes.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.kind {
            ErrorKind::NotInstalled => "testkit/not-installed",
            ErrorKind::NotBuilt => "testkit/not-built",
            ErrorKind::NotReady => "testkit/not-ready",
            ErrorKind::Command => "testkit/command",
            ErrorKind::Io => "testkit/io",
            ErrorKind::Settings => "testkit/settings",
        }
    }

    /// Returns the end of the server's log, or what the failed command printed.
    #[must_use]
    pub fn log(&self) -> Option<&str> {
        self.log.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message, self.code())?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        if let Some(log) = &self.log {
            write!(f, "\n--- log ---\n{}\n-----------", log.trim_end())?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
