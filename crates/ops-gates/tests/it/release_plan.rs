//! The plan of a whole release in `examples/plans`: it is sound, and no row of the register that a gate can show is missing.

use ops_gates::{Kinds, Plan, Policy, ReadOptions};
use std::collections::BTreeSet;

const PLAN: &str = include_str!("../../../../examples/plans/release.toml");
const POLICY: &str = include_str!("../../../../examples/plans/policy.toml");
const TABLE: &str = include_str!("../../../../docs/gates/requirements.md");

/// The rows of the register of requirements that a gate of this plan shows, in whole or in part.
const ROWS: [&str; 63] = [
    "DEC-4", "DEC-5", "DEC-6", "DEC-7", "SYS-6", "SYS-7", "SYS-8", "SYS-9", "SYS-15", "ENV-1", "ENV-4",
    "ENV-9", "ENV-10", "REL-1", "REL-2", "REL-3", "REL-4", "REL-5", "REL-6", "REL-11", "REL-12", "REL-14",
    "DAT-1", "DAT-2", "DAT-3", "DAT-4", "DAT-5", "DAT-6", "DAT-7", "DAT-8", "DAT-9", "SEC-1", "SEC-3",
    "SEC-4", "SEC-6", "SEC-7", "OBS-1", "OBS-2", "OBS-3", "OBS-4", "OBS-6", "OBS-7", "OBS-8", "NUM-1",
    "NUM-2", "NUM-3", "NUM-4", "NUM-5", "NUM-6", "NUM-7", "NUM-9", "CHG-1", "CHG-4", "CHG-5", "CHG-6",
    "CHG-7", "CHG-9", "CHG-10", "CHG-11", "CHG-12", "DEL-1", "DEL-3", "DEL-7",
];

fn rows() -> impl Iterator<Item = &'static str> {
    ROWS.into_iter()
}

/// A complete environment.
fn variable(name: &str) -> Option<String> {
    let value = match name {
        "COMMIT" | "DEPLOYED_COMMIT" => "0123456789abcdef0123456789abcdef01234567".to_owned(),
        "IMAGE_DIGEST" => format!("sha256:{}", "a".repeat(64)),
        name if name.ends_with("_URL") => "http://127.0.0.1:9".to_owned(),
        name if name.ends_with("_SEC") || name.starts_with("CAPACITY_") => return None,
        _ => "value".to_owned(),
    };
    Some(value)
}

fn read(plan: &str) -> Result<Plan, ops_gates::Error> {
    let policy = Policy::parse(POLICY, "policy.toml")?;
    let options = ReadOptions { kinds: Kinds::standard(), policies: vec![policy] };
    Plan::parse_as(plan, "release.toml", &variable, &options)
}

/// The ids that a text names: `REL-1`, and none of `REL-14`.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|word| rows().any(|row| row == *word)).collect()
}

#[test]
fn the_plan_is_sound_and_keeps_its_policy() {
    let plan = read(PLAN).unwrap_or_else(|error| panic!("{error}: {:?}", error.problems()));
    let kinds: BTreeSet<&str> = plan.gates().iter().map(|gate| gate.kind.as_str()).collect();
    for kind in [
        "approval",
        "attestation",
        "backup-freshness",
        "change-request",
        "changed-files",
        "documents",
        "drill-record",
        "migration-lint",
        "rehearsal",
        "release-notes",
        "rollback-plan",
        "secret-scan",
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
fn every_row_that_is_a_gate_is_in_the_plan_and_in_the_table() {
    let comments: String =
        PLAN.lines().filter_map(|line| Some(line.split_once('#')?.1.to_owned() + "\n")).collect();
    let (plan, table) = (named(&comments), named(TABLE));
    for row in rows() {
        assert!(plan.contains(row), "{row} is not in the plan");
        assert!(table.contains(row), "{row} is not in docs/gates/requirements.md");
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
