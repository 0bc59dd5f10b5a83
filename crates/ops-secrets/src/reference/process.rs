//! A program whose output is a secret: argv without a shell, a chosen environment, a time limit, a bound for the output.
//!
//! What it writes to stderr is thrown away, for it may quote secrets; its exit code is told. When the time is up, the
//! program and all that it started in its process group are killed.

use super::document::FetchError;
use crate::error::ErrorKind;
use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// The most bytes that a program may print.
pub(super) const MAX_OUTPUT: u64 = 1024 * 1024;
/// How often it is asked whether a program that closed its output has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// Runs a program and returns what it printed.
pub(super) fn run(
    program: &OsStr,
    args: &[OsString],
    env: &[(OsString, OsString)],
    timeout: Duration,
) -> Result<Zeroizing<String>, FetchError> {
    let failed = |why: String| FetchError::new(ErrorKind::CommandFailed, why);
    let deadline = Instant::now() + timeout;
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command.spawn();
    let mut child =
        Group(child.map_err(|error| failed(format!("the program cannot be started ({})", error.kind())))?);
    let stdout = child.0.stdout.take().ok_or_else(|| failed("the program has no output".into()))?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Zeroizing::new(Vec::new());
        let read = stdout.take(MAX_OUTPUT + 1).read_to_end(&mut bytes);
        // Nobody listens any more where the time was up.
        let _ = tell.send(read.map(|_| bytes));
    });
    let too_long =
        || failed(format!("the program did not end within {} s and was killed", timeout.as_secs_f32()));
    let bytes = told.recv_timeout(timeout).map_err(|_| too_long())?;
    let bytes = bytes.map_err(|error| failed(format!("its output cannot be read ({})", error.kind())))?;
    if bytes.len() as u64 > MAX_OUTPUT {
        return Err(failed(format!("the program printed more than {MAX_OUTPUT} bytes")));
    }
    let status = child.end(deadline).ok_or_else(too_long)?;
    if !status.success() {
        let how = status.code().map_or_else(|| "by a signal".into(), |code| format!("with exit code {code}"));
        return Err(failed(format!("the program ended {how}; run it by hand to see why")));
    }
    let text = str::from_utf8(&bytes).map_err(|_| failed("the program printed what is not UTF-8".into()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// A child that does not outlive its use, nor does what it started.
struct Group(Child);

impl Group {
    fn end(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            match self.0.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                _ => return None,
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // One that has ended was waited for, and its number may be another's by now.
        if let Ok(None) = self.0.try_wait() {
            #[cfg(unix)]
            if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
            }
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}
