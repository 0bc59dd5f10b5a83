//! The audit stream: lines about privileged operations that nothing filters, samples or gives up, each bound to the one
//! before it.
//!
//! [`audit!`](crate::audit!) writes such a line. It is a log line with three more members: `"stream":"audit"`; `audit.seq`,
//! which counts from 1; and `audit.prev`, the SHA-256 of the line before, newline excluded, in hexadecimal (64 zeros before
//! the first). So a line that is changed, removed or put in later breaks the chain, and [`verify`] says where. A chain
//! whose last lines are cut off is whole in itself: keep [`Telemetry::audit_head`](crate::Telemetry::audit_head)
//! elsewhere from time to time and compare.
//!
//! With [`AuditOptions`] the lines go to a file of their own, which holds one chain over restarts and turned-over files;
//! the calling thread writes, and the line is on its way to the disk when `audit!` returns. Without, they go where all
//! lines go, before the ring's limits, and the chain lasts as long as the process.

mod chain;
mod sha256;
mod verify;

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

pub use chain::Link;
pub use verify::{Verified, verify};

use crate::error::{Error, ErrorKind};
use crate::line::{Body, Head, Schema, Style};
use crate::severity::Severity;
use crate::timestamp::Stamp;
use crate::writer::{FileWriter, Output, Rotation};

/// Where audit lines go, if not where all lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditOptions {
    /// The file. One process at a time writes to it, held by a lock on `<path>.lock`.
    pub path: PathBuf,
    /// When it is turned over. The default never removes a line: it is never turned over.
    pub rotation: Rotation,
    /// Whether `audit!` waits until the disk has the line. Costs what the disk takes.
    pub durable: bool,
}

impl AuditOptions {
    /// A file that is never turned over and whose lines are on the disk when `audit!` returns.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), rotation: Rotation::NEVER, durable: true }
    }
}

/// Writes one audit line: the fields and the message as in [`tracing::info!`]. No level, filter or sampling concerns it.
///
/// ```
/// use ops_telemetry::{Options, audit, testing::Capture};
///
/// let capture = Capture::default();
/// let silent = Options { filter: "off".into(), ..Options::default() };
/// capture.run(silent, || ops_telemetry::audit!(actor = "ann", database = "orders", "dropped a table"))?;
/// let report = audit::verify(capture.lines().join("\n").as_bytes(), None)?;
/// assert_eq!(report.lines, 1);
/// # Ok::<(), ops_telemetry::Error>(())
/// ```
#[macro_export]
macro_rules! audit {
    ($($arg:tt)+) => {
        $crate::__private::tracing::event!(target: "audit", $crate::__private::tracing::Level::INFO, $($arg)+)
    };
}

/// The chain, and the file where it has one.
pub(crate) struct Audit {
    head: Mutex<Link>,
    file: Option<AuditFile>,
}

struct AuditFile {
    writer: FileWriter,
    style: Style,
    durable: bool,
    /// Held as long as the process lives.
    _lock: File,
}

impl Audit {
    pub(crate) fn open(
        options: Option<AuditOptions>,
        schema: &Schema,
        resource: &[(String, String)],
    ) -> Result<Self, Error> {
        let Some(options) = options else {
            return Ok(Self { head: Mutex::new(Link::start()), file: None });
        };
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            let path = options.path.display();
            Error::new(ErrorKind::AuditUnavailable, format!("{what} audit file {path}: {error}"))
        };
        let mut lock_path = options.path.clone().into_os_string();
        lock_path.push(".lock");
        let lock = File::options().create(true).append(true).open(lock_path);
        let lock = lock.map_err(|error| failed("cannot create the lock of", &error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => failed("cannot lock", &"another process writes to it"),
            TryLockError::Error(error) => failed("cannot lock", &error),
        })?;
        let head = chain::continue_from(&options.path).map_err(|error| failed("cannot read", &error))?;
        let writer = FileWriter::open(&options.path, options.rotation);
        let writer = writer.map_err(|error| failed("cannot open", &error))?;
        let style = Style::json(schema, resource);
        Ok(Self {
            head: Mutex::new(head),
            file: Some(AuditFile { writer, style, durable: options.durable, _lock: lock }),
        })
    }

    /// Returns the end of the chain.
    pub(crate) fn head(&self) -> Link {
        self.head.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Appends a line to the chain. `style` makes it where it goes to `output`.
    pub(crate) fn write(
        &self,
        head: &Head<'_>,
        body: Body<'_>,
        output: &Output,
        style: impl FnOnce(&mut Vec<u8>, Body<'_>),
    ) {
        let mut last = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        // The chain stands first among the fields, so that a line that is too long does not lose it.
        let mut members = last.next_members().into_bytes();
        members.extend_from_slice(body.members);
        let body = Body { members: &members, ..body };
        let mut line = Vec::new();
        let Some(file) = &self.file else {
            style(&mut line, body);
            *last = last.follow(&line);
            return output.write_surely(&line);
        };
        file.style.write(&mut line, &mut Stamp::default(), head, body);
        let write =
            || if file.durable { file.writer.write_durably(&line) } else { file.writer.append_line(&line) };
        // What failed once, for example on a full disk, is tried again; then the line at least goes where all lines go.
        if write().or_else(|_| write()).is_ok() {
            *last = last.follow(&line);
        } else {
            drop(last);
            output.lose(Severity::Fatal);
            output.write_surely(&line);
        }
    }

    pub(crate) fn reopen(&self) -> std::io::Result<()> {
        use crate::writer::LineWriter;
        self.file.as_ref().map_or(Ok(()), |file| file.writer.reopen())
    }
}
