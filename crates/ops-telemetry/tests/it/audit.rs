//! The audit stream: never filtered, sampled or given up, and whole over restarts and turned-over files.

use std::path::Path;

use ops_telemetry::audit::{AuditOptions, verify};
use ops_telemetry::testing::Capture;
use ops_telemetry::{ErrorKind, Options, Rotation, Sampling, UnsampledLines, audit};
use tracing::info;

use crate::{options, parse};

fn to_file(path: &Path, rotation: Rotation) -> Options {
    let audit = AuditOptions { rotation, durable: false, ..AuditOptions::new(path) };
    Options { audit: Some(audit), ..options() }
}

#[test]
fn no_level_and_no_sampling_holds_an_audit_line_back() {
    let capture = Capture::default();
    let sampling = Sampling { ratio: 0.0, lines: UnsampledLines::Warnings, ..Sampling::default() };
    let silent = Options { filter: "off".into(), sampling, ..options() };
    capture
        .run(silent, || {
            info!("filtered");
            audit!(actor = "ann", "granted");
            audit!(stream = "other", audit.seq = 7, actor = "bob", "revoked");
        })
        .expect("valid options");
    let lines = capture.lines();
    assert_eq!(lines.len(), 2);
    let second = parse(&lines[1]);
    assert_eq!((second.get("stream"), second.get("audit.seq")), (&"audit".into(), &2.into()));
    assert_eq!((second.get("field.stream"), second.get("field.audit.seq")), (&"other".into(), &7.into()));
    assert_eq!(second.get("trace_id").as_str().map(str::len), Some(32));
    let report = verify(lines.join("\n").as_bytes(), None).expect("whole");
    assert_eq!((report.lines, report.others), (2, 0));
}

#[test]
fn a_user_cannot_pose_as_the_audit_stream() {
    let line = crate::line(|| info!(stream = "audit", audit.seq = 1, "posing"));
    assert!(line.find("stream").is_none() && line.find("audit.seq").is_none());
}

#[test]
fn the_chain_of_a_file_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    for run in 0..3 {
        let capture = Capture::default();
        capture.run(to_file(&path, Rotation::NEVER), || audit!(run, "started")).expect("the chain goes on");
        assert!(capture.lines().is_empty(), "audit lines have their own file");
        // Killed half-way through a line.
        std::fs::File::options()
            .append(true)
            .open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"{\"timestamp\":\"torn"))
            .expect("tears");
    }
    let text = std::fs::read_to_string(&path).expect("reads");
    let report = verify(text.as_bytes(), None).expect("whole");
    assert_eq!((report.lines, report.others, report.end.seq), (3, 3, 3));
    let forged = text.replace("\"run\":1", "\"run\":2");
    assert_eq!(verify(forged.as_bytes(), None).expect_err("forged").kind(), ErrorKind::AuditBroken);
}

#[test]
fn the_chain_goes_on_in_the_next_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    let rotation = Rotation { max_bytes: Some(600), every: None, keep: 100 };
    for _ in 0..4 {
        let log = || (0..3).for_each(|n| audit!(n, "done"));
        Capture::default().run(to_file(&path, rotation), log).expect("the chain goes on");
    }
    std::fs::remove_file(&path).expect("a crash between turning over and opening");
    Capture::default()
        .run(to_file(&path, rotation), || audit!("after the crash"))
        .expect("the chain goes on");
    let mut files: Vec<_> = (1..100).map(|n| folder.path().join(format!("audit.log.{n}"))).collect();
    files.retain(|file| file.exists());
    assert!(files.len() > 2);
    files.reverse();
    let mut end = None;
    for file in &files {
        let text = std::fs::read(file).expect("reads");
        end = Some(verify(text.as_slice(), end.as_ref()).expect("whole").end);
    }
    let newest = std::fs::read(&path).expect("reads");
    verify(newest.as_slice(), end.as_ref()).expect("goes on where the last whole file ended");
}

#[test]
fn one_process_at_a_time_writes_a_chain() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    Capture::default()
        .run(to_file(&path, Rotation::NEVER), || {
            let error = Capture::default().run(to_file(&path, Rotation::NEVER), || ()).expect_err("locked");
            assert_eq!(error.kind(), ErrorKind::AuditUnavailable);
            assert!(error.to_string().contains("another process"), "{error}");
        })
        .expect("the first one");
}

#[test]
fn concurrent_lines_form_one_chain() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    Capture::default()
        .run(to_file(&path, Rotation::NEVER), || {
            let workers: Vec<_> = (0..8)
                .map(|n| ops_telemetry::spawn_thread(move || (0..50).for_each(|i| audit!(n, i, "x"))))
                .collect();
            workers.into_iter().for_each(|worker| worker.join().expect("no panic"));
        })
        .expect("valid options");
    let text = std::fs::read(&path).expect("reads");
    assert_eq!(verify(text.as_slice(), None).expect("whole").lines, 400);
}
