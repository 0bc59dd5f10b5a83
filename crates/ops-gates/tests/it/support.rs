//! What the tests share: running a plan given as text.

use ops_gates::{CancellationToken, GateRecord, Options, Outcome, Plan, RunRecord, Runner};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A run and the directory that it left.
pub(crate) struct Ran {
    pub(crate) record: RunRecord,
    pub(crate) directory: PathBuf,
    _temporary: TempDir,
}

impl Ran {
    pub(crate) fn new(record: RunRecord, directory: PathBuf, temporary: TempDir) -> Self {
        Self { record, directory, _temporary: temporary }
    }

    pub(crate) fn gate(&self, id: &str) -> &GateRecord {
        self.record.gates.iter().find(|gate| gate.id == id).expect("the gate is in the plan")
    }

    /// The outcome and code of the only gate.
    #[track_caller]
    pub(crate) fn expect(&self, outcome: &str, code: &str) -> &GateRecord {
        let gate = &self.record.gates[0];
        let got = (gate.outcome.as_ref().map_or("none", Outcome::word), gate.code.as_deref().unwrap_or(""));
        assert_eq!(got, (outcome, code), "{:?}", gate.reason);
        gate
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join(name)).expect(name)
    }
}

pub(crate) fn options() -> Options {
    Options { jobs: 10, grace: Duration::from_millis(200), ..Options::default() }
}

pub(crate) fn parse(toml: &str) -> Plan {
    Plan::parse(toml, "test.toml").unwrap_or_else(|error| panic!("{error}: {:?}", error.problems()))
}

pub(crate) async fn run(toml: &str) -> Ran {
    run_with(&parse(toml), options(), CancellationToken::new()).await
}

pub(crate) async fn run_with(plan: &Plan, options: Options, cancel: CancellationToken) -> Ran {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let directory = temporary.path().join("run");
    let record = Runner::new(options).run(plan, &directory, cancel).await.expect("a record");
    Ran { record, directory, _temporary: temporary }
}

/// A plan of one gate.
pub(crate) async fn run_gate(keys: &str) -> Ran {
    run(&format!("name = \"test\"\n[[gate]]\nid = \"it\"\n{keys}\n")).await
}

/// What `verdict.json` says, as a deployment would read it.
pub(crate) fn verdict_on_disk(directory: &Path) -> (String, String) {
    let text = std::fs::read(directory.join("verdict.json")).expect("verdict.json");
    let json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    (json["verdict"].as_str().unwrap_or("").to_owned(), json["reason"].as_str().unwrap_or("").to_owned())
}
