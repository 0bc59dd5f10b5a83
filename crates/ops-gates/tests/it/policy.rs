//! What must be proven whatever the plan says, and who may say otherwise; what is released, by digest.

use crate::support::{Ran, options};
use ops_core::evidence::SigningKey;
use ops_gates::{
    CancellationToken, ErrorKind, Excuse, Plan, Policy, ReadOptions, Runner, Subject, Verdict, Waiver, verify,
};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// A repository with one commit by ann@example.org, a plan and a policy.
struct Site {
    folder: TempDir,
    key: SigningKey,
}

impl Site {
    fn new(rules: &str) -> Self {
        let (folder, key) = (tempfile::tempdir().expect("a folder"), SigningKey::generate().expect("a key"));
        let site = Self { folder, key };
        let public = site.key.verifying_key().to_pem();
        let approver = |name: &str, email: &str| {
            format!("[[approver]]\nname = \"{name}\"\nemail = \"{email}\"\npublic_key = '''{public}'''\n")
        };
        site.write(
            "policy.toml",
            &format!(
                "schema = \"ops-gates/policy/v1\"\nname = \"prod\"\n{rules}\n{}",
                approver("Bob", "bob@example.org")
            ),
        );
        site.write("app", "the program\n");
        site.write(".gitignore", "runs\nwaivers\n");
        site.git(&["init", "-q"]);
        site.commit();
        site
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect(name);
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.folder.path()).args([
            "-c",
            "user.name=Ann",
            "-c",
            "user.email=ann@example.org",
        ]);
        let ran = git.args(arguments).output().expect("git");
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }

    fn commit(&self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-qm", "x", "--allow-empty"]);
    }

    fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    fn policy(&self) -> Policy {
        Policy::load(&self.folder.path().join("policy.toml"), None).expect("a policy")
    }

    /// Writes the plan, commits it, and reads it under the policy.
    fn plan(&self, plan: &str) -> Result<Plan, ops_gates::Error> {
        self.write("plan.toml", plan);
        self.commit();
        let options = ReadOptions { policies: vec![self.policy()], ..ReadOptions::default() };
        Plan::load(&self.folder.path().join("plan.toml"), &options)
    }

    async fn run(&self, plan: &Plan) -> Result<Ran, ops_gates::Error> {
        let temporary = tempfile::tempdir().expect("a folder");
        let directory = temporary.path().join("run");
        let options = ops_gates::Options {
            signing_key: Some(Arc::new(SigningKey::generate().expect("a key"))),
            ..options()
        };
        let keys = options.signing_key.iter().map(|key| key.verifying_key()).collect::<Vec<_>>();
        let record = Runner::new(options).run(plan, &directory, CancellationToken::new()).await?;
        assert_eq!(verify(&directory, &keys).expect("a run that verifies"), record);
        Ok(Ran::new(record, directory, temporary))
    }

    fn waive(&self, change: impl FnOnce(&mut Waiver)) {
        let now = jiff::Timestamp::now();
        let digest = [("gitCommit".to_owned(), self.head())].into();
        let mut waiver = Waiver {
            gate: "bad".to_owned(),
            subject: Subject { name: "shop".to_owned(), digest },
            reason: "the vendor is down".to_owned(),
            approver: "Bob".to_owned(),
            expires_at: now + std::time::Duration::from_secs(3600),
        };
        change(&mut waiver);
        let bytes = waiver.sign(&self.key, now, "test").expect("a waiver");
        std::fs::create_dir_all(self.folder.path().join("waivers")).expect("a folder");
        std::fs::write(self.folder.path().join("waivers/w.json"), bytes).expect("a waiver");
    }
}

const SUBJECT: &str = "[subject]\nname = \"shop\"\ngit = \".\"\nartifacts = [\"app\"]\n";

fn gate(id: &str, program: &str, more: &str) -> String {
    format!("[[gate]]\nid = \"{id}\"\nkind = \"command\"\nrun = [\"{program}\"]\n{more}\n")
}

#[tokio::test]
async fn a_gate_that_the_plan_dropped_or_made_advisory_blocks() {
    let site = Site::new("[[require]]\nid = \"smoke\"\nkind = \"command\"\n[[require]]\nid = \"poc-*\"\n");
    let good = gate("smoke", "true", "") + &gate("poc-a", "true", "");
    for (gates, verdict, part) in [
        (good.clone(), Verdict::Passed, ""),
        (gate("smoke", "true", ""), Verdict::Blocked, "requires `poc-*`, and the plan does not have it"),
        (good.replace("smoke", "smock"), Verdict::Blocked, "requires `smoke`, and the plan does not have it"),
        (
            gate("smoke", "false", "required = false") + &gate("poc-a", "true", ""),
            Verdict::Blocked,
            "exit code 1",
        ),
        // A condition of the plan does not excuse what the policy requires without one.
        (
            gate("smoke", "true", "when = { path_exists = \"no\" }") + &gate("poc-a", "true", ""),
            Verdict::Blocked,
            "does not exist",
        ),
        (
            gate("poc-a", "true", "")
                + "[[gate]]\nid = \"smoke\"\nkind = \"http\"\nurl = \"http://127.0.0.1:1/\"\n",
            Verdict::Blocked,
            "to be of kind `command`",
        ),
    ] {
        let plan = site.plan(&format!("name = \"x\"\n{SUBJECT}{gates}")).expect("a sound plan");
        let ran = site.run(&plan).await.expect("a record");
        assert_eq!(ran.record.verdict, verdict, "{gates}: {}", ran.record.reason);
        let reasons: String = ran.record.gates.iter().filter_map(|gate| gate.reason.clone()).collect();
        assert!(reasons.contains(part), "{reasons}");
        assert_eq!(ran.record.policies[0].sha256, site.policy().sha256());
    }
}

#[tokio::test]
async fn a_policy_may_allow_a_condition_and_forbid_flakiness_and_bare_exit_codes() {
    let site = Site::new("flaky = false\n[[require]]\nid = \"a\"\nconditional = true\n");
    let proof = gate("proof", "true", "");
    let plan =
        site.plan(&format!("name = \"x\"\n{}{proof}", gate("a", "true", "when = { path_exists = \"no\" }")));
    assert_eq!(site.run(&plan.expect("a plan")).await.expect("a record").record.verdict, Verdict::Passed);
    let counter = site.folder.path().join("runs");
    let script = format!("echo x >> {0}; test $(wc -l < {0}) -ge 2", counter.display());
    let flaky = format!(
        "[[gate]]\nid = \"a\"\nkind = \"command\"\nshell = true\nrun = ['''{script}''']\nretry = {{ attempts = 2, on = [\"fail\"], base = \"1ms\" }}\n"
    );
    let plan = site.plan(&format!("name = \"x\"\n{flaky}{proof}")).expect("a plan");
    let ran = site.run(&plan).await.expect("a record");
    ran.expect("WARN", "flaky");
    assert_eq!(ran.record.verdict, Verdict::Blocked);

    let site = Site::new("exit_code_alone = false\n[subject]\ngit = true\n[[require]]\nid = \"a\"\n");
    let error = site.plan(&format!("name = \"x\"\n{}", gate("a", "true", ""))).expect_err("two demands");
    let problems: String = error.problems().iter().map(ToString::to_string).collect();
    assert!(problems.contains("by its exit code alone") && problems.contains("clean commit"), "{problems}");
}

#[test]
fn the_policy_of_a_plan_is_pinned() {
    let site = Site::new("[[require]]\nid = \"a\"\n");
    let with = |digest: &str| {
        let policy = format!("policy = {{ file = \"policy.toml\", sha256 = \"{digest}\" }}\n");
        site.write("plan.toml", &format!("name = \"x\"\n{policy}{}", gate("a", "true", "")));
        Plan::load(&site.folder.path().join("plan.toml"), &ReadOptions::default())
    };
    assert_eq!(with(site.policy().sha256()).expect("a plan").policies().len(), 1);
    assert!(with(&"0".repeat(64)).expect_err("another policy").to_string().contains("has the digest"));
}

#[tokio::test]
async fn a_waiver_opens_one_gate_for_one_commit_for_a_while_by_somebody_else() {
    let site = Site::new(
        "waived_for = \"2h\"\n[[require]]\nid = \"bad\"\nwaivable = true\n[[require]]\nid = \"smoke\"\n",
    );
    let plan = format!(
        "name = \"x\"\nwaivers = [\"waivers/*.json\"]\n{SUBJECT}{}{}{}",
        gate("bad", "false", ""),
        gate("smoke", "true", ""),
        gate("behind", "true", "needs = [\"bad\"]")
    );
    let plan = site.plan(&plan).expect("a plan");
    type Change = fn(&mut Waiver);
    let cases: [(Change, Option<&str>); 7] = [
        (|_| {}, None),
        (|waiver| waiver.gate = "smoke".to_owned(), Some("")),
        (|waiver| waiver.expires_at = jiff::Timestamp::now(), Some("it ended at")),
        (
            |waiver| waiver.expires_at = jiff::Timestamp::now() + std::time::Duration::from_secs(9000),
            Some("longer than the 2h"),
        ),
        (|waiver| waiver.reason = " ".to_owned(), Some("gives no reason")),
        (
            |waiver| drop(waiver.subject.digest.insert("gitCommit".to_owned(), "b".repeat(40))),
            Some("for another subject"),
        ),
        (|waiver| waiver.subject.digest.clear(), Some("")),
    ];
    for (change, refused) in cases {
        let _ = std::fs::remove_dir_all(site.folder.path().join("waivers"));
        let mut signed = true;
        let waived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| site.waive(change)));
        if waived.is_err() {
            signed = false;
        }
        let ran = site.run(&plan).await.expect("a record");
        match refused {
            None => {
                assert_eq!(ran.record.verdict, Verdict::Passed, "{}", ran.record.reason);
                assert!(matches!(ran.gate("bad").excuse, Some(Excuse::Waived { .. })));
                assert_eq!(ran.gate("bad").outcome.as_ref().map(|it| it.word()), Some("FAIL"));
                assert!(ran.record.reason.contains("1 WAIVED"), "{}", ran.record.reason);
            }
            Some(part) => {
                assert_eq!(ran.record.verdict, Verdict::Blocked, "{part}");
                let refused = ran.record.waivers_refused.concat();
                assert!(!signed || refused.contains(part), "{part}: {refused}");
            }
        }
    }
    // Bob makes the commit himself: he cannot waive a gate for it.
    site.git(&[
        "-c",
        "user.email=bob@example.org",
        "commit",
        "-q",
        "--amend",
        "--reset-author",
        "-m",
        "mine",
    ]);
    site.waive(|_| {});
    let ran = site.run(&plan).await.expect("a record");
    assert_eq!(ran.record.verdict, Verdict::Blocked);
    assert!(
        ran.record.waivers_refused.concat().contains("Bob made the commit"),
        "{:?}",
        ran.record.waivers_refused
    );
    // Somebody whom the policy does not know.
    let stranger = Site::new("[[require]]\nid = \"bad\"\nwaivable = true\n");
    stranger.waive(|_| {});
    let bytes = std::fs::read(stranger.folder.path().join("waivers/w.json")).expect("a waiver");
    std::fs::write(site.folder.path().join("waivers/w.json"), bytes).expect("a waiver");
    assert_eq!(site.run(&plan).await.expect("a record").record.verdict, Verdict::Blocked);
}

#[tokio::test]
async fn a_run_within_the_repository_leaves_it_clean() {
    let site = Site::new("[[require]]\nid = \"a\"\n");
    let plan = site.plan(&format!("name = \"x\"\n{SUBJECT}{}", gate("a", "true", ""))).expect("a plan");
    for name in ["first", "second"] {
        let directory = site.folder.path().join("evidence").join(name);
        let runner = Runner::new(options());
        let record = runner.run(&plan, &directory, CancellationToken::new()).await.expect("a clean subject");
        assert_eq!(record.verdict, Verdict::Passed, "{}", record.reason);
    }
}

#[tokio::test]
async fn the_subject_is_committed_and_stays_what_it_was() {
    let site = Site::new("[[require]]\nid = \"a\"\n");
    let plan = site.plan(&format!("name = \"x\"\n{SUBJECT}{}", gate("a", "true", ""))).expect("a plan");
    let ran = site.run(&plan).await.expect("a record");
    let subject = ran.record.subject.clone().expect("a subject");
    assert_eq!(subject.digest["gitCommit"], site.head());
    assert_eq!(ran.record.artifacts[0].name, "app");
    assert_eq!(ran.record.artifacts[0].digest["sha256"], ops_core::evidence::sha256_hex(b"the program\n"));

    site.write("untracked", "x");
    let error = site.run(&plan).await.err().expect("not clean");
    assert_eq!(error.kind(), ErrorKind::SubjectNotProven);
    assert!(error.to_string().contains("not committed: untracked"), "{error}");
    site.commit();
    site.git(&["rm", "-q", "--cached", "app"]);
    site.write(".gitignore", "runs\nwaivers\napp\n");
    let changing = format!(
        "name = \"x\"\n{SUBJECT}{}",
        "[[gate]]\nid = \"a\"\nkind = \"command\"\nshell = true\nrun = [\"echo changed > app\"]\n"
    );
    let plan = site.plan(&changing).expect("a plan");
    let ran = site.run(&plan).await.expect("a record");
    assert_eq!(ran.record.verdict, Verdict::Blocked);
    assert!(ran.record.reason.starts_with("the subject changed during the run"), "{}", ran.record.reason);

    for (subject, part) in [
        ("git = \"/\"", "git rev-parse"),
        ("artifacts = [\"no/such*\"]", "no artifact is found"),
        (
            "git = \".\"\ncommit = \"0123456789012345678901234567890123456789\"",
            "not the commit that the plan names",
        ),
    ] {
        let toml = format!("name = \"x\"\n[subject]\nname = \"shop\"\n{subject}\n{}", gate("a", "true", ""));
        let plan = site.plan(&toml).expect("a plan");
        let error = site.run(&plan).await.err().expect(part);
        assert!(error.to_string().contains(part), "{error}");
    }
}
