//! The one error of this crate.

use std::fmt;
use std::path::Path;

/// Why a plan could not be read, or a run could not leave its record.
///
/// A gate that fails is not an error: it is an [`Outcome`](crate::Outcome) in the record of the run.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    problems: Vec<Problem>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The plan file cannot be read.
    PlanUnreadable,
    /// The plan is wrong; [`Error::problems`] says where.
    PlanInvalid,
    /// A policy cannot be read, is wrong, or is not the one that was named.
    PolicyInvalid,
    /// What is released is not what can be judged: not found, not committed, changed meanwhile.
    SubjectNotProven,
    /// The run directory cannot be created, or already holds a run.
    RunDirectory,
    /// A record of the run could not be written, so there is no evidence.
    EvidenceNotWritten,
    /// A recorded run does not verify.
    NotVerified,
    /// A recorded run cannot be read.
    RunUnreadable,
    /// A mitigation is not allowed, or the state is not the one that it may change.
    MitigationRefused,
    /// A mitigation could not be taken back.
    MitigationFailed,
    /// The guardian cannot be started, or does not stand.
    NoGuardian,
    /// Somebody else holds the lock.
    Busy,
}

/// One thing that is wrong in a plan, and where.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The file, where it is not the plan's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead, where it is known.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), problems: Vec::new(), source: None }
    }

    pub(crate) fn io(kind: ErrorKind, operation: &str, path: &Path, source: std::io::Error) -> Self {
        let message = format!("cannot {operation} {}", path.display());
        Self { kind, message, problems: Vec::new(), source: Some(Box::new(source)) }
    }

    pub(crate) fn plan(origin: &str, problems: Vec<Problem>) -> Self {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        let more = match problems.len() {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let message = format!("plan {origin}:{first}{more}");
        Self { kind: ErrorKind::PlanInvalid, message, problems, source: None }
    }

    /// What is wrong in a text of TOML, as `line 3: …`.
    pub(crate) fn in_toml(text: &str, error: &toml::de::Error) -> String {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        format!("line {line}: {}", error.message().replace('\n', "; "))
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What a caller can act on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// A stable name for machines.
    pub fn code(&self) -> &'static str {
        match self.kind {
            ErrorKind::PlanUnreadable => "plan-unreadable",
            ErrorKind::PlanInvalid => "plan-invalid",
            ErrorKind::PolicyInvalid => "policy-invalid",
            ErrorKind::SubjectNotProven => "subject-not-proven",
            ErrorKind::RunDirectory => "run-directory",
            ErrorKind::EvidenceNotWritten => "evidence-not-written",
            ErrorKind::NotVerified => "run-not-verified",
            ErrorKind::RunUnreadable => "run-unreadable",
            ErrorKind::MitigationRefused => "mitigation-refused",
            ErrorKind::MitigationFailed => "mitigation-failed",
            ErrorKind::NoGuardian => "no-guardian",
            ErrorKind::Busy => "busy",
        }
    }

    /// Everything that is wrong in the plan; empty for every other kind.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}
