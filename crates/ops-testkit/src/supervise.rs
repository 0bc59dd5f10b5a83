//! Runs one server so that it cannot outlive the test. What a particular server needs does not stand here.
//!
//! A small `sh` is the server's parent. It holds the read end of a pipe whose only write end is ours. However the
//! test process ends, the kernel closes the pipe; the shell then stops the server and removes its directories.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, ErrorKind};
use crate::user::TestUser;

/// The supervisor. It prints the server's pid, and the server's status when it has ended.
///
/// - A background job has /dev/null as its stdin, so the pipe moves to descriptor 3 first; the server must not have it.
/// - The watcher is gone before the status is printed: it can never signal a process that got the pid later.
/// - SIGPIPE is ignored only after the start, so that the server does not inherit that. Without it, the shell would die
///   of reporting the status to a test that is gone, and leave the directories.
/// - Children of a killed PostgreSQL may write for a moment longer, so removal is tried again.
const SUPERVISOR: &str = r#"
exec 3<&0 </dev/null
signal=$1 log=$2 directory=$3 second=$4
shift 4
"$@" >>"$log" 2>&1 3<&- &
server=$!
echo "$server"
trap '' PIPE
(
  read -r _ <&3
  kill -s "$signal" "$server"
  tenths=0
  while [ "$tenths" -lt 50 ]; do sleep 0.1; tenths=$((tenths + 1)); done
  kill -s KILL "$server"
) >/dev/null &
watcher=$!
wait "$server"
status=$?
kill "$watcher"
wait "$watcher"
echo "$status"
read -r _ <&3 && exit
for attempt in 1 2 3 4 5; do
  rm -rf -- "$directory" ${second:+"$second"} && exit
  sleep 0.2
done
"#;

/// What to run, as whom, and what to leave behind.
#[derive(Debug)]
pub(crate) struct Supervision {
    /// The user of the server. The supervisor stays root in a test of root: it must remove what such a test wrote.
    pub user: TestUser,
    /// The working directory; removed when the test ends, in whatever way.
    pub directory: PathBuf,
    /// One more directory to remove, for example a restored cluster.
    pub second: Option<PathBuf>,
    /// Takes stdout and stderr of the server, at the end.
    pub log: PathBuf,
    /// The name of the signal that stops the server, `INT` for example. SIGKILL follows after five seconds.
    pub stop_signal: &'static str,
}

/// A running (or ended) process under a supervisor. Dropping it stops the process and removes its directories.
#[derive(Debug)]
pub(crate) struct Supervised {
    supervisor: Child,
    /// Open as long as the process may run.
    pipe: Option<ChildStdin>,
    exit: Mutex<Receiver<i32>>,
    status: Option<i32>,
    pid: u32,
}

impl Supervised {
    pub(crate) fn start(command: &Command, how: &Supervision) -> Result<Self, Error> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SUPERVISOR, "ops-testkit"]);
        shell.args([how.stop_signal.as_ref(), how.log.as_os_str(), how.directory.as_os_str()]);
        shell.arg(how.second.as_deref().unwrap_or(Path::new("")));
        shell.args(how.user.prefix()).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        // Its own process group: Ctrl-C on a terminal must reach the test alone.
        shell.current_dir(&how.directory).process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());

        let object = Path::new(command.get_program());
        let mut supervisor = shell.spawn().map_err(|e| Error::io("start", object, e))?;
        let pipe = supervisor.stdin.take();
        let stdout = supervisor.stdout.take().expect("stdout is piped, three lines above");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let pid = lines.next().and_then(|line| line.parse().ok()).ok_or_else(|| {
            Error::new(ErrorKind::Io, format!("the supervisor of {} ended", object.display()))
        })?;
        let (sender, exit) = channel();
        std::thread::spawn(move || {
            // A supervisor that was itself killed reports nothing; the receiver then sees a closed channel.
            if let Some(status) = lines.next().and_then(|line| line.parse().ok()) {
                let _ = sender.send(status);
            }
        });
        Ok(Self { supervisor, pipe, exit: Mutex::new(exit), status: None, pid })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the process to end, and returns its status as a shell gives it (128 + signal).
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<i32> {
        if self.status.is_none() {
            let exit = self.exit.get_mut().expect("no thread panics while it holds this lock");
            self.status = match exit.recv_timeout(patience) {
                Ok(status) => Some(status),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(-1),
            };
        }
        self.status
    }

    /// Sends a signal, unless the process is known to have ended.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.wait(Duration::ZERO).is_none()
            && let Some(pid) = Pid::from_raw(self.pid.cast_signed())
        {
            // It may end on its own just now; then there is nothing to signal.
            let _ = kill_process(pid, signal);
        }
    }

    /// Lets go of an ended process without removing its directories, because another one will use them.
    pub(crate) fn release(mut self) {
        if self.status.is_some()
            && let Some(mut pipe) = self.pipe.take()
        {
            let _ = pipe.write_all(b"release\n");
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.supervisor.wait();
    }
}

/// Returns the last lines of a log, for an error.
pub(crate) fn log_tail(log: &Path) -> String {
    const LINES: usize = 40;
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(script: &str, directory: &Path) -> Supervised {
        let user = TestUser::find().unwrap();
        let how = Supervision {
            user,
            directory: directory.to_owned(),
            second: None,
            log: directory.join("log"),
            stop_signal: "TERM",
        };
        user.own(directory).unwrap();
        Supervised::start(Command::new("sh").args(["-c", script]), &how).unwrap()
    }

    #[test]
    fn status_is_reported_and_release_keeps_the_directory() {
        for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
            let directory = tempfile::tempdir_in("/tmp").unwrap();
            let mut process = start(script, directory.path());
            assert_eq!(process.wait(Duration::from_secs(10)), Some(status), "{script}");
            process.release();
            assert!(directory.path().exists());
        }
    }

    #[test]
    fn drop_stops_the_process_and_removes_the_directory() {
        for script in ["sleep 60", "exit 0"] {
            let directory = tempfile::tempdir_in("/tmp").unwrap().keep();
            let process = start(script, &directory);
            let pid = process.pid();
            drop(process);
            assert!(!crate::process::is_running(pid), "{script}");
            assert!(!directory.exists(), "{script}");
        }
    }

    #[test]
    fn a_process_that_ignores_the_signal_is_killed() {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let process = start("trap '' TERM; while :; do sleep 1; done", directory.path());
        let pid = process.pid();
        std::thread::sleep(Duration::from_millis(200));
        drop(process);
        assert!(!crate::process::is_running(pid));
    }

    #[test]
    fn log_tail_keeps_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        fs::write(&log, (1..=100).map(|n| format!("line {n}\n")).collect::<String>()).unwrap();
        let tail = log_tail(&log);
        assert!(tail.starts_with("line 61\n") && tail.ends_with("line 100"), "{tail}");
        assert_eq!(log_tail(Path::new("/nonexistent")), "");
    }
}
