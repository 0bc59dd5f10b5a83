//! Mitigations: what is allowed, what is recorded, and that it can be taken back, killed at any step or not.

use crate::kill::this_test_binary;
use ops_gates::mitigate::{Applied, Mitigations, Phase, Request, Step, apply, list, plan, undo};
use ops_gates::{CancellationToken, Error, ErrorKind};
use rustix::process::{Signal, getpid, kill_process};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use tempfile::TempDir;

const POLICY: &str = r#"
schema = "ops-gates/mitigations/v1"
name = "prod"

[[mitigation]]
name = "checkout-off"
max_duration = "2h"
flag = { file = "checkout", on = "off", off = "on" }

[[mitigation]]
name = "slow-down"
max_duration = "1h"
throttle = { file = "rate", on = 50 }

[[mitigation]]
name = "read-only"
max_duration = "1h"
[mitigation.command]
do = ["sh", "-c", "echo half > mode; echo read-only > mode"]
undo = ["sh", "-c", "echo normal > mode"]
state = ["cat", "mode"]
on = "read-only"
off = "normal"
"#;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a temporary directory"));
        for (name, text) in
            [("policy.toml", POLICY), ("checkout", "on\n"), ("rate", "200"), ("mode", "normal\n")]
        {
            place.put(name, text);
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect(name);
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect(name)
    }

    async fn apply(&self, name: &str) -> Result<Applied, Error> {
        apply_in(self.0.path(), name, &request()).await
    }

    /// The only directory of a mitigation.
    fn only(&self) -> Option<PathBuf> {
        let mut all = std::fs::read_dir(self.path("root")).expect("a root").flatten().map(|it| it.path());
        all.find(|path| path.is_dir())
    }
}

async fn apply_in(folder: &Path, name: &str, request: &Request) -> Result<Applied, Error> {
    let mitigations = Mitigations::load(&folder.join("policy.toml"), None)?;
    let planned = plan(&mitigations, name, request)?;
    apply(planned, &folder.join("root"), request, CancellationToken::new()).await
}

fn request() -> Request {
    Request { reason: "errors in the shop".to_owned(), actor: "alice".to_owned(), ..Request::default() }
}

fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[tokio::test]
async fn what_is_done_is_recorded_and_taken_back_once() {
    for (name, file, off, on) in [
        ("checkout-off", "checkout", "on\n", "off\n"),
        ("slow-down", "rate", "200", "50"),
        ("read-only", "mode", "normal\n", "read-only\n"),
    ] {
        let place = Place::new();
        std::fs::set_permissions(place.path(file), std::fs::Permissions::from_mode(0o640)).expect("a mode");
        let applied = place.apply(name).await.expect(name);
        assert_eq!((applied.record.phase, place.read(file).as_str()), (Phase::Applied, on), "{name}");
        assert_eq!(applied.taken_back, None);
        // Nobody begins it a second time.
        assert_eq!(kind(place.apply(name).await), Some(ErrorKind::MitigationRefused), "{name}");
        // The policy is no longer needed.
        std::fs::remove_file(place.path("policy.toml")).expect("a policy");
        let (record, changed) = undo(&applied.directory, &request()).await.expect(name);
        assert_eq!((record.phase, changed, place.read(file).as_str()), (Phase::Undone, true, off), "{name}");
        assert_eq!(place.path(file).metadata().expect("a file").permissions().mode() & 0o777, 0o640);
        let (_, changed) = undo(&applied.directory, &request()).await.expect(name);
        assert!(!changed, "{name}");
        let listing = list(&place.path("root")).expect("a root");
        assert!(listing.problems.is_empty() && listing.mitigations.len() == 1, "{:?}", listing.problems);
        let audit = place.read("root/audit.jsonl");
        let events: Vec<&str> =
            audit.lines().filter_map(|line| line.split("\"event\":\"").nth(1)?.split('"').next()).collect();
        assert_eq!(events, ["applying", "applied", "undone"], "{name}");
    }
}

#[tokio::test]
async fn what_somebody_else_changed_stays() {
    for (name, file, foreign) in [
        ("checkout-off", "checkout", "maintenance\n"),
        ("slow-down", "rate", "75"),
        ("read-only", "mode", "closed\n"),
    ] {
        let place = Place::new();
        let applied = place.apply(name).await.expect(name);
        place.put(file, foreign);
        assert_eq!(
            kind(undo(&applied.directory, &request()).await),
            Some(ErrorKind::MitigationRefused),
            "{name}"
        );
        assert_eq!(place.read(file), foreign, "{name}");
        // And before it begins.
        let other = Place::new();
        other.put(file, if name == "slow-down" { "fast" } else { foreign });
        assert_eq!(kind(other.apply(name).await), Some(ErrorKind::MitigationRefused), "{name}");
        assert!(!other.path("root").exists() || other.only().is_none(), "{name}");
        // Taken back by hand: there is nothing left to do, and that is no error.
        let third = Place::new();
        let before = third.read(file);
        let applied = third.apply(name).await.expect(name);
        third.put(file, &before);
        let (record, changed) = undo(&applied.directory, &request()).await.expect(name);
        assert_eq!((record.phase, changed), (Phase::Undone, false), "{name}");
    }
}

#[tokio::test]
async fn what_does_not_help_or_fails_is_taken_back_at_once() {
    let verify = "verify = [\"false\"]\nverify_within = \"1ms\"\n[mitigation.command]";
    for (change, with, part) in [
        ("[mitigation.command]", verify, "it did not help"),
        ("echo read-only > mode", "exit 3", "ended with exit status: 3"),
        ("echo read-only > mode", "echo other > mode", "the state afterwards"),
    ] {
        let place = Place::new();
        place.put("policy.toml", &POLICY.replace(change, with));
        let applied = place.apply("read-only").await.expect(with);
        assert!(
            applied.taken_back.as_deref().is_some_and(|why| why.contains(part)),
            "{:?}",
            applied.taken_back
        );
        assert_eq!(
            (applied.record.phase, place.read("mode").as_str()),
            (Phase::Undone, "normal\n"),
            "{with}"
        );
    }
    // What can neither be done nor taken back says how to do it by hand.
    let place = Place::new();
    let stuck = POLICY.replace("echo read-only > mode", "exit 3").replace("echo normal > mode", "exit 4");
    place.put("policy.toml", &stuck);
    let error = place.apply("read-only").await.expect_err("it cannot be taken back");
    assert_eq!(error.kind(), ErrorKind::MitigationFailed);
    assert!(error.to_string().contains("by hand: sh -c"), "{error}");
}

#[tokio::test]
async fn only_what_the_policy_allows_is_done() {
    let place = Place::new();
    let longer = Request { time: Some("3h".parse().expect("a span")), ..request() };
    let folder = place.0.path();
    for (name, request) in
        [("drop-tables", &request()), ("checkout-off", &longer), ("checkout-off", &Request::default())]
    {
        let refused = apply_in(folder, name, request).await;
        assert_eq!(kind(refused), Some(ErrorKind::MitigationRefused), "{name}");
    }
    assert!(!place.path("root").exists());
    for (change, with, part) in [
        ("undo = [\"sh\", \"-c\", \"echo normal > mode\"]", "undo = []", "no mitigation"),
        ("undo = [\"sh\", \"-c\", \"echo normal > mode\"]\n", "", "missing field `undo`"),
        ("on = \"off\", off = \"on\"", "on = \"x\", off = \"x\"", "two different values"),
        ("max_duration = \"2h\"\n", "", "missing field `max_duration`"),
        ("name = \"slow-down\"", "name = \"checkout-off\"", "two of the name"),
        ("throttle = { file = \"rate\", on = 50 }", "", "exactly one of"),
        ("mitigations/v1", "mitigations/v9", "is not known"),
    ] {
        place.put("policy.toml", &POLICY.replace(change, with));
        let error = Mitigations::load(&place.path("policy.toml"), None).expect_err(with);
        assert!(error.kind() == ErrorKind::PolicyInvalid && error.to_string().contains(part), "{error}");
    }
    place.put("policy.toml", POLICY);
    assert_eq!(
        kind(Mitigations::load(&place.path("policy.toml"), Some("0000"))),
        Some(ErrorKind::PolicyInvalid)
    );
}

#[tokio::test]
async fn what_is_overdue_or_was_changed_is_told() {
    let place = Place::new();
    let short = Request { time: Some("1ms".parse().expect("a span")), ..request() };
    let applied = apply_in(place.0.path(), "checkout-off", &short).await.expect("it is allowed");
    let now = applied.record.expires_at;
    assert!(applied.record.is_overdue(now));
    let (record, _) = undo(&applied.directory, &request()).await.expect("it can be taken back");
    assert!(!record.is_overdue(now));
    let root = place.path("root");
    let problems = || list(&root).expect("a root").problems.len();
    assert_eq!(problems(), 0);
    // A line that a crash cut off is no forgery.
    let audit = place.read("root/audit.jsonl");
    place.put("root/audit.jsonl", &format!("{audit}{{\"at\":\"20"));
    place.apply("slow-down").await.expect("it is allowed");
    assert_eq!(problems(), 0);
    let audit = place.read("root/audit.jsonl");
    place.put("root/audit.jsonl", &audit.replacen("alice", "mallory", 1));
    assert_eq!(problems(), 1);
    place.put("root/audit.jsonl", &audit);
    std::fs::remove_file(applied.directory.join("mitigation.json")).expect("a record");
    assert_eq!(problems(), 1);
    assert_eq!(kind(list(&place.path("nowhere"))), Some(ErrorKind::RunUnreadable));
}

#[tokio::test]
async fn two_at_once_do_not_meet() {
    let place = Place::new();
    std::fs::create_dir(place.path("root")).expect("a root");
    let lock = std::fs::File::create(place.path("root/.lock")).expect("a lock");
    lock.lock().expect("a lock");
    assert_eq!(kind(place.apply("checkout-off").await), Some(ErrorKind::Busy));
    assert_eq!(place.read("checkout"), "on\n");
}

const FOLDER: &str = "OPS_GATES_TEST_MITIGATE_FOLDER";
const WHAT: &str = "OPS_GATES_TEST_MITIGATE_WHAT";
const AT: &str = "OPS_GATES_TEST_MITIGATE_AT";

/// Kills itself when this step is done.
fn dying(at: &str) -> Request {
    let at = at.to_owned();
    let observer = move |step: Step| {
        if format!("{step:?}") == at {
            let _ = kill_process(getpid(), Signal::KILL);
        }
    };
    Request { observer: Some(Arc::new(observer)), ..request() }
}

#[test]
#[ignore = "run in a process of its own by the next test, and kills itself at a step"]
fn a_mitigation_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let (what, at) = (std::env::var(WHAT).expect("a name"), std::env::var(AT).expect("a step"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        match what.strip_prefix("undo ") {
            Some(directory) => drop(undo(Path::new(directory), &dying(&at)).await),
            None => drop(apply_in(&folder, &what, &dying(&at)).await),
        }
    });
}

fn killed(place: &Place, what: &str, at: Step) {
    let status = this_test_binary("mitigate::a_mitigation_that_is_killed")
        .envs([(FOLDER, place.0.path().as_os_str()), (WHAT, what.as_ref()), (AT, format!("{at:?}").as_ref())])
        .stdout(Stdio::null())
        .status()
        .expect("the test binary");
    assert!(!status.success(), "{what} was not killed at {at:?}");
}

#[tokio::test]
async fn killed_at_any_step_it_can_be_taken_back() {
    for (name, file, off) in [
        ("checkout-off", "checkout", "on\n"),
        ("slow-down", "rate", "200"),
        ("read-only", "mode", "normal\n"),
    ] {
        for at in
            [Step::Claimed, Step::Recorded, Step::Audited, Step::Changed, Step::AuditedApplied, Step::Applied]
        {
            let place = Place::new();
            killed(&place, name, at);
            let directory = place.only().expect("a directory");
            let result = undo(&directory, &request()).await;
            if at == Step::Claimed {
                assert_eq!(kind(result), Some(ErrorKind::RunUnreadable), "{name} {at:?}");
            } else {
                let (record, changed) = result.unwrap_or_else(|error| panic!("{name} {at:?}: {error}"));
                let is_in_place = !matches!(at, Step::Recorded | Step::Audited);
                assert_eq!((record.phase, changed), (Phase::Undone, is_in_place), "{name} {at:?}");
            }
            assert_eq!(place.read(file), off, "{name} {at:?}");
            assert!(list(&place.path("root")).expect("a root").problems.is_empty(), "{name} {at:?}");
            // And it can be begun again.
            place.apply(name).await.unwrap_or_else(|error| panic!("{name} {at:?}: {error}"));
        }
        for at in [Step::TakenBack, Step::AuditedUndone, Step::Undone] {
            let place = Place::new();
            let applied = place.apply(name).await.expect(name);
            killed(&place, &format!("undo {}", applied.directory.display()), at);
            let (record, changed) = undo(&applied.directory, &request()).await.expect(name);
            assert_eq!((record.phase, changed), (Phase::Undone, false), "{name} {at:?}");
            assert_eq!(place.read(file), off, "{name} {at:?}");
        }
    }
}

#[tokio::test]
async fn a_command_that_was_broken_off_half_way_is_taken_back() {
    let place = Place::new();
    killed(&place, "read-only", Step::Changed);
    place.put("mode", "half\n");
    let directory = place.only().expect("a directory");
    let (record, changed) = undo(&directory, &request()).await.expect("it can be taken back");
    assert_eq!((record.phase, changed, place.read("mode").as_str()), (Phase::Undone, true, "normal\n"));
}

/// Whether it helps is judged by gates of any kind.
#[tokio::test]
async fn the_gates_of_a_plan_say_whether_it_helps() {
    let mode = |wanted: &str| {
        format!(
            "name = \"checks\"\n[[gate]]\nid = \"mode\"\nkind = \"log-quality\"\nrun = [\"sed\", \"s/.*/{{\\\"mode\\\":\\\"&\\\"}}/\", \"mode\"]\ntrace_id_field = \"none\"\nmin_trace_percent = 0\nlevel_field = \"mode\"\nlevels = [\"{wanted}\"]\n"
        )
    };
    let checks = "checks = \"checks.toml\"\nverify_within = \"1ms\"\n[mitigation.command]";
    let place = Place::new();
    place.put("policy.toml", &POLICY.replace("[mitigation.command]", checks));
    // No plan, nothing done.
    let error = place.apply("read-only").await.expect_err("there is no plan");
    assert_eq!(error.kind(), ErrorKind::PlanUnreadable);
    assert_eq!(place.read("mode"), "normal\n");
    place.put("checks.toml", &mode("read-only"));
    let applied = place.apply("read-only").await.expect("it helps");
    assert_eq!((applied.taken_back, applied.record.verified), (None, Some(true)));
    assert!(applied.directory.join("checks/0001/verdict.json").is_file());
    let place = Place::new();
    place.put("policy.toml", &POLICY.replace("[mitigation.command]", checks));
    place.put("checks.toml", &mode("normal"));
    let applied = place.apply("read-only").await.expect("it is taken back");
    assert!(
        applied.taken_back.as_deref().is_some_and(|why| why.contains("mode")),
        "{:?}",
        applied.taken_back
    );
    assert_eq!((applied.record.phase, place.read("mode").as_str()), (Phase::Undone, "normal\n"));
    let both = format!("verify = [\"true\"]\n{checks}");
    place.put("policy.toml", &POLICY.replace("[mitigation.command]", &both));
    assert!(Mitigations::load(&place.path("policy.toml"), None).is_err());
}
