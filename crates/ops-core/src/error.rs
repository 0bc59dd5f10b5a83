//! The error of this crate: one opaque type with a kind to handle and a stable code for machines.

use std::fmt;

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What went wrong, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A connection string, a certificate file or another setting cannot be used.
    InvalidSettings,
    /// The server does not answer, or the connection was lost.
    Unavailable,
    /// The server answered with an error; [`Error::sqlstate`] tells which.
    Server,
    /// The guard refused a statement before it reached the server.
    Denied,
    /// A policy file cannot be read, or is no policy.
    InvalidPolicy,
    /// The session no longer has the settings that the guard relies on.
    SessionChanged,
    /// The answer has another number of rows than asked for.
    UnexpectedRows,
    /// A parameter does not fit the statement: their number, or a type.
    InvalidParameter,
    /// A key, its file or its text is not what it should be.
    InvalidKey,
    /// A file that must not be overwritten is there already.
    AlreadyExists,
    /// A file cannot be read or written.
    Io,
    /// A record cannot be signed as it is: no subject, a subject without digest, a number that is not finite.
    InvalidRecord,
    /// An envelope or the statement in it is not well formed.
    InvalidEnvelope,
    /// The statement's predicate type is not one that this version knows.
    UnknownPredicate,
    /// No signature was made by one of the given keys.
    UnknownKey,
    /// A signature of a known key does not fit the payload.
    InvalidSignature,
    /// The records, or the lines of an audit log, do not form an unbroken chain.
    BrokenChain,
    /// A file on which trust rests is a symbolic link, or others can write it.
    UnsafeFile,
    /// An approval lacks something, lasts too long, or is evidence of something else.
    InvalidApproval,
    /// An approval was signed by whom it is for.
    SelfApproval,
    /// An approval is for another role or database.
    ApprovalForAnother,
    /// An approval does not hold yet.
    ApprovalNotYetValid,
    /// An approval does not hold any more.
    ApprovalExpired,
    /// An approval was used before.
    ApprovalUsed,
    /// An audit log ends in the middle of a line, as a crash leaves it; recovering it is a decision of its own.
    TornLog,
    /// An audit log is held by another process for too long.
    LogBusy,
}

impl ErrorKind {
    /// Returns the stable machine-readable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidSettings => "invalid_settings",
            Self::Unavailable => "unavailable",
            Self::Server => "server",
            Self::Denied => "denied",
            Self::InvalidPolicy => "invalid_policy",
            Self::SessionChanged => "session_changed",
            Self::UnexpectedRows => "unexpected_rows",
            Self::InvalidParameter => "invalid_parameter",
            Self::InvalidKey => "invalid_key",
            Self::AlreadyExists => "already_exists",
            Self::Io => "io",
            Self::InvalidRecord => "invalid_record",
            Self::InvalidEnvelope => "invalid_envelope",
            Self::UnknownPredicate => "unknown_predicate",
            Self::UnknownKey => "unknown_key",
            Self::InvalidSignature => "invalid_signature",
            Self::BrokenChain => "broken_chain",
            Self::UnsafeFile => "unsafe_file",
            Self::InvalidApproval => "invalid_approval",
            Self::SelfApproval => "self_approval",
            Self::ApprovalForAnother => "approval_for_another",
            Self::ApprovalNotYetValid => "approval_not_yet_valid",
            Self::ApprovalExpired => "approval_expired",
            Self::ApprovalUsed => "approval_used",
            Self::TornLog => "torn_log",
            Self::LogBusy => "log_busy",
        }
    }
}

/// A failure of this crate: `Display` names the operation and its object, `source()` has the cause.
///
/// No message has a connection string, a password, a parameter or the text of a statement.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Source>,
    #[cfg(feature = "guard")]
    denial: Option<crate::guard::Verdict>,
    #[cfg(feature = "guard")]
    observed: Option<crate::guard::Observation>,
}

impl Error {
    /// Returns what a caller can act on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the stable machine-readable name of the kind.
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// Returns the server's own words, where the server reported the error.
    pub fn server(&self) -> Option<&ServerError> {
        self.0.source.as_ref().and_then(|source| source.downcast_ref())
    }

    /// Returns the five-character SQLSTATE, where the server reported the error.
    pub fn sqlstate(&self) -> Option<&str> {
        self.server().map(ServerError::sqlstate)
    }

    /// Returns what the statement did before it was rolled back, where that is why it was refused.
    #[cfg(feature = "guard")]
    pub fn observed(&self) -> Option<&crate::guard::Observation> {
        self.0.observed.as_ref()
    }

    /// Returns the verdict that refused the statement, where the kind is [`ErrorKind::Denied`].
    #[cfg(feature = "guard")]
    pub fn denial(&self) -> Option<&crate::guard::Verdict> {
        self.0.denial.as_ref()
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            source: None,
            #[cfg(feature = "guard")]
            denial: None,
            #[cfg(feature = "guard")]
            observed: None,
        }))
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    #[cfg(feature = "guard")]
    pub(crate) fn denied(
        message: impl Into<String>,
        verdict: crate::guard::Verdict,
        observed: Option<crate::guard::Observation>,
    ) -> Self {
        let mut error = Self::new(ErrorKind::Denied, message);
        error.0.denial = Some(verdict);
        error.0.observed = observed;
        error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

#[cfg(feature = "guard")]
impl From<crate::guard::PolicyError> for Error {
    fn from(error: crate::guard::PolicyError) -> Self {
        let message = error.to_string();
        match error.into_unread() {
            Some(unread) => Self::new(ErrorKind::InvalidPolicy, message).caused_by(unread),
            None => Self::new(ErrorKind::InvalidPolicy, message),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// An error as the server reported it, without the detail lines: those quote the values of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    severity: String,
    sqlstate: String,
    message: String,
}

impl ServerError {
    /// Returns `ERROR`, `FATAL` or `PANIC`, in the server's language.
    pub fn severity(&self) -> &str {
        &self.severity
    }

    /// Returns the five-character SQLSTATE (PostgreSQL manual, appendix A).
    pub fn sqlstate(&self) -> &str {
        &self.sqlstate
    }

    /// Returns the primary message, in the server's language.
    pub fn message(&self) -> &str {
        &self.message
    }

    #[cfg(feature = "guard")]
    pub(crate) fn from_postgres(error: &tokio_postgres::error::DbError) -> Self {
        Self {
            severity: error.severity().to_owned(),
            sqlstate: error.code().code().to_owned(),
            message: error.message().to_owned(),
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.sqlstate, self.message)
    }
}

impl std::error::Error for ServerError {}
