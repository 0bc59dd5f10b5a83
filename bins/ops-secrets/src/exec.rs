//! `exec`: the child gets the secrets that it is allowed, and its output loses them. What else in our environment says by its name
//! that it is a secret stays here: our own token for OpenBao, or one of the CI that the command has no business with.

use crate::args::{ExecArgs, Settings, named};
use crate::given::{read, referred};
use ops_cli::{Context, Exit, Failure};
use ops_secrets::{Masker, MaskingWriter};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
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
        let (name, path) = named(word).ok_or_else(|| Failure::new(Exit::Usage, "--file takes NAME=PATH"))?;
        let value = read(&format!("the secret {name}"), Path::new(path))?;
        register(&masker, name, value.expose_secret())?;
        command.env(name, value.expose_secret());
    }
    for (name, value) in referred(&args.secrets, "--secret", &context).await? {
        register(&masker, &name, value.expose_secret())?;
        command.env(name, value.expose_secret());
    }
    withhold(&mut command, &args.variables);
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

/// Takes what is a secret by its name out of the child's environment, except what is allowed.
fn withhold(command: &mut Command, allowed: &[String]) {
    let given: Vec<&OsStr> = command.as_std().get_envs().map(|(name, _)| name).collect();
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let names = names.filter(|name| !allowed.contains(name) && !given.contains(&OsStr::new(name)));
    let held: Vec<String> = names.filter(|name| says_secret(name)).collect();
    if held.is_empty() {
        return;
    }
    for name in &held {
        command.env_remove(name);
    }
    tracing::info!("the command does not get {}; --env NAME passes one on, masked", held.join(", "));
}

/// Whether the name of a variable says that its value is a secret; a path or an id beside it is none.
fn says_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words: Vec<&str> = name.split('_').collect();
    let last = words.last().copied().unwrap_or_default();
    if matches!(last, "FILE" | "PATH" | "DIR" | "URL" | "NAME" | "ENDPOINT") {
        return false;
    }
    let pair = |first: &str, second: &str| words.windows(2).any(|pair| pair == [first, second]);
    ["PASSWORD", "PASSWD", "PASSPHRASE"].iter().any(|word| name.contains(word))
        || words.iter().any(|word| matches!(*word, "SECRET" | "TOKEN" | "APIKEY"))
        || pair("API", "KEY")
        || pair("PRIVATE", "KEY")
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

#[cfg(test)]
mod tests {
    use super::says_secret;

    #[test]
    fn names_say_what_is_secret() {
        for (name, expected) in [
            ("BAO_TOKEN", true),
            ("VAULT_SECRET_ID", true),
            ("PGPASSWORD", true),
            ("AWS_SECRET_ACCESS_KEY", true),
            ("STRIPE_API_KEY", true),
            ("OPS_BACKUP_PASSPHRASE", true),
            ("github_token", true),
            ("AWS_ACCESS_KEY_ID", false),
            ("OPS_BACKUP_PASSWORD_FILE", false),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", false),
            ("PGPASSFILE", false),
            ("TOKENIZERS_PARALLELISM", false),
            ("MAX_TOKENS", false),
            ("SECRETARY", false),
            ("PATH", false),
        ] {
            assert_eq!(says_secret(name), expected, "{name}");
        }
    }
}
