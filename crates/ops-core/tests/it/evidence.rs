//! Evidence from outside: keys, envelopes and chains, whole and broken.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ops_core::ErrorKind;
use ops_core::evidence::{Check, Envelope, Outcome, Record, SigningKey, Subject, VerifyingKey, chain};
use serde_json::Value;

/// The key pair of RFC 8410, section 10: any other reader of PKCS#8 must agree.
const RFC_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
const RFC_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

fn record() -> Record {
    Record {
        kind: "restore-rehearsal".into(),
        outcome: Outcome::Passed,
        tool: "test 1".into(),
        started_at: "2026-11-21T06:00:00Z".parse().unwrap(),
        finished_at: "2026-11-21T06:01:00Z".parse().unwrap(),
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
        subjects: vec![Subject::of_bytes("manifest", b"bytes")],
        checks: vec![Check { name: "ledger".into(), outcome: Outcome::Passed, detail: "sums agree".into() }],
        measurements: [("recovery_time_seconds".into(), 12.0), ("data_lost_bytes".into(), 0.0)].into(),
        attributes: [("engine".into(), "postgres".into())].into(),
        previous: None,
    }
}

fn payload(envelope: &Envelope) -> Value {
    let json: Value = serde_json::from_slice(&envelope.to_json()).unwrap();
    serde_json::from_slice(&BASE64.decode(json["payload"].as_str().unwrap()).unwrap()).unwrap()
}

/// Signs any payload, as somebody with the key but without our code would.
fn sign_raw(key: &SigningKey, payload: &[u8]) -> Envelope {
    use ed25519_dalek::Signer as _;

    let pem = key.to_pem();
    let der = BASE64.decode(pem.lines().nth(1).unwrap()).unwrap();
    let raw = ed25519_dalek::SigningKey::from_bytes(der[16..].try_into().unwrap());
    let kind = "application/vnd.in-toto+json";
    let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    let signature = BASE64.encode(raw.sign(&message).to_bytes());
    let json = serde_json::json!({
        "payloadType": kind, "payload": BASE64.encode(payload),
        "signatures": [{"keyid": key.verifying_key().id(), "sig": signature}],
    });
    Envelope::from_json(json.to_string().as_bytes()).unwrap()
}

#[test]
fn a_signed_record_comes_back_whole() {
    let key = SigningKey::generate().unwrap();
    let other = SigningKey::generate().unwrap();
    let envelope = Envelope::sign(&record(), &key).unwrap();
    let read = Envelope::from_json(&envelope.to_json()).unwrap();
    assert_eq!(read.verify(&[other.verifying_key(), key.verifying_key()]).unwrap(), record());
    assert_eq!(envelope, Envelope::sign(&record(), &key).unwrap(), "equal records give equal bytes");
    let statement = payload(&envelope);
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "urn:ops-toolkit:evidence:v1");
    assert_eq!(statement["subject"][0]["digest"]["sha256"].as_str().unwrap().len(), 64);
    assert!(statement["predicate"].get("subjects").is_none());
}

#[test]
fn a_record_that_proves_nothing_cannot_be_signed() {
    let key = SigningKey::generate().unwrap();
    let broken = [
        Record { subjects: vec![], ..record() },
        Record { subjects: vec![Subject { name: "x".into(), digest: [].into() }], ..record() },
        Record {
            subjects: vec![Subject { name: "x".into(), digest: [("sha256".into(), "none".into())].into() }],
            ..record()
        },
        Record { measurements: [("x".into(), f64::NAN)].into(), ..record() },
    ];
    for record in broken {
        assert_eq!(Envelope::sign(&record, &key).unwrap_err().kind(), ErrorKind::InvalidRecord, "{record:?}");
    }
    assert_eq!(Record::default().outcome, Outcome::Error);
}

#[test]
fn every_way_to_tamper_is_found() {
    let key = SigningKey::from_pem(RFC_PRIVATE).unwrap();
    let keys = [key.verifying_key()];
    let stranger = SigningKey::generate().unwrap();
    let envelope = Envelope::sign(&record(), &key).unwrap();
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut json: Value = serde_json::from_slice(&envelope.to_json()).unwrap();
        edit(&mut json);
        Envelope::from_json(json.to_string().as_bytes()).unwrap()
    };
    let mut failed = payload(&envelope);
    failed["predicate"]["outcome"] = "failed".into();
    let failed = BASE64.encode(failed.to_string());
    let other_type = {
        let mut statement = payload(&envelope);
        statement["predicateType"] = "urn:ops-toolkit:evidence:v2".into();
        sign_raw(&key, statement.to_string().as_bytes())
    };
    let no_digest = {
        let mut statement = payload(&envelope);
        statement["subject"][0]["digest"] = serde_json::json!({});
        sign_raw(&key, statement.to_string().as_bytes())
    };
    let no_subject = {
        let mut statement = payload(&envelope);
        statement["subject"] = serde_json::json!([]);
        sign_raw(&key, statement.to_string().as_bytes())
    };
    let cases = [
        ("payload", edited(&|json| json["payload"] = failed.clone().into()), ErrorKind::InvalidSignature),
        (
            "payload type",
            edited(&|json| json["payloadType"] = "text/plain".into()),
            ErrorKind::InvalidEnvelope,
        ),
        ("no signature", edited(&|json| json["signatures"] = serde_json::json!([])), ErrorKind::UnknownKey),
        (
            "short signature",
            edited(&|json| json["signatures"][0]["sig"] = "AAAA".into()),
            ErrorKind::InvalidSignature,
        ),
        ("not base64", edited(&|json| json["payload"] = "?".into()), ErrorKind::InvalidEnvelope),
        ("stranger", Envelope::sign(&record(), &stranger).unwrap(), ErrorKind::UnknownKey),
        ("other predicate", other_type, ErrorKind::UnknownPredicate),
        ("no digest", no_digest, ErrorKind::InvalidEnvelope),
        ("no subject", no_subject, ErrorKind::InvalidEnvelope),
        ("no statement", sign_raw(&key, b"[]"), ErrorKind::InvalidEnvelope),
    ];
    for (name, envelope, expected) in cases {
        assert_eq!(envelope.verify(&keys).unwrap_err().kind(), expected, "{name}");
    }
    // The name of the key is a hint: a wrong one does no harm, and a right one proves nothing.
    let renamed = edited(&|json| json["signatures"][0]["keyid"] = "other".into());
    assert_eq!(renamed.verify(&keys).unwrap(), record());
    assert_eq!(envelope.verify(&[]).unwrap_err().kind(), ErrorKind::UnknownKey);
    for text in ["", "{}", "null", "{\"payload\":1}"] {
        assert_eq!(
            Envelope::from_json(text.as_bytes()).unwrap_err().kind(),
            ErrorKind::InvalidEnvelope,
            "{text}"
        );
    }
}

#[test]
fn a_newer_writer_may_add_fields() {
    let key = SigningKey::generate().unwrap();
    let mut statement = payload(&Envelope::sign(&record(), &key).unwrap());
    statement["predicate"]["added_later"] = 1.into();
    let envelope = sign_raw(&key, statement.to_string().as_bytes());
    assert_eq!(envelope.verify(&[key.verifying_key()]).unwrap(), record());
}

#[test]
fn keys_are_files_that_others_can_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let private = folder.path().join("key.pem");
    let public = folder.path().join("key.pub.pem");
    let key = SigningKey::generate().unwrap();
    key.write_file(&private).unwrap();
    key.verifying_key().write_file(&public).unwrap();
    assert_eq!(private.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(key.write_file(&private).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(SigningKey::from_file(&private).unwrap().verifying_key(), key.verifying_key());
    assert_eq!(VerifyingKey::from_file(&public).unwrap(), key.verifying_key());
    assert_eq!(SigningKey::from_file(&folder.path().join("none")).unwrap_err().kind(), ErrorKind::Io);
    assert!(!format!("{key:?}").contains(&key.to_pem().lines().nth(1).unwrap()[20..]));

    let rfc = SigningKey::from_pem(RFC_PRIVATE).unwrap();
    assert_eq!(rfc.verifying_key().to_pem(), RFC_PUBLIC);
    assert_eq!(*rfc.to_pem(), RFC_PRIVATE);
    for text in ["", RFC_PUBLIC, &RFC_PRIVATE.replace("MC4C", "MC4D"), &RFC_PRIVATE.replace("VhC", "Vh")] {
        assert_eq!(SigningKey::from_pem(text).unwrap_err().kind(), ErrorKind::InvalidKey);
    }

    let Ok(shown) = Command::new("openssl").arg("pkey").arg("-in").arg(&private).arg("-pubout").output()
    else {
        ops_testkit::skip!("openssl is not installed");
    };
    assert_eq!(String::from_utf8_lossy(&shown.stdout), key.verifying_key().to_pem());
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "ed25519"]).output().unwrap();
    SigningKey::from_pem(&String::from_utf8_lossy(&made.stdout)).unwrap();
}

#[test]
fn a_chain_shows_what_was_changed_dropped_moved_or_cut() {
    let key = SigningKey::generate().unwrap();
    let keys = [key.verifying_key()];
    let mut envelopes: Vec<Envelope> = Vec::new();
    let mut head = None;
    for number in 0..4 {
        let previous = envelopes.last().map(Envelope::digest);
        let record = Record { kind: format!("step-{number}"), previous, ..record() };
        let envelope = Envelope::sign(&record, &key).unwrap();
        head = Some(chain::Head::after(head.as_ref(), &envelope));
        envelopes.push(envelope);
    }
    let verify = |order: &[usize], head: Option<&chain::Head>| {
        chain::verify(order.iter().map(|index| &envelopes[*index]), &keys, head).map(|records| records.len())
    };
    assert_eq!(verify(&[0, 1, 2, 3], head.as_ref()).unwrap(), 4);
    assert_eq!(verify(&[0, 1, 2], None).unwrap(), 3, "without a head, a cut end cannot be seen");
    for order in [&[0, 1, 2][..], &[], &[1, 2, 3], &[0, 2, 3], &[0, 2, 1, 3], &[0, 1, 1, 2, 3], &[3, 2, 1, 0]]
    {
        let error = verify(order, head.as_ref()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenChain, "{order:?}: {error}");
    }
    // Another record, honestly signed, in the place of the second.
    let previous = Some(envelopes[0].digest());
    let forged = Envelope::sign(&Record { kind: "forged".into(), previous, ..record() }, &key).unwrap();
    let replaced = [&envelopes[0], &forged, &envelopes[2], &envelopes[3]];
    assert_eq!(chain::verify(replaced, &keys, head.as_ref()).unwrap_err().kind(), ErrorKind::BrokenChain);
}
