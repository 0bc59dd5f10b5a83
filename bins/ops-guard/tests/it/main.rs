//! What a person and a machine see of `ops-guard`.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod approve;
mod audit;
mod doctor;
mod exec;

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Runs the command with a fixed width and without any setting of the machine; returns exit code, stdout, stderr.
fn run(args: &[&str], stdin: &[u8]) -> String {
    run_with(&[], args, stdin)
}

/// Runs the command in a folder with files of these names and texts. Hashes are not shown: they change with the presets.
fn run_with(files: &[(&str, &str)], args: &[&str], stdin: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_ops-guard"));
    command
        .args(args)
        .args(["--log-format", "human"])
        .current_dir(folder.path())
        .env_clear()
        .env("COLUMNS", "100");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that fails early does not read what it is given.
    match child.stdin.take().unwrap().write_all(stdin) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => panic!("{error}"),
        _ => {}
    }
    let done = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let said = format!(
        "exit {}\n--- stdout\n{}--- stderr\n{}",
        done.status.code().unwrap(),
        text(done.stdout),
        text(done.stderr)
    );
    let is_hash = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    said.split('"').map(|word| if is_hash(word) { "[hash]" } else { word }).collect::<Vec<_>>().join("\"")
}

/// A policy of a shop, with one test.
const SHOP: &str = r#"version = 1
name = "shop"

[[rule]]
name = "ledger-is-append-only"
principal = ["shop_*"]
table = ["*.ledger"]
effect = ["update", "delete"]
decision = "deny"
hint = "book a reversal"

[[rule]]
name = "ask-at-night"
effect = ["insert"]
window = { from = "22:00", to = "06:00", zone = "Europe/Berlin" }
decision = "approve"

[[test]]
sql = "DELETE FROM ledger WHERE id = 1"
principal = "shop_app"
expect = "deny"
rule = "ledger-is-append-only"
"#;

const LEDGER: &[u8] = b"DELETE FROM ledger WHERE id = 1;\nUPDATE t SET a = 1 WHERE id = 1;\nINSERT INTO t VALUES (1);\nTRUNCATE t;\nSELECT 1;";

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
fn a_policy_file_judges_for_whom_and_when() {
    let night = "2026-11-21T23:00:00+01:00";
    let day = "2026-11-21T12:00:00+01:00";
    let cases: [(&str, &[&str]); 4] = [
        ("shop_text", &["--principal", "shop_app", "--database", "shop", "--at", night]),
        ("shop_json", &["--principal", "shop_app", "--at", night, "--format", "json"]),
        ("shop_day_of_another", &["--principal", "dba", "--at", day]),
        ("shop_unknown", &[]),
    ];
    for (name, args) in cases {
        let args = [&["check", "--policy", "shop.toml", "-"], args].concat();
        insta::assert_snapshot!(name, run_with(&[("shop.toml", SHOP)], &args, LEDGER));
    }
    let mild = run_with(
        &[("shop.toml", SHOP)],
        &["check", "--policy", "shop.toml", "--principal", "dba", "--at", day, "-"],
        b"DELETE FROM ledger WHERE id = 1",
    );
    assert!(mild.starts_with("exit 0"), "a limited statement may run: {mild}");
}

#[test]
fn a_policy_that_only_reports_refuses_nothing() {
    let shadow = format!("shadow = true\n{SHOP}");
    let args = ["check", "--policy", "./shop.toml", "--principal", "shop_app", "-"];
    insta::assert_snapshot!(run_with(&[("shop.toml", &shadow)], &args, LEDGER));
    let json = [&args[..], &["--format", "json"]].concat();
    insta::assert_snapshot!("shadow_json", run_with(&[("shop.toml", &shadow)], &json, b"DELETE FROM ledger"));
}

#[test]
fn the_tests_of_a_policy_run_first() {
    let failing = format!(
        "{SHOP}\n[[test]]\nsql = \"\"\"\nDELETE FROM ledger\nWHERE id = 1\"\"\"\nexpect = \"limit\"\n"
    );
    let cases: [(&str, &str, &[&str]); 6] = [
        ("tests_hold", SHOP, &[]),
        ("tests_hold_json", SHOP, &["--format", "json"]),
        ("test_fails", &failing, &["-"]),
        ("test_fails_json", &failing, &["-", "--format", "json"]),
        ("neither_tests_nor_files", "version = 1\nname = \"bare\"\n", &[]),
        (
            "no_policy_file",
            "version = 2\nname = \"app\"\n[[rule]]\neffect = [\"x\"]\ndecision = \"deny\"\n",
            &["-"],
        ),
    ];
    for (name, text, args) in cases {
        let args = [&["check", "--policy", "shop.toml"], args].concat();
        insta::assert_snapshot!(name, run_with(&[("shop.toml", text)], &args, b"DROP TABLE t"));
    }
}

#[test]
fn failures_say_what_to_do() {
    let cases: [(&str, &[&str], &[u8]); 8] = [
        ("nothing", &["check", "-"], b"-- only a comment"),
        ("no_file", &["check", "absent.sql"], b""),
        ("no_utf8", &["check", "-"], b"SELECT '\x95\x5c'"),
        ("no_policy", &["check", "--policy", "strict", "-"], b"SELECT 1"),
        ("absent_policy", &["check", "--policy", "strict.toml", "-"], b"SELECT 1"),
        ("no_time", &["check", "--at", "tomorrow", "-"], b"SELECT 1"),
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

#[test]
fn every_variable_of_the_example_says_what_it_is_for() {
    let example = run(&["--env-example"], b"");
    let example = example.split("--- stderr").next().unwrap();
    for entry in example.split("\n\n").skip(1) {
        assert!(entry.lines().filter(|line| line.starts_with("# ")).count() > 1, "{entry}");
    }
}
