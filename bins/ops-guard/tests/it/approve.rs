//! `keygen` and `approve`, as a person and a machine see them.

use std::path::Path;
use std::process::{Command, Stdio};

/// Runs the command in a folder; returns exit code, stdout and stderr, with what differs from run to run replaced.
pub(crate) fn run(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ops-guard"));
    command.args(args).args(["--log-format", "human"]).current_dir(folder).env_clear().env("COLUMNS", "100");
    let done = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = done.status.code().unwrap();
    let all = format!("exit {code}\n--- stdout\n{}--- stderr\n{}", text(done.stdout), text(done.stderr));
    replaced(&all.replace(&folder.display().to_string(), "[folder]"))
}

/// Times and long hexadecimal words are not the same twice.
fn replaced(text: &str) -> String {
    let mut shown = String::new();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == ':';
    for word in text.split_inclusive(|c| !is_part(c)) {
        let end = word.trim_end_matches(|c| !is_part(c)).len();
        let (word, rest) = word.split_at(end);
        // A head is a number, a colon and a digest.
        let digits = word.rsplit(':').next().unwrap_or_default();
        let is_hex = digits.len() >= 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_time = word.len() == 20 && word.ends_with('Z') && !word.starts_with("2026-11-21T06:");
        if is_hex {
            shown.push_str(&word.replace(digits, "[hex]"));
        } else {
            shown.push_str(if is_time { "[time]" } else { word });
        }
        shown.push_str(rest);
    }
    shown
}

/// A folder with the keys of two people and a file that names one of them.
fn people() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["alice", "mallory"] {
        let (private, public) = (format!("{name}.pem"), format!("{name}.pub.pem"));
        let made = run(folder.path(), &["keygen", "--out", &private, "--public", &public]);
        assert!(made.starts_with("exit 0"), "{made}");
    }
    let approvers = "[approvers]\nalice = \"alice.pub.pem\"\n";
    std::fs::write(folder.path().join("approvers.toml"), approvers).unwrap();
    folder
}

const SQL: &str = "DELETE FROM public.ledger -- all of it\u{1b}[8m, for 'October'";

fn approve<'a>(what: &[&'a str], key: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let fixed = [
        "--for",
        "app",
        "--reason",
        "rows of October",
        "--ticket",
        "OPS-7",
        "--expires-in",
        "30m",
        "--approver",
        "alice",
        "--key",
        key,
        "--out",
        "approval.json",
    ];
    [&["approve"], what, &fixed, more].concat()
}

#[test]
fn help() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!("keygen_help", run(folder.path(), &["keygen", "--help"]));
    insta::assert_snapshot!("approve_help", run(folder.path(), &["approve", "--help"]));
}

#[test]
fn a_key_pair_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let make = |private, public| run(folder.path(), &["keygen", "--out", private, "--public", public]);
    insta::assert_snapshot!("keygen", make("a.pem", "b.pem"));
    insta::assert_snapshot!("keygen_again", make("c.pem", "b.pem"));
    assert!(!folder.path().join("c.pem").exists(), "no private key without its public half");
    assert!(make("d.pem", "d.pem").starts_with("exit 64"));
    let json = ["keygen", "--out", "e.pem", "--public", "f.pem", "--format", "json"];
    insta::assert_snapshot!("keygen_json", run(folder.path(), &json));
}

#[test]
fn a_statement_is_shown_signed_and_verified() {
    let folder = people();
    let run = |args: &[&str]| run(folder.path(), args);
    let limits = ["--rows", "500", "--database", "shop"];
    insta::assert_snapshot!("approve_unasked", run(&approve(&["-c", SQL], "alice.pem", &limits)));
    assert!(!folder.path().join("approval.json").exists(), "nobody said yes");
    let yes = [&limits[..], &["--yes"]].concat();
    insta::assert_snapshot!("approve_signed", run(&approve(&["-c", SQL], "alice.pem", &yes)));
    insta::assert_snapshot!("approve_again", run(&approve(&["-c", SQL], "alice.pem", &yes)));
    let show = ["approve", "--show", "approval.json"];
    let with = |more: &[&'static str]| [&show[..], &["--approvers", "approvers.toml"], more].concat();
    insta::assert_snapshot!("approve_show_unverified", run(&show));
    insta::assert_snapshot!("approve_show", run(&with(&[])));
    insta::assert_snapshot!("approve_show_json", run(&with(&["--format", "json"])));
    insta::assert_snapshot!("approve_show_for_another", run(&with(&["--for", "root"])));
    assert!(run(&with(&["--for", "app", "--database", "shop"])).starts_with("exit 0"));
    assert!(run(&with(&["--database", "other"])).starts_with("exit 20"));

    std::fs::remove_file(folder.path().join("approval.json")).unwrap();
    run(&approve(&["-c", SQL], "mallory.pem", &yes));
    insta::assert_snapshot!("approve_show_stranger", run(&with(&[])));
}

#[test]
fn a_table_a_file_and_a_session_can_be_approved_too() {
    let folder = people();
    std::fs::write(folder.path().join("one.sql"), "UPDATE public.t SET a = 1 WHERE b = 2;\n").unwrap();
    let cases: [(&str, &[&str]); 3] = [
        ("approve_table", &["--table", "Public.Ledger", "--effect", "delete-all"]),
        ("approve_file", &["-f", "one.sql"]),
        ("approve_session", &["--break-glass"]),
    ];
    for (name, what) in cases {
        let args = approve(what, "alice.pem", &["--yes", "--format", "json"]);
        insta::assert_snapshot!(name, run(folder.path(), &args));
        std::fs::remove_file(folder.path().join("approval.json")).unwrap();
    }
}

#[test]
fn what_cannot_be_approved_says_why() {
    let folder = people();
    std::fs::write(folder.path().join("bytes.sql"), b"SELECT '\xff'").unwrap();
    let cases: [(&str, &[&str], &str, &[&str]); 10] = [
        ("two", &["-c", "SELECT 1; SELECT 2"], "alice.pem", &[]),
        ("none", &["-c", " -- nothing"], "alice.pem", &[]),
        ("unparsable", &["-c", "DELETE FRM t"], "alice.pem", &[]),
        ("no_schema", &["--table", "ledger", "--effect", "delete"], "alice.pem", &[]),
        ("no_effect", &["--table", "public.ledger", "--effect", "wipe"], "alice.pem", &[]),
        ("no_bytes", &["-f", "bytes.sql"], "alice.pem", &[]),
        ("no_key", &["--break-glass"], "none.pem", &[]),
        ("public_key", &["--break-glass"], "alice.pub.pem", &[]),
        ("oneself", &["--break-glass"], "alice.pem", &["--approver", "app"]),
        ("too_long", &["--break-glass"], "alice.pem", &["--expires-in", "25h"]),
    ];
    for (name, what, key, more) in cases {
        let mut args = approve(what, key, &["--yes"]);
        // The later of two equal options does not win: it takes the place of the first.
        for pair in more.chunks(2) {
            let at = args.iter().position(|arg| *arg == pair[0]).unwrap();
            args[at + 1] = pair[1];
        }
        insta::assert_snapshot!(format!("approve_not_{name}"), run(folder.path(), &args));
        assert!(!folder.path().join("approval.json").exists(), "{name}");
    }
    for time in ["", "soon", "-5m", "0s", "5"] {
        let mut args = approve(&["--break-glass"], "alice.pem", &["--yes"]);
        let at = args.iter().position(|arg| *arg == "--expires-in").unwrap();
        let given = format!("--expires-in={time}");
        args.splice(at..at + 2, [given.as_str()]);
        assert!(run(folder.path(), &args).starts_with("exit 64"), "{time}");
    }
}
