//! What a person sees of `ops-secrets`, and that no secret is in it.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod openbao;
mod program;
mod rotate;
mod scan;
mod sources;

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Escapes in every usual way change it: a percent sign, quotes, a newline, a backslash, a dollar.
const SECRET: &str = "s3cr%t \"it's\"\n\\back$slash-long";

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ops-secrets"));
    command
        .args(["--log-format", "human"])
        .args(args)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("COLUMNS", "100")
        .env("TOKEN", SECRET)
        .stdin(Stdio::null());
    command
}

pub(crate) fn text(done: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "exit {}\n--- stdout\n{}--- stderr\n{}",
        done.status.code().unwrap(),
        text(&done.stdout),
        text(&done.stderr)
    )
}

#[test]
fn help() {
    insta::assert_snapshot!(text(&command(&["--help"]).output().unwrap()));
    insta::assert_snapshot!("exec_help", text(&command(&["exec", "--help"]).output().unwrap()));
}

#[test]
fn both_streams_are_masked_and_the_exit_code_is_kept() {
    let script = "printf '%s\\n' \"out $TOKEN\"; printf '%s\\n' \"err $TOKEN\" >&2; printf %s \"$TOKEN\" | base64 -w0; exit 7";
    insta::assert_snapshot!(text(
        &command(&["exec", "--env", "TOKEN", "--", "sh", "-c", script]).output().unwrap()
    ));
}

#[test]
fn a_secret_that_is_written_in_pieces_is_masked() {
    let script = "i=1; while [ $i -le 31 ]; do printf %s \"$(printf %s \"$TOKEN\" | cut -z -c $i | tr -d '\\0')\"; i=$((i+1)); done";
    let done = command(&["exec", "--env", "TOKEN", "--", "sh", "-c", script])
        .env("TOKEN", "0123456789abcdefghijklmnopqrstu")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout), "[redacted]");
}

#[test]
fn a_file_becomes_a_variable_without_its_newline() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("db");
    std::fs::write(&file, "from-a-file\n").unwrap();
    let file = format!("DB={}", file.display());
    let done = command(&["exec", "--file", &file, "--", "sh", "-c", "printf %s \"$DB\" | wc -c; echo $DB"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&done.stdout).split_whitespace().collect::<Vec<_>>(),
        ["11", "[redacted]"]
    );
}

#[test]
fn failures_say_what_to_do() {
    let cases: [(&str, &[&str]); 6] = [
        ("no_command", &["exec"]),
        ("unset", &["exec", "--env", "ABSENT", "--", "true"]),
        ("no_file", &["exec", "--file", "DB=/nonexistent", "--", "true"]),
        ("not_a_file", &["exec", "--file", "DB", "--", "true"]),
        ("empty", &["exec", "--file", "DB=/dev/null", "--", "true"]),
        ("no_program", &["exec", "--env", "TOKEN", "--", "no-such-program"]),
    ];
    for (name, args) in cases {
        insta::assert_snapshot!(name, text(&command(args).output().unwrap()));
    }
}

#[test]
fn a_signal_reaches_the_child_and_its_answer_comes_back() {
    let script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let file = std::fs::File::create(&out).unwrap();
    let mut child =
        command(&["exec", "--", "sh", "-c", script]).stdout(file).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_to_string(&out).unwrap().contains("ready") {
        assert!(Instant::now() < deadline, "the child did not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert!(std::fs::read_to_string(&out).unwrap().contains("got it"));
}

#[test]
fn profiles_env_files_and_references_are_layers_of_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| std::fs::write(folder.path().join(name), content).unwrap();
    write("ops.toml", "[log]\nlevel = \"info\"\n");
    write("ops.production.toml", "[log]\nlevel = \"warn\"\n");
    write("dev.env", "OPS_LOG_LEVEL='debug'\n");
    write("bad.env", "OPS_LOG_LEVEL=$SECRET-of-mine\n");
    let show = |args: &[&str], profile: &str| {
        let mut shown = command(&[args, &["--show-config", "exec", "--", "true"]].concat());
        let shown = shown.env("OPS_PROFILE", profile).current_dir(folder.path()).output().unwrap();
        text(&shown).replace(folder.path().to_str().unwrap(), "DIR")
    };
    for (args, profile, expected) in [
        (&[][..], "", "info    DIR/ops.toml:2"),
        (&["--profile", "prod"], "", "warn    DIR/ops.production.toml:2"),
        (&[], "production", "warn    DIR/ops.production.toml:2"),
        (&["--profile", "dev"], "production", "info    DIR/ops.toml:2"),
        (&["--env-file", "dev.env"], "", "debug   dev.env:1 OPS_LOG_LEVEL"),
        (&["--env-file", "dev.env"], "prod", "`.env` files belong to profile dev, not prod"),
        (&["--env-file", "bad.env"], "", "bad.env:1 cannot be read: other tools expand `$`"),
        (&[], "hunter2", "env OPS_PROFILE: this is no profile: expected dev (local)"),
    ] {
        let shown = show(args, profile);
        let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(plain(&shown).contains(&plain(expected)), "{args:?} {profile}: {shown}");
        assert!(!shown.contains("of-mine") && !shown.contains("hunter2"), "{shown}");
    }
}
