//! Runs PostgreSQL's programs so that none outlives this process. What a program means does not stand here.
//!
//! A small `sh` is the parent of each program. It holds the read end of a pipe whose only write end is ours. However
//! this process ends, the kernel closes the pipe, and the shell stops the program.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::options::RehearseOptions;
use super::scratch::Scratch;
use crate::error::{Error, Result};

/// Starts `"$@"`, ends as it ends, and stops it when stdin closes.
///
/// - A background job has /dev/null as its stdin, so the pipe moves to descriptor 3 first; the program must not have it.
/// - The program's stderr joins its stdout; the shell's own stderr is the lifeline of the scratch directory.
/// - The watcher is gone before the shell ends: it can never signal a process that got the number later.
const SUPERVISOR: &str = r#"
exec 3<&0 </dev/null
signal=$1
shift
"$@" 2>&1 3<&- &
program=$!
(
  read -r _ <&3
  kill -s "$signal" "$program"
  tenths=0
  while [ "$tenths" -lt 100 ]; do sleep 0.1; tenths=$((tenths + 1)); done
  kill -s KILL "$program"
) >/dev/null &
watcher=$!
wait "$program"
status=$?
kill "$watcher"
wait "$watcher"
exit "$status"
"#;

/// The most that is kept of what a tool prints.
const OUTPUT_LIMIT: usize = 64 * 1024;

/// Where and as whom programs run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Launcher<'a> {
    pub(super) options: &'a RehearseOptions,
    pub(super) scratch: &'a Scratch,
}

/// A running program under its supervisor. Dropping it stops the program; [`Scratch`] waits for its end.
#[derive(Debug)]
pub(super) struct Supervised {
    shell: Child,
    /// Open as long as the program may run: closing it stops the program.
    _pipe: Option<ChildStdin>,
}

/// How a tool ended and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The exit status as a shell gives it: 128 and more for a signal, 126 and 127 where it could not run.
    pub(super) status: i32,
    pub(super) output: String,
}

impl Launcher<'_> {
    /// The full path of one of PostgreSQL's programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.options.bin_dir.join(name)
    }

    /// Starts a program; `signal` is what stops it, and SIGKILL follows after ten seconds.
    pub(super) fn start<A: AsRef<OsStr>>(
        &self,
        name: &str,
        arguments: &[A],
        signal: &str,
        stdout: Stdio,
    ) -> Result<Supervised> {
        let cannot_start = |error| Error::io(format_args!("start {}", self.program(name).display()), error);
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SUPERVISOR, "ops-backup", signal]).arg(self.program(name)).args(arguments);
        // PGHOSTADDR, for one, would send a tool to another server.
        for (variable, _) in std::env::vars_os() {
            if variable.as_encoded_bytes().starts_with(b"PG") {
                shell.env_remove(variable);
            }
        }
        shell.env("LC_ALL", "C").envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        if let Some(user) = self.options.run_as.filter(|_| rustix::process::geteuid().is_root()) {
            shell.gid(user.gid).uid(user.uid);
        }
        // Its own process group: Ctrl-C on a terminal must reach this process alone.
        shell.current_dir(self.scratch.root()).process_group(0);
        shell.stdin(Stdio::piped()).stdout(stdout).stderr(self.scratch.lifeline().map_err(cannot_start)?);
        let mut shell = shell.spawn().map_err(cannot_start)?;
        let pipe = shell.stdin.take();
        Ok(Supervised { shell, _pipe: pipe })
    }

    /// Runs a tool to its end.
    pub(super) async fn run<A: AsRef<OsStr>>(&self, name: &str, arguments: &[A]) -> Result<Outcome> {
        let mut tool = self.start(name, arguments, "TERM", Stdio::piped())?;
        let stdout = tool.shell.stdout.take().expect("stdout is piped, one line above");
        let cannot_run = |error| Error::io(format_args!("run {}", self.program(name).display()), error);
        let output = read_limited(stdout).await.map_err(cannot_run)?;
        let status = tool.wait().await.map_err(cannot_run)?;
        Ok(Outcome { status: status.code().unwrap_or(-1), output })
    }
}

impl Supervised {
    /// Waits for the program to end by itself. Safe to drop and to call again.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        // `Child::wait` closes its stdin first; ours was taken out, so the program goes on.
        self.shell.wait().await
    }
}

async fn read_limited(mut stdout: ChildStdout) -> io::Result<String> {
    let mut kept = Vec::new();
    let mut chunk = vec![0; 8192];
    loop {
        let length = stdout.read(&mut chunk).await?;
        if length == 0 {
            return Ok(String::from_utf8_lossy(&kept).into_owned());
        }
        // The rest is read and dropped: a full pipe would stop the tool.
        let room = OUTPUT_LIMIT.saturating_sub(kept.len());
        kept.extend_from_slice(&chunk[..length.min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::options::Keep;
    use super::*;

    fn options() -> RehearseOptions {
        RehearseOptions::new("/tmp", "/bin", "false")
    }

    #[tokio::test]
    async fn status_and_output_are_reported() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(parent.path(), None, Keep::Nothing).unwrap();
        let mut options = options();
        options.environment.push(("TRACEPARENT".into(), "00-1".into()));
        let launcher = Launcher { options: &options, scratch: &scratch };
        for (script, status, output) in [
            ("echo out; echo err >&2; exit 7", 7, "out\nerr\n"),
            ("kill -9 $$", 137, ""),
            ("echo $TRACEPARENT $LC_ALL", 0, "00-1 C\n"),
            ("pwd | grep -c rehearsal-", 0, "1\n"),
        ] {
            let outcome = launcher.run("sh", &["-c", script]).await.unwrap();
            assert_eq!(outcome, Outcome { status, output: output.to_owned() }, "{script}");
        }
        let outcome = launcher.run("no-such-program", &[""]).await.unwrap();
        assert_eq!(outcome.status, 127);
        let outcome = launcher.run("sh", &["-c", "head -c 1000000 /dev/zero; echo end"]).await.unwrap();
        assert_eq!((outcome.status, outcome.output.len()), (0, OUTPUT_LIMIT));
    }

    #[tokio::test]
    async fn dropping_a_program_stops_it_before_the_directory_goes() {
        let parent = tempfile::tempdir().unwrap();
        let trace = parent.path().join("trace");
        let scratch = Scratch::create(parent.path(), None, Keep::Nothing).unwrap();
        let options = options();
        let launcher = Launcher { options: &options, scratch: &scratch };
        let script = format!(
            "trap 'ls >{0}.new; mv {0}.new {0}; exit' TERM; : >up; while :; do sleep 0.05; done",
            trace.display()
        );
        let program = launcher.start("sh", &["-c", &script], "TERM", Stdio::null()).unwrap();
        let started = Instant::now();
        while !scratch.root().join("up").exists() && started.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(program);
        scratch.close().await.unwrap();
        let seen = std::fs::read_to_string(&trace).unwrap();
        assert!(seen.contains("up"), "the program ended in a directory that was still there: {seen:?}");
    }
}
