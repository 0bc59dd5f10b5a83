//! Running one program so that nothing of it is left afterwards: its output bounded and masked, its whole tree ended.
//!
//! Linux only: the tree is found through `/proc`.

mod cgroup;
mod orphans;
mod output;
mod proc;
mod tree;

pub(crate) use cgroup::{Cgroup, end as end_group, members as members_of_group};
pub(crate) use orphans::{Roots, adopt_orphans, end_orphans};
pub(crate) use output::{Capture, Excerpt, Finder};
pub(crate) use proc::{MARKER, Process, belongs_to, children, is_foreign, leaders_of, nested, signal};
pub(crate) use tree::{KILL_PATIENCE, Kin};

use futures_util::future::{Either, join, maybe_done, select};
use output::Output;
use std::ffi::OsString;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::Child;
use tokio_util::sync::CancellationToken;
use tree::Tree;

/// Hides what must not be seen, in place. It is given whole lines, or long pieces that overlap.
pub type Masker = Arc<dyn Fn(&mut Vec<u8>) + Send + Sync>;

/// How long the output of an ended tree may take to drain. Only a process that could not be ended can hold it open.
const DRAIN: Duration = Duration::from_secs(2);

/// A program to run.
pub(crate) struct Job {
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) directory: PathBuf,
    /// The whole environment; nothing is inherited.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// Tells the processes of this attempt from all others; unique on this machine.
    pub(crate) marker: String,
    /// The roots that run, in a process that adopts orphans.
    pub(crate) roots: Option<Arc<Roots>>,
    pub(crate) timeout: Duration,
    /// How long processes have between the request to end and the end.
    pub(crate) grace: Duration,
}

/// Why a program is no longer running.
#[derive(Debug)]
pub(crate) enum End {
    Exited(ExitStatus),
    TimedOut,
    Cancelled,
}

/// A program that is over.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) end: End,
    /// Whether the text that was looked for stood in the standard output.
    pub(crate) found: bool,
    /// The beginning of the standard output, as much as was to be kept.
    pub(crate) stdout: Vec<u8>,
    /// Processes that the program had left behind when it exited, and that were then ended.
    pub(crate) left_behind: usize,
    /// Processes that could not be ended.
    pub(crate) survivors: usize,
    /// From just before the start of the program to its end, without what it left behind.
    pub(crate) elapsed: Duration,
}

/// Runs a program to its end, or ends it. When this returns, or is dropped, its process tree is gone.
///
/// # Errors
/// Fails where the program cannot be started.
pub(crate) async fn run(
    job: Job,
    expect: Option<Finder>,
    keep: usize,
    capture: &Arc<Capture>,
    cancel: &CancellationToken,
) -> std::io::Result<Ended> {
    let mut command = tokio::process::Command::new(found(&job).as_deref().unwrap_or(job.program.as_ref()));
    command
        .args(&job.arguments)
        .current_dir(&job.directory)
        .env_clear()
        .envs(job.environment)
        .env(MARKER, nested(&job.marker))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let (start, born) = (Instant::now(), proc::now());
    let mut child = command.spawn()?;
    let root = child.id().expect("the child was not waited for");
    let mut tree = Tree::of(root, born, job.marker, job.roots);
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    // Polled here and not as tasks of their own, which other threads would have to be woken for.
    let mut stdout = pin!(maybe_done(output::read(stdout, Arc::clone(capture), expect, keep)));
    let mut stderr = pin!(maybe_done(output::read(stderr, Arc::clone(capture), None, 0)));
    let mut reading = pin!(join(stdout.as_mut(), stderr.as_mut()));
    let ending = pin!(end(&mut child, &mut tree, (job.timeout, job.grace), start, cancel));
    let ended = select(ending, reading.as_mut()).await;
    let (end, elapsed, left_behind, survivors) = match ended {
        Either::Left((ended, _)) => {
            let ended = ended?;
            // Only a stream that a survivor holds open does not end; of it nothing is known.
            let _ = tokio::time::timeout(DRAIN, reading).await;
            ended
        }
        Either::Right((_, ending)) => ending.await?,
    };
    let Output { found, kept } = stdout.as_mut().take_output().unwrap_or_default();
    Ok(Ended { end, found, stdout: kept, left_behind, survivors, elapsed })
}

/// Waits for the end of a program, or brings it about; then its tree is gone. Says how long it took until then, how many
/// processes it had left behind, and how many could not be ended.
async fn end(
    child: &mut Child,
    tree: &mut Tree,
    (timeout, grace): (Duration, Duration),
    start: Instant,
    cancel: &CancellationToken,
) -> std::io::Result<(End, Duration, usize, usize)> {
    let end = tokio::select! {
        status = child.wait() => End::Exited(status?),
        () = tokio::time::sleep(timeout) => End::TimedOut,
        () = cancel.cancelled() => End::Cancelled,
    };
    let elapsed = start.elapsed();
    let (left_behind, survivors) = match end {
        End::Exited(_) if tree.has_ended_whole() => (0, 0),
        _ => tree.end(grace).await,
    };
    if !matches!(end, End::Exited(_)) {
        // The tree is dead, so that this only collects the exit status.
        let _ = tokio::time::timeout(DRAIN, child.wait()).await;
    }
    Ok((end, elapsed, left_behind, survivors))
}

/// The path of a program that is given by name. With a path, the standard library starts a program without a copy of our
/// whole address space; it looks up a name only after one.
fn found(job: &Job) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    if job.program.as_encoded_bytes().contains(&b'/') {
        return None;
    }
    let path = job.environment.iter().rev().find(|(name, _)| name == "PATH").map(|(_, path)| path)?;
    let is_program = |path: &PathBuf| {
        let metadata = path.metadata();
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|it| it.join(&job.program))
        .find(is_program)
}
