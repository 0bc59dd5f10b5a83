//! Approvals from outside: who may approve what for whom, until when, and every way in which one is refused.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use ops_core::ErrorKind;
use ops_core::approval::{
    Approval, ApprovalId, ApprovalRequest, Approvers, EffectClass, Granted, KIND, MAX_LIFETIME, Scope,
};
use ops_core::evidence::{Envelope, Outcome, Record, SigningKey, Subject};
use ops_core::guard::{Context, Decision, Limits, Policy};

pub(crate) fn at(minutes: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + minutes * 60).unwrap()
}

fn request(scope: Scope) -> ApprovalRequest {
    ApprovalRequest {
        database: Some("shop".into()),
        reason: "test rows of October".into(),
        ticket: "OPS-7".into(),
        limits: Limits { rows: Some(500), ..Limits::default() },
        ..ApprovalRequest::new(scope, "app")
    }
}

pub(crate) struct People {
    pub(crate) alice: SigningKey,
    pub(crate) approvers: Approvers,
}

pub(crate) fn people() -> People {
    let alice = SigningKey::generate().unwrap();
    let mut approvers = Approvers::new();
    approvers.insert("alice", alice.verifying_key()).unwrap();
    approvers.insert("bob", SigningKey::generate().unwrap().verifying_key()).unwrap();
    People { alice, approvers }
}

fn id() -> ApprovalId {
    ApprovalId::from_bytes([7; 16])
}

pub(crate) fn granted(people: &People, scope: Scope, id: [u8; 16]) -> Granted {
    let id = ApprovalId::from_bytes(id);
    let approval = Approval::sign(&request(scope), "alice", &people.alice, at(0), id).unwrap();
    approval.verify(&people.approvers, "app", "shop", at(1)).unwrap()
}

#[test]
fn an_approval_comes_back_as_it_was_signed() {
    let people = people();
    let scopes = [
        Scope::statement("DELETE FROM public.ledger WHERE note = 'secret'"),
        Scope::table("public.ledger", EffectClass::DeleteAll).unwrap(),
        Scope::session(),
    ];
    for scope in scopes {
        let asked = ApprovalRequest { not_before: Some(at(5)), ..request(scope.clone()) };
        let signed = Approval::sign(&asked, "alice", &people.alice, at(0), id()).unwrap();
        let read = Approval::from_json(&signed.to_json()).unwrap();
        let granted = read.verify(&people.approvers, "app", "shop", at(5)).unwrap();
        let terms = granted.terms();
        assert_eq!(*terms, read.unverified_terms().unwrap());
        assert_eq!((&terms.scope, terms.limits), (&asked.scope, asked.limits));
        assert_eq!((terms.issued_at, terms.not_before, terms.expires_at), (at(0), at(5), at(15)));
        assert_eq!((terms.approver.as_str(), terms.reason.as_str()), ("alice", "test rows of October"));
        assert_eq!(granted.id().as_str(), "07070707070707070707070707070707");
        assert_eq!(granted.key_id(), people.alice.verifying_key().id());
        assert_eq!(granted.is_break_glass(), scope.is_session());
        let json = String::from_utf8(base64_payload(&signed)).unwrap();
        assert!(!json.contains("secret"), "the text is redacted in {json}");
    }
    assert_ne!(ApprovalId::generate().unwrap(), ApprovalId::generate().unwrap());
}

fn base64_payload(approval: &Approval) -> Vec<u8> {
    use base64::Engine as _;

    let json: serde_json::Value = serde_json::from_slice(&approval.to_json()).unwrap();
    base64::engine::general_purpose::STANDARD.decode(json["payload"].as_str().unwrap()).unwrap()
}

#[test]
fn what_nobody_should_sign_cannot_be_signed() {
    let key = SigningKey::generate().unwrap();
    let good = || request(Scope::session());
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let cases = [
        ("no reason", ApprovalRequest { reason: " ".into(), ..good() }, "alice", ErrorKind::InvalidApproval),
        (
            "no ticket",
            ApprovalRequest { ticket: String::new(), ..good() },
            "alice",
            ErrorKind::InvalidApproval,
        ),
        (
            "no role",
            ApprovalRequest { principal: String::new(), ..good() },
            "alice",
            ErrorKind::InvalidApproval,
        ),
        (
            "no database",
            ApprovalRequest { database: Some(String::new()), ..good() },
            "alice",
            ErrorKind::InvalidApproval,
        ),
        ("no approver", good(), "", ErrorKind::InvalidApproval),
        (
            "an escape",
            ApprovalRequest { reason: "\u{1b}[2J".into(), ..good() },
            "alice",
            ErrorKind::InvalidApproval,
        ),
        (
            "a novel",
            ApprovalRequest { reason: "x".repeat(2_000), ..good() },
            "alice",
            ErrorKind::InvalidApproval,
        ),
        (
            "no time",
            ApprovalRequest { expires_in: minutes(0), ..good() },
            "alice",
            ErrorKind::InvalidApproval,
        ),
        (
            "over a day",
            ApprovalRequest { expires_in: minutes(24 * 60 + 1), ..good() },
            "alice",
            ErrorKind::InvalidApproval,
        ),
        (
            "for ever",
            ApprovalRequest { expires_in: Duration::MAX, ..good() },
            "alice",
            ErrorKind::InvalidApproval,
        ),
        (
            "before now",
            ApprovalRequest { not_before: Some(at(-1)), ..good() },
            "alice",
            ErrorKind::InvalidApproval,
        ),
        (
            "after its end",
            ApprovalRequest { not_before: Some(at(15)), ..good() },
            "alice",
            ErrorKind::InvalidApproval,
        ),
        ("oneself", good(), "app", ErrorKind::SelfApproval),
        ("oneself in capitals", good(), " App", ErrorKind::SelfApproval),
    ];
    for (name, request, approver, expected) in cases {
        let error = Approval::sign(&request, approver, &key, at(0), id()).unwrap_err();
        assert_eq!(error.kind(), expected, "{name}: {error}");
    }
    let day = ApprovalRequest { expires_in: MAX_LIFETIME, ..good() };
    Approval::sign(&day, "alice", &key, at(0), id()).unwrap();
}

#[test]
fn an_approval_holds_for_one_role_one_database_and_a_time() {
    let people = people();
    let asked = ApprovalRequest { not_before: Some(at(5)), ..request(Scope::session()) };
    let approval = Approval::sign(&asked, "alice", &people.alice, at(0), id()).unwrap();
    let cases = [
        ("app", "shop", at(5), None),
        ("app", "shop", at(15) - Duration::from_nanos(1), None),
        ("app", "shop", at(5) - Duration::from_nanos(1), Some(ErrorKind::ApprovalNotYetValid)),
        ("app", "shop", at(15), Some(ErrorKind::ApprovalExpired)),
        ("app", "other", at(5), Some(ErrorKind::ApprovalForAnother)),
        ("App", "shop", at(5), Some(ErrorKind::ApprovalForAnother)),
        ("root", "shop", at(5), Some(ErrorKind::ApprovalForAnother)),
        ("alice", "shop", at(5), Some(ErrorKind::SelfApproval)),
        ("ALICE", "shop", at(5), Some(ErrorKind::SelfApproval)),
    ];
    for (principal, database, now, expected) in cases {
        let verified = approval.verify(&people.approvers, principal, database, now);
        assert_eq!(verified.err().map(|error| error.kind()), expected, "{principal} {database} {now}");
    }
    let anywhere = ApprovalRequest { database: None, ..request(Scope::session()) };
    let anywhere = Approval::sign(&anywhere, "alice", &people.alice, at(0), id()).unwrap();
    assert!(anywhere.verify(&people.approvers, "app", "other", at(1)).is_ok());
    let strict = people.approvers.clone().with_max_lifetime(Duration::from_secs(60));
    let error = anywhere.verify(&strict, "app", "shop", at(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidApproval, "{error}");
}

#[test]
fn only_the_named_approver_counts_and_not_under_the_roles_name() {
    let people = people();
    let approval = Approval::sign(&request(Scope::session()), "alice", &people.alice, at(0), id()).unwrap();
    let with = |names: &[(&str, &SigningKey)]| {
        let mut approvers = Approvers::new();
        for (name, key) in names {
            approvers.insert(*name, key.verifying_key()).unwrap();
        }
        approval.verify(&approvers, "app", "shop", at(1)).err().map(|error| error.kind())
    };
    let other = SigningKey::generate().unwrap();
    assert_eq!(with(&[("alice", &people.alice)]), None);
    assert_eq!(with(&[]), Some(ErrorKind::UnknownKey));
    assert_eq!(with(&[("alice", &other)]), Some(ErrorKind::UnknownKey));
    assert_eq!(with(&[("bob", &people.alice)]), Some(ErrorKind::InvalidSignature), "signed by another");
    assert_eq!(with(&[("alice", &other), ("bob", &people.alice)]), Some(ErrorKind::InvalidSignature));
    assert_eq!(with(&[("alice", &people.alice), ("app", &people.alice)]), Some(ErrorKind::SelfApproval));
    assert_eq!(with(&[("alice", &people.alice), ("APP", &people.alice)]), Some(ErrorKind::SelfApproval));
    assert_eq!(with(&[("alice", &people.alice), ("app", &other)]), None);

    let mut approvers = people.approvers.clone();
    let error = approvers.insert("alice", other.verifying_key()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidSettings);
    assert!(approvers.insert(" ", other.verifying_key()).is_err());
}

/// Signs any attributes, as an approver with another program would.
fn signed(key: &SigningKey, edit: impl FnOnce(&mut Record)) -> Approval {
    let attributes = [
        ("version", "1"),
        ("id", "07070707070707070707070707070707"),
        ("approver", "alice"),
        ("principal", "app"),
        ("reason", "r"),
        ("ticket", "t"),
        ("not_before", "2026-11-21T06:00:00Z"),
        ("expires_at", "2026-11-21T07:00:00Z"),
        ("scope", "session"),
    ];
    let issued: Timestamp = "2026-11-21T06:00:00Z".parse().unwrap();
    let mut record = Record {
        kind: KIND.into(),
        outcome: Outcome::Passed,
        started_at: issued,
        subjects: vec![Subject::of_bytes("x", b"x")],
        attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..Record::default()
    };
    edit(&mut record);
    Approval::from_json(&Envelope::sign(&record, key).unwrap().to_json()).unwrap()
}

#[test]
fn what_an_approver_signed_elsewhere_is_held_to_the_same_rules() {
    let people = people();
    let now = "2026-11-21T06:30:00Z".parse().unwrap();
    let verify = |edit: &dyn Fn(&mut BTreeMap<String, String>)| {
        let approval = signed(&people.alice, |record| edit(&mut record.attributes));
        approval.verify(&people.approvers, "app", "shop", now).err().map(|error| error.kind())
    };
    assert_eq!(verify(&|_| {}), None, "the form itself is good");
    for name in
        ["version", "id", "approver", "principal", "reason", "ticket", "not_before", "expires_at", "scope"]
    {
        let found = verify(&|attributes| drop(attributes.remove(name)));
        assert_eq!(found, Some(ErrorKind::InvalidApproval), "without {name}");
    }
    let cases = [
        ("version", "2"),
        ("id", "7"),
        ("id", "0707070707070707070707070707070G"),
        ("reason", ""),
        ("ticket", "\n"),
        ("expires_at", "2026-11-22T06:00:01Z"),
        ("expires_at", "soon"),
        ("not_before", "2026-11-21T05:00:00Z"),
        ("scope", "everything"),
        ("scope", "statement"),
        ("scope", "table"),
        ("rows", "-1"),
        ("rows", "many"),
        ("only_on_sundays", "true"),
    ];
    for (name, value) in cases {
        let found = verify(&|attributes| drop(attributes.insert(name.into(), value.into())));
        assert_eq!(found, Some(ErrorKind::InvalidApproval), "{name} = {value:?}");
    }
    let other_kind = signed(&people.alice, |record| record.kind = "restore-rehearsal".into());
    let failed = signed(&people.alice, |record| record.outcome = Outcome::Failed);
    for approval in [other_kind, failed] {
        let error = approval.verify(&people.approvers, "app", "shop", now).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidApproval, "{error}");
    }
    for text in ["", "{}", "null"] {
        assert_eq!(Approval::from_json(text.as_bytes()).unwrap_err().kind(), ErrorKind::InvalidEnvelope);
    }
    assert!(Approval::from_json(&vec![b' '; 1 << 20]).is_err());
}

#[test]
fn no_byte_of_an_approval_can_be_changed() {
    let people = people();
    let approval = Approval::sign(&request(Scope::session()), "alice", &people.alice, at(0), id()).unwrap();
    let bytes = approval.to_json();
    let terms = approval.unverified_terms().unwrap();
    for index in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[index] ^= 1;
        let Ok(read) = Approval::from_json(&changed) else { continue };
        // The name of the key is a hint that is not signed; everything else is.
        if let Ok(granted) = read.verify(&people.approvers, "app", "shop", at(1)) {
            assert_eq!(*granted.terms(), terms, "byte {index}");
        }
    }
}

/// A policy under which a class of effects is to be approved. The presets have none, so the verdict is turned.
fn covers(granted: &Granted, sql: &str, decision: Decision) -> bool {
    let (policy, context) = (Policy::app(), Context::default());
    let mut verdict = policy.judge_in(sql, &context);
    let statement = verdict.statements.first_mut().expect("there is a statement");
    if statement.rule.as_deref().is_some_and(|rule| rule != "unparsable") {
        statement.decision = decision;
    }
    granted.covers(statement, sql, &policy, &context)
}

#[test]
fn an_approval_covers_what_it_names_and_nothing_else() {
    let people = people();
    let exact = "DELETE FROM public.ledger";
    let statement = || granted(&people, Scope::statement(exact), [1; 16]);
    let table = |class| granted(&people, Scope::table("public.ledger", class).unwrap(), [2; 16]);
    let session = || granted(&people, Scope::session(), [3; 16]);
    use Decision::{Approve, Deny};
    let cases = [
        (statement(), exact, Approve, true),
        (statement(), exact, Deny, false),
        (statement(), "DELETE FROM public.ledger ", Approve, false),
        (statement(), "DELETE FROM public.ledger -- OPS-7", Approve, false),
        (statement(), "delete from public.ledger", Approve, false),
        (statement(), "DELETE FROM public.ledgers", Approve, false),
        (table(EffectClass::DeleteAll), exact, Approve, true),
        (table(EffectClass::DeleteAll), exact, Deny, false),
        (table(EffectClass::Delete), exact, Approve, false),
        (table(EffectClass::DeleteAll), "DELETE FROM ledger", Approve, false),
        (table(EffectClass::DeleteAll), "DELETE FROM audit.ledger", Approve, false),
        (
            table(EffectClass::DeleteAll),
            "WITH d AS (DELETE FROM public.ledger RETURNING *) INSERT INTO archive SELECT * FROM d",
            Approve,
            true,
        ),
        (
            table(EffectClass::DeleteAll),
            "WITH d AS (DELETE FROM public.ledger) UPDATE public.balance SET x = 0",
            Approve,
            false,
        ),
        (
            table(EffectClass::DeleteAll),
            "WITH d AS (DELETE FROM public.ledger) SELECT wipe()",
            Approve,
            false,
        ),
        (table(EffectClass::Truncate), "TRUNCATE public.ledger", Approve, true),
        (table(EffectClass::Truncate), "TRUNCATE public.ledger CASCADE", Approve, false),
        (session(), exact, Deny, true),
        (session(), "DROP DATABASE shop", Deny, true),
        (session(), "COMMIT", Deny, false),
        (session(), "DELETE FRM ledger", Deny, false),
    ];
    for (granted, sql, decision, expected) in cases {
        let scope = &granted.terms().scope;
        assert_eq!(covers(&granted, sql, decision), expected, "{scope}: {sql} ({decision:?})");
    }
    // A verdict over another text has its bytes elsewhere.
    let (policy, context) = (Policy::app(), Context::default());
    let verdict = policy.judge_in("SELECT 1; DELETE FROM public.ledger", &context);
    assert!(!session().covers(&verdict.statements[1], exact, &policy, &context));
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn approvers_come_from_files_that_only_their_owner_can_write() {
    let folder = tempfile::tempdir().unwrap();
    let (alice, bob) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let file = folder.path().join("approvers.toml");
    let key = folder.path().join("alice.pem");
    write(&key, &alice.verifying_key().to_pem(), 0o644);
    let text = format!("[approvers]\nalice = \"alice.pem\"\nbob = '''{}'''\n", bob.verifying_key().to_pem());
    write(&file, &text, 0o644);
    let approvers = Approvers::from_file(&file).unwrap();
    let names: Vec<_> = approvers.iter().map(|(name, key)| (name, key.id())).collect();
    assert_eq!(names, [("alice", alice.verifying_key().id()), ("bob", bob.verifying_key().id())]);

    let kind = |path: &Path| Approvers::from_file(path).map(|_| ()).unwrap_err().kind();
    write(&file, &text, 0o664);
    assert_eq!(kind(&file), ErrorKind::UnsafeFile, "its group can write it");
    write(&file, &text, 0o644);
    write(&key, &alice.verifying_key().to_pem(), 0o666);
    assert_eq!(kind(&file), ErrorKind::UnsafeFile, "everyone can write a key");
    write(&key, &alice.to_pem(), 0o600);
    assert_eq!(kind(&file), ErrorKind::InvalidKey, "a private key is no public one");
    let link = folder.path().join("link.toml");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert_eq!(kind(&link), ErrorKind::UnsafeFile);
    assert_eq!(kind(&folder.path().join("none")), ErrorKind::Io);
    let twin = folder.path().join("twin.toml");
    std::fs::hard_link(&file, &twin).unwrap();
    assert_eq!(kind(&twin), ErrorKind::UnsafeFile);

    let pem = alice.to_pem();
    let secret = pem.lines().nth(1).unwrap();
    let cases = [
        String::new(),
        "alice = \"alice.pem\"".to_owned(),
        "[approvers]\nalice = 1".to_owned(),
        "[approver]\nalice = \"alice.pem\"".to_owned(),
        "[approvers]\nalice = \"alice.pem\"\nalice = \"bob.pem\"".to_owned(),
        format!("[approvers]\nalice = \"{secret}"),
    ];
    for text in cases {
        let error = Approvers::from_toml(&text, folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSettings, "{text}");
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
}
