//! `kind = "tool"`: the real tools where they are installed, and stand-ins that end as the real ones were seen to.

use crate::support::run_gate;
use std::path::Path;
use std::process::Command;

fn is_installed(program: &str) -> bool {
    let version =
        if program == "k6" || program == "gitleaks" || program == "trivy" { "version" } else { "--version" };
    Command::new(program).arg(version).output().is_ok_and(|output| output.status.success())
}

async fn check(tool: &str, folder: &Path, args: &str, keys: &str, outcome: &str, code: &str) {
    let gate = format!(
        "kind = \"tool\"\ntool = \"{tool}\"\nargs = [{args}]\ncwd = \"{}\"\n{keys}",
        folder.display()
    );
    let ran = run_gate(&gate).await;
    ran.expect(outcome, code);
}

fn git(folder: &Path, words: &[&str]) {
    let identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"];
    let done = Command::new("git").args(identity).args(words).current_dir(folder).output().expect("git");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn gitleaks_must_have_scanned_something() {
    if !is_installed("gitleaks") {
        ops_testkit::skip!("gitleaks is not installed");
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = folder.path();
    // It says that no leak was found, with exit code 0, in both of these.
    check("gitleaks", at, "\"git\", \".\"", "", "ERROR", "no-proof").await;
    check("gitleaks", at, "\"dir\", \".\"", "", "ERROR", "no-work").await;
    git(at, &["init", "--quiet"]);
    std::fs::write(at.join("a.txt"), "hello\n").expect("a file");
    git(at, &["add", "."]);
    git(at, &["commit", "--quiet", "-m", "first"]);
    check("gitleaks", at, "\"git\", \".\"", "", "PASS", "ok").await;
    check("gitleaks", at, "\"git\", \".\"", "min_work = 1000", "ERROR", "no-work").await;
    let key = format!("aws_access_key_id = \"{}{}\"\n", "AKIA", "QYLPMN5HHHFPZAM2");
    std::fs::write(at.join("s.py"), key).expect("a file");
    check("gitleaks", at, "\"dir\", \".\"", "", "FAIL", "found").await;
    // Whoever makes findings end with 0 does not make them vanish.
    check("gitleaks", at, "\"dir\", \"--exit-code\", \"0\", \".\"", "", "FAIL", "found").await;
    check("gitleaks", at, "\"dir\", \"--log-level\", \"error\", \".\"", "", "ERROR", "no-proof").await;
    check("gitleaks", at, "\"--no-such-flag\"", "", "ERROR", "tool-failed").await;
    check("gitleaks", at, "\"dir\", \"/no/such/folder\"", "", "ERROR", "tool-failed").await;
}

#[tokio::test]
async fn squawk_must_have_seen_a_statement() {
    if !is_installed("squawk") {
        ops_testkit::skip!("squawk is not installed");
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in [
        ("good.sql", "select 1;"),
        ("empty.sql", ""),
        ("comment.sql", "-- nothing\n"),
        ("syntax.sql", "selec 1;"),
        ("bad.sql", "ALTER TABLE t ADD COLUMN x int NOT NULL;"),
    ] {
        std::fs::write(folder.path().join(name), text).expect("a file");
    }
    for (file, outcome, code) in [
        ("good.sql", "PASS", "ok"),
        ("empty.sql", "ERROR", "no-work"),
        ("comment.sql", "ERROR", "no-work"),
        ("syntax.sql", "ERROR", "no-proof"),
        ("absent.sql", "ERROR", "no-proof"),
        ("bad.sql", "FAIL", "found"),
    ] {
        check("squawk", folder.path(), &format!("\"{file}\""), "", outcome, code).await;
    }
    check("squawk", folder.path(), "\"--no-such-flag\"", "", "ERROR", "tool-failed").await;
}

#[tokio::test]
async fn trivy_must_have_its_database_where_it_matters() {
    if !is_installed("trivy") {
        ops_testkit::skip!("trivy is not installed");
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = folder.path();
    std::fs::create_dir(at.join("empty")).expect("a folder");
    let key = format!("aws_access_key_id = \"{}{}\"\n", "AKIA", "QYLPMN5HHHFPZAM2");
    std::fs::write(at.join("s.py"), key).expect("a file");
    // A home of its own, so that there is no database.
    check(
        "trivy",
        at,
        "\"fs\", \"--cache-dir\", \"cache\", \"--scanners\", \"secret\", \".\"",
        "",
        "FAIL",
        "found",
    )
    .await;
    check(
        "trivy",
        at,
        "\"fs\", \"--cache-dir\", \"cache\", \"--scanners\", \"secret\", \"empty\"",
        "",
        "ERROR",
        "no-work",
    )
    .await;
    check("trivy", at, "\"fs\", \"/no/such/folder\", \"--scanners\", \"secret\"", "", "ERROR", "tool-failed")
        .await;
}

#[tokio::test]
async fn k6_must_have_sent_something() {
    if !is_installed("k6") {
        ops_testkit::skip!("k6 is not installed");
    }
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = server.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for mut stream in server.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        }
    });
    let folder = tempfile::tempdir().expect("a temporary directory");
    let thresholds = "thresholds: { http_req_duration: ['p(95)<60000'], checks: ['rate>=0.9'] }";
    let script = |name: &str, options: &str, body: &str| {
        let text = format!(
            "import http from 'k6/http'; import {{ check }} from 'k6';\nexport const options = {{ iterations: 5, {options} }};\nexport default function () {{ {body} }}\n"
        );
        std::fs::write(folder.path().join(name), text).expect("a file");
    };
    let get = |port: u16, status: u16| {
        format!(
            "const r = http.get('http://127.0.0.1:{port}/'); check(r, {{ ok: (r) => r.status === {status} }});"
        )
    };
    let closed = ops_testkit::free_port().expect("a free port");
    script("good.js", thresholds, &get(port, 200));
    script("bad.js", thresholds, &get(port, 204));
    // Exit code 0 for all three, by itself.
    script("throws.js", thresholds, "throw new Error('x');");
    script(
        "refused.js",
        "thresholds: { http_req_duration: ['p(95)<60000'] }",
        &format!("http.get('http://127.0.0.1:{closed}/');"),
    );
    script("idle.js", "", "");
    for (file, outcome, code) in [
        ("good.js", "PASS", "ok"),
        ("bad.js", "FAIL", "found"),
        ("throws.js", "ERROR", "no-proof"),
        ("refused.js", "ERROR", "no-proof"),
        ("idle.js", "ERROR", "no-work"),
        ("absent.js", "ERROR", "tool-failed"),
    ] {
        check("k6", folder.path(), &format!("\"{file}\""), "", outcome, code).await;
    }
}

#[tokio::test]
async fn a_stand_in_of_each_tool_ends_as_the_real_one_was_seen_to() {
    for (tool, script, outcome, code) in [
        ("cargo-nextest", "echo '     Summary [ 0.1s] 2 tests run: 2 passed, 1 skipped' >&2", "PASS", "ok"),
        (
            "cargo-nextest",
            "echo '     Summary [ 0.1s] 0 tests run: 0 passed, 3 skipped' >&2; exit 4",
            "ERROR",
            "no-work",
        ),
        (
            "cargo-nextest",
            "echo '     Summary [ 0.1s] 2 tests run: 1 passed, 1 failed' >&2; exit 100",
            "FAIL",
            "found",
        ),
        ("cargo-nextest", "exit 101", "ERROR", "tool-failed"),
        ("cargo-nextest", "exit 0", "ERROR", "no-proof"),
        ("cargo-test", "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'", "PASS", "ok"),
        (
            "cargo-test",
            "echo 'test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out'",
            "ERROR",
            "no-work",
        ),
        (
            "cargo-test",
            "echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored'; exit 101",
            "FAIL",
            "found",
        ),
        ("cargo-test", "echo 'error: could not compile' >&2; exit 101", "ERROR", "no-proof"),
        ("hurl", "echo 'Executed requests: 3 (9.0/s)' >&2", "PASS", "ok"),
        ("hurl", "echo 'Executed requests: 0' >&2", "ERROR", "no-work"),
        ("hurl", "echo 'Executed requests: 3 (9.0/s)' >&2; exit 4", "FAIL", "found"),
        ("hurl", "exit 3", "ERROR", "tool-failed"),
        (
            "trivy",
            "[ \"$1\" = version ] && { echo '{\"Version\":\"0.76.0\"}'; exit; }; echo '{\"SchemaVersion\":2,\"Results\":[{}]}'",
            "ERROR",
            "no-database",
        ),
        (
            "trivy",
            "[ \"$1\" = version ] && { echo '{\"VulnerabilityDB\":{\"UpdatedAt\":\"2020-01-01T00:00:00Z\"}}'; exit; }; echo '{\"SchemaVersion\":2,\"Results\":[{}]}'",
            "ERROR",
            "old-database",
        ),
        (
            "trivy",
            "[ \"$1\" = version ] && { echo '{\"VulnerabilityDB\":{\"UpdatedAt\":\"2999-01-01T00:00:00Z\"}}'; exit; }; [ $TRIVY_EXIT_CODE = 42 ] && echo '{\"SchemaVersion\":2,\"Results\":[{}]}'",
            "PASS",
            "ok",
        ),
        ("gitleaks", "exit 77", "ERROR", "exit-code"),
        ("gitleaks", "kill -9 $$", "ERROR", "signal"),
    ] {
        stand_in(tool, script, outcome, code).await;
    }
    run_gate("kind = \"tool\"\ntool = \"squawk\"\nprogram = \"/no/such/program\"")
        .await
        .expect("ERROR", "not-started");
}

#[tokio::test]
async fn a_stand_in_of_each_of_our_own_programs_ends_as_it_does() {
    for (tool, script, outcome, code) in [
        (
            "ops-secrets-scan",
            "echo '{\"verdict\":\"clean\",\"scanned\":{\"bytes\":392},\"findings\":[]}'",
            "PASS",
            "ok",
        ),
        (
            "ops-secrets-scan",
            "echo '{\"verdict\":\"nothing\",\"scanned\":{\"bytes\":0},\"findings\":[]}'; exit 22",
            "ERROR",
            "no-work",
        ),
        (
            "ops-secrets-scan",
            "echo '{\"verdict\":\"found\",\"scanned\":{\"bytes\":9},\"findings\":[{}]}'; exit 20",
            "FAIL",
            "found",
        ),
        ("ops-secrets-scan", "exit 21", "ERROR", "tool-failed"),
        ("ops-guard-check", "echo '{\"verdict\":\"allow\"}'", "PASS", "ok"),
        ("ops-guard-check", "true", "ERROR", "no-work"),
        ("ops-guard-check", "echo '{\"verdict\":\"deny\"}'; exit 20", "FAIL", "found"),
        (
            "ops-backup-verify",
            "echo '{\"proven\":true,\"report\":{\"backups\":[\"a\"],\"complete\":true,\"problems\":[]}}'",
            "PASS",
            "ok",
        ),
        (
            "ops-backup-verify",
            "echo '{\"proven\":true,\"report\":{\"backups\":[],\"complete\":true,\"problems\":[]}}'",
            "ERROR",
            "no-work",
        ),
        ("ops-backup-verify", "exit 69", "ERROR", "tool-failed"),
    ] {
        stand_in(tool, script, outcome, code).await;
    }
}

/// Runs a script in the place of a tool.
async fn stand_in(tool: &str, script: &str, outcome: &str, code: &str) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let program = folder.path().join("stand-in");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("a program");
    let keys = format!("program = \"{}\"", program.display());
    check(tool, folder.path(), "", &keys, outcome, code).await;
}
