//! What a person, a machine and PostgreSQL see of `ops-backup`.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod cluster;
mod words;

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The command below `folder`, without any setting of the machine.
fn command(folder: &Path, args: &[&str]) -> Command {
    command_of(Path::new(env!("CARGO_BIN_EXE_ops-backup")), folder, args)
}

/// As [`command`], with a copy of the binary.
fn command_of(program: &Path, folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("COLUMNS", "100")
        .stdin(Stdio::null());
    command
}

/// Exit code, stdout and stderr in one text, with the folder's name taken out.
fn shown(done: &Output, folder: &Path) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&folder.display().to_string(), "FOLDER");
    format!(
        "exit {}\n--- stdout\n{}--- stderr\n{}",
        done.status.code().unwrap(),
        text(&done.stdout),
        text(&done.stderr)
    )
}
