//! Help, settings and failures, as snapshots.

use crate::{command, masked, shown};
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn help() {
    let folder = tempfile::tempdir().unwrap();
    for (name, args) in [
        ("help", &["--help"][..]),
        ("init_help", &["init", "--help"]),
        ("key_help", &["key", "--help"]),
        ("key_add_help", &["key", "add", "--help"]),
        ("backup_help", &["backup", "--help"]),
        ("metrics_help", &["metrics", "--help"]),
        ("verify_help", &["verify", "--help"]),
        ("restore_help", &["restore", "--help"]),
        ("expire_help", &["expire", "--help"]),
        ("rehearse_help", &["rehearse", "--help"]),
        ("wal_push_help", &["wal", "push", "--help"]),
        ("wal_fetch_help", &["wal", "fetch", "--help"]),
        ("wal_serve_help", &["wal", "serve", "--help"]),
        ("wal_check_help", &["wal", "check", "--help"]),
        ("wal_receive_help", &["wal", "receive", "--help"]),
    ] {
        insta::assert_snapshot!(name, shown(&command(folder.path(), args).output().unwrap(), folder.path()));
    }
}

/// Each failure has one line, a hint where one helps, and the exit code of the table.
#[test]
fn failures() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    std::fs::write(folder.path().join("word"), "secret").unwrap();
    std::fs::set_permissions(folder.path().join("word"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::create_dir(folder.path().join("full")).unwrap();
    std::fs::write(folder.path().join("full/PG_VERSION"), "15\n").unwrap();
    let done = |args: &[&str]| assert!(command(folder.path(), args).output().unwrap().status.success());
    done(&["--repo", "repo", "init"]);
    done(&["key", "new", "right.key"]);
    done(&["key", "new", "wrong.key"]);
    done(&["--repo", "locked", "--key-file", "right.key", "init"]);
    let cases: [(&str, &[&str]); 40] = [
        ("no_action", &[]),
        ("no_repo", &["list"]),
        ("repo_is_a_file", &["--repo", "file", "init"]),
        ("repo_of_unknown_kind", &["--repo", "ftp://host/x", "list"]),
        ("no_repository", &["--repo", "other", "list"]),
        ("nothing_to_list", &["--repo", "repo", "list"]),
        ("nothing_to_verify", &["--repo", "repo", "verify"]),
        ("nothing_to_rehearse", &["--repo", "repo", "rehearse"]),
        ("nothing_to_restore", &["--repo", "repo", "restore", "--to", "new"]),
        ("no_server", &["--repo", "repo", "backup"]),
        ("server_does_not_answer", &["--repo", "repo", "--postgres", "host=/nonexistent user=x", "backup"]),
        ("target_is_a_file", &["--repo", "repo", "restore", "--to", "file"]),
        ("target_is_not_empty", &["--repo", "repo", "restore", "--to", "full"]),
        (
            "time_without_zone",
            &["--repo", "repo", "restore", "--to", "new", "--target-time", "2026-11-21 09:00"],
        ),
        ("push_of_no_segment", &["--repo", "repo", "wal", "push", "file"]),
        ("fetch_into_no_cluster", &["--repo", "repo", "wal", "fetch", "000000010000000000000001", "x"]),
        ("key_that_is_none", &["evidence", "verify", "file", "--key", "file"]),
        ("key_is_missing", &["--repo", "locked", "list"]),
        ("key_is_wrong", &["--repo", "locked", "--key-file", "wrong.key", "list"]),
        ("key_is_not_needed", &["--repo", "repo", "--key-file", "right.key", "list"]),
        ("key_file_is_missing", &["--repo", "locked", "--key-file", "none.key", "list"]),
        ("key_file_is_none", &["--repo", "locked", "--key-file", "word", "list"]),
        ("key_file_exists", &["key", "new", "right.key"]),
        ("key_of_a_plain_repository", &["--repo", "repo", "key", "add", "--new-key-file", "right.key"]),
        ("key_is_unknown", &["--repo", "locked", "--key-file", "right.key", "key", "remove", "0"]),
        ("no_rule", &["--repo", "repo", "expire"]),
        ("age_that_is_none", &["--repo", "repo", "expire", "--keep-within", "a week"]),
        ("wal_that_is_none", &["--repo", "repo", "expire", "--keep-last", "1", "--wal", "some"]),
        ("share_that_is_none", &["--repo", "repo", "verify", "--sample", "0%"]),
        (
            "compression_that_is_none",
            &["--repo", "repo", "--postgres", "host=x", "backup", "--compression", "gzip"],
        ),
        ("throttle_that_is_none", &["--repo", "repo", "--postgres", "host=x", "backup", "--throttle=-1"]),
        ("tree_without_name", &["--repo", "repo", "backup", "--tree", "full"]),
        ("tree_that_is_absent", &["--repo", "repo", "backup", "--tree", "none", "--name", "none"]),
        ("tree_with_a_target", &["--repo", "repo", "restore", "--to", "new", "--tree", "x", "--immediate"]),
        ("no_such_tree", &["--repo", "repo", "restore", "--to", "new", "--tree", "x"]),
        ("no_such_backup", &["--repo", "repo", "restore", "--to", "new", "--backup", "x"]),
        ("action_without_target", &["--repo", "repo", "restore", "--to", "new", "--target-action", "pause"]),
        ("receive_from_no_server", &["--repo", "repo", "wal", "receive"]),
        (
            "interval_that_is_none",
            &["--repo", "repo", "--postgres", "host=x", "wal", "receive", "--flush-interval", "soon"],
        ),
        ("delta_of_something_else", &["--repo", "repo", "restore", "--to", "full", "--delta"]),
    ];
    for (name, args) in cases {
        let done = command(folder.path(), &[args, &["--log-format", "human"]].concat())
            .env("PATH", "/usr/bin:/bin")
            .output()
            .unwrap();
        insta::assert_snapshot!(name, shown(&done, folder.path()));
    }
}

/// A password with everything that breaks escaping survives, and a broken line of the file does not show it.
#[test]
fn settings_never_show_a_secret() {
    const SECRET: &str = "p%w 'q' \"d\" $x \\ #";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ops.toml");
    let write = |text: &str| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    let show = |format: &str| {
        command(folder.path(), &["--show-config", "--format", format, "--log-format", "human"])
            .env("OPS_BACKUP_WORKERS", "4")
            .output()
            .unwrap()
    };
    write(&format!("[backup]\nrepo = \"here\"\npassword = {}\n", serde_json::Value::from(SECRET)));
    insta::assert_snapshot!("settings", shown(&show("text"), folder.path()));
    insta::assert_snapshot!("settings_json", shown(&show("json"), folder.path()));

    for broken in [
        "[backup]\npassword = \"SENTINEL-4711\n",
        "[backup]\npassword = SENTINEL-4711\n",
        "[backup]\nworkers = \"SENTINEL-4711\"\n",
        "[backup]\npassword = [\"SENTINEL-4711\"]\n",
    ] {
        write(broken);
        let said = shown(
            &command(folder.path(), &["--show-config", "--log-format", "human"]).output().unwrap(),
            folder.path(),
        );
        assert!(said.starts_with("exit 78"), "{said}");
        assert!(!said.contains("SENTINEL"), "{said}");
    }
}

/// Another binary's table and variables are none of ours, and no mistake.
#[test]
fn one_file_serves_all_binaries() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("ops.toml"),
        "[backup]\nrepo = \"repo\"\n[guard]\npolicy = \"app\"\n[gate]\nanything = 1\n",
    )
    .unwrap();
    let done = command(folder.path(), &["init", "--log-format", "human"])
        .env("OPS_GUARD_POLICY", "app")
        .output()
        .unwrap();
    insta::assert_snapshot!("foreign_tables", masked(&shown(&done, folder.path())));
}

#[test]
fn every_variable_of_the_example_says_what_it_is_for() {
    let example = command(std::path::Path::new("/"), &["--env-example"]).output().unwrap();
    for entry in String::from_utf8(example.stdout).unwrap().split("\n\n").skip(1) {
        assert!(entry.lines().filter(|line| line.starts_with("# ")).count() > 1, "{entry}");
    }
}
