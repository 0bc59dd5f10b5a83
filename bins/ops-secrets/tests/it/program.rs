//! `example`, `check` and `show`, asked of the program itself.

use crate::{command, text};

fn own() -> &'static str {
    env!("CARGO_BIN_EXE_ops-secrets")
}

#[test]
fn the_example_of_a_program_is_written_and_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env.example");
    let file = file.to_str().unwrap();
    // It runs outside of any repository, and a file there is searched like any other.
    let run = |args: &[&str]| {
        text(&command(args).current_dir(folder.path()).output().unwrap()).replace(own(), "PROGRAM")
    };
    insta::assert_snapshot!("example", run(&["example", "--", own()]));
    run(&["example", "--output", file, "--", own()]);
    insta::assert_snapshot!("check_right", run(&["check", "--", own()]));
    insta::assert_snapshot!(
        "check_right_json",
        run(&["check", "--example-only", "--format", "json", "--", own()])
    );

    let good = std::fs::read_to_string(file).unwrap();
    let token = format!("ghp_{}", ["x7Gq0vT2kLw9ZrB4n", "Yp6Hs1Dc3Fj5Ma8Ue0K"].concat());
    std::fs::write(
        file,
        good.replace("#OPS_LOG_LEVEL=info", "OPS_LOG_LEVELS=info")
            + &format!("\nX={token}\npassword='{}'\n", ["k7Gx0q", "2vPz-9"].concat()),
    )
    .unwrap();
    let drifted = run(&["check", "--example-only", "--", own()]);
    insta::assert_snapshot!("check_drifted", drifted);
    assert!(!drifted.contains("x7Gq") && !drifted.contains("k7Gx0q2vPz"));
    insta::assert_snapshot!(
        "check_drifted_json",
        run(&["check", "--example-only", "--format", "json", "--", own()])
    );
}

#[test]
fn settings_that_do_not_load_are_no() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("example");
    let file = file.to_str().unwrap();
    assert!(command(&["example", "--output", file, "--", own()]).status().unwrap().success());
    let bad = [
        "check",
        "--example",
        file,
        "--",
        own(),
        "--log-format",
        "human",
        "--config",
        "/nonexistent/ops.toml",
    ];
    let done = text(&command(&bad).output().unwrap()).replace(own(), "PROGRAM").replace(file, "FILE");
    insta::assert_snapshot!("check_unloadable", done);
}

#[test]
fn settings_are_shown_and_failures_say_what_to_do() {
    let run = |args: &[&str]| text(&command(args).output().unwrap()).replace(own(), "PROGRAM");
    insta::assert_snapshot!("show", run(&["show", "--", own(), "--log-level", "debug"]));
    insta::assert_snapshot!("show_json", run(&["show", "--format", "json", "--", own()]));
    insta::assert_snapshot!("no_example", run(&["example", "--", "true"]));
    insta::assert_snapshot!("no_such_program", run(&["example", "--", "no-such-program"]));
    insta::assert_snapshot!("no_file", run(&["check", "--example", "/nonexistent/x", "--", own()]));
    for action in ["example", "check", "show"] {
        insta::assert_snapshot!(format!("{action}_help"), run(&[action, "--help"]));
    }
}

#[test]
fn every_variable_of_the_example_says_what_it_is_for() {
    let example = command(&["--env-example"]).output().unwrap();
    for entry in String::from_utf8(example.stdout).unwrap().split("\n\n").skip(1) {
        assert!(entry.lines().filter(|line| line.starts_with("# ")).count() > 1, "{entry}");
    }
}
