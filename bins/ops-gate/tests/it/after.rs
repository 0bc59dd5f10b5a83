//! What comes after a run: platforms, deployers, history, reports, drills, notifications.

use crate::support::{Ended, Place};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

const DIGEST: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn plan(run: &str) -> String {
    format!(
        "name = \"release\"\n[subject]\nname = \"shop\"\ndigest = \"sha256:{DIGEST}\"\n[[gate]]\nid = \"smoke\"\nkind = \"command\"\nshell = true\nrun = ['{run}']\n"
    )
}

#[test]
fn github_shows_annotations_and_a_summary_and_stdout_stays_the_answer() {
    let place = Place::with(&plan("echo out of order; exit 3"));
    let mut command = place.command(&["run", "release.toml", "--run-dir", "out", "--format", "json"]);
    std::fs::write(place.path("step.md"), "earlier\n").expect("a file");
    command.env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", place.path("step.md"));
    let ended = Ended::of(command.output().expect("the command runs"));
    assert_eq!(ended.code, Some(20), "{}", ended.stderr);
    assert!(serde_json::from_str::<serde_json::Value>(&ended.stdout).is_ok(), "{}", ended.stdout);
    assert!(
        ended.stderr.contains("\n::error title=FAIL smoke::exit code 3, expected 0\n"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("::group::smoke: the end of logs/smoke.log\n::stop-commands::"),
        "{}",
        ended.stderr
    );
    let summary = place.read("step.md");
    assert!(summary.starts_with("earlier\n# BLOCKED — release\n"), "{summary}");
    let quiet = place.run(&["run", "release.toml", "--run-dir", "two", "--ci", "none"]);
    assert!(!quiet.stderr.contains("::error"), "{}", quiet.stderr);
}

#[test]
fn a_deployment_is_allowed_for_this_digest_alone() {
    let place = Place::with(&plan("true"));
    place.make_keys();
    let ran = place.run(&["run", "release.toml", "--run-dir", "out", "--signing-key", "gate.pem"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    std::fs::write(place.path("policy.toml"), "").expect("a file");
    let (right, wrong) = (format!("sha256:{DIGEST}"), format!("sha256:{}", "b".repeat(64)));
    let commit = "c".repeat(40);
    for (demand, code) in [
        (["--subject", right.as_str()], 0),
        (["--max-age", "1h"], 0),
        (["--subject", wrong.as_str()], 20),
        (["--subject", "sha256:aaaaaaaaaaaa"], 20),
        (["--commit", commit.as_str()], 20),
        (["--max-age", "1ms"], 20),
        (["--policy", "policy.toml"], 20),
        (["--policy", "no-such-file"], 65),
    ] {
        let verified = place.run(&[&["verify", "out", "--key", "gate.pub.pem"][..], &demand].concat());
        assert_eq!(verified.code, Some(code), "{demand:?}: {}{}", verified.stdout, verified.stderr);
        assert_eq!(verified.stdout.is_empty(), code != 0, "{demand:?}: {}", verified.stdout);
    }
}

#[test]
fn history_and_report_tell_what_the_runs_showed() {
    let place = Place::with(&plan("test -e good"));
    let empty = place.run(&["history"]);
    assert_eq!(empty.code, Some(65), "{}", empty.stderr);
    for good in [true, false] {
        if good {
            std::fs::write(place.path("good"), "").expect("a file");
        } else {
            std::fs::remove_file(place.path("good")).expect("a file");
        }
        place.run(&["run", "release.toml"]);
    }
    let json = place.run(&["history", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("one JSON document");
    let plan = &json["plans"][0];
    assert_eq!((plan["runs"].as_u64(), plan["pass_rate"].as_f64()), (Some(2), Some(0.5)));
    assert_eq!(plan["gates"][0]["flaky_rate"], 1.0);
    let text = place.run(&["history", "ops-gate-runs"]).stdout;
    assert!(
        text.starts_with("release: 2 runs; 50.0 % passed (shown: at least 2.5 %); last green "),
        "{text}"
    );
    assert!(text.contains("smoke  passed 1 of 2, flaky on 100.0 % of 1 subjects"), "{text}");
    assert_eq!(place.run(&["history", "--plan", "other"]).code, Some(22));
    std::fs::write(
        place.path("ops.toml"),
        "[[gate.report.lines]]\ntitle = \"Backups verified\"\ngate = \"smoke\"\n",
    )
    .expect("a file");
    let report = place.run(&["report", "--html", "health.html", "--markdown", "health.md"]);
    assert_eq!(
        (report.code, report.stdout.as_str()),
        (Some(0), "5 NO DATA, 1 NOT GOOD\n"),
        "{}",
        report.stderr
    );
    assert!(place.read("health.md").contains("| Backups verified | NOT GOOD | 1 of 2 passed |"));
    assert!(place.read("health.html").contains("<svg"));
}

#[test]
fn a_drill_is_shown_first_and_then_carried_out() {
    let place = Place::with(&plan("test ! -e down").replace("[[gate]]", "[[gate]]\ntimeout = \"1s\""));
    place.make_keys();
    let drill = "name = \"down\"\nchecks = \"release.toml\"\nrto = \"10s\"\nimpact_within = \"5s\"\ninterval = \"50ms\"\n[fault.command]\ninject = [\"touch\", \"down\"]\nundo = [\"rm\", \"down\"]\n";
    std::fs::write(place.path("drill.toml"), drill).expect("a file");
    let dry = place.run(&["drill", "drill.toml", "--dry-run"]);
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);
    assert!(
        dry.stdout.contains("then `touch down` is run; the checks must see it within 5s"),
        "{}",
        dry.stdout
    );
    assert!(!place.path("ops-gate-runs").exists());
    let done = place.run(&["drill", "drill.toml", "--dir", "out", "--signing-key", "gate.pem"]);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    assert!(
        done.stdout.starts_with("# Drill down: PASSED\n") && !place.path("down").exists(),
        "{}",
        done.stdout
    );
    assert!(place.path("out/evidence.json").exists());
    assert_eq!(place.run(&["drill", "drill.toml", "--dir", "out"]).code, Some(73));
    std::fs::write(
        place.path("drill.toml"),
        drill.replace("\"touch\", \"down\"", "\"true\"").replace("5s", "1s"),
    )
    .expect("a file");
    let unseen = place.run(&["drill", "drill.toml", "--dir", "two", "--format", "json"]);
    assert_eq!(unseen.code, Some(21), "{}", unseen.stderr);
}

#[test]
fn a_change_of_state_is_told_once_and_its_address_never() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a message");
        let mut seen = Vec::new();
        let mut piece = [0; 4096];
        while !seen.ends_with(b"}") {
            let count = stream.read(&mut piece).expect("a request");
            seen.extend_from_slice(&piece[..count]);
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .expect("an answer");
        // The port closes here: whoever is told a second time would fail, and warn.
        String::from_utf8(seen).expect("UTF-8")
    });
    let place = Place::with(&plan("exit 1"));
    let settings = format!(
        "[[gate.notify.channels]]\nname = \"ops\"\nslack = \"http://127.0.0.1:{port}/hunter2hunter2\"\n[[gate.notify.rules]]\nto = [\"ops\"]\n"
    );
    std::fs::write(place.path("ops.toml"), settings).expect("a file");
    let first = place.run(&["run", "release.toml"]);
    let told = server.join().expect("a message");
    assert!(told.contains("release is BLOCKED: gate `smoke`"), "{told}");
    let second = place.run(&["run", "release.toml"]);
    for ended in [&first, &second] {
        assert_eq!(ended.code, Some(20), "{}", ended.stderr);
        assert!(!ended.stderr.contains("not delivered"), "{}", ended.stderr);
    }
    // A message that does not arrive changes no exit code.
    std::fs::write(place.path("release.toml"), plan("true")).expect("a file");
    let third = place.run(&["run", "release.toml"]);
    assert_eq!(third.code, Some(0), "{}", third.stderr);
    assert!(third.stderr.contains("notification by `ops` was not delivered"), "{}", third.stderr);
    let shown = place.run(&["--show-config"]);
    for text in [&third.stderr, &shown.stdout] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_secret_in_the_run_directory_is_no_evidence() {
    // The program writes past the masker, into the directory itself.
    let place = Place::with(
        "name = \"x\"\n[[gate]]\nid = \"leaky\"\nkind = \"command\"\nshell = true\nenv = [\"API_TOKEN\"]\nrun = ['echo \"$API_TOKEN\" | base64 > out/logs/more.txt']\n",
    );
    let mut command = place.command(&["run", "release.toml", "--run-dir", "out"]);
    let ended = Ended::of(command.env("API_TOKEN", "hunter2hunter2").output().expect("the command runs"));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(74), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("a secret stands in logs/more.txt"), "{}", ended.stderr);
    assert!(!place.path("out/logs/more.txt").exists());
    assert_eq!(crate::support::verdict(&place.path("out")).0, "BLOCKED");
}

#[test]
fn a_watched_plan_runs_again_when_a_file_changes() {
    let place = Place::with(&plan("test -e good"));
    let mut child = place.command(&["run", "release.toml", "--watch"]).spawn().expect("the command runs");
    let runs = || {
        let listed = std::fs::read_dir(place.path("ops-gate-runs")).into_iter().flatten().flatten();
        let ended = |text: String| text.contains("\"finished\"");
        listed.filter(|run| std::fs::read_to_string(run.path().join("verdict.json")).is_ok_and(ended)).count()
    };
    let wait_for = |count: usize| {
        while runs() < count {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    wait_for(1);
    // The files of the run itself are no change.
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(runs(), 1);
    std::fs::write(place.path("good"), "").expect("a file");
    wait_for(2);
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.is_ok_and(|status| status.success()));
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}
