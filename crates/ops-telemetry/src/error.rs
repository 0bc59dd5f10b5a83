//! What can go wrong here: one opaque error with a kind for code and a sentence for people.

use std::borrow::Cow;
use std::fmt;

/// Tells the failures of this crate apart, so that a caller can act on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A process-wide subscriber is already installed.
    AlreadyInitialized,
    /// An audit chain does not hold.
    AuditBroken,
    /// An audit file cannot be opened, locked or read.
    AuditUnavailable,
    /// A log filter could not be read.
    InvalidFilter,
    /// A `traceparent` does not follow W3C Trace Context.
    InvalidTraceparent,
    /// A `tracestate` does not follow W3C Trace Context.
    InvalidTracestate,
    /// A member of `baggage` does not follow W3C Baggage, or there would be too many.
    InvalidBaggage,
    /// The admin listener could not be started.
    CannotListen,
    /// The address of a collector, one of its headers or its certificates cannot be used.
    InvalidCollector,
    /// A metric's description breaks a rule, or its name is taken.
    InvalidMetric,
    /// The ids of a span have been seen and cannot change any more.
    TooLate,
}

/// The error of every operation in this crate.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
}

impl Error {
    /// Returns the kind, to handle the error in code.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns a name of the kind that stays the same between versions, for machines.
    pub fn code(&self) -> &'static str {
        match self.kind {
            ErrorKind::AlreadyInitialized => "already_initialized",
            ErrorKind::AuditBroken => "audit_broken",
            ErrorKind::AuditUnavailable => "audit_unavailable",
            ErrorKind::InvalidFilter => "invalid_filter",
            ErrorKind::InvalidTraceparent => "invalid_traceparent",
            ErrorKind::InvalidTracestate => "invalid_tracestate",
            ErrorKind::InvalidBaggage => "invalid_baggage",
            ErrorKind::CannotListen => "cannot_listen",
            ErrorKind::InvalidCollector => "invalid_collector",
            ErrorKind::InvalidMetric => "invalid_metric",
            ErrorKind::TooLate => "too_late",
        }
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
