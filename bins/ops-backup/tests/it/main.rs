//! What a person, a machine and PostgreSQL see of `ops-backup`.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod cluster;
mod service;
mod sources;
mod tree;
mod words;

use serde_json::{Map, Value};
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

/// The text with each word that holds a digit as `#` (but the exit code), without the units behind them, and without the
/// names of the machine and of the program's place: what a run cannot change is left.
fn masked(text: &str) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "s", "min", "h"];
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut words: Vec<String> = Vec::new();
        for word in line.split_whitespace() {
            let bare = word.trim_end_matches([',', ';', ':', ')', '.']);
            let word = match word {
                _ if word == env!("CARGO_BIN_EXE_ops-backup") => "OPS-BACKUP".to_owned(),
                _ if word.starts_with("FOLDER") || line.starts_with("exit ") => word.to_owned(),
                _ if words.last().is_some_and(|last| last == "on")
                    && word.trim_end_matches(':') == host.trim() =>
                {
                    word.replace(host.trim(), "HOST")
                }
                _ if bare.bytes().any(|byte| byte.is_ascii_digit()) => {
                    let open = if bare.starts_with('(') { "(" } else { "" };
                    format!("{open}#{}", &word[bare.len()..])
                }
                _ => word.to_owned(),
            };
            let unit = bare.split_once("/s").map_or(bare, |(unit, _)| unit);
            match words.last_mut() {
                Some(last) if last.ends_with('#') && UNITS.contains(&unit) => {
                    last.push_str(&word[bare.len()..]);
                }
                _ => words.push(word),
            }
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        lines.push(format!("{indent}{}", words.join(" ")));
    }
    lines.join("\n")
}

/// The shape of a document: names and types, and of a list its first element.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(list) => list.first().map(shape).into_iter().collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| match name.as_str() {
                "schema" => (name.clone(), value.clone()),
                _ => (name.clone(), shape(value)),
            });
            fields.collect::<Map<_, _>>().into()
        }
    }
}

/// The shape as text, for a snapshot.
fn shape_text(value: &Value) -> String {
    serde_json::to_string_pretty(&shape(value)).unwrap()
}
