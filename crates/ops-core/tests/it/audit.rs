//! The audit log from outside: what it keeps, what it finds, what a crash leaves, and who may share it.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ops_core::ErrorKind;
use ops_core::approval::{EffectClass, Scope};
use ops_core::audit::{
    self, AuditLog, AuditLogOptions, AuditSink, Body, Entry, Event, FaultKind, Head, HeadState, Outcome,
    Recorded, RecordedEvent, Report,
};
use ops_core::evidence::SigningKey;
use ops_core::guard::{Observation, Policy, Touched};

use super::approval::{at, granted, people};

fn entry(sql: &str) -> Entry {
    let verdict = Policy::app().judge(sql);
    Entry::new(Event::Refused, at(1)).in_session("app", "shop", "4bf92f3577b34da6a3ce929d0e0e4736").about(
        sql,
        &verdict,
        &verdict.statements[0],
    )
}

fn beside(log: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", log.display()))
}

/// A log of so many lines, in a folder of its own.
fn log_of(lines: usize) -> (tempfile::TempDir, PathBuf, Vec<Head>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let log = AuditLog::open(&path).unwrap();
    let heads = (0..lines).map(|line| log.append(entry(&format!("DELETE FROM t{line}"))).unwrap()).collect();
    (folder, path, heads)
}

fn verify(path: &Path) -> Report {
    audit::verify(path, None, &[]).unwrap()
}

fn kinds(report: &Report) -> Vec<(u64, &'static str)> {
    report.faults.iter().map(|fault| (fault.line, fault.kind.code())).collect()
}

fn lines(path: &Path) -> Vec<Recorded> {
    let mut lines = Vec::new();
    audit::read(path, None, &[], &mut |line| lines.push(line.clone())).unwrap();
    lines
}

#[test]
fn a_line_has_what_happened_and_no_value_of_a_statement() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let log = AuditLog::open(&path).unwrap();
    let granted = granted(&people(), Scope::table("public.t", EffectClass::DeleteAll).unwrap(), [1; 16]);
    let sql = "DELETE FROM public.t WHERE name = 'hunter2' OR 4711 = 4711 -- hunter2";
    let started = log.claim(&granted, entry(sql)).unwrap();
    let touched = |relation: &str, deleted, dropped| Touched {
        relation: relation.into(),
        deleted,
        dropped,
        ..Touched::default()
    };
    let seen = Observation {
        relations: vec![touched("public.t", 3, false), touched("public.u", 4, true)],
        wrote: true,
    };
    let ended = Entry::new(Event::Finished, at(2))
        .in_session("app", "shop", "")
        .under(&granted)
        .observed(&seen)
        .ended(Outcome::RolledBack, Some("23503"))
        .finishing(&started);
    let head = log.append(ended).unwrap();
    assert_eq!(head, log.head());

    let text = std::fs::read_to_string(&path).unwrap();
    for value in ["hunter2", "4711"] {
        assert!(!text.contains(value), "{text}");
    }
    let [first, second] = &lines(&path)[..] else { panic!("two lines") };
    let Body { event, principal, database, statement, effects, decision, rule, approval, .. } = &first.body;
    assert_eq!((*event, principal.as_str(), database.as_str()), (RecordedEvent::Claimed, "app", "shop"));
    assert_eq!(statement.as_deref(), Some("DELETE FROM public.t WHERE name = ? OR ? = ?"));
    assert!(effects.iter().any(|effect| effect.starts_with("write(delete public.t")), "{effects:?}");
    assert_eq!((decision.as_deref(), rule.as_deref()), (Some("deny"), Some("delete-all")));
    assert_eq!(
        first.body.statement_sha256.as_deref(),
        Some(&*ops_core::evidence::sha256_hex(sql.as_bytes()))
    );
    assert_eq!(first.body.policy_hash.as_deref(), Some(Policy::app().hash()));
    let approval = approval.as_ref().unwrap();
    assert_eq!((&approval.id, approval.approver.as_str()), (granted.id(), "alice"));
    assert_eq!((approval.scope.as_str(), approval.ticket.as_str()), ("delete-all on public.t", "OPS-7"));
    let observed = second.body.observed.as_ref().unwrap();
    assert_eq!((observed.rows, &observed.relations["public.t"], observed.unnamed), (7, &[0, 0, 3], 0));
    assert_eq!(observed.dropped, ["public.u"]);
    assert_eq!((second.body.outcome, second.body.finishes), (Some(Outcome::RolledBack), Some(1)));
    assert_eq!((first.sequence, second.sequence, head.sequence), (1, 2, 2));
    assert_eq!(first.previous, "0".repeat(64));
    let report = verify(&path);
    assert_eq!((report.entries, report.claims, report.head_state), (2, 1, HeadState::Current));
    assert!(report.is_intact(), "{report:?}");
}

#[test]
fn no_effect_or_rule_carries_a_value() {
    let statements = [
        "SELECT set_config('hunter2 is it', 'hunter2', false)",
        "SET application_name = 'hunter2'",
        "ALTER ROLE app PASSWORD 'hunter2'",
        "CREATE USER MAPPING FOR app SERVER s OPTIONS (password 'hunter2')",
        "CREATE SUBSCRIPTION s CONNECTION 'password=hunter2' PUBLICATION p",
        "COPY t TO PROGRAM 'hunter2'",
        "COPY t FROM '/hunter2'",
        "DO 'hunter2'",
        "SELECT dblink_exec('password=hunter2', 'DROP TABLE x')",
        "SELECT query_to_xml('hunter2', true, true, '')",
        "NOTIFY x, 'hunter2'",
        "COMMENT ON TABLE t IS 'hunter2'",
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'hunter2'",
        "ALTER SYSTEM SET archive_command = 'hunter2'",
        "LOAD 'hunter2'",
        "SECURITY LABEL ON TABLE t IS 'hunter2'",
        "PREPARE TRANSACTION 'hunter2'",
        "CREATE DATABASE d TEMPLATE 'hunter2'",
        "CREATE TABLESPACE x LOCATION '/hunter2'",
        "ALTER TYPE mood ADD VALUE 'hunter2'",
        "SELECT lo_import('/hunter2'), 'hunter2'::text LIKE E'hunter2' FROM t LIMIT 1",
        "SELECT 'hunter2' FRM t",
        "SELECT 'hunter2",
    ];
    let (_folder, path, _) = log_of(0);
    let log = AuditLog::open(&path).unwrap();
    for sql in statements {
        log.append(entry(sql)).unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let leaks: Vec<&str> = text.lines().filter(|line| line.contains("hunter2")).collect();
    assert_eq!(leaks, [] as [&str; 0]);
    assert_eq!(text.lines().count(), statements.len());
}

#[test]
fn many_effects_and_relations_are_counted_and_not_all_named() {
    let (_folder, path, _) = log_of(0);
    let log = AuditLog::open(&path).unwrap();
    let tables: Vec<String> = (0..300).map(|number| format!("t{number}")).collect();
    let relations = tables.iter().enumerate().map(|(number, table)| Touched {
        relation: table.clone(),
        updated: number as u64,
        ..Touched::default()
    });
    let seen = Observation { relations: relations.collect(), wrote: true };
    log.append(entry(&format!("TRUNCATE {}", tables.join(", "))).observed(&seen)).unwrap();
    let line = &lines(&path)[0].body;
    assert_eq!((line.effects.len(), line.effects.last().map(String::as_str)), (101, Some("and 200 more")));
    let observed = line.observed.as_ref().unwrap();
    assert_eq!((observed.relations.len(), observed.unnamed, observed.rows), (100, 200, 299 * 300 / 2));
    assert!(observed.relations.contains_key("t299") && !observed.relations.contains_key("t0"));
}

/// Verification and opening must agree: what one finds broken, the other does not write to.
fn assert_found(path: &Path, what: &str) -> Report {
    let report = verify(path);
    assert!(!report.is_intact(), "{what}: nothing found");
    assert!(AuditLog::open(path).is_err(), "{what}: opened all the same");
    report
}

#[test]
fn every_change_is_found() {
    let (_folder, path, _) = log_of(4);
    let whole = std::fs::read(&path).unwrap();
    let head_path = beside(&path, ".head");
    let head = std::fs::read(&head_path).unwrap();
    assert!(verify(&path).is_intact());
    // One bit of every byte of the log, then of its head.
    for (file, bytes) in [(&path, &whole), (&head_path, &head)] {
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1 << (index % 7);
            std::fs::write(file, &changed).unwrap();
            assert!(!verify(&path).is_intact(), "byte {index} of {}", file.display());
        }
        std::fs::write(file, bytes).unwrap();
    }
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let report = assert_found(&path, &format!("cut to {length} bytes"));
        assert!(!report.is_torn(), "the head names what is missing: no crash does that");
    }
    std::fs::write(&path, &whole).unwrap();
    for length in 0..head.len() {
        std::fs::write(&head_path, &head[..length]).unwrap();
        assert!(!verify(&path).is_intact(), "head cut to {length} bytes");
    }
    std::fs::write(&head_path, &head).unwrap();

    let line: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    type Order<'a> = (&'a [usize], &'a [(u64, &'a str)]);
    let orders: [Order; 9] = [
        (&[1, 2, 3], &[(1, "gap"), (2, "gap"), (3, "gap"), (4, "truncated")]),
        (&[0, 2, 3], &[(2, "gap"), (3, "gap"), (4, "truncated")]),
        (&[0, 1, 3], &[(3, "gap"), (4, "truncated")]),
        (&[0, 1, 2], &[(4, "truncated")]),
        (&[1, 0, 2, 3], &[(1, "gap"), (2, "repeated"), (3, "edited")]),
        (&[0, 2, 1, 3], &[(2, "gap"), (3, "repeated"), (4, "edited")]),
        (&[0, 1, 3, 2], &[(3, "gap"), (4, "repeated"), (4, "head_differs")]),
        (&[0, 1, 1, 2, 3], &[(3, "repeated"), (4, "repeated"), (5, "repeated"), (4, "head_differs")]),
        (&[], &[(1, "truncated")]),
    ];
    for (order, expected) in orders {
        std::fs::write(&path, order.iter().map(|index| line[*index]).collect::<Vec<_>>().concat()).unwrap();
        let report = assert_found(&path, &format!("{order:?}"));
        assert_eq!(kinds(&report), expected, "{order:?}");
    }
    let order = [&line[..], &line[3..]].concat().concat();
    std::fs::write(&path, order).unwrap();
    assert_found(&path, "the last line twice");
    std::fs::write(&path, [&whole[..], b"{}\n{}\n"].concat()).unwrap();
    assert_found(&path, "foreign lines at the end");
    std::fs::write(&path, [&whole[..], &vec![b'x'; 2 << 20]].concat()).unwrap();
    assert_found(&path, "a line without end");
    std::fs::write(&path, &whole).unwrap();
    std::fs::remove_file(&head_path).unwrap();
    assert_eq!(kinds(&assert_found(&path, "no head")), [(5, "head_missing")]);
    std::fs::write(&head_path, &head).unwrap();
    std::fs::set_permissions(&head_path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(kinds(&assert_found(&path, "no log")), [(1, "log_missing")]);
    std::fs::write(&path, &whole).unwrap();
    assert!(AuditLog::open(&path).unwrap().append(entry("SELECT 1")).is_ok(), "and whole again it goes on");
}

#[test]
fn a_line_edited_with_its_digests_rebuilt_is_found_by_a_head_kept_elsewhere() {
    let (_folder, path, heads) = log_of(3);
    for expected in &heads {
        assert!(audit::verify(&path, Some(expected), &[]).unwrap().is_intact());
        assert_eq!(expected.to_string().parse::<Head>().unwrap(), *expected);
    }
    // Another log, honestly written, put in the place of the first.
    let (_other, forged, _) = log_of(0);
    let log = AuditLog::open(&forged).unwrap();
    for table in ["a", "b"] {
        log.append(entry(&format!("DELETE FROM {table}"))).unwrap();
    }
    assert!(verify(&forged).is_intact());
    let found = |expected: &Head| kinds(&audit::verify(&forged, Some(expected), &[]).unwrap());
    assert_eq!(found(&heads[0]), [(1, "not_as_expected")]);
    assert_eq!(found(&heads[1]), [(2, "not_as_expected")]);
    assert_eq!(found(&heads[2]), [(3, "truncated")]);
    for text in ["", "1", "1:", "x:00", "1:zz", &format!("1:{}", "0".repeat(63))] {
        assert!(text.parse::<Head>().is_err(), "{text}");
    }
}

#[test]
fn a_crash_at_every_step_is_told_from_damage() {
    let (_folder, path, _) = log_of(2);
    let (two, head_two) = (std::fs::read(&path).unwrap(), std::fs::read(beside(&path, ".head")).unwrap());
    AuditLog::open(&path).unwrap().append(entry("DELETE FROM t2 WHERE note = 'ä'")).unwrap();
    let (three, head_three) = (std::fs::read(&path).unwrap(), std::fs::read(beside(&path, ".head")).unwrap());
    let put = |log: &[u8], head: &[u8]| {
        std::fs::write(&path, log).unwrap();
        std::fs::write(beside(&path, ".head"), head).unwrap();
    };
    let append =
        || AuditLog::open(&path).and_then(|log| log.append(entry("SELECT 1"))).map_err(|error| error.kind());

    // Within the line: at every byte of it, and with blocks that never reached the disk.
    let mut torn: Vec<Vec<u8>> =
        (two.len() + 1..three.len()).map(|length| three[..length].to_vec()).collect();
    torn.push([&two[..], &[0; 100]].concat());
    let last = &three[two.len()..];
    torn.push([&two[..], &vec![0; last.len() / 2], &last[last.len() / 2..]].concat());
    for bytes in torn {
        put(&bytes, &head_two);
        let report = verify(&path);
        assert!(report.is_torn() && report.entries == 2, "{report:?}");
        // An append and a recovery wait for the disk: not after every byte.
        if bytes.len() % 149 != 0 && bytes.len() != two.len() + 1 && bytes.len() + 1 < three.len() {
            continue;
        }
        assert_eq!(append().unwrap_err(), ErrorKind::TornLog);
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing is repaired unasked");
        let recovery = audit::recover(&path, AuditLogOptions::default(), at(9)).unwrap().unwrap();
        assert_eq!(std::fs::read(&recovery.file).unwrap(), bytes[two.len()..]);
        let line = lines(&path).pop().unwrap();
        assert_eq!((line.sequence, line.body.event), (3, RecordedEvent::Recovered));
        let told = line.body.recovered.unwrap();
        assert_eq!((told.bytes, told.file.as_str()), (recovery.bytes, "audit.jsonl.torn-3"));
        assert_eq!(told.sha256, ops_core::evidence::sha256_hex(&bytes[two.len()..]));
        assert!(verify(&path).is_intact());
        assert_eq!(append().unwrap().sequence, 4);
        std::fs::remove_file(recovery.file).unwrap();
    }

    // Between the line and the head.
    put(&three, &head_two);
    let report = verify(&path);
    assert_eq!((report.is_intact(), report.head_state, report.entries), (true, HeadState::BehindByOne, 3));
    // The new head lies beside, whole or not.
    for half in [&b""[..], b"{\"version\"", &head_three] {
        put(&three, &head_two);
        std::fs::write(beside(&path, ".head.new"), half).unwrap();
        assert_eq!(append().unwrap().sequence, 4);
        assert_eq!(verify(&path).head_state, HeadState::Current);
    }
    // And again at once: the head was brought up before the next line, so it never gets behind by two.
    let four = std::fs::read(&path).unwrap();
    put(&four, &head_three);
    assert_eq!(append().unwrap().sequence, 5);

    // A head that is behind by two is no crash.
    put(&four, &head_two);
    assert_eq!(kinds(&verify(&path)), [(3, "head_behind")]);
    assert_eq!(append().unwrap_err(), ErrorKind::BrokenChain);
    assert_eq!(
        audit::recover(&path, AuditLogOptions::default(), at(9)).unwrap_err().kind(),
        ErrorKind::BrokenChain
    );
    // Nor is a torn end while the head is behind.
    put(&[&three[..], b"{"].concat(), &head_two);
    assert_eq!(append().unwrap_err(), ErrorKind::BrokenChain);
    put(&three, &head_three);
    assert!(verify(&path).is_intact());
}

#[test]
fn an_interrupted_recovery_is_finished_and_not_forgotten() {
    let (_folder, path, _) = log_of(2);
    let whole = std::fs::read(&path).unwrap();
    let torn = [&whole[..], b"{\"half"].concat();
    let aside = beside(&path, ".torn-3");
    let recover = || audit::recover(&path, AuditLogOptions::default(), at(9));
    assert_eq!(recover().unwrap(), None, "nothing was torn");
    let log = AuditLog::open(&path).unwrap();
    let steps: [(&str, &dyn Fn()); 3] = [
        ("the copy is half written", &|| std::fs::write(beside(&aside, ".new"), b"{").unwrap()),
        ("the copy is there", &|| std::fs::write(&aside, b"{\"half").unwrap()),
        ("the end is cut", &|| {
            std::fs::write(&aside, b"{\"half").unwrap();
            std::fs::write(&path, &whole).unwrap();
        }),
    ];
    let head = std::fs::read(beside(&path, ".head")).unwrap();
    for (name, step) in steps {
        std::fs::write(&path, &torn).unwrap();
        std::fs::write(beside(&path, ".head"), &head).unwrap();
        let _ = std::fs::remove_file(&aside);
        step();
        if let Ok(copy) = std::fs::metadata(&aside) {
            assert_eq!(copy.permissions().mode() & 0o022, 0);
        }
        assert_eq!(AuditLog::open(&path).unwrap_err().kind(), ErrorKind::TornLog, "{name}");
        let recovery = recover().unwrap().unwrap();
        assert_eq!((recovery.bytes, recovery.head.sequence), (6, 3), "{name}");
        assert_eq!(std::fs::read(&aside).unwrap(), b"{\"half", "{name}");
        assert_eq!(recover().unwrap(), None, "{name}: once");
        assert!(verify(&path).is_intact(), "{name}");
    }
    // A process that had the log open all the time goes on.
    assert_eq!(log.append(entry("SELECT 1")).unwrap().sequence, 4);

    std::fs::write(&path, &torn).unwrap();
    std::fs::write(beside(&path, ".head"), &head).unwrap();
    std::fs::write(&aside, b"something else").unwrap();
    assert_eq!(recover().unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&path).unwrap(), torn, "nothing is lost");
}

#[test]
fn a_crash_while_it_is_created_leaves_a_new_log() {
    let (_folder, path, _) = log_of(0);
    assert_eq!((verify(&path).entries, verify(&path).is_intact()), (0, true));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(beside(&path, ".head")).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(beside(&path, ".head.new"), b"half").unwrap();
    assert_eq!(AuditLog::open(&path).unwrap().append(entry("SELECT 1")).unwrap().sequence, 1);
    std::fs::remove_file(&path).unwrap();
    let error = AuditLog::open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenChain, "a head with lines and no log: {error}");
    let missing = path.with_file_name("none").join("audit.jsonl");
    assert_eq!(AuditLog::open(&missing).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_file_that_others_can_write_is_refused() {
    let (_folder, path, _) = log_of(1);
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let refused = || AuditLog::open(&path).map(drop).map_err(|error| error.kind());
    for file in [path.clone(), beside(&path, ".head")] {
        for unsafe_mode in [0o620, 0o602, 0o666] {
            mode(&file, unsafe_mode);
            assert_eq!(refused(), Err(ErrorKind::UnsafeFile), "{} {unsafe_mode:o}", file.display());
        }
        mode(&file, 0o600);
        let real = beside(&file, ".real");
        std::fs::rename(&file, &real).unwrap();
        std::os::unix::fs::symlink(&real, &file).unwrap();
        assert_eq!(refused(), Err(ErrorKind::UnsafeFile), "{} is a link", file.display());
        std::fs::remove_file(&file).unwrap();
        std::fs::hard_link(&real, &file).unwrap();
        assert_eq!(refused(), Err(ErrorKind::UnsafeFile), "{} has two names", file.display());
        std::fs::remove_file(&real).unwrap();
        assert_eq!(refused(), Ok(()));
    }
    let log = AuditLog::open(&path).unwrap();
    std::fs::rename(&path, beside(&path, ".1")).unwrap();
    assert_eq!(log.append(entry("SELECT 1")).unwrap_err().kind(), ErrorKind::BrokenChain, "moved away");
    std::fs::copy(beside(&path, ".1"), &path).unwrap();
    assert_eq!(log.append(entry("SELECT 1")).unwrap_err().kind(), ErrorKind::BrokenChain, "replaced");
}

#[test]
fn an_approval_is_used_once_whoever_comes_first() {
    let (_folder, path, _) = log_of(0);
    let people = people();
    let permit = || granted(&people, Scope::session(), [9; 16]);
    let log = AuditLog::open(&path).unwrap();
    let other = AuditLog::open(&path).unwrap();
    assert!(!log.uses(permit().id()).unwrap());
    log.append(entry("SELECT 1").under(&permit())).unwrap();
    assert!(!log.uses(permit().id()).unwrap(), "naming is not using");
    log.claim(&permit(), entry("SELECT 1")).unwrap();
    assert!(other.uses(permit().id()).unwrap(), "the other process sees it");
    let reopened = AuditLog::open(&path).unwrap();
    for log in [&log, &other, &reopened] {
        let error = log.claim(&permit(), entry("SELECT 1")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ApprovalUsed, "{error}");
    }
    let late = Entry::new(Event::Started, permit().terms().expires_at);
    let error = log.claim(&granted(&people, Scope::session(), [8; 16]), late).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ApprovalExpired, "{error}");
    assert_eq!(verify(&path).claims, 1);

    // Eight threads with a log of their own each, ten approvals: each is won once.
    let wins: Mutex<Vec<u8>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let log = AuditLog::open(&path).unwrap();
                for number in 100..110 {
                    let permit = granted(&people, Scope::session(), [number; 16]);
                    match log.claim(&permit, entry("SELECT 1")) {
                        Ok(_) => wins.lock().unwrap().push(number),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::ApprovalUsed, "{error}"),
                    }
                }
            });
        }
    });
    let wins = wins.into_inner().unwrap();
    assert_eq!((wins.len(), wins.iter().collect::<BTreeSet<_>>().len()), (10, 10));
    assert!(verify(&path).is_intact());
}

#[test]
fn a_claim_that_was_copied_is_found() {
    let (_folder, path, _) = log_of(0);
    let permit = granted(&people(), Scope::session(), [9; 16]);
    AuditLog::open(&path).unwrap().claim(&permit, entry("SELECT 1")).unwrap();
    let line = std::fs::read_to_string(&path).unwrap();
    let digest = ops_core::evidence::sha256_hex(line.trim_end().as_bytes());
    let copy = line.replace("\"sequence\":1", "\"sequence\":2").replace(&"0".repeat(64), &digest);
    std::fs::write(&path, format!("{line}{copy}")).unwrap();
    let report = verify(&path);
    assert_eq!(kinds(&report), [(2, "claimed_twice")]);
    assert_eq!(AuditLog::open(&path).unwrap_err().kind(), ErrorKind::BrokenChain);
}

#[test]
fn processes_and_threads_share_a_log() {
    let (_folder, path, _) = log_of(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let log = AuditLog::open(&path).unwrap();
                for _ in 0..10 {
                    log.append(entry("DELETE FROM t")).unwrap();
                }
            });
        }
    });
    let report = verify(&path);
    assert!(report.is_intact() && report.entries == 60, "{report:?}");

    // A process that was stopped with the lock does not stop the others for ever.
    let held = std::fs::File::open(&path).unwrap();
    held.lock().unwrap();
    let options = AuditLogOptions { patience: Duration::from_millis(20), ..AuditLogOptions::default() };
    assert_eq!(AuditLog::open_with(&path, options).unwrap_err().kind(), ErrorKind::LogBusy);
}

#[test]
fn a_signed_head_cannot_be_made_by_whoever_writes_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let (key, stranger) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let keys = [key.verifying_key()];
    let with = |key: &SigningKey| {
        let key = SigningKey::from_pem(&key.to_pem()).unwrap();
        AuditLog::open_with(&path, AuditLogOptions { key: Some(key), ..AuditLogOptions::default() })
    };
    let check = || audit::verify(&path, None, &keys).unwrap();
    let log = with(&key).unwrap();
    assert_eq!(check().signed_by, Some(key.verifying_key().id()), "also where it is empty");
    log.append(entry("SELECT 1")).unwrap();
    log.append(entry("SELECT 2")).unwrap();
    assert!(check().is_intact(), "{:?}", check());
    let report = audit::verify(&path, None, &[stranger.verifying_key()]).unwrap();
    assert_eq!(kinds(&report), [(2, "head_unsigned")]);
    assert_eq!(with(&stranger).unwrap_err().kind(), ErrorKind::BrokenChain);
    assert!(with(&key).is_ok());

    // A signature of another number or digest does not fit.
    let head = std::fs::read_to_string(beside(&path, ".head")).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let first = text.split_inclusive('\n').next().unwrap();
    let digest = ops_core::evidence::sha256_hex(first.trim_end().as_bytes());
    let signed = &head[head.find(",\"signed\"").unwrap()..];
    let forged = format!("{{\"version\":1,\"sequence\":1,\"digest\":\"{digest}\"{signed}");
    std::fs::write(&path, first).unwrap();
    std::fs::write(beside(&path, ".head"), forged).unwrap();
    assert!(verify(&path).is_intact(), "without the key it looks whole");
    assert_eq!(kinds(&check()), [(1, "head_unsigned")]);
    assert!(log.append(entry("SELECT 3")).is_err());

    // One who writes without the key leaves an unsigned head.
    std::fs::write(&path, &text).unwrap();
    std::fs::write(beside(&path, ".head"), &head).unwrap();
    AuditLog::open(&path).unwrap().append(entry("SELECT 3")).unwrap();
    assert_eq!(kinds(&check()), [(3, "head_unsigned")]);
}

#[derive(Default)]
struct Copy {
    lines: Mutex<Vec<String>>,
    fails: Mutex<bool>,
}

impl AuditSink for Copy {
    fn append(&self, line: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if *self.fails.lock().unwrap() {
            return Err("the table is gone".into());
        }
        self.lines.lock().unwrap().push(line.to_owned());
        Ok(())
    }
}

#[test]
fn a_second_sink_has_the_same_lines_and_its_failure_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let copy = Arc::new(Copy::default());
    let sink: Arc<dyn AuditSink> = Arc::<Copy>::clone(&copy);
    let options = AuditLogOptions { sink: Some(sink), ..AuditLogOptions::default() };
    let log = AuditLog::open_with(&path, options).unwrap();
    log.append(entry("SELECT 1")).unwrap();
    *copy.fails.lock().unwrap() = true;
    let error = log.append(entry("SELECT 2")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("the table is gone"));
    *copy.fails.lock().unwrap() = false;
    log.append(entry("SELECT 3")).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let all: Vec<&str> = text.lines().collect();
    assert_eq!(*copy.lines.lock().unwrap(), [all[0], all[2]]);
    assert!(verify(&path).is_intact());
}

#[test]
fn a_head_that_cannot_be_written_never_gets_behind_by_two() {
    let (_folder, path, _) = log_of(1);
    let log = AuditLog::open(&path).unwrap();
    std::fs::create_dir(beside(&path, ".head.new")).unwrap();
    assert_eq!(log.append(entry("SELECT 1")).unwrap_err().kind(), ErrorKind::Io);
    let report = verify(&path);
    assert_eq!((report.entries, report.head_state, report.is_intact()), (2, HeadState::BehindByOne, true));
    assert_eq!(log.append(entry("SELECT 1")).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(verify(&path).entries, 2);
    std::fs::remove_dir(beside(&path, ".head.new")).unwrap();
    assert_eq!(log.append(entry("SELECT 1")).unwrap().sequence, 3);
    assert!(verify(&path).is_intact());
}

#[test]
fn a_log_of_a_newer_version_is_not_taken_for_a_torn_one() {
    let (_folder, path, _) = log_of(2);
    let text = std::fs::read_to_string(&path).unwrap();
    let newer = format!("{text}{}", text.lines().next().unwrap().replace("\"version\":1", "\"version\":2"));
    std::fs::write(&path, newer + "\n").unwrap();
    let report = verify(&path);
    assert_eq!(report.faults.first().map(|fault| fault.kind), Some(FaultKind::Unreadable));
    assert!(!report.is_torn());
    assert!(audit::recover(&path, AuditLogOptions::default(), at(9)).is_err());
}

/// What version 1 wrote, kept as it was: every later version reads it.
#[test]
fn an_old_log_and_an_old_approval_are_read() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let key = ops_core::evidence::VerifyingKey::from_file(&fixtures.join("approver.pub.pem")).unwrap();
    let log = fixtures.join("audit-v1.jsonl");
    let report = audit::verify(&log, None, std::slice::from_ref(&key)).unwrap();
    assert_eq!((report.entries, report.claims, report.is_intact()), (3, 1, true), "{report:?}");
    let events: Vec<RecordedEvent> = lines(&log).iter().map(|line| line.body.event).collect();
    assert_eq!(events, [RecordedEvent::Refused, RecordedEvent::Claimed, RecordedEvent::Finished]);

    let mut approvers = ops_core::approval::Approvers::new();
    approvers.insert("alice", key).unwrap();
    let json = std::fs::read(fixtures.join("approval-v1.json")).unwrap();
    let approval = ops_core::approval::Approval::from_json(&json).unwrap();
    let granted = approval.verify(&approvers, "app", "shop", at(1)).unwrap();
    assert_eq!(granted.terms().scope, Scope::statement("DELETE FROM public.ledger WHERE id < 10"));
    assert_eq!((granted.limits().rows, granted.terms().ticket.as_str()), (Some(500), "OPS-7"));
}
