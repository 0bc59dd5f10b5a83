//! A kind of gate of one's own: a struct with the keys of the plan, and what it looks at.
//!
//! `cargo run -p ops-examples --bin example-gates-kind`

use futures_util::future::BoxFuture;
use ops_gates::schemars::JsonSchema;
use ops_gates::{
    CancellationToken, Context, Fault, Finding, Gate, Kinds, Options, Plan, ReadOptions, Runner, Text,
};
use serde::{Deserialize, Serialize};

/// A file that must have at least so many lines.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(crate = "ops_gates::schemars")]
#[serde(deny_unknown_fields)]
struct Lines {
    /// The file.
    file: Text,
    /// How many lines it must have.
    min_lines: usize,
}

impl Gate for Lines {
    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async {
            let path = context.path(&self.file).unwrap_or_default();
            let Ok(text) = std::fs::read_to_string(path) else {
                return Finding::error(Fault::Unresolved, "unreadable", format!("cannot read {}", self.file));
            };
            match text.lines().count() {
                0 => Finding::error(Fault::NoData, "empty", format!("{} is empty", self.file)),
                lines if lines < self.min_lines => Finding::fail("too-few", format!("only {lines} lines")),
                lines => Finding::pass(format!("{lines} lines")).measured("lines", lines as f64),
            }
        })
    }
}

const PLAN: &str =
    "name = \"mine\"\n[[gate]]\nid = \"notes\"\nkind = \"lines\"\nfile = \"${env:NOTES}\"\nmin_lines = 2\n";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let notes = folder.path().join("notes.md");
    std::fs::write(&notes, "# 1.2.0\n- faster\n")?;
    let kinds = Kinds::standard().with::<Lines>("lines");
    let variable = |name: &str| (name == "NOTES").then(|| notes.display().to_string());
    let plan =
        Plan::parse_as(PLAN, "mine.toml", &variable, &ReadOptions { kinds, ..ReadOptions::default() })?;
    let run = folder.path().join("run");
    let record = Runner::new(Options::default()).run(&plan, &run, CancellationToken::new()).await?;
    tell(&format!("{}: {:?}", record.verdict, record.gates[0].measurements));
    anyhow::ensure!(record.verdict == ops_gates::Verdict::Passed, "the gate did not pass: {}", record.reason);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "an example talks to its reader")]
fn tell(line: &str) {
    println!("{line}");
}
