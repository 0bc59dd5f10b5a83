//! The error of the Vault client: what cannot be done at which path, never with which token or value.

use std::fmt;

/// What went wrong, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VaultErrorKind {
    /// The options do not fit together, or a file they name cannot be used.
    Options,
    /// The server refuses to log in.
    Login,
    /// The server refuses this token this path; also what an expired token gets.
    Forbidden,
    /// There is nothing at the path.
    NotFound,
    /// The version of the entry was deleted; it can be brought back.
    Deleted,
    /// The version of the entry was destroyed; it is gone for good.
    Destroyed,
    /// The entry has another version than was expected: somebody else wrote it.
    Conflict,
    /// The lease has ended or was revoked.
    LeaseEnded,
    /// The server is sealed, or not initialised.
    Sealed,
    /// The server asks for fewer requests.
    TooManyRequests,
    /// The server does not answer, or cannot serve now.
    Unreachable,
    /// The server answers what is not understood.
    UnexpectedAnswer,
}

/// Why the server's answer is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultError {
    kind: VaultErrorKind,
    path: String,
    why: String,
}

impl VaultError {
    pub(super) fn new(kind: VaultErrorKind, path: &str, why: impl Into<String>) -> Self {
        Self { kind, path: path.to_owned(), why: why.into() }
    }

    /// Returns what went wrong, as far as a caller can act on it.
    pub fn kind(&self) -> VaultErrorKind {
        self.kind
    }

    /// Returns the stable machine-readable name of the kind.
    pub fn code(&self) -> &'static str {
        match self.kind {
            VaultErrorKind::Options => "vault_options",
            VaultErrorKind::Login => "vault_login",
            VaultErrorKind::Forbidden => "vault_forbidden",
            VaultErrorKind::NotFound => "vault_not_found",
            VaultErrorKind::Deleted => "vault_deleted",
            VaultErrorKind::Destroyed => "vault_destroyed",
            VaultErrorKind::Conflict => "vault_conflict",
            VaultErrorKind::LeaseEnded => "vault_lease_ended",
            VaultErrorKind::Sealed => "vault_sealed",
            VaultErrorKind::TooManyRequests => "vault_too_many_requests",
            VaultErrorKind::Unreachable => "vault_unreachable",
            VaultErrorKind::UnexpectedAnswer => "vault_unexpected_answer",
        }
    }

    /// What is wrong, without the path, for an error that has told it already.
    pub(super) fn why(&self) -> &str {
        &self.why
    }
}

impl fmt::Display for VaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

impl std::error::Error for VaultError {}
