//! Drills against real servers and processes: the fault must be seen, is always taken back, and the time is measured.

use crate::support::options;
use ops_core::evidence::{Envelope, SigningKey};
use ops_gates::drill::{self, Drill, DrillOutcome, DrillRecord};
use ops_gates::{CancellationToken, ErrorKind, Options, ReadOptions};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A folder with a drill, its checks, and what the drill is about.
struct Place {
    folder: TempDir,
    key: Arc<SigningKey>,
}

impl Place {
    fn new(check: &str, drill: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let key = Arc::new(SigningKey::generate().expect("randomness"));
        let place = Self { folder, key };
        let gate = format!(
            "name = \"checks\"\n[[gate]]\nid = \"it\"\nkind = \"command\"\ntimeout = \"1s\"\n{check}\n"
        );
        place.write("checks.toml", &gate);
        place.write(
            "drill.toml",
            &format!("name = \"d\"\nchecks = \"checks.toml\"\ninterval = \"50ms\"\n{drill}\n"),
        );
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect(name);
    }

    fn load(&self) -> Result<Drill, ops_gates::Error> {
        Drill::load(&self.path("drill.toml"), &ReadOptions::default())
    }

    async fn carry_out(&self, cancel: CancellationToken) -> DrillRecord {
        let drill = self.load().unwrap_or_else(|error| panic!("{error}"));
        let options = Options { signing_key: Some(Arc::clone(&self.key)), ..options() };
        drill::carry_out(&drill, &options, &self.path("out"), cancel).await.expect("a record")
    }

    /// The outcome and code, the same on disk, and signed.
    async fn expect(&self, outcome: DrillOutcome, code: &str) -> DrillRecord {
        let record = self.carry_out(CancellationToken::new()).await;
        assert_eq!((record.outcome, record.code.as_str()), (outcome, code), "{record:?}");
        let on_disk: DrillRecord =
            serde_json::from_slice(&fs::read(self.path("out/drill.json")).expect("drill.json"))
                .expect("JSON");
        assert_eq!(on_disk, record);
        let envelope = Envelope::from_json(&fs::read(self.path("out/evidence.json")).expect("evidence.json"));
        let evidence = envelope.expect("an envelope").verify(&[self.key.verifying_key()]).expect("signed");
        assert_eq!(evidence.kind, drill::DRILL_KIND);
        let passed = evidence.outcome == ops_core::evidence::Outcome::Passed;
        assert_eq!(passed, outcome == DrillOutcome::Passed);
        record
    }
}

/// A process of ours with a pid file; ended with the test.
struct Sleeper(Child);

impl Sleeper {
    fn start(pid_file: &Path) -> Self {
        let child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().expect("sleep");
        fs::write(pid_file, format!("{}\n", child.id())).expect("a pid file");
        Self(child)
    }

    /// The state letter of `/proc/<pid>/stat`: `T` is stopped.
    fn state(&self) -> String {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it runs");
        stat.rsplit_once(") ").map(|(_, rest)| rest[..1].to_owned()).expect("a state")
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const TIMES: &str = "rto = \"10s\"\nimpact_within = \"5s\"\n";

/// A check that passes while the process of the pid file is not stopped.
const RUNNING: &str = "shell = true\nrun = ['! grep -q \") T\" /proc/$(cat pid)/stat']\n";

fn pause(times: &str) -> String {
    format!("{times}[fault.pause]\npid_file = \"pid\"\nprocess = \"sleep\"")
}

#[tokio::test]
async fn a_paused_process_is_seen_continued_and_measured() {
    let place = Place::new(RUNNING, &pause(TIMES));
    let sleeper = Sleeper::start(&place.path("pid"));
    let record = place.expect(DrillOutcome::Passed, "ok").await;
    assert_ne!(sleeper.state(), "T");
    assert_eq!(
        (record.rolled_back, record.undo_by_hand),
        (Some(true), Some(format!("kill -CONT {}", sleeper.0.id())))
    );
    let measured = |name: &str| record.measurements.get(name).copied().expect(name);
    assert!(measured("recovery_time_seconds") < measured("outage_seconds"), "{:?}", record.measurements);
    let report = fs::read_to_string(place.path("out/report.md")).expect("a report");
    assert!(
        report.starts_with("# Drill d: PASSED\n") && report.contains("| recovery | PASSED |"),
        "{report}"
    );
    assert!(report.contains("| fault | BLOCKED |"), "{report}");
}

#[tokio::test]
async fn a_fault_that_nobody_sees_proves_nothing() {
    let place = Place::new("run = [\"true\"]\n", &pause("rto = \"10s\"\nimpact_within = \"1s\"\n"));
    let sleeper = Sleeper::start(&place.path("pid"));
    let record = place.expect(DrillOutcome::Inconclusive, "no-impact").await;
    assert_ne!(sleeper.state(), "T");
    assert_eq!(record.rolled_back, Some(true));
}

#[tokio::test]
async fn without_a_steady_state_nothing_is_injected() {
    let place = Place::new("run = [\"false\"]\n", &pause(TIMES));
    let sleeper = Sleeper::start(&place.path("pid"));
    let record = place.expect(DrillOutcome::Inconclusive, "no-steady-state").await;
    assert_eq!((record.rolled_back, record.injected_at, record.probes.len()), (None, None, 1));
    assert_ne!(sleeper.state(), "T");
}

#[tokio::test]
async fn a_cancelled_drill_takes_its_fault_back() {
    let place = Place::new(RUNNING, &pause("rto = \"10s\"\nimpact_within = \"5s\"\nhold = \"600s\"\n"));
    let sleeper = Sleeper::start(&place.path("pid"));
    let cancel = CancellationToken::new();
    let stop = async {
        while sleeper.state() != "T" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cancel.cancel();
    };
    let (record, ()) = tokio::join!(place.carry_out(cancel.clone()), stop);
    assert_eq!((record.outcome, record.rolled_back), (DrillOutcome::Interrupted, Some(true)));
    assert_ne!(sleeper.state(), "T");
}

#[tokio::test]
async fn a_dropped_drill_takes_its_fault_back_and_leaves_no_pass() {
    let place = Place::new(RUNNING, &pause("rto = \"10s\"\nimpact_within = \"5s\"\nhold = \"600s\"\n"));
    let sleeper = Sleeper::start(&place.path("pid"));
    let stopped = async {
        while sleeper.state() != "T" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        record = place.carry_out(CancellationToken::new()) => panic!("it ended: {record:?}"),
        () = stopped => {}
    }
    assert_ne!(sleeper.state(), "T");
    let left = fs::read_to_string(place.path("out/drill.json")).expect("drill.json");
    assert!(left.contains("\"in_progress\"") && left.contains("kill -CONT"), "{left}");
}

#[tokio::test]
async fn a_recovery_beyond_its_objective_fails() {
    // What the undo leaves behind heals only after a while.
    let check = "shell = true\nrun = ['test ! -e down']\n";
    let drill = |times: &str, seconds: &str| {
        format!(
            "{times}[fault.command]\ninject = [\"touch\", \"down\"]\nundo = [\"sh\", \"-c\", \"(sleep {seconds}; rm down) >/dev/null 2>&1 &\"]"
        )
    };
    let late =
        Place::new(check, &drill("rto = \"100ms\"\ngive_up_after = \"20s\"\nimpact_within = \"5s\"\n", "1"));
    let record = late.expect(DrillOutcome::Failed, "rto").await;
    assert!(record.measurements["recovery_time_seconds"] > 0.1, "{record:?}");
    let never =
        Place::new(check, &drill("rto = \"100ms\"\ngive_up_after = \"1s\"\nimpact_within = \"5s\"\n", "600"));
    let record = never.expect(DrillOutcome::Failed, "not-recovered").await;
    assert!(!record.measurements.contains_key("recovery_time_seconds"), "{record:?}");
}

#[tokio::test]
async fn good_checks_must_stand_in_a_row() {
    // After the undo the check passes at every other look, five times, and then always.
    let check = "shell = true\nrun = ['test ! -e down || exit 1; test -e healing || exit 0; echo x >> healing; n=$(wc -l < healing); test $n -gt 9 || test $((n % 2)) = 0']\n";
    let drill = format!(
        "{TIMES}good_checks = 3\n[fault.command]\ninject = [\"touch\", \"down\"]\nundo = [\"sh\", \"-c\", \"echo x > healing; rm down\"]"
    );
    let place = Place::new(check, &drill);
    let record = place.expect(DrillOutcome::Passed, "ok").await;
    let verdicts: Vec<String> =
        record.probes.iter().rev().take(4).map(|probe| probe.verdict.to_string()).collect();
    assert_eq!(verdicts, ["PASSED", "PASSED", "PASSED", "BLOCKED"], "{:?}", record.probes);
}

#[tokio::test]
async fn a_fault_that_cannot_be_taken_back_is_said() {
    let drill = format!("{TIMES}[fault.command]\ninject = [\"touch\", \"down\"]\nundo = [\"false\"]");
    let place = Place::new("shell = true\nrun = ['test ! -e down']\n", &drill);
    let record = place.expect(DrillOutcome::Error, "rollback").await;
    assert_eq!(record.rolled_back, Some(false));
    let report = fs::read_to_string(place.path("out/report.md")).expect("a report");
    assert!(report.contains("- fault taken back: NO\n- take it back by hand: false\n"), "{report}");
}

#[tokio::test]
async fn an_injection_that_fails_half_way_is_taken_back() {
    let drill = format!(
        "{TIMES}[fault.command]\ninject = [\"sh\", \"-c\", \"touch down; exit 1\"]\nundo = [\"rm\", \"down\"]"
    );
    let place = Place::new("shell = true\nrun = ['test ! -e down']\n", &drill);
    let record = place.expect(DrillOutcome::Error, "inject").await;
    assert_eq!((record.rolled_back, place.path("down").exists()), (Some(true), false));
}

#[tokio::test]
async fn only_the_named_process_is_a_target() {
    let place = Place::new("run = [\"true\"]\n", &pause(TIMES).replace("\"sleep\"", "\"postgres\""));
    let sleeper = Sleeper::start(&place.path("pid"));
    let record = place.expect(DrillOutcome::Error, "fault").await;
    assert!(record.reason.contains("is `sleep`, not `postgres`"), "{}", record.reason);
    assert_ne!(sleeper.state(), "T");
    assert_eq!(record.rolled_back, None);
    for (pid, says) in [
        ("1", "holds no process id"),
        ("-1", "holds no process id"),
        ("none", "holds no process id"),
        (&std::process::id().to_string(), "is this program, or one that started it"),
    ] {
        let place = Place::new("run = [\"true\"]\n", &pause(TIMES));
        place.write("pid", pid);
        let record = place.expect(DrillOutcome::Error, "fault").await;
        assert!(record.reason.contains(says), "{pid}: {}", record.reason);
    }
}

#[test]
fn a_drill_that_could_not_prove_anything_is_refused() {
    for (drill, says) in [
        (pause("rto = \"10s\"\nimpact_within = \"500ms\"\n"), "it a shorter timeout"),
        (pause(&format!("{TIMES}good_checks = 0\n")), "good_checks = 0 would prove nothing"),
        (pause(&format!("{TIMES}give_up_after = \"5s\"\n")), "must be longer than the rto"),
        (pause("impact_within = \"5s\"\n"), "missing field `rto`"),
        (pause(&format!("{TIMES}hld = \"5s\"\n")), "unknown field `hld`"),
        (format!("{TIMES}[fault]\n"), "exactly one of"),
        (format!("{TIMES}[fault.command]\ninject = [\"true\"]\nundo = []\n"), "cannot be taken back"),
    ] {
        let error = Place::new("run = [\"true\"]\n", &drill).load().expect_err(says);
        assert_eq!(error.kind(), ErrorKind::PlanInvalid);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn the_evidence_of_a_drill_opens_a_gate() {
    let place = Place::new(RUNNING, &pause(TIMES));
    let _sleeper = Sleeper::start(&place.path("pid"));
    place.expect(DrillOutcome::Passed, "ok").await;
    let public = place.path("key.pem");
    place.key.verifying_key().write_file(&public).expect("a key file");
    let gate = |max: &str| {
        format!(
            "kind = \"evidence\"\npath = \"{}\"\nkey = \"{}\"\nrecord_kind = \"chaos-drill\"\nmax_age = \"7d\"\nrequire_checks = [\"impact-seen\", \"rolled-back\", \"within-rto\"]\n[gate.measurements]\nrecovery_time_seconds = {{ max = {max} }}",
            place.path("out/evidence.json").display(),
            public.display()
        )
    };
    crate::support::run_gate(&gate("10")).await.expect("PASS", "ok");
    crate::support::run_gate(&gate("0.000001")).await.expect("FAIL", "measurement");
}

/// A real Redis that a drill may kill: started as a daemon by the same command that starts it again.
struct Redis {
    folder: PathBuf,
}

impl Redis {
    fn command(port: u16) -> Vec<String> {
        let words =
            "redis-server --daemonize yes --bind 127.0.0.1 --save \"\" --pidfile redis.pid --dir . --port";
        let mut words: Vec<String> = words.split(' ').map(|word| word.trim_matches('"').to_owned()).collect();
        words.push(port.to_string());
        words
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.folder.join("redis.pid")).unwrap_or_default();
        if let Some(pid) = pid.trim().parse().ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

#[tokio::test]
async fn a_killed_redis_is_started_again_within_its_objective() {
    if Command::new("redis-server").arg("--version").output().is_err() {
        ops_testkit::skip!("redis-server is not installed");
    }
    let port = ops_testkit::free_port().expect("a port");
    let restart = Redis::command(port);
    let quoted: Vec<String> = restart.iter().map(|word| format!("\"{word}\"")).collect();
    let check = format!("run = [\"redis-cli\", \"-p\", \"{port}\", \"ping\"]\nexpect_stdout = \"PONG\"\n");
    let drill = format!(
        "{TIMES}[fault.kill]\npid_file = \"redis.pid\"\nprocess = \"redis-server\"\nrestart = [{}]",
        quoted.join(", ")
    );
    let place = Place::new(&check, &drill);
    let redis = Redis { folder: place.path("") };
    let started = Command::new(&restart[0])
        .args(&restart[1..])
        .current_dir(&redis.folder)
        .status()
        .expect("redis-server");
    assert!(started.success());
    let pong = || {
        let answer = Command::new("redis-cli").args(["-p", &port.to_string(), "ping"]).output();
        answer.is_ok_and(|answer| answer.stdout.starts_with(b"PONG"))
    };
    while !pong() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let before = fs::read_to_string(place.path("redis.pid")).expect("a pid file");
    place.expect(DrillOutcome::Passed, "ok").await;
    assert!(pong(), "the drill left no server");
    assert_ne!(before, fs::read_to_string(place.path("redis.pid")).expect("a pid file"));
}

#[tokio::test]
async fn a_paused_postgres_is_seen_and_comes_back() {
    let postgres = ops_testkit::or_skip!(ops_testkit::Postgres::builder().start());
    let drill = format!(
        "{TIMES}[fault.pause]\npid_file = \"{}\"\nprocess = \"postgres\"",
        postgres.data_dir().join("postmaster.pid").display()
    );
    let place = Place::new("run = [\"true\"]\n", &drill);
    let psql = ops_testkit::bin_dir(postgres.major()).expect("programs").join("psql");
    place.write(
        "checks.toml",
        &format!(
            "name = \"checks\"\n[[gate]]\nid = \"db\"\nkind = \"command\"\nrun = [\"{}\", \"{}\", \"-Atc\", \"SELECT 1\"]\nexpect_stdout = \"1\"\ntimeout = \"1s\"\n",
            psql.display(),
            postgres.url()
        ),
    );
    let record = place.expect(DrillOutcome::Passed, "ok").await;
    assert!(record.measurements["impact_seen_seconds"] >= 1.0, "{:?}", record.measurements);
    assert_eq!(postgres.psql("SELECT 1").expect("it answers"), "1");
}

/// Undoes what a test did to the machine.
struct Undo(&'static str, Vec<String>);

impl Drop for Undo {
    fn drop(&mut self) {
        let _ = Command::new(self.0).args(&self.1).output();
    }
}

fn done(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn a_full_file_system_is_seen_and_emptied() {
    let place = Place::new(
        "shell = true\nrun = ['echo data > small/probe && test -s small/probe && rm small/probe']\n",
        &format!("{TIMES}[fault.fill]\npath = \"small\"\nmax_bytes = 2097152"),
    );
    let mount = place.path("small");
    fs::create_dir(&mount).expect("a directory");
    let target = mount.display().to_string();
    if !done("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs", &target]) {
        ops_testkit::skip!("no file system can be mounted here");
    }
    let _undo = Undo("umount", vec![target]);
    place.expect(DrillOutcome::Passed, "ok").await;
    assert_eq!(fs::read_dir(&mount).expect("a directory").count(), 0);
}

#[tokio::test]
async fn a_big_file_system_is_not_filled() {
    let place =
        Place::new("run = [\"true\"]\n", &format!("{TIMES}[fault.fill]\npath = \".\"\nmax_bytes = 4096"));
    let record = place.expect(DrillOutcome::Error, "fault").await;
    assert!(record.reason.contains("more than max_bytes = 4096"), "{}", record.reason);
}

#[tokio::test]
async fn a_blocked_port_in_a_namespace_is_seen_and_opened() {
    let name = format!("opsdrill{}", std::process::id());
    let (inner, port) = (["netns", "exec", name.as_str()], "7777");
    if !done("ip", &["netns", "add", &name]) {
        ops_testkit::skip!("no network namespace can be made here");
    }
    let _undo = Undo("ip", vec!["netns".to_owned(), "delete".to_owned(), name.clone()]);
    let within = |rest: &[&'static str]| [&inner[..], rest].concat();
    if !done("ip", &within(&["ip", "link", "set", "lo", "up"]))
        || !done("ip", &within(&["nft", "list", "tables"]))
    {
        ops_testkit::skip!("no packet filter in a namespace here");
    }
    let server = Command::new("ip")
        .args(within(&["python3", "-m", "http.server", "--bind", "127.0.0.1", port]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a server");
    let server = Sleeper(server);
    let look = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7777/', timeout=0.5)";
    while !done("ip", &within(&["python3", "-c", look])) {
        assert!(fs::exists(format!("/proc/{}", server.0.id())).expect("proc"), "the server ended");
        std::thread::sleep(Duration::from_millis(50));
    }
    let check = format!("run = [\"ip\", \"netns\", \"exec\", \"{name}\", \"python3\", \"-c\", \"{look}\"]\n");
    let drill = format!("{TIMES}[fault.block_port]\nnamespace = \"{name}\"\nport = {port}");
    let place = Place::new(&check, &drill);
    place.expect(DrillOutcome::Passed, "ok").await;
    let tables = Command::new("ip").args(within(&["nft", "list", "tables"])).output().expect("nft");
    assert_eq!(String::from_utf8_lossy(&tables.stdout), "");
}

#[tokio::test]
async fn a_container_of_a_stand_in_is_stopped_and_started() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new(
        "shell = true\nrun = ['test ! -e web.stopped']\n",
        &format!("{TIMES}[fault.stop_container]\nname = \"web\"\nprogram = \"./docker_stand_in\""),
    );
    // No container engine is to be had here: this takes the same two commands.
    place.write(
        "docker_stand_in",
        "#!/bin/sh\ncase \"$1\" in stop) touch \"$2.stopped\";; start) rm \"$2.stopped\";; *) exit 1;; esac\n",
    );
    fs::set_permissions(place.path("docker_stand_in"), fs::Permissions::from_mode(0o755)).expect("a program");
    place.expect(DrillOutcome::Passed, "ok").await;
    assert!(!place.path("web.stopped").exists());
}
