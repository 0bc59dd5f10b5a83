//! Windows, change requests, release notes, rollback plans, documents and changed files.

use crate::support::repository::Repository;
use crate::support::{run, run_gate};
use jiff::{SignedDuration, Timestamp, Zoned};
use ops_core::evidence::SigningKey;
use ops_gates::{Decision, Subject};

const COMMIT: &str = "1111111111111111111111111111111111111111";

#[tokio::test]
async fn a_window_is_open_now_or_it_is_not() {
    let every = "[\"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\"]";
    let week =
        |days: &str| format!("[{{ days = {days}, from = \"00:00\", to = \"24:00\", zone = \"UTC\" }}]");
    let day = Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).strftime("%a").to_string().to_lowercase();
    let today = week(&format!("[\"{day}\"]"));
    let now = |hours: i64| {
        (Timestamp::now() + SignedDuration::from_hours(hours)).strftime("%Y-%m-%dT%H:%M").to_string()
    };
    let freeze = |from: i64, to: i64| {
        format!("[{{ from = \"{}\", to = \"{}\", zone = \"UTC\", reason = \"sale\" }}]", now(from), now(to))
    };
    for (allow, deny, freezes, duration, outcome, code) in [
        (week(every), "[]".to_owned(), "[]".to_owned(), "1h", "PASS", "ok"),
        (week(every), today, "[]".to_owned(), "1h", "FAIL", "denied"),
        (week(every), "[]".to_owned(), freeze(-1, 2), "1h", "FAIL", "freeze"),
        (week(every), "[]".to_owned(), freeze(1, 2), "2h", "FAIL", "too-late"),
        (week(every), "[]".to_owned(), freeze(-2, -1), "2h", "PASS", "ok"),
        (week(every), "[]".to_owned(), "[]".to_owned(), "30d", "FAIL", "too-late"),
    ] {
        let keys = format!(
            "kind = \"window\"\nallow = {allow}\ndeny = {deny}\nfreezes = {freezes}\nexpected_duration = \"{duration}\""
        );
        run_gate(&keys).await.expect(outcome, code);
    }
}

#[tokio::test]
async fn an_emergency_opens_a_window_with_an_incident_and_by_somebody_who_may() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| directory.path().join(name);
    let key = SigningKey::generate().expect("randomness");
    let list = format!(
        "schema = \"ops-gates/approvers/v1\"\n[[approver]]\nname = \"Ada\"\nemails = [\"ada@example.com\"]\nroles = [\"on-call\"]\nkey = '''\n{}'''\n",
        key.verifying_key().to_pem()
    );
    std::fs::write(at("approvers.toml"), list).expect("a file");
    let plan = |role: &str| {
        format!(
            "name = \"x\"\n[subject]\nname = \"shop\"\ncommit = \"{COMMIT}\"\n[[gate]]\nid = \"it\"\nkind = \"window\"\nallow = [{{ days = [\"sat\"], from = \"02:00\", to = \"02:01\", zone = \"UTC\" }}]\nfreezes = [{{ from = \"2020-01-01\", to = \"2120-01-01\", zone = \"UTC\", reason = \"always\" }}]\nexpected_duration = \"1m\"\nemergency = \"{0}/*.json\"\nemergency_approvers = \"{0}/approvers.toml\"\nemergency_role = \"{role}\"\n",
            directory.path().display()
        )
    };
    run(&plan("on-call")).await.expect("FAIL", "freeze");
    let mut decision = Decision {
        approver: "Ada".to_owned(),
        subject: Subject {
            name: "shop".to_owned(),
            digest: [("gitCommit".to_owned(), COMMIT.to_owned())].into(),
        },
        approve: true,
        reason: "The shop is down".to_owned(),
        environment: None,
        expires_in: "1h".parse().expect("a span"),
        incident: None,
    };
    let sign = |decision: &Decision| {
        std::fs::write(at("a.json"), decision.sign(&key, Timestamp::now()).expect("a sound decision"))
            .expect("a file");
    };
    sign(&decision);
    run(&plan("on-call")).await.expect("FAIL", "freeze");
    decision.incident = Some("TBD".to_owned());
    sign(&decision);
    run(&plan("on-call")).await.expect("FAIL", "freeze");
    decision.incident = Some("INC-42".to_owned());
    sign(&decision);
    let ran = run(&plan("on-call")).await;
    let gate = ran.expect("PASS", "emergency");
    assert!(
        gate.reason.as_deref().is_some_and(|reason| reason.contains("INC-42") && reason.contains("Ada")),
        "{gate:?}"
    );
    run(&plan("tech-lead")).await.expect("FAIL", "freeze");
    decision.subject.digest = [("gitCommit".to_owned(), "2".repeat(40))].into();
    sign(&decision);
    run(&plan("on-call")).await.expect("FAIL", "freeze");
}

const REQUEST: &str = include_str!("../fixtures/change-request.toml");

#[tokio::test]
async fn a_change_request_says_everything_about_this_commit() {
    let repository = Repository::new();
    repository.write("docs/rollback.md", "Steps\n");
    let commit = repository.commit("ada@example.com", "One");
    let request = REQUEST.replace("@COMMIT@", &commit);
    let without = |line: &str| {
        assert!(request.contains(line), "{line}");
        request.lines().filter(|it| !it.starts_with(line)).collect::<Vec<_>>().join("\n")
    };
    let with = |from: &str, to: &str| {
        assert!(request.contains(from), "{from}");
        request.replace(from, to)
    };
    let front = format!("+++\n{request}\n+++\n# Change\n\nTBD is allowed down here.\n");
    for (text, phase, outcome, code) in [
        (request.clone(), "before-deploy", "PASS", "ok"),
        (front, "before-deploy", "PASS", "ok"),
        (request.clone(), "after-deploy", "FAIL", "field-pending"),
        (request.replace("\"pending\"", "\"run 812\""), "after-deploy", "PASS", "ok"),
        (
            with("staging_smoke = \"run 811\"", "staging_smoke = \"pending\""),
            "before-deploy",
            "FAIL",
            "field-pending",
        ),
        (with("downtime = \"none\"", "downtime = \"TBD\""), "before-deploy", "FAIL", "placeholder"),
        (with("downtime = \"none\"", "downtime = \" \""), "before-deploy", "FAIL", "field-empty"),
        (with("rollback_time = \"4m\"", "rollback_time = \"6m\""), "before-deploy", "FAIL", "rollback-time"),
        (
            with("rollback_time = \"4m\"", "rollback_time = \"quick\""),
            "before-deploy",
            "FAIL",
            "rollback-time",
        ),
        (with("steps = [\"ops-gate run\"]", "steps = []"), "before-deploy", "FAIL", "field-empty"),
        (with(&commit, COMMIT), "before-deploy", "FAIL", "other-commit"),
        (
            with("environment = \"production\"", "environment = \"stage\""),
            "before-deploy",
            "FAIL",
            "other-environment",
        ),
        (
            with("rollback_plan = \"docs/rollback.md\"", "rollback_plan = \"docs/no.md\""),
            "before-deploy",
            "FAIL",
            "document-missing",
        ),
        (without("alerts_active"), "before-deploy", "FAIL", "field-missing"),
        (without("dashboards"), "before-deploy", "FAIL", "field-missing"),
        (with("service = ", "servce = "), "before-deploy", "ERROR", "not-understood"),
        (String::new(), "before-deploy", "FAIL", "document-empty"),
    ] {
        std::fs::write(repository.path(".git/request.toml"), &text).expect("a file");
        let keys = format!(
            "kind = \"change-request\"\npath = \".git/request.toml\"\nenvironment = \"production\"\nmax_rollback = \"5m\"\nphase = \"{phase}\""
        );
        repository.run_gate(&commit, &keys).await.expect(outcome, code);
    }
}

#[tokio::test]
async fn release_notes_name_the_version_and_leave_the_older_ones_alone() {
    let old = "# Changelog\n\n## Unreleased\n\n- soon\n\n## [1.1.0] - 2026-10-01\n\n- Orders\n";
    let entry = "## [1.2.0] - 2026-11-21\n\n### Added\n\n- Payments\n\n";
    let new = old.replace("## [1.1.0]", &format!("{entry}## [1.1.0]"));
    for (text, version, outcome, code) in [
        (new.clone(), "1.2.0", "PASS", "ok"),
        (new.clone(), "v1.2.0", "PASS", "ok"),
        (new.clone(), "1.2", "FAIL", "no-entry"),
        (new.clone(), "1.3.0", "FAIL", "no-entry"),
        (new.clone(), "1.1.0", "FAIL", "version-released"),
        (new.replace("- Payments\n", ""), "1.2.0", "FAIL", "entry-empty"),
        (new.replace("Payments", "TODO"), "1.2.0", "FAIL", "placeholder"),
        (new.replace("- Orders", "- Orders, and more"), "1.2.0", "FAIL", "notes-rewritten"),
        (new.replace("## [1.1.0] - 2026-10-01\n\n- Orders\n", ""), "1.2.0", "FAIL", "notes-rewritten"),
        (format!("{new}\n{entry}"), "1.2.0", "FAIL", "two-entries"),
    ] {
        let repository = Repository::new();
        repository.write("CHANGELOG.md", old);
        let base = repository.commit("ada@example.com", "1.1.0");
        repository.write("CHANGELOG.md", &text);
        let commit = repository.commit("ada@example.com", "1.2.0");
        // Only what was committed counts.
        repository.write("CHANGELOG.md", "nothing");
        let keys = format!(
            "kind = \"release-notes\"\nchangelog = \"CHANGELOG.md\"\nversion = \"{version}\"\nbase = \"{base}\""
        );
        repository.run_gate(&commit, &keys).await.expect(outcome, code);
    }
}

/// A partial clone, or a damaged one: the tree has the file, and its text is not here.
#[tokio::test]
async fn what_git_cannot_read_is_no_first_release() {
    let repository = Repository::new();
    repository.write("CHANGELOG.md", "# Changelog\n\n## 1.1.0\n\n- Orders\n");
    let base = repository.commit("ada@example.com", "1.1.0");
    repository.write("CHANGELOG.md", "# Changelog\n\n## 1.2.0\n\n- Payments\n");
    let commit = repository.commit("ada@example.com", "1.2.0");
    let keys = format!(
        "kind = \"release-notes\"\nchangelog = \"CHANGELOG.md\"\nversion = \"1.2.0\"\nbase = \"{base}\""
    );
    repository.run_gate(&commit, &keys).await.expect("FAIL", "notes-rewritten");
    let object = repository.git(&["rev-parse", &format!("{base}:CHANGELOG.md")]);
    let (folder, name) = object.split_at(2);
    std::fs::remove_file(repository.path(&format!(".git/objects/{folder}/{name}"))).expect("a loose object");
    repository.run_gate(&commit, &keys).await.expect("ERROR", "git");
    // A folder of that name is not the absence of a file either.
    let folder = keys.replace("CHANGELOG.md", "docs");
    repository.write("docs/a.md", "a");
    let commit = repository.commit("ada@example.com", "A folder");
    repository.run_gate(&commit, &folder).await.expect("ERROR", "not-a-file");
    // A first release has nothing before it.
    let first = keys.replace("CHANGELOG.md", "NEWS.md");
    repository.write("NEWS.md", "# 1.2.0\n\n- All of it\n");
    let commit = repository.commit("ada@example.com", "News");
    repository.run_gate(&commit, &first).await.expect("PASS", "ok");
}

#[tokio::test]
async fn a_rollback_plan_was_tried_and_was_quick() {
    let day = |days: i64| {
        (Timestamp::now() - SignedDuration::from_hours(24 * days)).strftime("%Y-%m-%d").to_string()
    };
    let plan = |tested: &str, took: &str| {
        format!(
            "# Rollback\n\n- **Tested:** {tested}\n- Took: {took}\n\n## When\n\nErrors.\n\n## Steps\n\n1. Deploy the version before.\n\n## Verification\n\nSmoke.\n"
        )
    };
    let good = plan(&day(10), "3m20s");
    for (text, outcome, code) in [
        (good.clone(), "PASS", "ok"),
        (plan(&day(91), "3m"), "FAIL", "tested-too-long-ago"),
        (plan(&day(-2), "3m"), "FAIL", "tested-in-the-future"),
        (plan("never", "3m"), "FAIL", "never-tested"),
        (plan(&day(10), "5m1s"), "FAIL", "too-slow"),
        (plan(&day(10), "quick"), "FAIL", "time-unknown"),
        (good.replace("1. Deploy the version before.", ""), "FAIL", "heading-empty"),
        (good.replace("## When", "## Why"), "FAIL", "heading-missing"),
        (good.replace("Errors.", "TBD"), "FAIL", "placeholder"),
        (" \n".to_owned(), "FAIL", "document-empty"),
    ] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("rollback.md");
        std::fs::write(&path, text).expect("a file");
        let keys = format!(
            "kind = \"rollback-plan\"\npath = \"{}\"\nmax_tested_age = \"90d\"\nmax_rollback = \"5m\"",
            path.display()
        );
        run_gate(&keys).await.expect(outcome, code);
    }
    run_gate("kind = \"rollback-plan\"\npath = \"no.md\"\nmax_tested_age = \"90d\"\nmax_rollback = \"5m\"")
        .await
        .expect("FAIL", "document-missing");
}

#[tokio::test]
async fn documents_are_there_finished_and_of_a_known_age() {
    let repository = Repository::new();
    repository.write("runbook.md", "# Runbook\n\n## Start\n\nmake up\n");
    repository.write("draft.md", "# Draft\n\nTODO\n");
    repository.write("empty.md", "\n");
    let commit = repository.commit("ada@example.com", "Documents");
    repository.write("new.md", "# New\n\nwords\n");
    for (keys, outcome, code) in [
        ("files = [\"runbook.md\"]\nheadings = [\"Start\"]\nmax_age = \"1d\"", "PASS", "ok"),
        ("files = [\"runbook.md\", \"no.md\"]", "FAIL", "document-missing"),
        ("files = [\"empty.md\"]", "FAIL", "document-empty"),
        ("files = [\"draft.md\"]", "FAIL", "placeholder"),
        ("files = [\"runbook.md\"]\nheadings = [\"Stop\"]", "FAIL", "heading-missing"),
        // It is not in the commit, so that nobody knows how old it is, whatever the time of the file.
        ("files = [\"new.md\"]\nmax_age = \"1d\"", "ERROR", "age-unknown"),
    ] {
        repository.run_gate(&commit, &format!("kind = \"documents\"\n{keys}")).await.expect(outcome, code);
    }
}

#[tokio::test]
async fn configuration_changes_only_with_its_definition_as_code() {
    let repository = Repository::new();
    repository.write("config/production/app.toml", "a = 1\n");
    repository.write("infra/main.tf", "x\n");
    repository.write("src/main.rs", "x\n");
    let base = repository.commit("ada@example.com", "Base");
    let keys = |with: &str| {
        format!(
            "kind = \"changed-files\"\nbase = \"{base}\"\npaths = [\"config/production/**\"]\ntogether_with = [{with}]"
        )
    };
    repository.write("src/main.rs", "y\n");
    let commit = repository.commit("ada@example.com", "Code");
    repository.run_gate(&commit, &keys("\"infra/**\"")).await.expect("PASS", "ok");
    repository.write("config/production/app.toml", "a = 2\n");
    let commit = repository.commit("ada@example.com", "Configuration");
    repository.run_gate(&commit, &keys("\"infra/**\"")).await.expect("FAIL", "changed-alone");
    repository.run_gate(&commit, &keys("")).await.expect("FAIL", "changed");
    repository.write("infra/main.tf", "y\n");
    let commit = repository.commit("ada@example.com", "As code");
    repository.run_gate(&commit, &keys("\"infra/**\"")).await.expect("PASS", "ok");
    repository.run_gate(&base, &keys("\"infra/**\"")).await.expect("ERROR", "no-change");
}
