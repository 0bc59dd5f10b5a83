//! What a check works with: the values of its texts, the time, the trace, the results of the gates that it needs.

use super::{Objectives, Subject};
use crate::outcome::{Fault, Finding};
use crate::process::{Capture, Excerpt, Masker, Roots};
use crate::value::{Reference, Span, Text, VariableName, Variables};
use jiff::Timestamp;
use secrecy::SecretString;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What the gates of a run have found so far, by id and field.
#[derive(Debug, Clone, Default)]
pub(crate) struct Results(Arc<Mutex<HashMap<String, BTreeMap<String, String>>>>);

impl Results {
    /// Notes what a gate found: its measurements, and what it gave by name.
    pub(crate) fn note(&self, id: &str, finding: &Finding) {
        let measured = finding.measurements.iter().map(|(name, value)| (name.clone(), value.to_string()));
        let fields = measured.chain(finding.outputs.clone()).collect();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), fields);
    }

    fn get(&self, id: &str, field: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id)?.get(field).cloned()
    }
}

/// One attempt of one gate, as its check sees it.
pub struct Context<'a> {
    pub(super) parts: Parts<'a>,
    capture: OnceLock<Arc<Capture>>,
    /// Programs that run, or are being ended.
    pub(super) programs: AtomicUsize,
}

/// What the runner gives.
pub(crate) struct Parts<'a> {
    pub(crate) id: &'a str,
    /// How long this attempt may take.
    pub(crate) timeout: Span,
    /// Where the paths of the plan start.
    pub(crate) directory: &'a Path,
    pub(crate) variables: &'a Variables,
    pub(crate) results: &'a Results,
    pub(crate) objectives: &'a Objectives,
    pub(crate) subject: Option<&'a Subject>,
    /// What every child process gets, such as `TRACEPARENT`.
    pub(crate) environment: &'a [(String, String)],
    /// The time by which the age of evidence is measured.
    pub(crate) now: Timestamp,
    /// Where programs' output goes.
    pub(crate) log: &'a Path,
    pub(crate) masker: Option<&'a Masker>,
    /// Tells the processes of this attempt from all others.
    pub(crate) marker: String,
    /// The roots that run, in a process that adopts orphans.
    pub(crate) roots: Option<&'a Arc<Roots>>,
    pub(crate) grace: Duration,
    pub(crate) cancel: &'a CancellationToken,
}

impl<'a> Context<'a> {
    pub(crate) fn new(parts: Parts<'a>) -> Self {
        Self { parts, capture: OnceLock::new(), programs: AtomicUsize::new(0) }
    }

    /// The gate's id.
    pub fn id(&self) -> &str {
        self.parts.id
    }

    /// How long this attempt may take.
    pub fn timeout(&self) -> Duration {
        self.parts.timeout.get()
    }

    /// The time by which ages are measured: that of the start of the attempt.
    pub fn now(&self) -> Timestamp {
        self.parts.now
    }

    /// The promises that the plan states.
    pub fn objectives(&self) -> &Objectives {
        self.parts.objectives
    }

    /// What is released, where the plan says so.
    pub fn subject(&self) -> Option<&Subject> {
        self.parts.subject
    }

    /// The plan's directory, where its relative paths start.
    pub fn directory(&self) -> &Path {
        self.parts.directory
    }

    /// Ends when the run is to stop.
    pub fn cancelled(&self) -> &CancellationToken {
        self.parts.cancel
    }

    /// A text with its references replaced. It may hold secrets: for what is sent, never for what is told.
    ///
    /// # Errors
    /// The finding of the gate, where a reference has no value.
    pub fn resolve(&self, text: &Text) -> Result<String, Finding> {
        let value = |reference: Reference<'_>| match reference {
            Reference::Gate { id, field } => self.parts.results.get(id, field).map(Cow::Owned),
            _ => self.parts.variables.value(reference),
        };
        text.resolve(&value).map_err(|error| Finding::error(Fault::Unresolved, "reference", error))
    }

    /// A path, from the plan's directory.
    ///
    /// # Errors
    /// As [`Context::resolve`].
    pub fn path(&self, text: &Text) -> Result<PathBuf, Finding> {
        Ok(self.parts.directory.join(self.resolve(text)?))
    }

    /// The value of a variable of the environment that the gate names.
    pub fn variable(&self, name: &VariableName) -> Option<&SecretString> {
        self.parts.variables.get(name.as_str())
    }

    /// The trace context that children get, for checks that pass it on in their own protocol.
    pub fn traceparent(&self) -> Option<&str> {
        let found = self.parts.environment.iter().find(|(name, _)| name == "TRACEPARENT");
        found.map(|(_, value)| value.as_str())
    }

    /// The trace id within [`Context::traceparent`].
    pub fn trace_id(&self) -> Option<&str> {
        self.traceparent()?.split('-').nth(1)
    }

    /// Writes a line to the gate's log, masked.
    pub fn log(&self, line: &str) {
        self.capture().note(line);
    }

    /// Leaves a document for people, masked: at this path, or beside the log of this attempt. Returns where.
    ///
    /// # Errors
    /// The system's, where it cannot be written.
    pub(crate) fn leave(&self, path: Option<PathBuf>, ending: &str, text: &str) -> io::Result<PathBuf> {
        let path = path.unwrap_or_else(|| self.parts.log.with_extension(ending));
        let mut bytes = text.as_bytes().to_vec();
        if let Some(masker) = self.parts.masker {
            masker(&mut bytes);
        }
        std::fs::write(&path, bytes)?;
        Ok(path)
    }

    /// The log of this attempt.
    pub(super) fn capture(&self) -> &Arc<Capture> {
        self.capture.get_or_init(|| Arc::new(Capture::new(self.parts.log, self.parts.masker.cloned())))
    }

    /// Whether a program of this attempt runs, or is being ended.
    pub(crate) fn has_programs(&self) -> bool {
        self.programs.load(Ordering::SeqCst) > 0
    }

    /// Ends the log of the attempt.
    ///
    /// # Errors
    /// The finding of the gate, where its log could not be written.
    pub(crate) fn finish(&self) -> Result<Option<Excerpt>, Finding> {
        let excerpt = self.capture.get().map_or(Ok(None), |capture| capture.finish());
        excerpt.map_err(|error| log_failed(&error))
    }
}

fn log_failed(error: &dyn fmt::Display) -> Finding {
    Finding::error(Fault::Internal, "log-not-written", format!("the log cannot be written: {error}"))
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("gate", &self.parts.id).finish_non_exhaustive()
    }
}
