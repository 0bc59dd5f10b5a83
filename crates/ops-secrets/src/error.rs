//! The error of this crate: what is wrong with which setting from which source, and never with what value.

use std::fmt;
use std::io;

/// What went wrong, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The program's own settings type, defaults or flags do not fit together; no user can mend it.
    InvalidDefinition,
    /// A file that was named cannot be read.
    Unreadable,
    /// A file is not well-formed TOML.
    Syntax,
    /// A file has a key that no setting has.
    UnknownSetting,
    /// A setting has no value in any source.
    Missing,
    /// A value does not have the type of its setting.
    InvalidValue,
    /// A setting is given twice by one source: a variable and its `_FILE` variant, two files.
    Conflict,
    /// A secret is set to nothing, or its file holds nothing.
    EmptySecret,
    /// A text is meant as a reference, but is not well-formed, or leads on to another where none is followed.
    InvalidReference,
    /// The program was not given what resolves a reference.
    UnresolvedReference,
    /// References lead in a circle, or on and on.
    ReferenceCycle,
    /// What a reference names does not exist, or was deleted.
    NotFound,
    /// What a reference names does not have the field.
    MissingField,
    /// The server refuses who asks.
    Forbidden,
    /// The server is sealed or not initialised: a person has to open it.
    Sealed,
    /// The server does not answer, or not in time, or cannot serve now.
    Unreachable,
    /// The server answers what is not understood.
    UnexpectedAnswer,
    /// A command failed, was too slow or printed too much.
    CommandFailed,
}

impl ErrorKind {
    /// Returns the stable machine-readable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidDefinition => "invalid_definition",
            Self::Unreadable => "unreadable",
            Self::Syntax => "syntax",
            Self::UnknownSetting => "unknown_setting",
            Self::Missing => "missing",
            Self::InvalidValue => "invalid_value",
            Self::Conflict => "conflict",
            Self::EmptySecret => "empty_secret",
            Self::InvalidReference => "invalid_reference",
            Self::UnresolvedReference => "unresolved_reference",
            Self::ReferenceCycle => "reference_cycle",
            Self::NotFound => "not_found",
            Self::MissingField => "missing_field",
            Self::Forbidden => "forbidden",
            Self::Sealed => "sealed",
            Self::Unreachable => "unreachable",
            Self::UnexpectedAnswer => "unexpected_answer",
            Self::CommandFailed => "command_failed",
        }
    }
}

/// Why settings could not be loaded: every problem that was found, at least one.
///
/// Neither this text nor that of [`source()`](std::error::Error::source) holds a value, a line of a file, or the words of
/// a parser, because those quote what they could not read.
#[derive(Debug)]
pub struct Error {
    problems: Vec<Problem>,
    cause: Option<io::Error>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// Returns the kind of the first problem.
    pub fn kind(&self) -> ErrorKind {
        self.problems.first().expect("an error has at least one problem").kind
    }

    /// Returns the stable machine-readable name of the kind.
    pub fn code(&self) -> &'static str {
        self.kind().code()
    }

    /// Returns all that is wrong, so that it can be mended in one go.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Whether all that is wrong is that servers do not answer, or are sealed: what was asked for may succeed later.
    pub fn is_unavailable(&self) -> bool {
        let away = |problem: &Problem| matches!(problem.kind, ErrorKind::Unreachable | ErrorKind::Sealed);
        self.problems.iter().all(away)
    }

    /// An error of several problems; None where there is none.
    pub(crate) fn of(problems: Vec<Problem>) -> Option<Self> {
        (!problems.is_empty()).then_some(Self { problems, cause: None })
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Problem::new(kind, message).into()
    }

    pub(crate) fn caused_by(mut self, cause: io::Error) -> Self {
        self.cause = Some(cause);
        self
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem], cause: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot load settings: ")?;
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

impl Problem {
    /// Returns what kind of problem it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
