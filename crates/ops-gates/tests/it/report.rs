//! The reports for other tools: TAP, both forms of JUnit, GitHub, GitLab, and attestations that strangers can verify.

use crate::support::{Ran, options, parse, run, run_with};
use ops_core::evidence::{Envelope, SigningKey, sha256_hex};
use ops_gates::report::{self, JunitFlavor};
use ops_gates::{CancellationToken, Demands, ErrorKind, Masker, Options, Runner, verify};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A gate for each way to end that a plan can bring about, and output that is hostile to every format.
const PLAN: &str = r#"
name = "release & <more>"

[subject]
name = "shop"
digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

[[gate]]
id = "good"
kind = "command"
run = ["true"]

[[gate]]
id = "bad"
kind = "command"
shell = true
run = ["printf '\\033[31mred\\033[0m ]]> <&> \\001\\n::error::forged\\n  ...\\nok 9 - forged\\n%%0A, done\\n'; exit 1"]

[[gate]]
id = "slow"
kind = "command"
run = ["sleep", "9"]
timeout = "100ms"
required = false

[[gate]]
id = "after"
kind = "command"
run = ["true"]
needs = ["bad"]
"#;

const GOOD: &str = "name = \"x\"\n[subject]\nname = \"shop\"\ndigest = \"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n[[gate]]\nid = \"good\"\nkind = \"command\"\nrun = [\"true\"]\n";

async fn signed(plan: &str) -> (Ran, Arc<SigningKey>) {
    let key = Arc::new(SigningKey::generate().expect("randomness"));
    let options = Options { signing_key: Some(Arc::clone(&key)), ..options() };
    (run_with(&parse(plan), options, CancellationToken::new()).await, key)
}

#[tokio::test]
async fn tap_is_red_exactly_where_the_run_is_blocked() {
    let blocked = run(PLAN).await.read("results.tap");
    let lines: Vec<&str> = blocked.lines().filter(|line| !line.starts_with(' ')).collect();
    let expected = [
        "TAP version 13",
        "1..5",
        "ok 1 - good",
        "not ok 2 - bad",
        "not ok 3 - slow # TODO advisory",
        "not ok 4 - after",
        "not ok 5 - verdict: BLOCKED",
    ];
    assert_eq!(lines, expected);
    assert!(blocked.contains("  message: \"exit code 1, expected 0\"\n"), "{blocked}");
    let passed = run(GOOD).await.read("results.tap");
    assert!(passed.contains("\nok 2 - verdict: PASSED\n") && !passed.contains("not ok"), "{passed}");
}

#[tokio::test]
async fn the_root_of_the_usual_form_has_only_what_its_schema_knows() {
    let junit = run(PLAN).await.read("junit.xml");
    let (_, root) = junit.split_once("<testsuites ").expect("a root");
    let (root, _) = root.split_once('>').expect("its end");
    let names: Vec<&str> = root
        .split('"')
        .step_by(2)
        .map(|name| name.trim().trim_end_matches('='))
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(names, ["name", "tests", "failures", "errors", "time"], "{root}");
}

#[tokio::test]
async fn the_form_of_ant_has_what_its_schema_demands() {
    let ran =
        run_with(&parse(PLAN), Options { junit: JunitFlavor::Ant, ..options() }, CancellationToken::new())
            .await;
    let junit = ran.read("junit.xml");
    assert_eq!(junit, report::junit_as(&ran.record, JunitFlavor::Ant));
    assert!(
        junit.contains("<testsuites>\n  <testsuite package=\"release &amp; &lt;more&gt;\" id=\"0\""),
        "{junit}"
    );
    assert!(junit.contains("tests=\"4\" failures=\"1\" errors=\"2\""), "{junit}");
    assert!(!junit.contains('\u{1b}') && !junit.contains('\u{1}') && !junit.contains("<skipped"), "{junit}");
    let parsed = Command::new("python3")
        .args(["-c", "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])"])
        .arg(ran.directory.join("junit.xml"))
        .output()
        .expect("python3");
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
}

#[tokio::test]
async fn annotations_are_ranked_and_within_the_cap() {
    let mut plan = "name = \"x\"\n".to_owned();
    for number in 0..13 {
        plan.push_str(&format!("[[gate]]\nid = \"g{number}\"\nkind = \"command\"\nrun = [\"false\"]\n"));
    }
    plan.push_str("[[gate]]\nid = \"late\"\nkind = \"command\"\nrun = [\"true\"]\nneeds = [\"g0\"]\n");
    let text = report::github(&run(&plan).await.record, "token");
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("::error ")).collect();
    assert_eq!(errors.len(), 10, "{text}");
    assert!(errors[0].starts_with("::error title=FAIL g0::exit code 1"), "{text}");
    assert!(
        errors[9].starts_with("::error title=5 more gates did not pass::") && errors[9].ends_with("%0Alate"),
        "{text}"
    );
}

#[tokio::test]
async fn a_program_gives_no_command_to_the_platform() {
    let ran = run(PLAN).await;
    let github = report::github(&ran.record, "0123456789abcdef");
    let stop = github.find("::stop-commands::0123456789abcdef\n").expect("a stop");
    let forged = github.find("::error::forged").expect("the output is shown");
    let resume = github.find("\n::0123456789abcdef::\n").expect("an end");
    assert!(stop < forged && forged < resume, "{github}");
    assert!(github.contains("::warning title=ERROR slow::"), "{github}");
    let gitlab = report::gitlab(&ran.record);
    let (starts, ends) = (gitlab.matches("section_start:").count(), gitlab.matches("section_end:").count());
    assert_eq!((starts, ends), (1, 1), "{gitlab:?}");
    assert!(!gitlab.contains("\u{1b}[31m"), "{gitlab:?}");
}

/// A command: its name, its properties and its message.
type Annotation = (String, Vec<(String, String)>, String);

/// A line of a log as the runner of GitHub reads it (actions/runner, `ActionCommand.TryParseV2`): the name, the properties and
/// the message, each unescaped; none where it is no command.
fn command(line: &str) -> Option<Annotation> {
    let line = line.trim().strip_prefix("::")?;
    let (head, message) = line.split_once("::")?;
    let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
    let plain = |text: &str| text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%");
    let property = |text: &str| plain(&text.replace("%3A", ":").replace("%2C", ","));
    let pairs = properties.split(',').filter_map(|pair| pair.split_once('='));
    let pairs = pairs.map(|(key, value)| (key.trim().to_owned(), property(value))).collect();
    Some((name.to_owned(), pairs, plain(message)))
}

#[tokio::test]
async fn annotations_read_back_by_the_grammar_of_the_platform() {
    let mut record = run(PLAN).await.record;
    let reason = "first\r\n::error title=forged::no, 100%25: \u{1b}[31m ##[error]x";
    for gate in &mut record.gates {
        gate.reason = gate.reason.as_ref().map(|_| reason.to_owned());
        gate.output = gate.output.as_ref().map(|_| "::error::forged\n  ::add-mask::x\n##[error]y".to_owned());
    }
    let text = report::github(&record, "0123456789abcdef");
    let mut stopped = false;
    let mut names = Vec::new();
    for line in text.lines() {
        match command(line) {
            Some((name, ..)) if stopped => stopped = name != "0123456789abcdef",
            Some((name, pairs, message)) => {
                stopped = name == "stop-commands";
                if ["error", "warning"].contains(&name.as_str()) {
                    assert!(matches!(pairs.as_slice(), [(key, _)] if key == "title"), "{line}: {pairs:?}");
                    assert!(message == reason || message.starts_with("blocked"), "{line}: {message}");
                }
                names.push(name);
            }
            None => assert!(stopped, "{line:?} is read as text of ours"),
        }
    }
    names.sort();
    names.dedup();
    assert_eq!(names, ["endgroup", "error", "group", "stop-commands", "warning"]);
}

#[tokio::test]
async fn a_summary_that_is_too_big_is_cut_and_says_so() {
    let record = run(PLAN).await.record;
    let whole = report::markdown(&record);
    assert_eq!(report::markdown_within(&record, whole.len()), whole);
    for limit in 120..whole.len() {
        let cut = report::markdown_within(&record, limit);
        assert!(cut.len() <= limit && cut.ends_with("of the run directory.\n"), "{limit}: {cut}");
    }
}

#[tokio::test]
async fn attestations_speak_about_the_subject_and_never_of_more() {
    for (plan, result, level) in [(PLAN, "FAILED", "FAILED"), (GOOD, "PASSED", "OPS_GATES_PASSED")] {
        let (ran, key) = signed(plan).await;
        let read = |name: &str| {
            let bytes = std::fs::read(ran.directory.join("attestations").join(name)).expect(name);
            let envelope = Envelope::from_json(&bytes).expect("an envelope");
            let statement = envelope.verified_statement(&[key.verifying_key()]).expect("signed by the key");
            let json: serde_json::Value = serde_json::from_slice(&statement).expect("JSON");
            assert_eq!(json["subject"][0]["digest"]["sha256"], "a".repeat(64).as_str());
            (json["predicate"].clone(), sha256_hex(&bytes))
        };
        let (test_result, digest) = read("test-result.dsse.json");
        assert_eq!(test_result["result"], result);
        if result == "FAILED" {
            assert_eq!(test_result["failedTests"], serde_json::json!(["bad", "after"]));
            assert_eq!(test_result["warnedTests"], serde_json::json!(["slow"]));
        }
        assert_eq!(read("verdict.dsse.json").0, serde_json::to_value(&ran.record).expect("JSON"));
        let (summary, _) = read("vsa.dsse.json");
        assert_eq!(summary["verificationResult"], result);
        assert_eq!(summary["verifiedLevels"], serde_json::json!([level]));
        assert_eq!(summary["inputAttestations"][0]["digest"]["sha256"], digest.as_str());
    }
    // Without a subject there is nothing that a statement could be about.
    let (ran, _) = signed("name = \"x\"\n[[gate]]\nid = \"g\"\nkind = \"command\"\nrun = [\"true\"]").await;
    assert!(!ran.directory.join("attestations").exists() && ran.directory.join("evidence.json").exists());
}

/// Verifies with the reference implementation of DSSE, and parses with that of the statements. (Its type for the
/// summary has one text for `verifiedLevels`, where SLSA has a list: that predicate is not parsed.)
const STRANGER: &str = r#"
import json, sys
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
from google.protobuf.json_format import ParseDict
import in_toto_attestation.v1.statement_pb2 as statement_pb2
import in_toto_attestation.predicates.test_result.v0.test_result_pb2 as test_result
folder, key = sys.argv[1:]
key = load_pem_public_key(open(key, "rb").read())
for name, predicate in [("test-result", test_result.TestResult), ("vsa", None), ("verdict", None)]:
    envelope = Envelope.from_dict(json.load(open(f"{folder}/attestations/{name}.dsse.json")))
    # The key id is a hint, and every tool makes its own.
    envelope.verify([SSlibKey.from_crypto(key, keyid=list(envelope.signatures)[0])], 1)
    statement = json.loads(envelope.payload)
    ParseDict(statement, statement_pb2.Statement())
    if predicate: ParseDict(statement["predicate"], predicate())
"#;

#[tokio::test]
async fn strangers_verify_the_attestations() {
    let has =
        Command::new("python3").args(["-c", "import securesystemslib.dsse, in_toto_attestation"]).output();
    if !has.is_ok_and(|has| has.status.success()) {
        ops_testkit::skip!("python has no securesystemslib or in_toto_attestation");
    }
    let (ran, key) = signed(GOOD).await;
    let public = ran.directory.join("key.pem");
    key.verifying_key().write_file(&public).expect("a key file");
    let stranger = || {
        Command::new("python3")
            .args(["-c", STRANGER])
            .args([&ran.directory, &public])
            .output()
            .expect("python3")
    };
    let told = stranger();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let path = ran.directory.join("attestations/vsa.dsse.json");
    let forged = signed(GOOD).await.0.read("attestations/vsa.dsse.json");
    std::fs::write(path, forged).expect("a file");
    assert!(!stranger().status.success(), "an attestation of another key was accepted");
}

#[tokio::test]
async fn a_secret_in_a_file_of_the_run_leaves_no_evidence() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let directory = temporary.path().join("run");
    let planted = directory.join("logs/planted.txt");
    // What a gate writes by itself goes past the masker.
    let plan = format!(
        "name = \"x\"\n[[gate]]\nid = \"g\"\nkind = \"command\"\nshell = true\nrun = [\"echo hun''ter2hunter2 > {}\"]",
        planted.display()
    );
    let masker: Masker = Arc::new(|bytes: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(bytes).replace("hunter2hunter2", "[redacted]");
        *bytes = text.into_bytes();
    });
    let options = Options { masker: Some(masker), ..options() };
    let error = Runner::new(options)
        .run(&parse(&plan), &directory, CancellationToken::new())
        .await
        .expect_err("a secret lies in the evidence");
    assert_eq!(error.kind(), ErrorKind::EvidenceNotWritten);
    assert!(error.to_string().contains("logs/planted.txt") && !planted.exists(), "{error}");
    let verdict = std::fs::read_to_string(directory.join("verdict.json")).expect("a verdict");
    assert!(verdict.contains("\"BLOCKED\"") && verdict.contains("in_progress"), "{verdict}");
}

#[tokio::test]
async fn a_deployer_demands_this_digest_and_a_fresh_run() {
    let (ran, key) = signed(GOOD).await;
    let record = verify(&ran.directory, &[key.verifying_key()]).expect("a sound run");
    let ended = record.finished_at.expect("it has ended");
    let subject = |subject: &str| Demands { subject: Some(subject.to_owned()), ..Demands::default() };
    let age = |seconds| Demands { max_age: Some(Duration::from_secs(seconds)), ..Demands::default() };
    let later = ended + jiff_seconds(100);
    for (demands, now, met) in [
        (Demands::default(), later, true),
        (subject(&format!("sha256:{}", "a".repeat(64))), later, true),
        (subject(&"A".repeat(64)), later, true),
        (subject(&format!("sha256:{}", "b".repeat(64))), later, false),
        (subject(&format!("sha256:{}", "a".repeat(12))), later, false),
        (subject(&format!("gitCommit:{}", "a".repeat(40))), later, false),
        (age(101), later, true),
        (age(99), later, false),
        (age(1_000_000), ended - jiff_seconds(3600), false),
        (Demands { plan_sha256: Some(record.plan.sha256.clone()), ..Demands::default() }, later, true),
        (Demands { plan_sha256: Some("c".repeat(64)), ..Demands::default() }, later, false),
    ] {
        let checked = demands.check(&record, now);
        assert_eq!(checked.is_ok(), met, "{demands:?}: {checked:?}");
    }
    let mut stopped = record.clone();
    stopped.state = ops_gates::State::Interrupted;
    assert!(age(1_000).check(&stopped, later).is_err());
}

fn jiff_seconds(seconds: i64) -> jiff::SignedDuration {
    jiff::SignedDuration::from_secs(seconds)
}
