//! What a person and a machine see of `ops-guard`.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod approve;
mod audit;

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Runs the command with a fixed width and without any setting of the machine; returns exit code, stdout, stderr.
fn run(args: &[&str], stdin: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ops-guard"));
    command
        .args(args)
        .args(["--log-format", "human"])
        .current_dir(folder.path())
        .env_clear()
        .env("COLUMNS", "100");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    let done = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    format!(
        "exit {}\n--- stdout\n{}--- stderr\n{}",
        done.status.code().unwrap(),
        text(done.stdout),
        text(done.stderr)
    )
}

#[test]
fn help() {
    insta::assert_snapshot!(run(&["--help"], b""));
    insta::assert_snapshot!("check_help", run(&["check", "--help"], b""));
}

#[test]
fn verdicts_for_people() {
    let sql = b"SELECT 1;\n-- a comment\nDELETE FROM ledger;\n  DROP TABLE ledger;\nUPDATE t SET a = 1 WHERE id = 2;\nDO $$ BEGIN END $$;";
    insta::assert_snapshot!(run(&["check", "-"], sql));
}

#[test]
fn verdicts_for_machines() {
    let sql = b"SELECT 1;\nWITH d AS (DELETE FROM ledger RETURNING *) SELECT count(*) FROM d;\nnonsense";
    insta::assert_snapshot!(run(&["check", "--format", "json", "-"], sql));
}

#[test]
fn a_policy_changes_the_verdict() {
    let create = b"CREATE TABLE t (id int)";
    assert!(run(&["check", "-"], create).starts_with("exit 20"), "app allows no schema change");
    assert!(run(&["check", "--policy", "migration", "-"], create).starts_with("exit 0"), "migration does");
}

#[test]
fn failures_say_what_to_do() {
    let cases: [(&str, &[&str], &[u8]); 6] = [
        ("nothing", &["check", "-"], b"-- only a comment"),
        ("no_file", &["check", "absent.sql"], b""),
        ("no_utf8", &["check", "-"], b"SELECT '\x95\x5c'"),
        ("no_policy", &["check", "--policy", "strict", "-"], b"SELECT 1"),
        ("no_action", &["--format", "json"], b""),
        ("unknown_flag", &["check", "--polcy", "app", "-"], b""),
    ];
    for (name, args, stdin) in cases {
        insta::assert_snapshot!(name, run(args, stdin));
    }
}

#[test]
fn settings_tell_where_they_came_from() {
    insta::assert_snapshot!(run(&["--show-config", "--format", "json"], b""));
    insta::assert_snapshot!("settings_text", run(&["--show-config"], b""));
}
