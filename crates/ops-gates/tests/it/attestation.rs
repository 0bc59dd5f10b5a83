//! `kind = "attestation"` on in-toto statements that were signed here; their predicates are those of the specifications.

use crate::support::run;
use crate::support::signed::Store;
use jiff::{SignedDuration, Timestamp};
use ops_core::evidence::{Envelope, SigningKey};
use ops_gates::Plan;
use serde_json::{Value, json};

const OURS: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const VSA: &str = "https://slsa.dev/verification_summary/v1";
const SVR: &str = "https://in-toto.io/attestation/svr/v0.2";

fn statement(predicate_type: &str, digest: &str, predicate: &Value) -> Vec<u8> {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": "shop", "digest": { "sha256": digest } }],
        "predicateType": predicate_type,
        "predicate": predicate,
    });
    statement.to_string().into_bytes()
}

fn vsa(result: &str, minutes_ago: i64) -> Value {
    let time = Timestamp::now() - SignedDuration::from_mins(minutes_ago);
    json!({
        "verifier": { "id": "https://ci.example/verifier" },
        "timeVerified": time.to_string(),
        "verificationResult": result,
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
    })
}

fn plan(store: &Store, keys: &str) -> String {
    let directory = store.directory();
    let keys = if keys.contains("keys =") {
        keys.to_owned()
    } else {
        format!("keys = [\"{directory}/key.pem\"]\n{keys}")
    };
    format!(
        "name = \"test\"\n[subject]\nname = \"shop\"\ndigest = \"sha256:{OURS}\"\n[[gate]]\nid = \"it\"\nkind = \"attestation\"\npath = \"{directory}/*.json\"\n{keys}\n"
    )
}

fn put(store: &Store, name: &str, statement: &[u8]) {
    store.write(name, &Envelope::sign_statement(statement, &store.key).to_json());
}

#[tokio::test]
async fn a_statement_holds_by_its_digest_and_its_fields() {
    let vsa_of = format!("predicate_type = \"{VSA}\"\n");
    let svr_of =
        |list: &str| format!("predicate_type = \"{SVR}\"\ncontains = {{ \"/properties\" = [{list}] }}\n");
    let other = "2".repeat(64);
    let svr = json!({ "verifier": {}, "properties": ["OPSGATES_SMOKE_PASSED"] });
    for (statement, keys, outcome, code) in [
        (statement(VSA, OURS, &vsa("PASSED", 1)), vsa_of.clone(), "PASS", "ok"),
        (statement(VSA, OURS, &vsa("FAILED", 1)), vsa_of.clone(), "FAIL", "attestation-field"),
        (statement(VSA, OURS, &json!({})), vsa_of.clone(), "FAIL", "attestation-field"),
        (statement(VSA, &other, &vsa("PASSED", 1)), vsa_of.clone(), "FAIL", "attestation-unrelated"),
        (statement(SVR, OURS, &svr), vsa_of.clone(), "FAIL", "attestation-unrelated"),
        (
            statement(VSA, OURS, &vsa("PASSED", 1)),
            format!(
                "{vsa_of}fields = {{ \"/verifier/id\" = \"https://ci.example/verifier\" }}\ncontains = {{ \"/verifiedLevels\" = [\"SLSA_BUILD_LEVEL_3\"] }}"
            ),
            "PASS",
            "ok",
        ),
        (
            statement(VSA, OURS, &vsa("PASSED", 1)),
            format!("{vsa_of}fields = {{ \"/verifier/id\" = \"https://other.example\" }}"),
            "FAIL",
            "attestation-field",
        ),
        // What is not listed has not passed.
        (statement(SVR, OURS, &svr), svr_of("\"OPSGATES_SMOKE_PASSED\""), "PASS", "ok"),
        (statement(SVR, OURS, &svr), svr_of("\"OPSGATES_POC_PASSED\""), "FAIL", "attestation-property"),
        (
            statement(SVR, OURS, &json!({})),
            svr_of("\"OPSGATES_SMOKE_PASSED\""),
            "FAIL",
            "attestation-property",
        ),
        (b"{}".to_vec(), vsa_of.clone(), "FAIL", "attestation-unverified"),
    ] {
        let store = Store::new();
        put(&store, "a.json", &statement);
        run(&plan(&store, &keys)).await.expect(outcome, code);
    }
}

#[tokio::test]
async fn nobody_picks_the_statement_that_suits() {
    let store = Store::new();
    let keys = format!("predicate_type = \"{VSA}\"\n");
    run(&plan(&store, &keys)).await.expect("FAIL", "attestation-missing");
    put(&store, "old.json", &statement(VSA, OURS, &vsa("FAILED", 90)));
    put(&store, "new.json", &statement(VSA, OURS, &vsa("PASSED", 1)));
    run(&plan(&store, &keys)).await.expect("FAIL", "attestation-field");
    let timed = format!("{keys}time = \"/timeVerified\"\nmax_age = \"1h\"\n");
    run(&plan(&store, &timed)).await.expect("PASS", "ok");
    put(&store, "new.json", &statement(VSA, OURS, &vsa("PASSED", 61)));
    run(&plan(&store, &timed)).await.expect("FAIL", "attestation-too-old");
    put(&store, "new.json", &statement(VSA, OURS, &vsa("PASSED", -10)));
    run(&plan(&store, &timed)).await.expect("ERROR", "attestation-from-the-future");
    put(&store, "new.json", &statement(VSA, OURS, &json!({ "verificationResult": "PASSED" })));
    run(&plan(&store, &timed)).await.expect("FAIL", "attestation-without-time");
}

#[tokio::test]
async fn enough_keys_must_have_signed_and_no_others_count() {
    let store = Store::new();
    let second = SigningKey::generate().expect("randomness");
    second.verifying_key().write_file(&store.path("second.pem")).expect("a key file");
    let directory = store.directory();
    let keys =
        format!("keys = [\"{directory}/key.pem\", \"{directory}/second.pem\"]\npredicate_type = \"{VSA}\"\n");
    let bytes = statement(VSA, OURS, &vsa("PASSED", 1));
    let one: Value =
        serde_json::from_slice(&Envelope::sign_statement(&bytes, &store.key).to_json()).expect("JSON");
    let other: Value =
        serde_json::from_slice(&Envelope::sign_statement(&bytes, &second).to_json()).expect("JSON");
    store.write("a.json", one.to_string().as_bytes());
    run(&plan(&store, &keys)).await.expect("PASS", "ok");
    let both = format!("{keys}min_signatures = 2\n");
    run(&plan(&store, &both)).await.expect("FAIL", "attestation-unverified");
    // The same key twice is one signature.
    let mut twice = one.clone();
    twice["signatures"] = json!([one["signatures"][0], one["signatures"][0]]);
    store.write("a.json", twice.to_string().as_bytes());
    run(&plan(&store, &both)).await.expect("FAIL", "attestation-unverified");
    let mut two = one.clone();
    two["signatures"] = json!([one["signatures"][0], other["signatures"][0]]);
    store.write("a.json", two.to_string().as_bytes());
    run(&plan(&store, &both)).await.expect("PASS", "ok");
    // A stranger's signature is nothing.
    let stranger = SigningKey::generate().expect("randomness");
    store.write("a.json", &Envelope::sign_statement(&bytes, &stranger).to_json());
    run(&plan(&store, &keys)).await.expect("FAIL", "attestation-unverified");
}

#[test]
fn a_gate_that_could_not_fail_is_refused() {
    let store = Store::new();
    for keys in [
        format!("predicate_type = \"{SVR}\""),
        "predicate_type = \"https://slsa.dev/provenance/v1\"".to_owned(),
        format!("predicate_type = \"{VSA}\"\nmin_signatures = 0"),
        format!("predicate_type = \"{VSA}\"\nmin_signatures = 2"),
        format!("predicate_type = \"{VSA}\"\nmax_age = \"1h\""),
        format!("keys = []\npredicate_type = \"{VSA}\""),
        format!("predicate_type = \"{VSA}\"\nfields = {{ \"verifier\" = \"x\" }}"),
    ] {
        Plan::parse(&plan(&store, &keys), "p").expect_err(&keys);
    }
}
