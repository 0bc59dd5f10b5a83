//! `kind = "approval"`: real git repositories, and decisions that were signed here.

use crate::support::repository::Repository;
use jiff::{SignedDuration, Timestamp};
use ops_core::evidence::SigningKey;
use ops_gates::{Decision, Plan, Subject};

/// People with keys, in a repository with a release and a change.
struct Team {
    repository: Repository,
    people: Vec<(&'static str, SigningKey)>,
    base: String,
    commit: String,
}

const PEOPLE: [(&str, &str, &str); 4] = [
    ("Ada", "ada@example.com", "[\"backend-lead\"]"),
    ("Grace", "Grace@Example.com", "[\"pm\"]"),
    ("Edsger", "edsger@example.com", "[\"frontend-lead\", \"pm\"]"),
    ("Barbara", "barbara@example.com", "[]"),
];

impl Team {
    /// Ada has changed the API since the release.
    fn new() -> Self {
        let repository = Repository::new();
        let people: Vec<(&str, SigningKey)> =
            PEOPLE.iter().map(|(name, ..)| (*name, SigningKey::generate().expect("randomness"))).collect();
        let mut list = "schema = \"ops-gates/approvers/v1\"\n".to_owned();
        for ((name, email, roles), (_, key)) in PEOPLE.iter().zip(&people) {
            list += &format!(
                "[[approver]]\nname = \"{name}\"\nemails = [\"{email}\"]\nroles = {roles}\nkey = '''\n{}'''\n",
                key.verifying_key().to_pem()
            );
        }
        repository.write("approvers.toml", &list);
        repository.write("api/orders.rs", "fn orders() {}\n");
        let base = repository.commit("barbara@example.com", "Release 1");
        repository.write("api/orders.rs", "fn orders() { new() }\n");
        let commit = repository.commit("ada@example.com", "Orders are new");
        Self { repository, people, base, commit }
    }

    fn decide(&self, name: &str, change: impl Fn(&mut Decision)) -> Vec<u8> {
        let mut decision = Decision {
            approver: name.to_owned(),
            subject: Subject {
                name: "shop".to_owned(),
                digest: [("gitCommit".to_owned(), self.commit.clone())].into(),
            },
            approve: true,
            reason: "Read and tried".to_owned(),
            environment: Some("production".to_owned()),
            expires_in: "24h".parse().expect("a span"),
            incident: None,
        };
        change(&mut decision);
        let (_, key) = self.people.iter().find(|(other, _)| *other == name).expect("one of the team");
        decision.sign(key, Timestamp::now()).expect("a sound decision")
    }

    fn put(&self, file: &str, bytes: &[u8]) {
        std::fs::create_dir_all(self.repository.path("approvals")).expect("a folder");
        std::fs::write(self.repository.path(&format!("approvals/{file}.json")), bytes).expect("a file");
    }

    fn approve(&self, name: &str) {
        self.put(name, &self.decide(name, |_| {}));
    }

    fn clear(&self) {
        let _ = std::fs::remove_dir_all(self.repository.path("approvals"));
    }

    async fn expect(&self, keys: &str, outcome: &str, code: &str) {
        let approvers = if keys.contains("approvers =") { "" } else { "approvers = \"approvers.toml\"\n" };
        let base =
            if keys.contains("base =") { String::new() } else { format!("base = \"{}\"\n", self.base) };
        let keys = format!("kind = \"approval\"\npath = \"approvals/*.json\"\n{approvers}{base}{keys}");
        self.repository.run_gate(&self.commit, &keys).await.expect(outcome, code);
    }
}

#[tokio::test]
async fn somebody_else_with_the_role_must_have_approved() {
    let team = Team::new();
    team.expect("", "FAIL", "approval-missing").await;
    team.approve("Ada");
    team.expect("", "FAIL", "self-approval").await;
    team.approve("Barbara");
    team.expect("", "PASS", "ok").await;
    team.expect("roles = [\"pm\"]", "FAIL", "role-missing").await;
    team.expect("minimum = 2", "FAIL", "too-few").await;
    team.approve("Grace");
    team.expect("roles = [\"pm\"]\nminimum = 2", "PASS", "ok").await;
    // Ada has the role, but made the change.
    let rules = "rules = [{ paths = [\"api/**\"], roles = [\"backend-lead\"] }]";
    team.expect(rules, "FAIL", "role-missing").await;
    team.expect("rules = [{ paths = [\"web/**\"], roles = [\"frontend-lead\"] }]", "PASS", "ok").await;
    team.expect("environment = \"production\"", "PASS", "ok").await;
    team.expect("environment = \"stage\"", "FAIL", "approval-missing").await;
    team.expect("minimum = 3", "FAIL", "too-few").await;
}

#[tokio::test]
async fn what_is_not_about_this_commit_or_not_theirs_does_not_count() {
    let team = Team::new();
    let other = "0".repeat(40);
    let artifact = ("sha256".to_owned(), "1".repeat(64));
    let stranger = SigningKey::generate().expect("randomness");
    let subject =
        Subject { name: "shop".to_owned(), digest: [("gitCommit".to_owned(), team.commit.clone())].into() };
    let forged = Decision {
        approver: "Grace".to_owned(),
        subject,
        approve: true,
        reason: "Forged".to_owned(),
        environment: None,
        expires_in: "24h".parse().expect("a span"),
        incident: None,
    };
    let (_, grace) = &team.people[1];
    let yesterday = Timestamp::now() - SignedDuration::from_hours(25);
    for bytes in [
        team.decide("Grace", |it| drop(it.subject.digest.insert("gitCommit".to_owned(), other.clone()))),
        team.decide("Grace", |it| it.subject.digest = [artifact.clone()].into()),
        team.decide("Grace", |it| it.approver = "Edsger".to_owned()),
        forged.sign(&stranger, Timestamp::now()).expect("a sound decision"),
        // Expired, and signed in the future.
        forged.sign(grace, yesterday).expect("a sound decision"),
        forged.sign(grace, Timestamp::now() + SignedDuration::from_hours(1)).expect("a sound decision"),
        b"{}".to_vec(),
    ] {
        team.clear();
        team.put("a", &bytes);
        team.expect("", "FAIL", "approval-missing").await;
    }
    team.put(
        "b",
        &forged.sign(grace, Timestamp::now() - SignedDuration::from_hours(2)).expect("a sound decision"),
    );
    team.expect("", "PASS", "ok").await;
    team.expect("max_age = \"1h\"", "FAIL", "approval-missing").await;
}

#[tokio::test]
async fn a_no_blocks_until_the_same_person_says_yes() {
    let team = Team::new();
    team.approve("Barbara");
    team.put("no", &team.decide("Grace", |it| it.approve = false));
    team.expect("", "FAIL", "rejected").await;
    // The newest decision of a person counts.
    team.put("yes", &team.decide("Grace", |_| {}));
    team.expect("", "PASS", "ok").await;
}

/// Whoever may take the right to read away must not take a no away with it.
#[tokio::test]
async fn a_decision_that_cannot_be_read_could_be_a_no() {
    let team = Team::new();
    team.approve("Grace");
    team.expect("", "PASS", "ok").await;
    let unreadable = team.repository.path("approvals/Barbara.json");
    // Reading it is an error for everybody, also for root, whom permissions do not stop; it cannot even be looked at.
    for (target, code) in [("/proc/self/mem", "file-unreadable"), ("Barbara.json", "path")] {
        std::os::unix::fs::symlink(target, &unreadable).expect("a link");
        team.expect("", "ERROR", code).await;
        std::fs::remove_file(&unreadable).expect("a link");
    }
    team.expect("", "PASS", "ok").await;
}

#[tokio::test]
async fn a_change_cannot_add_its_own_approver() {
    let mut team = Team::new();
    let own = SigningKey::generate().expect("randomness");
    let list = std::fs::read_to_string(team.repository.path("approvers.toml")).expect("the list");
    let added = format!(
        "{list}[[approver]]\nname = \"Mallory\"\nemails = [\"m@example.com\"]\nroles = [\"pm\"]\nkey = '''\n{}'''\n",
        own.verifying_key().to_pem()
    );
    team.repository.write("approvers.toml", &added);
    team.commit = team.repository.commit("ada@example.com", "A new colleague");
    team.people.push(("Mallory", own));
    team.approve("Mallory");
    team.expect("", "FAIL", "approval-missing").await;
    // From the next release on it counts.
    let base = team.commit.clone();
    team.repository.write("x", "y");
    team.commit = team.repository.commit("ada@example.com", "More");
    team.approve("Mallory");
    team.expect(&format!("base = \"{base}\""), "PASS", "ok").await;
}

#[tokio::test]
async fn all_who_made_the_change_are_its_authors() {
    let mut team = Team::new();
    team.repository.write("y", "z");
    team.commit =
        team.repository.commit("ada@example.com", "Together\n\nCo-authored-by: Grace H <GRACE@example.com>");
    team.approve("Grace");
    team.expect("", "FAIL", "self-approval").await;
    team.approve("Edsger");
    team.expect("", "PASS", "ok").await;
    // An author of any commit of the change, not only of the last.
    team.repository.write("y", "zz");
    team.repository.commit("edsger@example.com", "Edsger too");
    team.repository.write("y", "zzz");
    team.commit = team.repository.commit("ada@example.com", "The end");
    team.clear();
    team.approve("Edsger");
    team.expect("", "FAIL", "self-approval").await;
}

#[tokio::test]
async fn a_base_that_hides_the_change_is_an_error() {
    let team = Team::new();
    team.approve("Barbara");
    let commit = team.commit.clone();
    team.expect(&format!("base = \"{commit}\""), "ERROR", "no-change").await;
    team.expect("base = \"no-such-thing\"", "ERROR", "commit-unknown").await;
    team.expect("base = \"--help\"", "ERROR", "commit-unknown").await;
    team.expect("approvers = \"nobody.toml\"", "ERROR", "approvers").await;
    team.repository.git(&["checkout", "--quiet", "--orphan", "elsewhere"]);
    let elsewhere = team.repository.commit("eve@example.com", "Elsewhere");
    team.expect(&format!("base = \"{elsewhere}\""), "ERROR", "base-not-ancestor").await;
}

#[test]
fn a_gate_that_nobody_has_to_approve_is_refused() {
    for keys in [
        "minimum = 0",
        "rules = [{ paths = [], roles = [\"pm\"] }]",
        "rules = [{ paths = [\"/api\"], roles = [\"pm\"] }]",
    ] {
        let toml = format!(
            "name = \"x\"\n[subject]\nname = \"shop\"\ncommit = \"{}\"\n[[gate]]\nid = \"it\"\nkind = \"approval\"\npath = \"a\"\napprovers = \"b\"\nbase = \"c\"\n{keys}",
            "0".repeat(40)
        );
        Plan::parse(&toml, "p").expect_err(keys);
    }
}
