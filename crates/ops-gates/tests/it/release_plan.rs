//! The plan of a whole release in `examples/plans`: it is sound, every row of the register of
//! requirements is a gate of it or said to be none, and the documents beside it are complete. And the plan for a first minute.

use crate::support::repository::Repository;
use crate::support::{options, run_with};
use ops_gates::{CancellationToken, GateRecord, Kinds, Outcome, Plan, Policy, ReadOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const PLAN: &str = include_str!("../../../../examples/plans/release.toml");
const POLICY: &str = include_str!("../../../../examples/plans/policy.toml");
const TABLE: &str = include_str!("../../../../docs/gates/requirements.md");

/// The register of requirements: its groups, and how many rows each has.
const REGISTER: [(&str, usize); 10] = [
    ("DEC", 7),
    ("SYS", 15),
    ("ENV", 11),
    ("REL", 14),
    ("DAT", 9),
    ("SEC", 7),
    ("OBS", 8),
    ("NUM", 9),
    ("CHG", 17),
    ("DEL", 10),
];

fn register() -> BTreeSet<String> {
    REGISTER
        .into_iter()
        .flat_map(|(group, rows)| (1..=rows).map(move |row| format!("{group}-{row}")))
        .collect()
}

/// A complete environment.
fn variable(name: &str) -> Option<String> {
    let value = match name {
        "COMMIT" | "DEPLOYED_COMMIT" => "0123456789abcdef0123456789abcdef01234567".to_owned(),
        "IMAGE_DIGEST" => format!("sha256:{}", "a".repeat(64)),
        name if name.ends_with("_URL") => "http://127.0.0.1:9".to_owned(),
        name if ["_SEC", "_PERCENT", "_LAG"].iter().any(|end| name.ends_with(end)) => return None,
        name if name.starts_with("CAPACITY_") => return None,
        _ => "value".to_owned(),
    };
    Some(value)
}

fn read(plan: &str) -> Result<Plan, ops_gates::Error> {
    let policy = Policy::parse(POLICY, "policy.toml")?;
    let options = ReadOptions { kinds: Kinds::standard(), policies: vec![policy] };
    Plan::parse_as(plan, "release.toml", &variable, &options)
}

/// The rows of the register that a text names: `REL-1`, and none of `REL-14`.
fn named(text: &str) -> BTreeSet<String> {
    let register = register();
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|word| register.contains(*word)).map(str::to_owned).collect()
}

/// The first cell of each row of the tables in a text, and the rest of the row.
fn table(text: &str) -> BTreeMap<String, &str> {
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let Some((row, rest)) = line.strip_prefix("| ").and_then(|line| line.split_once(" | ")) else {
            continue;
        };
        if register().contains(row) {
            assert!(rows.insert(row.to_owned(), rest).is_none(), "{row} stands twice in a table");
        }
    }
    rows
}

/// The two tables: what a gate shows, and what is no gate.
fn tables() -> (BTreeMap<String, &'static str>, BTreeMap<String, &'static str>) {
    let (shown, no_gate) = TABLE.split_once("## What is no gate").expect("both tables");
    (table(shown), table(no_gate))
}

#[test]
fn the_plan_is_sound_and_keeps_its_policy() {
    let plan = read(PLAN).unwrap_or_else(|error| panic!("{error}: {:?}", error.problems()));
    let kinds: BTreeSet<&str> = plan.gates().iter().map(|gate| gate.kind.as_str()).collect();
    for kind in [
        "alertmanager",
        "amqp",
        "approval",
        "attestation",
        "backup-freshness",
        "benchmark",
        "capacity",
        "change-request",
        "changed-files",
        "cost",
        "deployment-log",
        "documents",
        "drill-record",
        "grafana",
        "kafka",
        "llm",
        "log-quality",
        "loki",
        "migration-lint",
        "mongodb",
        "otlp",
        "prometheus",
        "redis",
        "rehearsal",
        "release-notes",
        "rollback-plan",
        "s3",
        "secret-scan",
        "slo",
        "vulnerabilities",
        "window",
    ] {
        assert!(kinds.contains(kind), "no gate of kind {kind}");
    }
    assert!(plan.gates().iter().all(|gate| gate.required), "a gate of the example does not block");
    assert_eq!(missing(&plan).count(), 0);
}

/// The gates that stand for what a policy requires and the plan does not have.
fn missing(plan: &Plan) -> impl Iterator<Item = &str> {
    plan.gates().iter().filter(|gate| gate.kind == "missing").map(|gate| gate.id.as_str())
}

#[test]
fn what_the_policy_requires_cannot_be_dropped() {
    let at = PLAN.find("id = \"rehearsal\"").expect("the gate");
    let start = PLAN[..at].rfind("[[gate]]").expect("a gate");
    let end = at + PLAN[at..].find("[[gate]]").expect("another gate");
    let plan =
        read(&format!("{}{}", &PLAN[..start], &PLAN[end..])).expect("what is missing blocks when it is run");
    let missing: Vec<&str> = missing(&plan).collect();
    assert_eq!(missing, ["policy.rehearsal"]);
}

#[test]
fn every_row_of_the_register_is_a_gate_or_said_to_be_none() {
    let comments: String =
        PLAN.lines().filter_map(|line| Some(line.split_once('#')?.1.to_owned() + "\n")).collect();
    let (shown, no_gate) = tables();
    let ids = |table: &BTreeMap<String, &str>| table.keys().cloned().collect::<BTreeSet<String>>();
    assert_eq!(named(&comments), ids(&shown), "the comments of the plan, and the table");
    let all: BTreeSet<String> = ids(&shown).union(&ids(&no_gate)).cloned().collect();
    assert_eq!(all, register());
    assert_eq!(ids(&shown).intersection(&ids(&no_gate)).next(), None);
}

/// A gate that the table names is in the plan, and its comment there names the row.
#[test]
fn the_table_names_gates_of_the_plan() {
    let plan = read(PLAN).expect("a sound plan");
    let ids: BTreeSet<&str> = plan.gates().iter().map(|gate| gate.id.as_str()).collect();
    let mut named = BTreeSet::new();
    for (row, rest) in tables().0 {
        let gates = rest.split_once(" | ").expect("three columns").0;
        for gate in gates.split('`').skip(1).step_by(2).filter(|name| !name.contains(['[', '.', '='])) {
            assert!(ids.contains(gate), "{row}: no gate `{gate}`");
            named.insert(gate);
        }
    }
    let unnamed: Vec<&&str> = ids.iter().filter(|id| !named.contains(**id)).collect();
    assert!(unnamed.is_empty(), "no row of the table names {unnamed:?}");
}

/// The gates of the plan that need nothing but the documents beside it, run on them.
#[tokio::test]
async fn the_documents_of_the_example_are_complete() {
    const GATES: [&str; 13] = [
        "alerting-runbook",
        "alerts",
        "change-request",
        "dashboards",
        "disaster-recovery",
        "documents",
        "env-outside",
        "infrastructure-as-code",
        "maintenance-checklist",
        "release-notes",
        "rollback-plan",
        "runbook",
        "security-documents",
    ];
    let repository = Repository::new();
    copy(&examples().join("release"), &repository.path("release"));
    // The day of the example passes; what is looked at is the document, so that it is of today.
    let today = jiff::Zoned::now().date().to_string();
    let rollback = std::fs::read_to_string(repository.path("release/rollback.md")).expect("a document");
    repository.write("release/rollback.md", &rollback.replace("2026-11-14", &today));
    let changelog = std::fs::read_to_string(repository.path("release/CHANGELOG.md")).expect("a changelog");
    let entry =
        changelog.find("## 1.2.0").expect("the entry")..changelog.find("## 1.1.0").expect("the entry");
    let before = format!("{}{}", &changelog[..entry.start], &changelog[entry.end..]);
    repository.write("release/CHANGELOG.md", &before);
    let base = repository.commit("ada@shop.example", "1.1.0");
    repository.write("release/CHANGELOG.md", &changelog);
    let commit = repository.commit("ada@shop.example", "1.2.0");
    let request = std::fs::read_to_string(repository.path("release/change-request.md")).expect("a request");
    repository
        .write("change-request.md", &request.replace("0123456789abcdef0123456789abcdef01234567", &commit));

    let mut plan: toml::Table = PLAN.parse().expect("TOML");
    plan.remove("secrets");
    let gates = plan["gate"].as_array_mut().expect("gates");
    gates.retain(|gate| {
        let id = gate["id"].as_str().expect("an id");
        id == "approval" || GATES.contains(&id)
    });
    assert_eq!(gates.len(), GATES.len() + 1);
    let text = toml::to_string(&plan).expect("TOML");
    let text = [
        ("${env:COMMIT}", commit.as_str()),
        ("${env:DEPLOYED_COMMIT}", &base),
        ("${env:IMAGE_DIGEST}", &format!("sha256:{}", "a".repeat(64))),
        ("${env:CHANGE_REQUEST}", "change-request.md"),
        ("${env:VERSION}", "1.2.0"),
        ("${env:APPROVALS}", "approvals"),
    ]
    .iter()
    .fold(text, |text, (name, value)| text.replace(name, value));
    repository.write("release.toml", &text);
    let plan = Plan::load(&repository.path("release.toml"), &ReadOptions::default())
        .unwrap_or_else(|error| panic!("{error}: {:?}", error.problems()));
    let ran = run_with(&plan, options(), CancellationToken::new()).await;
    // The list of approvers is read; nobody of the example can sign.
    assert_eq!(ran.gate("approval").code.as_deref(), Some("approval-missing"));
    for gate in ran.record.gates.iter().filter(|gate| gate.id != "approval") {
        assert_eq!(gate.outcome.as_ref().map(Outcome::word), Some("PASS"), "{}: {:?}", gate.id, gate.reason);
    }
}

/// The plan for a first minute: it passes where nothing is installed, and blocks where something is broken.
#[tokio::test]
async fn the_first_plan_runs_anywhere_and_blocks_what_is_broken() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| directory.path().join(name);
    std::fs::copy(examples().join("first.toml"), at("first.toml")).expect("the plan");
    copy(&examples().join("first"), &at("first"));
    let blocking = async || {
        let plan = Plan::load(&at("first.toml"), &ReadOptions::default())
            .unwrap_or_else(|error| panic!("{error}: {:?}", error.problems()));
        let ran = run_with(&plan, options(), CancellationToken::new()).await;
        let outcome = |gate: &GateRecord| gate.outcome.as_ref().map_or("none", Outcome::word);
        assert_eq!(outcome(ran.gate("payment")), "SKIP");
        let gates = ran.record.gates.iter().filter(|gate| !["PASS", "SKIP"].contains(&outcome(gate)));
        gates.map(|gate| format!("{} {}", gate.id, gate.code.as_deref().unwrap_or(""))).collect::<Vec<_>>()
    };
    assert_eq!(blocking().await, Vec::<String>::new());
    for (file, from, to, expected) in [
        ("first/service.log", "{\"timestamp\"", "not JSON {\"timestamp\"", "logs unstructured"),
        ("first/runbook.md", "two minutes", "TODO minutes", "runbook placeholder"),
        (
            "first/tests.sh",
            "1..3\nok 1 - an order is taken\nok 2 - an order is paid\nok 3 - an order is cancelled\n",
            "1..0\n",
            "tests no-tests",
        ),
    ] {
        let good = std::fs::read_to_string(at(file)).expect(file);
        assert!(good.contains(from), "{file}");
        std::fs::write(at(file), good.replacen(from, to, 1)).expect(file);
        assert_eq!(blocking().await, [expected]);
        std::fs::write(at(file), good).expect(file);
    }
}

pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/plans")
}

/// Copies a folder of folders and files.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("a file");
        }
    }
}

#[test]
fn thresholds_from_the_environment_have_a_ceiling() {
    for (name, value) in [("MCP_DISCOVERY_LATENCY_SEC", "1.51"), ("CAPACITY_POSTGRES_TPS", "299")] {
        let loose = |asked: &str| if asked == name { Some(value.to_owned()) } else { variable(asked) };
        let options = ReadOptions { kinds: Kinds::standard(), policies: Vec::new() };
        let error = Plan::parse_as(PLAN, "release.toml", &loose, &options).expect_err(name);
        assert!(error.problems().iter().any(|it| it.message.contains(name)), "{:?}", error.problems());
    }
}
