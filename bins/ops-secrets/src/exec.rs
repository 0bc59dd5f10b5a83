//! `exec`: the child gets the secrets, its output loses them.

use crate::args::{ExecArgs, SecretFile, Settings, secret_file};
use ops_cli::{Context, Exit, Failure};
use ops_secrets::{Masker, MaskingWriter};
use std::io::Write;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// Runs the command to its end and answers with its exit code.
pub(crate) async fn run(args: ExecArgs, context: Context<Settings>) -> Result<Exit, Failure> {
    let masker = context.masker.clone();
    let Some((program, words)) = args.command.split_first() else {
        return Err(Failure::new(Exit::Usage, "no command is named"));
    };
    let mut command = Command::new(program);
    command
        .args(words)
        .envs(ops_telemetry::child_env())
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    for name in &args.variables {
        let value = std::env::var(name).map_err(|_| {
            Failure::new(Exit::Input, format!("the variable {name} is not set, or is no text"))
        })?;
        register(&masker, name, &value)?;
    }
    for word in &args.files {
        let file = secret_file(word).ok_or_else(|| Failure::new(Exit::Usage, "--file takes NAME=PATH"))?;
        let value = read(&file)?;
        register(&masker, &file.variable, &value)?;
        command.env(&file.variable, value);
    }
    let shown = program.to_string_lossy().into_owned();
    let mut child = command
        .spawn()
        .map_err(|error| Failure::new(Exit::Unavailable, format!("{shown} does not start: {error}")))?;
    let status = supervise(&mut child, &masker)
        .await
        .map_err(|error| Failure::new(Exit::Io, format!("{shown} cannot be waited for: {error}")))?;
    Ok(Exit::Child(code(status)))
}

/// Copies both streams through the masker, passes SIGINT and SIGTERM on, and waits.
async fn supervise(child: &mut Child, masker: &Masker) -> std::io::Result<ExitStatus> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let copies = async {
        let out = tokio::spawn(copy(stdout, MaskingWriter::new(std::io::stdout(), masker.clone())));
        let err = tokio::spawn(copy(stderr, MaskingWriter::new(std::io::stderr(), masker.clone())));
        let _ = tokio::join!(out, err);
    };
    tokio::pin!(copies);
    loop {
        let signal = tokio::select! {
            // A grandchild may hold a stream longer than the child lives: the streams end first, or not at all.
            () = &mut copies => return child.wait().await,
            _ = interrupt.recv() => rustix::process::Signal::INT,
            _ = terminate.recv() => rustix::process::Signal::TERM,
        };
        if let Some(pid) = pid {
            // It may just have ended; then there is nobody to tell.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// Copies until the end; what the reader of our stream no longer wants is still read, so that the child can go on.
async fn copy(from: Option<impl AsyncRead + Unpin>, mut to: MaskingWriter<impl Write>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let _ = to.write_all(&buffer[..count]).and_then(|()| to.flush());
    }
    let _ = to.finish();
}

fn read(file: &SecretFile) -> Result<String, Failure> {
    let fail = |what: String| {
        Failure::new(Exit::Input, format!("the secret {} in {} {what}", file.variable, file.path.display()))
    };
    let bytes = std::fs::read(&file.path).map_err(|error| fail(format!("cannot be read: {error}")))?;
    let mut text = String::from_utf8(bytes).map_err(|_| fail("is no text".into()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() { Err(fail("is empty".into())) } else { Ok(text) }
}

fn register(masker: &Masker, name: &str, value: &str) -> Result<(), Failure> {
    masker.register(name, value);
    if masker.unmaskable().iter().any(|unmaskable| unmaskable == name) {
        let failure = Failure::new(Exit::Input, format!("the secret {name} is too short to be masked"));
        return Err(
            failure.hint("a shorter value would be found everywhere; use one of at least 8 characters")
        );
    }
    Ok(())
}

/// The exit code as a shell gives it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}
