//! The history of real run directories: rates, flaky gates, changes, and the health report.

use crate::support::{options, parse};
use jiff::SignedDuration;
use ops_gates::history::{History, LineSource, LineState, Period, health, html, statistics};
use ops_gates::{CancellationToken, RunRecord, Runner, Verdict};
use std::path::{Path, PathBuf};

const PLAN: &str = "name = \"release\"\n[subject]\nname = \"shop\"\ndigest = \"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n[[gate]]\nid = \"it\"\nkind = \"command\"\nshell = true\nrun = [\"test -e FLAG\"]\n";

/// A folder of runs of one plan about one subject: it passes while a file is there.
async fn runs(outcomes: &[bool]) -> (tempfile::TempDir, Vec<RunRecord>) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let flag = folder.path().join("flag");
    let plan = PLAN.replace("FLAG", &flag.display().to_string());
    let mut records = Vec::new();
    for (number, good) in outcomes.iter().enumerate() {
        if *good {
            std::fs::write(&flag, "").expect("a file");
        } else {
            let _ = std::fs::remove_file(&flag);
        }
        let directory = folder.path().join(format!("runs/{number:03}"));
        records.push(
            Runner::new(options())
                .run(&parse(&plan), &directory, CancellationToken::new())
                .await
                .expect("a record"),
        );
    }
    (folder, records)
}

fn read(folder: &Path) -> History {
    History::read(&[folder.join("runs")]).expect("a history")
}

#[tokio::test]
async fn rates_and_flaky_gates_are_those_of_the_runs() {
    let (folder, records) = runs(&[true, false, true, true, false]).await;
    let history = read(folder.path());
    let plans = statistics(&history.runs);
    let plan = &plans[0];
    assert_eq!((plan.runs, plan.unfinished, plan.blocked_in_a_row), (5, 0, 1));
    assert_eq!(plan.pass_rate, Some(0.6));
    assert!(plan.pass_rate_at_least.is_some_and(|shown| shown < 0.6), "{plan:?}");
    assert_eq!(plan.last_green.as_ref().map(|run| &run.run_id), Some(&records[3].run_id));
    let gate = &plan.gates[0];
    assert_eq!((gate.runs, gate.passed, gate.flips, gate.judged_twice), (5, 3, 3, 1));
    assert_eq!((gate.flaky_rate, gate.last_code.as_deref()), (Some(1.0), Some("exit-code")));
    let steady = runs(&[true, true]).await.0;
    assert_eq!(statistics(&read(steady.path()).runs)[0].gates[0].flaky_rate, Some(0.0));
}

#[tokio::test]
async fn a_run_that_was_killed_or_cannot_be_read_is_told_and_not_counted() {
    let (folder, mut records) = runs(&[true, true]).await;
    let killed = folder.path().join("runs/killed");
    std::fs::create_dir(&killed).expect("a directory");
    let mut record = records.remove(0);
    record.run_id = "killed".to_owned();
    record.state = ops_gates::State::InProgress;
    record.verdict = Verdict::Blocked;
    std::fs::write(killed.join("verdict.json"), serde_json::to_vec(&record).expect("JSON")).expect("a file");
    for (name, text) in [("torn", "{\"schema\":"), ("newer", "{\"schema\":\"ops-gates/verdict/v99\"}")] {
        let directory = folder.path().join("runs").join(name);
        std::fs::create_dir(&directory).expect("a directory");
        std::fs::write(directory.join("verdict.json"), text).expect("a file");
    }
    let history = read(folder.path());
    assert_eq!((history.runs.len(), history.unreadable.len()), (3, 2));
    let plan = &statistics(&history.runs)[0];
    assert_eq!((plan.runs, plan.unfinished, plan.pass_rate), (2, 1, Some(1.0)));
    // What a change is a change from is a run that ended.
    let newest = &history.runs.iter().map(|run| &run.record).max_by_key(|run| run.started_at).expect("a run");
    assert!(history.before(newest).is_some_and(|run| run.record.run_id != "killed"));
    assert!(History::read(&[PathBuf::from("/no/such/folder")]).is_err());
}

fn source(title: &str, gate: &str, measurement: Option<&str>) -> LineSource {
    LineSource {
        title: title.to_owned(),
        gate: gate.to_owned(),
        measurement: measurement.map(str::to_owned),
        unit: "%".to_owned(),
        at_least: Some(99.5),
        at_most: None,
    }
}

#[tokio::test]
async fn a_line_that_nobody_measured_is_never_good() {
    let (folder, records) = runs(&[true, false]).await;
    let mut history = read(folder.path());
    for (run, value) in history.runs.iter_mut().zip([99.9, 99.1]) {
        run.record.gates[0].measurements.insert("availability_percent".to_owned(), value);
    }
    let until = records[1].started_at + SignedDuration::from_secs(1);
    let period = Period { from: until - SignedDuration::from_hours(24 * 7), until };
    let sources = [
        source("Uptime", "it", Some("availability_percent")),
        source("Error rate", "it", Some("no_such_measurement")),
        source("Backups verified", "it", None),
        source("<script>alert(1)</script>", "no-such-gate", None),
    ];
    let report = health(&history, period, &sources);
    let state = |title: &str| {
        report.lines.iter().find(|line| line.title == title).map(|line| (line.state, line.text.clone()))
    };
    assert_eq!(
        state("Uptime"),
        Some((
            LineState::Bad,
            "99.5 % (median of 2, from 99.1 to 99.9); promised at least 99.5 %, 1 of 2 outside".to_owned()
        ))
    );
    assert_eq!(state("Backups verified"), Some((LineState::Bad, "1 of 2 passed".to_owned())));
    for title in ["Error rate", "Cost", "Critical alerts", "Response time", "<script>alert(1)</script>"] {
        assert_eq!(state(title).map(|(state, _)| state), Some(LineState::NoData), "{title}");
    }
    let page = html(&report);
    assert!(page.contains("<svg") && page.contains("<polyline") && !page.contains("<script"), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://"), "the page loads something: {page}");
    let markdown = report.markdown();
    assert!(markdown.contains("| Cost | NO DATA | no data: no gate is named for it |"), "{markdown}");
    // A period before the runs has none, and says so.
    let empty = Period { from: period.from, until: period.from + SignedDuration::from_secs(1) };
    assert!(health(&history, empty, &sources).markdown().contains("No run in this period."));
}
