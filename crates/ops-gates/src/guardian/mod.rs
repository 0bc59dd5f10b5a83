//! A guardian: a small process that does what a killed program can no longer do.
//!
//! SIGKILL leaves no time. So a program that must leave nothing behind starts another one, in a session of its own, and
//! holds one end of a pipe to it. What is to be done after its death it says beforehand, one order a line: which run's
//! processes are to be ended, which fault is to be taken back. When the pipe ends without the word that all is done, the
//! guardian does it, leaves [`REPORT`], and ends.
//!
//! The library starts no program of its own choice: [`Guardian`] names one, which calls [`stand_guard`].

mod watch;

pub use watch::stand_guard;

use crate::action::Action;
use crate::error::{Error, ErrorKind};
use crate::process::{self, MARKER, Process};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{PipeWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdout};

/// What a guardian leaves beside the record of what it guarded, where it had to do something.
pub const REPORT: &str = "guardian.json";

/// What a guardian answers when it has left our session.
const STANDING: &[u8] = b"standing\n";

/// How long a guardian may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which program stands guard: one that calls [`stand_guard`] with its standard input and output, and nothing else.
///
/// ```
/// // `ops-gate` starts itself again, also where its file was replaced meanwhile.
/// let guardian = ops_gates::Guardian { program: "/proc/self/exe".into(), arguments: vec!["guardian".into()] };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guardian {
    /// The program, by its path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// What is to be done when the pipe ends, or that it need not be done any more.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// To end every process of a run.
    Watch {
        run: String,
        /// The process that runs it, and its birth.
        runner: u32,
        born: u64,
        grace_milliseconds: u64,
        /// Whether every child of the runner belongs to the run, except those in its own group.
        adopts: bool,
    },
    /// The control group in which every process of the run was born.
    Group(PathBuf),
    /// To take something back.
    TakeBack {
        action: Action,
        directory: PathBuf,
        /// The mark of the commands that bring about what is taken back; they come first.
        injection: String,
    },
    /// It was taken back.
    TakenBack,
    /// Nothing is to be done any more.
    Done,
}

/// A guardian that was started. Where this is dropped before [`Guard::close`], the guardian does what it was told.
#[derive(Debug)]
pub(crate) struct Guard {
    child: Child,
    orders: PipeWriter,
    answer: Option<ChildStdout>,
}

impl Guardian {
    /// Starts it; it can be told orders at once, and does them even where it has not come up yet.
    ///
    /// # Errors
    /// [`ErrorKind::NoGuardian`] where the program cannot be started.
    pub(crate) fn start(&self, directory: &Path) -> Result<Guard, Error> {
        let cannot = |error| Error::io(ErrorKind::NoGuardian, "start the guardian", &self.program, error);
        let (reader, orders) = std::io::pipe().map_err(cannot)?;
        let mut child = tokio::process::Command::new(&self.program)
            .args(&self.arguments)
            // It must not be taken for what a run left behind; a run that we are ourselves a gate of ends both.
            .env(MARKER, process::nested("guardian"))
            .stdin(reader)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(cannot)?;
        let answer = child.stdout.take();
        let mut guard = Guard { child, orders, answer };
        let report = std::path::absolute(directory.join(REPORT)).map_err(cannot)?;
        guard.write(&report)?;
        Ok(guard)
    }
}

impl Guard {
    /// The process id; none once it has ended.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it stands, apart from us and from our terminal.
    ///
    /// # Errors
    /// [`ErrorKind::NoGuardian`] where the program is no guardian.
    pub(crate) async fn is_standing(&mut self) -> Result<(), Error> {
        let mut said = Vec::new();
        let reads = async {
            let Some(answer) = &mut self.answer else { return };
            while said.len() < STANDING.len() && answer.read_buf(&mut said).await.is_ok_and(|read| read > 0) {
            }
        };
        let _ = tokio::time::timeout(PATIENCE, reads).await;
        if said == STANDING {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NoGuardian, "the program that is to stand guard does not"))
    }

    /// Orders to end every process of a run of ours.
    ///
    /// # Errors
    /// [`ErrorKind::NoGuardian`] where it has gone.
    pub(crate) fn watch(&mut self, run: &str, grace: Duration, adopts: bool) -> Result<(), Error> {
        let runner = std::process::id();
        let born = Process::find(runner).map_or(0, |process| process.born);
        let grace_milliseconds = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.tell(&Order::Watch { run: run.to_owned(), runner, born, grace_milliseconds, adopts })
    }

    /// Gives an order.
    ///
    /// # Errors
    /// [`ErrorKind::NoGuardian`] where it has gone.
    pub(crate) fn tell(&mut self, order: &Order) -> Result<(), Error> {
        self.write(order)
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), Error> {
        let cannot = || Error::new(ErrorKind::NoGuardian, "the guardian takes no orders");
        let mut line = serde_json::to_vec(line).map_err(|error| cannot().because(error))?;
        line.push(b'\n');
        self.orders.write_all(&line).map_err(|error| cannot().because(error))
    }

    /// Sends it home, and waits until it has gone.
    pub(crate) async fn close(self) {
        let Self { mut child, mut orders, answer } = self;
        let mut line = serde_json::to_vec(&Order::Done).unwrap_or_default();
        line.push(b'\n');
        // One that has gone already needs no word.
        let _ = orders.write_all(&line);
        drop((orders, answer));
        let _ = tokio::time::timeout(PATIENCE, child.wait()).await;
    }
}
