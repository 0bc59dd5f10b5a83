//! A signal stops a run cleanly: the verdict says interrupted, and nothing is left running.

use crate::support::{Ended, Place, verdict};
use std::process::Command;
use std::time::{Duration, Instant};

fn check(signal: &str, code: i32) {
    let sleep = format!("8{}.{code}", std::process::id());
    let plan = format!(
        "name = \"x\"\n[[gate]]\nid = \"slow\"\nkind = \"command\"\nshell = true\nrun = ['''touch started; trap '' TERM; setsid sleep {sleep} & sleep {sleep}; sleep {sleep}''']\n"
    );
    let place = Place::with(&plan);
    let child =
        place.command(&["run", "release.toml", "--run-dir", "out"]).spawn().expect("the command runs");
    let patience = Instant::now();
    while !place.path("started").exists() {
        assert!(patience.elapsed() < Duration::from_secs(20), "the gate did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(verdict(&place.path("out")), ("BLOCKED".to_owned(), "in progress".to_owned()));
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    let since = Instant::now();
    let ended = Ended::of(child.wait_with_output().expect("the command ends"));
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    assert!(since.elapsed() < Duration::from_secs(7), "took {:?}", since.elapsed());
    assert_eq!(verdict(&place.path("out")), ("BLOCKED".to_owned(), "interrupted".to_owned()));
    let left = Command::new("pgrep").args(["-f", &sleep.replace('.', "\\.")]).output().expect("pgrep");
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}

#[test]
fn sigint() {
    check("-INT", 130);
}

#[test]
fn sigterm() {
    check("-TERM", 143);
}
