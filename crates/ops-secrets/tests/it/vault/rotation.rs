//! Rotations of an entry: cut off at every step, with somebody else at work before every request, and refused.

use super::{kv2, request, root, with};
use ops_secrets::rotate::change::entry::{Done, Found, Store, Wanted, apply, plan};
use ops_secrets::rotate::change::{Step, record};
use ops_secrets::rotate::{Error, ErrorKind, Work};
use ops_secrets::vault::{Auth, Expected, Vault};
use ops_secrets::{Masker, Secret};
use ops_testkit::OpenBao;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

const OLD: &str = "old-password-0";

/// What happens at one request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The connection is lost before it is sent.
    Before,
    /// It is done, and the answer is lost.
    After,
    /// Somebody else, who also reads before they write, changes another field first.
    OtherField,
    /// Somebody else changes the field first.
    SameField,
    /// Another field is written with another value than the one that was sent.
    Garbled,
}

/// The real server, with one fault.
struct Faulty {
    vault: Vault,
    calls: Mutex<usize>,
    fault: Option<(usize, Fault)>,
}

impl Faulty {
    async fn with<T>(&self, path: &str, work: Work<'_, T>) -> Result<T, Error> {
        let call = {
            let mut calls = self.calls.lock().unwrap();
            *calls += 1;
            *calls
        };
        let lost = || Error::new(ErrorKind::Unavailable, "the connection is lost");
        match self.fault.filter(|(at, _)| *at == call).map(|(_, fault)| fault) {
            None | Some(Fault::Garbled) => work.await,
            Some(Fault::Before) => Err(lost()),
            Some(Fault::After) => work.await.and(Err(lost())),
            Some(Fault::OtherField) => {
                write_as_other(&self.vault, path, "username", "them").await;
                work.await
            }
            Some(Fault::SameField) => {
                write_as_other(&self.vault, path, "password", "their-password").await;
                work.await
            }
        }
    }
}

impl Store for Faulty {
    fn name(&self) -> String {
        Store::name(&self.vault)
    }

    fn read<'a>(&'a self, path: &'a str, version: Option<u64>) -> Work<'a, Found> {
        Box::pin(self.with(path, Store::read(&self.vault, path, version)))
    }

    fn write<'a>(&'a self, path: &'a str, fields: &'a Map<String, Value>, seen: u64) -> Work<'a, bool> {
        Box::pin(async move {
            let mut fields = fields.clone();
            if self.fault.is_some_and(|(_, fault)| fault == Fault::Garbled) {
                fields.insert("username".into(), "garbled".into());
            }
            self.with(path, Store::write(&self.vault, path, &fields, seen)).await
        })
    }
}

fn map(fields: Value) -> Map<String, Value> {
    let Value::Object(fields) = fields else { panic!("an object") };
    fields
}

async fn write_as_other(vault: &Vault, path: &str, field: &str, value: &str) {
    let entry = vault.read(path, None).await.unwrap();
    let mut fields = entry.expose_fields().clone();
    fields.insert(field.into(), value.into());
    vault.put(path, &fields, Expected::Version(entry.version().unwrap())).await.unwrap();
}

/// A new entry at version 1.
async fn make(vault: &Vault, path: &str) {
    let fields = json!({ "username": "me", "password": OLD, "port": 5432, "more": { "a": [1, null] } });
    assert_eq!(vault.put(path, &map(fields), Expected::Nothing).await, Ok(Some(1)));
}

fn wanted(path: &str) -> Wanted {
    Wanted { path: path.into(), field: "password".into(), value: None }
}

async fn rotate(
    store: &dyn Store,
    folder: &Path,
    wanted: Wanted,
    number: u64,
    mut told: impl FnMut(Step) -> Result<(), Error>,
) -> Result<Done, Error> {
    let plan = plan(store, folder, wanted).await?;
    let now = UNIX_EPOCH + Duration::from_secs(number);
    let new = || Secret::from(format!("new-password-{number}"));
    let end = apply(store, plan, &Masker::new(), now, new, &mut told).await;
    if let Err(error) = &end {
        assert!(!format!("{error} {error:?}").contains("-password"), "{error}");
    }
    end
}

/// The password, the user, and the version of the entry.
async fn there(vault: &Vault, path: &str) -> (String, String, u64) {
    let entry = vault.read(path, None).await.unwrap();
    assert_eq!(entry.expose_fields()["port"], 5432);
    assert_eq!(entry.expose_fields()["more"], json!({ "a": [1, null] }));
    let text = |field| entry.expose_text(field).unwrap().to_owned();
    (text("password"), text("username"), entry.version().unwrap())
}

fn pending(folder: &Path) -> bool {
    folder.join("..pending").exists()
}

const STEPS: [Step; 4] = [Step::Prepared, Step::Set, Step::Verified, Step::Finished];

#[tokio::test]
async fn wherever_it_is_cut_off_the_next_run_ends_at_the_same_place() {
    let bao = ops_testkit::or_skip!(OpenBao::start());
    kv2(&bao, "kv");
    let vault = root(&bao);
    // The requests are three: read, write, read.
    let calls =
        (1..=3).flat_map(|call| [Fault::Before, Fault::After].map(|fault| (Some((call, fault)), None)));
    for (index, (fault, stop)) in calls.chain(STEPS.map(|step| (None, Some(step)))).enumerate() {
        let what = format!("{fault:?} {stop:?}");
        let (path, folder) = (format!("kv/cut/{index}"), tempfile::tempdir().unwrap());
        make(&vault, &path).await;
        let store = Faulty { vault: vault.clone(), calls: Mutex::new(0), fault };
        let told = |step| match stop == Some(step) {
            true => Err(Error::new(ErrorKind::Io, "cannot be audited")),
            false => Ok(()),
        };
        rotate(&store, folder.path(), wanted(&path), 1, told).await.unwrap_err();
        // Only the first request comes before there is anything to go on with, and only the last step after.
        let resumes = fault.is_none_or(|(call, _)| call > 1) && stop != Some(Step::Finished);
        assert_eq!(pending(folder.path()), resumes, "{what}");
        let mut steps = Vec::new();
        let store = Faulty { fault: None, ..store };
        if stop == Some(Step::Finished) {
            assert_eq!(there(&vault, &path).await, ("new-password-1".into(), "me".into(), 2), "{what}");
            assert_eq!(record(folder.path()).unwrap().unwrap().generation, 1);
            continue;
        }
        let done = rotate(&store, folder.path(), wanted(&path), 2, |step| {
            steps.push(step);
            Ok(())
        });
        let done = done.await.unwrap();
        assert_eq!(steps, STEPS, "every step is told: {what}");
        let new = if resumes { "new-password-1" } else { "new-password-2" };
        // Version 2, wherever it was cut off: the value was written once.
        assert_eq!(there(&vault, &path).await, (new.into(), "me".into(), 2), "{what}");
        assert_eq!((done.version, done.record.generation, done.record.rotated_at), (2, 1, 2), "{what}");
        assert_eq!(record(folder.path()).unwrap(), Some(done.record), "{what}");
        assert!(!pending(folder.path()), "{what}");
    }
}

#[tokio::test]
async fn a_change_of_somebody_else_is_never_lost() {
    let bao = ops_testkit::or_skip!(OpenBao::start());
    kv2(&bao, "kv");
    let vault = root(&bao);
    // Before which request, what they change, and what stands there in the end.
    for (call, fault, stays, fate) in [
        (1, Fault::OtherField, ("new-password-1", "them", 3), None),
        (1, Fault::SameField, ("new-password-1", "me", 3), None),
        (2, Fault::OtherField, (OLD, "them", 2), Some("from version 1 to 2; the new value is not in use")),
        (
            2,
            Fault::SameField,
            ("their-password", "me", 2),
            Some("from version 1 to 2; the new value is not in use"),
        ),
        (3, Fault::OtherField, ("new-password-1", "them", 3), None),
        (
            3,
            Fault::SameField,
            ("their-password", "me", 3),
            Some("from version 1 to 3; version 2 has the new value, and is no longer the newest"),
        ),
    ] {
        let what = format!("{call} {fault:?}");
        let (path, folder) = (format!("kv/other/{call}/{fault:?}"), tempfile::tempdir().unwrap());
        make(&vault, &path).await;
        let store = Faulty { vault: vault.clone(), calls: Mutex::new(0), fault: Some((call, fault)) };
        let mut steps = Vec::new();
        let end = rotate(&store, folder.path(), wanted(&path), 1, |step| {
            steps.push(step);
            Ok(())
        });
        let end = end.await;
        let (password, user, version) = there(&vault, &path).await;
        assert_eq!((password.as_str(), user.as_str(), version), stays, "{what}");
        assert!(!pending(folder.path()), "{what}");
        match fate {
            None => assert_eq!((end.unwrap().version, steps.as_slice()), (version, &STEPS[..]), "{what}"),
            Some(fate) => {
                let error = end.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Refused, "{what}");
                assert_eq!(
                    error.to_string(),
                    format!("{path}: somebody else has changed it {fate}"),
                    "{what}"
                );
                assert_eq!(steps.last(), Some(&Step::GivenUp), "{what}");
                assert_eq!(record(folder.path()).unwrap(), None, "{what}");
            }
        }
        // And the next rotation is an ordinary one.
        let store = Faulty { fault: None, ..store };
        let next = rotate(&store, folder.path(), wanted(&path), 2, |_| Ok(())).await.unwrap();
        assert_eq!(next.version, version + 1, "{what}");
        assert_eq!(there(&vault, &path).await.0, "new-password-2", "{what}");
    }
}

#[tokio::test]
async fn a_rotation_that_was_overtaken_while_cut_off_is_given_up() {
    let bao = ops_testkit::or_skip!(OpenBao::start());
    kv2(&bao, "kv");
    let vault = root(&bao);
    for (stop, version) in [(Step::Prepared, 2), (Step::Set, 3)] {
        let (path, folder) = (format!("kv/{}", stop.code()), tempfile::tempdir().unwrap());
        make(&vault, &path).await;
        let told = |step| match step == stop {
            true => Err(Error::new(ErrorKind::Io, "cannot be audited")),
            false => Ok(()),
        };
        rotate(&vault, folder.path(), wanted(&path), 1, told).await.unwrap_err();
        write_as_other(&vault, &path, "password", "their-password").await;
        let seen = plan(&vault, folder.path(), wanted(&path)).await.unwrap();
        assert!(seen.resumes() && seen.overtaken());
        assert!(!format!("{seen:?}").contains("-password"), "{seen:?}");
        drop(seen);
        let error = rotate(&vault, folder.path(), wanted(&path), 2, |_| Ok(())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(there(&vault, &path).await, ("their-password".into(), "me".into(), version));
        assert!(!pending(folder.path()));
    }
}

#[track_caller]
fn refused(end: Result<Done, Error>, kind: ErrorKind, expected: &str) {
    let error = end.unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
    assert_eq!(error.kind(), kind, "{error}");
}

#[tokio::test]
async fn what_is_read_back_must_be_what_was_written() {
    let bao = ops_testkit::or_skip!(OpenBao::start());
    kv2(&bao, "kv");
    let vault = root(&bao);
    make(&vault, "kv/db").await;
    let folder = tempfile::tempdir().unwrap();
    let fault = Some((2, Fault::Garbled));
    let store = Faulty { vault: vault.clone(), calls: Mutex::new(0), fault };
    let why = "kv/db: version 2 is not what was written";
    refused(rotate(&store, folder.path(), wanted("kv/db"), 1, |_| Ok(())).await, ErrorKind::Invalid, why);
    // Nor does the next run take it for good, though the new value is there.
    refused(rotate(&vault, folder.path(), wanted("kv/db"), 2, |_| Ok(())).await, ErrorKind::Invalid, why);
    assert_eq!(record(folder.path()).unwrap(), None);
    // Without the version before there is nothing to compare with.
    request(&bao, "PUT", "kv/destroy/db", &json!({ "versions": [1] }));
    assert_eq!(rotate(&vault, folder.path(), wanted("kv/db"), 3, |_| Ok(())).await.unwrap().version, 2);
}

#[tokio::test]
async fn what_cannot_be_rotated_is_refused_before_anything_changes() {
    let bao = ops_testkit::or_skip!(OpenBao::start());
    kv2(&bao, "kv");
    request(&bao, "POST", "sys/mounts/old", &json!({ "type": "kv", "options": { "version": "1" } }));
    let vault = root(&bao);
    vault.put("old/db", &map(json!({ "password": OLD })), Expected::Anything).await.unwrap();
    make(&vault, "kv/db").await;
    vault.put("kv/odd", &map(json!({ "password": OLD, "ratio": [0.5] })), Expected::Nothing).await.unwrap();
    make(&vault, "kv/gone").await;
    request(&bao, "POST", "kv/delete/gone", &json!({ "versions": [1] }));
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("state");
    let of = |path: &str, field: &str, value: Option<&str>| Wanted {
        path: path.into(),
        field: field.into(),
        value: value.map(Secret::from),
    };
    let check = async |wanted: Wanted, kind: ErrorKind, expected: &str| {
        refused(rotate(&vault, &folder, wanted, 1, |_| Ok(())).await, kind, expected);
        assert!(!folder.exists(), "nothing is made before it is sure: {expected}");
    };
    check(of("old/db", "password", None), ErrorKind::Invalid, "old/db: the mount is KV version 1").await;
    check(of("cubbyhole/db", "password", None), ErrorKind::Invalid, "the mount is no KV").await;
    check(of("kv/none", "password", None), ErrorKind::Missing, "kv/none: there is nothing at this path")
        .await;
    check(of("kv/gone", "password", None), ErrorKind::Missing, "kv/gone: this version was deleted").await;
    check(of("kv/db", "pasword", None), ErrorKind::Missing, "kv/db has no field `pasword`").await;
    check(of("kv/db", "port", None), ErrorKind::Invalid, "the field `port` is no text").await;
    check(of("kv/odd", "password", None), ErrorKind::Invalid, "the field `ratio` holds a number").await;
    check(of("kv/db", "password", Some(OLD)), ErrorKind::Invalid, "has this value already").await;
    for path in ["kv", "/kv/db", "kv/db/", "kv//db", "kv/../old/db", "kv/db?version=1"] {
        check(of(path, "password", None), ErrorKind::Invalid, "is no path of an entry").await;
    }
    let stranger = with(&bao, Auth::Token(Secret::from("s.no-such-token")));
    let end = rotate(&stranger, &folder, wanted("kv/db"), 1, |_| Ok(())).await;
    refused(
        end,
        ErrorKind::Refused,
        "kv/db: there is no such mount, or the token's policy allows nothing in it",
    );

    // A folder belongs to one field, and one rotation works in it.
    let stop = |step| match step {
        Step::Set => Err(Error::new(ErrorKind::Io, "cannot be audited")),
        _ => Ok(()),
    };
    let given = of("kv/db", "password", Some("given-password"));
    rotate(&vault, &folder, given.clone(), 1, stop).await.unwrap_err();
    let end = rotate(&vault, &folder, of("kv/db", "username", None), 2, |_| Ok(())).await;
    refused(end, ErrorKind::Invalid, "a rotation of kv/db#password at http://127.0.0.1:");
    let end = rotate(&vault, &folder, of("kv/db", "password", Some("another-password")), 2, |_| Ok(())).await;
    refused(end, ErrorKind::Invalid, "a rotation of kv/db#password with another value was cut off");
    let held = plan(&vault, &folder, wanted("kv/db")).await.unwrap();
    assert!(held.resumes() && !held.overtaken());
    assert_eq!(held.kept(), ["more", "port", "username"]);
    refused(
        rotate(&vault, &folder, given, 2, |_| Ok(())).await,
        ErrorKind::Busy,
        "another rotation works in it",
    );
    drop(held);
    rotate(&vault, &folder, wanted("kv/db"), 2, |_| Ok(())).await.unwrap();
    assert_eq!(there(&vault, "kv/db").await, ("given-password".into(), "me".into(), 2));
    let end = rotate(&vault, &folder, of("kv/db", "username", None), 3, |_| Ok(())).await;
    refused(end, ErrorKind::Invalid, "the folder belongs to kv/db#password");

    // Two that planned before there was a lock: the second one sees what the first did.
    let folder = root.path().join("new");
    let (one, other) =
        (plan(&vault, &folder, wanted("kv/db")).await, plan(&vault, &folder, wanted("kv/db")).await);
    assert!(!folder.exists(), "a plan makes nothing");
    let work = async |plan, number: u64| {
        let new = || Secret::from(format!("new-password-{number}"));
        apply(&vault, plan, &Masker::new(), UNIX_EPOCH, new, |_| Ok(())).await
    };
    assert_eq!(work(one.unwrap(), 5).await.unwrap().version, 3);
    refused(work(other.unwrap(), 6).await, ErrorKind::Busy, "another rotation worked in it meanwhile");
    assert_eq!(there(&vault, "kv/db").await, ("new-password-5".into(), "me".into(), 3));
}
