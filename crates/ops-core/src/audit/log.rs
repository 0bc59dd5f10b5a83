//! The writer: one line at a time, under a lock, durable before it returns.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::chain::{Chain, Head, Standing};
use super::entry::Entry;
use super::head;
use super::lines::{Lock, MAX_LINE_BYTES};
use super::recover::left_over;
use super::verify::{Walk, walk};
use crate::approval::{ApprovalId, Granted};
use crate::error::{Error, ErrorKind};
use crate::evidence::SigningKey;
use crate::trusted;

/// A second place for the lines of a log: a table over another connection, a collector.
///
/// # Contract
/// `append` returns when the line is durable there. Lines come in the order of the log, each once for every process that
/// appends; a line may be missing where a process died between the file and the sink, and the next line's `sequence`
/// shows it. `append` is called while the log is locked, and must neither block for long nor use the log itself. Where it
/// fails the append fails, though the line stays in the file.
pub trait AuditSink: Send + Sync {
    /// Stores one line, without its line end.
    ///
    /// # Errors
    /// Whatever kept the line from being durable.
    fn append(&self, line: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// How a log is kept.
pub struct AuditLogOptions {
    /// Signs every head. A log that is signed is signed from its first line: an unsigned head is refused.
    pub key: Option<SigningKey>,
    /// Gets every line too.
    pub sink: Option<Arc<dyn AuditSink>>,
    /// How long to wait for other processes that write to the log, before an append fails.
    pub patience: Duration,
}

impl Default for AuditLogOptions {
    fn default() -> Self {
        Self { key: None, sink: None, patience: Duration::from_secs(10) }
    }
}

impl fmt::Debug for AuditLogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLogOptions")
            .field("key", &self.key)
            .field("has_sink", &self.sink.is_some())
            .field("patience", &self.patience)
            .finish()
    }
}

/// An audit log, open for appending. Threads and processes may share it.
///
/// Calls block for as long as the disk needs: three `fsync` an append. Async code calls them from a blocking thread.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    file: File,
    options: AuditLogOptions,
    state: Mutex<State>,
}

/// What is known of the file from reading and writing it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) chain: Chain,
    /// The byte after the last line in the chain.
    end: u64,
    /// Set where the file is broken, or where the disk did not say what became of a line: then nothing more is written.
    is_unusable: bool,
}

impl AuditLog {
    /// Opens a log and reads it whole; where there is none, creates an empty one that only its owner can read.
    ///
    /// # Errors
    /// As [`AuditLog::open_with`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_with(path, AuditLogOptions::default())
    }

    /// As [`AuditLog::open`], with a key, a sink or another patience. Nothing is repaired.
    ///
    /// # Errors
    /// [`ErrorKind::UnsafeFile`] where the log or its head is a symbolic link or others can write it;
    /// [`ErrorKind::BrokenChain`] where it does not verify, is gone while its head is there, or its head is not signed by
    /// the key; [`ErrorKind::TornLog`] where a crash left it within a line: see [`recover`](super::recover);
    /// [`ErrorKind::LogBusy`]; [`ErrorKind::Io`].
    pub fn open_with(path: &Path, options: AuditLogOptions) -> Result<Self, Error> {
        if std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            create(path, &options)?;
        }
        let log = Self::unread(path, options)?;
        log.with_lock(|state| log.catch_up(state))?;
        Ok(log)
    }

    /// Opens a log that is there, without looking into it.
    pub(super) fn unread(path: &Path, options: AuditLogOptions) -> Result<Self, Error> {
        let file = trusted::open(path, OpenOptions::new().read(true).append(true))?;
        let state = State { chain: Chain::new(), end: 0, is_unusable: false };
        Ok(Self { path: path.to_owned(), file, options, state: Mutex::new(state) })
    }

    /// Appends an entry, and returns when it is durable.
    ///
    /// The head that it returns is worth keeping elsewhere: with it, [`verify`](super::verify) finds a log that was cut.
    ///
    /// # Errors
    /// As [`AuditLog::open_with`], for what happened to the files since; [`ErrorKind::Io`] where the disk or the sink fails.
    /// After an error the entry may be there or not, and what it announces must not be done.
    pub fn append(&self, entry: Entry) -> Result<Head, Error> {
        self.with_lock(|state| {
            let standing = self.catch_up(state)?;
            self.write(state, entry, standing)
        })
    }

    /// Uses an approval up: appends the entry as its one use, unless there was one before. To be called before what it
    /// permits is sent; for break-glass, once for the session.
    ///
    /// Checking and appending are one step under the lock, so of several processes one succeeds.
    ///
    /// # Errors
    /// [`ErrorKind::ApprovalUsed`] where the approval was used; [`ErrorKind::ApprovalExpired`] where it has ended by the
    /// entry's time; else as [`AuditLog::append`]. After such an error it may count as used.
    pub fn claim(&self, granted: &Granted, entry: Entry) -> Result<Head, Error> {
        if granted.is_expired(entry.at()) {
            let message = format!("approval {} has ended before it was used", granted.id());
            return Err(Error::new(ErrorKind::ApprovalExpired, message));
        }
        self.with_lock(|state| {
            let standing = self.catch_up(state)?;
            if state.chain.claims.contains(granted.id()) {
                let message = format!("approval {} was used before", granted.id());
                return Err(Error::new(ErrorKind::ApprovalUsed, message));
            }
            self.write(state, entry.claiming(granted), standing)
        })
    }

    /// Tells whether an approval was used. Only [`AuditLog::claim`] can rely on the answer.
    ///
    /// # Errors
    /// As [`AuditLog::append`].
    pub fn uses(&self, id: &ApprovalId) -> Result<bool, Error> {
        self.with_lock(|state| {
            self.catch_up(state)?;
            Ok(state.chain.claims.contains(id))
        })
    }

    /// Returns where the log ended when this process last looked.
    pub fn head(&self) -> Head {
        self.state().chain.head.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held left the chain as it was, or ahead of the file; the next look finds that.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a step that no other thread or process comes between.
    pub(super) fn with_lock<R>(&self, step: impl FnOnce(&mut State) -> Result<R, Error>) -> Result<R, Error> {
        let mut state = self.state();
        let _lock = Lock::exclusive(&self.file, &self.path, self.options.patience)?;
        step(&mut state)
    }

    fn failed(&self, what: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::new(ErrorKind::Io, format!("cannot {what} the audit log {}", self.path.display()))
            .caused_by(error)
    }

    fn broken(&self, what: impl fmt::Display) -> Error {
        Error::new(ErrorKind::BrokenChain, format!("audit log {}: {what}", self.path.display()))
    }

    /// Reads what other processes have appended, and compares the head. Wants the lock.
    fn catch_up(&self, state: &mut State) -> Result<Standing, Error> {
        let (torn, standing) = self.read_on(state)?;
        if torn.is_some() || left_over(&self.path, &state.chain.head).exists() {
            let message = format!("audit log {} ends within a line", self.path.display());
            return Err(Error::new(ErrorKind::TornLog, message));
        }
        Ok(standing)
    }

    /// As [`AuditLog::catch_up`], and returns the bytes that a crash left behind the last line. Wants the lock.
    pub(super) fn read_on(&self, state: &mut State) -> Result<(Option<Vec<u8>>, Standing), Error> {
        if state.is_unusable {
            return Err(self.broken("an earlier failure left it unclear, and it must be opened anew"));
        }
        let metadata = self.file.metadata().map_err(|error| self.failed("look at", error))?;
        let named = std::fs::symlink_metadata(&self.path).ok();
        if named.is_none_or(|named| (named.dev(), named.ino()) != (metadata.dev(), metadata.ino())) {
            return Err(self.broken("the file was moved, removed or replaced"));
        }
        if metadata.len() < state.end {
            return Err(self.broken("it is shorter than it was"));
        }
        let head = head::read(&self.path)?.ok_or_else(|| self.broken("its head is gone"))?;
        if let Some(key) = &self.options.key
            && head.signer(&[key.verifying_key()]).is_none()
        {
            return Err(self.broken("its head is not signed by the key"));
        }
        let range = state.end..metadata.len();
        let walked = walk(&mut state.chain, &self.file, range, Some(&head.head()), &mut |_, _| {});
        let Walk { faults, torn, end } = walked.map_err(|error| {
            state.is_unusable = true;
            self.failed("read", error)
        })?;
        state.end = end;
        if torn.is_some() && faults.len() == 1 {
            return Ok((torn, Standing::Current));
        }
        if let Some(fault) = faults.first() {
            state.is_unusable = true;
            return Err(self.broken(fault));
        }
        match state.chain.standing(&head.head()) {
            standing @ (Standing::Current | Standing::BehindByOne) => Ok((None, standing)),
            Standing::Ahead(_) => Err(self.broken("lines are missing at its end")),
            Standing::Behind(_) => Err(self.broken("its head is behind by more than one line")),
            Standing::Differs => Err(self.broken("its last line is not the one that its head names")),
        }
    }

    /// Appends a line behind a chain that is up to date, in the order of the module's table. Wants the lock.
    pub(super) fn write(&self, state: &mut State, entry: Entry, standing: Standing) -> Result<Head, Error> {
        let at = entry.at();
        let key = self.options.key.as_ref();
        let recorded = entry.following(&state.chain.head);
        let mut line = serde_json::to_string(&recorded).expect("numbers and strings always serialise");
        line.push('\n');
        if line.len() > MAX_LINE_BYTES {
            let message = "entry for the audit log is longer than a line may be";
            return Err(Error::new(ErrorKind::InvalidRecord, message));
        }
        if standing == Standing::BehindByOne {
            // The head must not get behind by two. It may only name a line that is durable, and the process that wrote
            // the line may have died before it was.
            self.file.sync_data().map_err(|error| self.unclear(state, error))?;
            head::write(&self.path, &state.chain.head, key, at)?;
        }
        if let Err(error) = (&self.file).write_all(line.as_bytes()) {
            // Nobody was told of the line yet: a full disk must not leave the log torn.
            let undone = self.file.set_len(state.end).and_then(|()| self.file.sync_data());
            state.is_unusable = undone.is_err();
            return Err(self.failed("append to", error));
        }
        self.file.sync_data().map_err(|error| self.unclear(state, error))?;
        state.end += line.len() as u64;
        line.pop();
        state.chain.push(line.as_bytes(), Some(&recorded));
        head::write(&self.path, &state.chain.head, key, at)?;
        if let Some(sink) = &self.options.sink {
            sink.append(&line).map_err(|error| self.failed("copy to its second sink a line of", error))?;
        }
        Ok(state.chain.head.clone())
    }

    /// Cuts off what stands behind the last line. Wants the lock.
    pub(super) fn cut(&self, state: &State) -> Result<(), Error> {
        let cut = self.file.set_len(state.end).and_then(|()| self.file.sync_all());
        cut.map_err(|error| self.failed("cut the torn end of", error))
    }

    /// After a failed `fsync` the disk may have the line or not, and asking again proves nothing.
    fn unclear(&self, state: &mut State, error: std::io::Error) -> Error {
        state.is_unusable = true;
        self.failed("make durable", error)
    }
}

/// Creates the first head, then the empty log. The folder is locked: two processes may come at once.
fn create(path: &Path, options: &AuditLogOptions) -> Result<(), Error> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("cannot create the audit log {}", path.display())).caused_by(error)
    };
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let opened = File::open(folder).map_err(failed)?;
    let _lock = Lock::exclusive(&opened, folder, options.patience)?;
    if path.exists() {
        return Ok(());
    }
    match head::read(path)? {
        None => head::write(path, &Head::genesis(), options.key.as_ref(), Timestamp::UNIX_EPOCH)?,
        Some(file) if file.head() == Head::genesis() => {}
        Some(file) => {
            let message =
                format!("audit log {} is gone, and its head names {} lines", path.display(), file.sequence);
            return Err(Error::new(ErrorKind::BrokenChain, message));
        }
    }
    let created = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path);
    created.and_then(|file| file.sync_all()).map_err(failed)?;
    opened.sync_all().map_err(failed)
}
