//! Running a program for a check: within the gate's time, with a clean environment, and so that nothing of it is left.

use super::Context;
use crate::outcome::{Fault, Finding};
use crate::process::{self, End, Finder, Job};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What every program gets of our environment, where it is set: enough to find tools and a home, and no secrets.
const HARMLESS: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// A program that a check runs.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    /// The plan's directory where it is absent.
    pub(crate) directory: Option<PathBuf>,
    /// Variables beside the harmless ones and those that every child gets.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// A text to look for in the standard output.
    pub(crate) expect: Option<String>,
    /// How many bytes of the standard output are kept in memory, unmasked, for the check to read.
    pub(crate) keep: usize,
    /// A time of its own, shorter than the gate's; when it is over, that is [`Ran::timed_out`] and no finding.
    pub(crate) timeout: Option<Duration>,
}

/// A program that has ended by itself, or after a time of its own.
#[derive(Debug)]
pub(crate) struct Ran {
    /// None where its own time was over.
    pub(crate) status: Option<ExitStatus>,
    /// Whether the text that was looked for stood in the standard output.
    pub(crate) found: bool,
    /// The beginning of the standard output.
    pub(crate) stdout: Vec<u8>,
    /// Processes that it had left behind when it exited, and that were then ended.
    pub(crate) left_behind: usize,
    /// From just before its start to its end.
    pub(crate) elapsed: Duration,
}

impl Program {
    /// A program without arguments.
    pub(crate) fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), ..Self::default() }
    }

    /// Adds arguments.
    pub(crate) fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }
}

/// Counts a program for as long as it runs or is being ended.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Context<'_> {
    /// Runs a program to its end. All that it writes goes to the gate's log, masked.
    ///
    /// # Errors
    /// The finding of the gate: the program could not start, the gate's time was over, the run was cancelled, or
    /// processes could not be ended.
    pub(crate) async fn run(&self, program: Program) -> Result<Ran, Finding> {
        let capture = self.capture();
        let _counted = Counted::new(&self.programs);
        let shown = program.program.to_string_lossy().into_owned();
        let harmless =
            HARMLESS.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
        let given = self.parts.environment.iter().map(|(name, value)| (name.into(), value.into()));
        let own = program.timeout.filter(|own| *own < self.timeout());
        let job = Job {
            program: program.program,
            arguments: program.arguments,
            directory: program.directory.unwrap_or_else(|| self.parts.directory.to_path_buf()),
            environment: harmless.chain(program.environment).chain(given).collect(),
            marker: self.parts.marker.clone(),
            roots: self.parts.roots.cloned(),
            timeout: own.unwrap_or_else(|| self.timeout()),
            grace: self.parts.grace,
        };
        let expect = program.expect.as_deref().map(Finder::new);
        let ended = process::run(job, expect, program.keep, capture, self.parts.cancel).await;
        let ended = ended.map_err(|error| {
            Finding::error(Fault::Unresolved, "not-started", format!("cannot start `{shown}`: {error}"))
        })?;
        let finding = match ended.end {
            End::Exited(status) if ended.survivors == 0 => return Ok(ended.ran(Some(status))),
            End::TimedOut if ended.survivors == 0 && own.is_some() => return Ok(ended.ran(None)),
            End::Exited(status) => Finding::fail("exit", format!("ended with {status}")),
            End::TimedOut => Finding::timeout(self.parts.timeout),
            End::Cancelled => Finding::cancelled(),
        };
        if ended.survivors == 0 {
            return Err(finding);
        }
        let reason = format!("{}; {} could not be ended", finding.reason, processes(ended.survivors));
        Err(Finding::error(Fault::Leak, "leak", reason))
    }
}

impl process::Ended {
    fn ran(self, status: Option<ExitStatus>) -> Ran {
        let elapsed = self.elapsed;
        Ran { status, found: self.found, stdout: self.stdout, left_behind: self.left_behind, elapsed }
    }
}

impl Ran {
    /// Whether its own time was over.
    pub(crate) fn timed_out(&self) -> bool {
        self.status.is_none()
    }

    /// The exit code; none where a signal or the time ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status?.code()
    }

    /// Adds to a reason what had to be tidied up.
    pub(crate) fn tidied(&self, mut finding: Finding) -> Finding {
        if self.left_behind > 0 {
            let count = processes(self.left_behind);
            finding.reason = format!("{}; {count} left behind and ended", finding.reason);
        }
        finding
    }
}

fn processes(count: usize) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}
