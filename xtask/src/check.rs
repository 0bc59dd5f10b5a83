//! `cargo xtask test`: every check and test, in the order in which a mistake is cheapest to find.
//!
//! A step that cannot run is a failure, a test that had to be skipped is named, and a run without a single test is no
//! success. The last line counts what was really executed.

use crate::setup::{self, Machine};
use crate::sh::Result;
use crate::stage::{self, Stage};
use crate::{docs, sh};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// The libraries that others link, each of which must build on its own.
const LIBRARIES: [&str; 5] = ["ops-backup", "ops-core", "ops-gates", "ops-secrets", "ops-telemetry"];

/// Features that a service takes one by one, while the workspace has them all.
const LONE_FEATURES: [(&str, &str); 8] = [
    ("ops-secrets", "aws"),
    ("ops-secrets", "rotate"),
    ("ops-secrets", "scan"),
    ("ops-secrets", "tokio"),
    ("ops-secrets", "vault"),
    ("ops-telemetry", "otlp"),
    ("ops-telemetry", "otlp-grpc"),
    ("ops-telemetry", "otlp-tls"),
];

/// The programs under examples/, each run as a user would.
const EXAMPLES: [&str; 8] =
    ["telemetry", "http-client", "secrets", "rotation", "core", "embed-backup", "gates", "gates-kind"];

/// Runs all of it; a word narrows the run to the steps whose name holds it.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let filter = args.first().map(String::as_str).unwrap_or_default();
    let mut machine = setup::ensure(true)?;
    if let (None, Some(major)) = (std::env::var_os("OPS_PG_MAJOR"), setup::system_major()) {
        machine.env.push(("OPS_PG_MAJOR".into(), major.to_string()));
    }
    let mut tally = Tally::default();
    let skips = sh::target().join("skipped-tests.log");
    let _ = std::fs::create_dir_all(sh::target());
    std::fs::write(&skips, "").map_err(|error| format!("{} cannot be written: {error}", skips.display()))?;
    for step in steps() {
        if step.name.contains(filter) {
            tally.step(&step, &machine, &skips);
        }
    }
    tally.finish(&skips)
}

/// One line of the list of checks.
struct Step {
    name: String,
    work: Work,
}

enum Work {
    /// cargo with these words; exit code 0 is one pass.
    Cargo(Vec<String>),
    /// cargo doc, where a warning is an error.
    Doc,
    /// An example, built by an earlier step and run as a user would.
    Example(&'static str),
    /// A cargo test run, whose summaries are counted.
    Tests(Vec<String>),
    /// docs/commands.md against the binaries of an earlier step.
    References,
    /// cargo-deny where it is installed.
    Deny,
}

fn steps() -> Vec<Step> {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let step = |name: &str, work| Step { name: name.to_owned(), work };
    let mut list = vec![
        step("format", Work::Cargo(words("fmt --all --check"))),
        step("lints", Work::Cargo(words("clippy --workspace --all-targets -- -D warnings"))),
        step("commands and tests", Work::Cargo(words(stage::BUILD))),
        step("tests", Work::Tests(words("test --workspace --lib --bins --tests --no-fail-fast"))),
        step("doc tests", Work::Tests(words("test --workspace --doc --no-fail-fast"))),
        step("documentation", Work::Doc),
    ];
    for library in LIBRARIES {
        list.push(step(&format!("{library} alone"), Work::Cargo(words(&format!("check -p {library}")))));
        list.push(step(
            &format!("{library} alone, no default features"),
            Work::Cargo(words(&format!("check -p {library} --no-default-features"))),
        ));
    }
    for (library, feature) in LONE_FEATURES {
        let line = format!("check -p {library} --no-default-features --features {feature}");
        list.push(step(&format!("{library} with {feature} alone"), Work::Cargo(words(&line))));
    }
    for example in EXAMPLES {
        list.push(step(&format!("example {example}"), Work::Example(example)));
    }
    list.push(step("generated references", Work::References));
    list.push(step("licences and advisories", Work::Deny));
    list
}

/// What was executed so far.
#[derive(Debug, Default)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    tests: u64,
    failures: Vec<String>,
    skipped_steps: Vec<String>,
}

impl Tally {
    fn step(&mut self, step: &Step, machine: &Machine, skips: &Path) {
        sh::say(&format!("\n=== {}", step.name));
        let began = Instant::now();
        match &step.work {
            Work::Cargo(words) => self.one(&step.name, sh::run(machine.cargo().args(words))),
            Work::Doc => self.one(
                &step.name,
                sh::run(
                    machine
                        .cargo()
                        .args(["doc", "--workspace", "--no-deps"])
                        .env("RUSTDOCFLAGS", "-D warnings"),
                ),
            ),
            Work::Example(name) => self.one(&step.name, example(name, machine)),
            Work::References => self.one(&step.name, docs::compare()),
            Work::Deny if sh::output("cargo", &["deny", "--version"]).is_none() => {
                self.skipped_steps.push(format!("{}: cargo-deny is not installed", step.name));
            }
            Work::Deny => self.one(
                &step.name,
                sh::run(machine.cargo().args(["deny", "check", "licenses", "bans", "sources"])),
            ),
            Work::Tests(words) => {
                self.tests(&step.name, machine.cargo().args(words).env("OPS_TEST_SKIP_LOG", skips))
            }
        }
        sh::say(&format!("--- {} ({:.0} s)", step.name, began.elapsed().as_secs_f64()));
    }

    fn one(&mut self, name: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(message) => self.fail(format!("{name}: {message}")),
        }
    }

    fn fail(&mut self, message: String) {
        sh::complain(&message);
        self.failed += 1;
        self.failures.push(message);
    }

    /// Passes the output through and adds up its `test result:` lines; a run that breaks before its tests is a failure.
    fn tests(&mut self, name: &str, command: &mut Command) {
        let (failed_before, tests_before) = (self.failed, self.tests);
        let child = command.stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else { return self.fail(format!("{name}: cargo does not start")) };
        let mut stdout = std::io::stdout();
        for line in BufReader::new(child.stdout.take().expect("stdout is piped"))
            .lines()
            .map_while(std::result::Result::ok)
        {
            let _ = writeln!(stdout, "{line}");
            if let Some(summary) = line.strip_prefix("test result: ") {
                let count = |word| count_before(summary, word);
                self.passed += count("passed");
                self.failed += count("failed");
                self.ignored += count("ignored");
                self.tests += count("passed") + count("failed");
                if count("failed") > 0 {
                    self.failures.push(format!("{name}: {summary}"));
                }
            }
        }
        match child.wait() {
            Ok(status) if status.success() && self.tests > tests_before => {}
            Ok(status) if status.success() => self.fail(format!("{name}: no test was executed")),
            Ok(status) if self.failed == failed_before => {
                self.fail(format!("{name}: {status} before a test failed"))
            }
            Ok(_) => {}
            Err(error) => self.fail(format!("{name}: {error}")),
        }
    }

    fn finish(&self, skips: &Path) -> Result<ExitCode> {
        let log = std::fs::read_to_string(skips).unwrap_or_default();
        let skipped: Vec<&str> = log.lines().chain(self.skipped_steps.iter().map(String::as_str)).collect();
        sh::say("");
        for line in &skipped {
            sh::say(&format!("skipped: {line}"));
        }
        for line in &self.failures {
            sh::say(&format!("failed: {line}"));
        }
        // A test that skips itself still ends as passed for the test runner: it is counted once, as skipped.
        let self_skipped = log.lines().count() as u64;
        let passed = self.passed.saturating_sub(self_skipped);
        sh::say(&format!(
            "{passed} passed, {} failed, {} skipped",
            self.failed,
            skipped.len() as u64 + self.ignored
        ));
        Ok(if self.failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Runs an example as an ordinary user, also where we are root: its server archives as that user too.
///
/// Not through `cargo run -p`: one package alone has other features, and everything would be built again.
fn example(name: &str, machine: &Machine) -> Result<()> {
    let program = format!("example-{name}");
    let stage = Stage::new(&program, "debug", &[&program, "example-http-server", "ops-backup"])?;
    let outcome = sh::run(&mut stage.command(machine, &program)?);
    let _ = std::fs::remove_dir_all(stage.folder());
    outcome
}

/// The number before a word in `ok. 12 passed; 0 failed; …`.
fn count_before(summary: &str, word: &str) -> u64 {
    let mut last = "";
    for token in summary.split([' ', ';', '.']).filter(|token| !token.is_empty()) {
        if token == word {
            return last.parse().unwrap_or(0);
        }
        last = token;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::count_before;

    #[test]
    fn a_summary_is_counted() {
        let summary = "FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        for (word, expected) in [("passed", 12), ("failed", 3), ("ignored", 1), ("absent", 0)] {
            assert_eq!(count_before(summary, word), expected, "{word}");
        }
    }
}
