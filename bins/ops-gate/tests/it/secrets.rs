//! No secret reaches a file or a terminal, and every process of a run is in one trace.

use crate::support::{Ended, Place};

#[test]
fn a_secret_that_a_program_prints_is_masked_everywhere() {
    let plan = "name = \"x\"\n[[gate]]\nid = \"leaky\"\nkind = \"command\"\nshell = true\nenv = [\"API_TOKEN\"]\nrun = ['echo \"$API_TOKEN\"; printf %s \"$API_TOKEN\" | base64; exit 1']\n[[gate]]\nid = \"db\"\nkind = \"postgres\"\nurl = \"postgresql://app@127.0.0.1:1/shop\"\npassword_env = \"PW\"\nconnect_only = true\n";
    let place = Place::with(plan);
    for format in ["text", "json"] {
        let mut command = place.command(&["run", "release.toml", "--run-dir", format, "--format", format]);
        let ended = Ended::of(
            command
                .env("API_TOKEN", "hunter2hunter2")
                .env("PW", "correct horse")
                .output()
                .expect("the command runs"),
        );
        assert_eq!(ended.code, Some(20), "{}", ended.stderr);
        let mut shown = ended.stdout + &ended.stderr;
        for name in ["verdict.json", "events.jsonl", "junit.xml", "summary.md", "logs/leaky.log"] {
            shown.push_str(&place.read(&format!("{format}/{name}")));
        }
        for secret in ["hunter2", "aHVudGVy", "correct horse"] {
            assert!(!shown.contains(secret), "{secret} is in {shown}");
        }
        assert!(shown.contains("[redacted]"), "{shown}");
    }
}

#[test]
fn the_trace_is_continued_into_every_process() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let place = Place::with("name = \"x\"\n[[gate]]\nid = \"env\"\nkind = \"command\"\nrun = [\"env\"]\n");
    let mut command = place.command(&["--log-format", "json", "run", "release.toml", "--run-dir", "out"]);
    command.env("TRACEPARENT", format!("00-{trace}-b7ad6b7169203331-01"));
    let ended = Ended::of(command.output().expect("the command runs"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(place.read("out/logs/env.log").contains(&format!("TRACEPARENT=00-{trace}-")));
    assert!(place.read("out/verdict.json").contains(trace));
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains(trace)), "{}", ended.stderr);
}
