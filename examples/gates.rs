//! A release plan run from a program: one gate proves something, another cannot, and the release stays closed.
//!
//! `cargo run -p ops-examples --bin example-gates`

use ops_gates::{CancellationToken, Options, Plan, Runner, Verdict, report};

const PLAN: &str = r#"
name = "release"

[[gate]]
id = "smoke"
kind = "command"
run = ["echo", "42 tests passed"]
expect_stdout = "tests passed"
timeout = "10s"

[[gate]]
id = "rehearsal"
kind = "evidence"
path = "evidence/*.json"
key = "gate.pub.pem"
record_kind = "restore-rehearsal"
max_age = "7d"
needs = ["smoke"]
"#;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let plan = Plan::parse(PLAN, &folder.path().join("release.toml").display().to_string())?;
    let record = Runner::new(Options::default())
        .run(&plan, &folder.path().join("run"), CancellationToken::new())
        .await?;
    tell(&report::markdown(&record));
    anyhow::ensure!(record.verdict == Verdict::Blocked, "a release without evidence was let through");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example talks to its reader")]
fn tell(line: &str) {
    println!("{line}");
}
