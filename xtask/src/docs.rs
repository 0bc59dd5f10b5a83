//! `cargo xtask docs`: docs/commands.md, written from the binaries' own help.

use crate::sh::{self, Result};
use crate::{setup, stage};
use std::process::{Command, ExitCode, Stdio};

/// Each binary and the subcommands whose help is shown.
const COMMANDS: [(&str, &[&str]); 4] = [
    (
        "ops-backup",
        &[
            "init",
            "key new",
            "key list",
            "key add",
            "key remove",
            "backup",
            "list",
            "metrics",
            "verify",
            "restore",
            "expire",
            "rehearse",
            "wal push",
            "wal fetch",
            "evidence key",
            "evidence verify",
        ],
    ),
    (
        "ops-guard",
        &[
            "check",
            "exec",
            "explain",
            "doctor",
            "keygen",
            "approve",
            "audit verify",
            "audit show",
            "audit recover",
        ],
    ),
    ("ops-gate", &["run", "plan", "verify"]),
    (
        "ops-secrets",
        &["exec", "example", "check", "show", "rotate postgres", "rotate openbao", "due", "scan"],
    ),
];

/// The command line entry: writes the file, or with --check compares only.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let machine = setup::ensure(false)?;
    sh::run(machine.cargo().arg("-q").args(stage::BUILD.split_whitespace()))?;
    if args.iter().any(|word| word == "--check") {
        compare()?;
    } else {
        let text = render();
        std::fs::write(file(), text)
            .map_err(|error| format!("docs/commands.md cannot be written: {error}"))?;
        sh::say("docs/commands.md is written.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails where the file and the binaries, which are built, tell different stories.
pub(crate) fn compare() -> Result<()> {
    let text = render();
    match std::fs::read_to_string(file()) {
        Ok(current) if current == text => Ok(()),
        _ => Err("docs/commands.md is out of date: run `cargo xtask docs`".into()),
    }
}

fn file() -> std::path::PathBuf {
    sh::root().join("docs/commands.md")
}

fn render() -> String {
    let mut text =
        String::from("# Commands\n\nWritten by `cargo xtask docs` from the binaries' help; do not edit.\n");
    for (binary, subcommands) in COMMANDS {
        text.push_str(&section(binary, ""));
        for subcommand in subcommands {
            text.push_str(&section(binary, subcommand));
        }
    }
    text
}

fn section(binary: &str, subcommand: &str) -> String {
    let program = sh::target().join("debug").join(binary);
    let mut command = Command::new(program);
    command
        .args(subcommand.split_whitespace())
        .arg("--help")
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    let help =
        command.output().map(|done| String::from_utf8_lossy(&done.stdout).into_owned()).unwrap_or_default();
    let level = if subcommand.is_empty() { "##" } else { "###" };
    let title = format!("{binary} {subcommand}");
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    format!("\n{level} {}\n\n```text\n{}\n```\n", title.trim_end(), lines.join("\n").trim_end())
}
