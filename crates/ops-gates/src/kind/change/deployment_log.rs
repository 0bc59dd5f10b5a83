//! `kind = "deployment-log"`: what was deployed, by whom, and how it ended is on record, up to what runs now.
//!
//! The log is a file of JSON lines that a deployment appends to: one when it begins, and one with the same `id` and its
//! outcome when it has ended. Nothing in it is replaced; what a later line says about the same deployment must agree with
//! the earlier. That the log is whole is shown by what runs: `deployed` must be the commit that it has last.

use super::super::read;
use super::request::Phase;
use super::words;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text, is_hex};
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const SCHEMA: &str = "ops-gates/deployment/v1";

/// How far the clocks of two machines may differ before an entry counts as made in the future.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(300);

/// A log of deployments, as JSON lines of the schema `ops-gates/deployment/v1`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeploymentLog {
    /// The file. Either this or `run`.
    pub file: Option<Text>,
    /// The program that prints the log, where it is kept elsewhere.
    #[serde(default)]
    pub run: Vec<Text>,
    /// The service whose deployments are looked at.
    pub service: Text,
    /// The environment in which they were.
    pub environment: Text,
    /// How many deployments, the newest first, must be complete and have an outcome.
    #[serde(default = "ten")]
    pub last: usize,
    /// How many there must be at least.
    #[serde(default = "one")]
    pub min_deployments: usize,
    /// The commit that runs now. The log must have it as the last that succeeded: a deployment that nobody wrote down is
    /// found by this.
    pub deployed: Text,
    /// Whether the plan's subject is still to be deployed, or was.
    pub phase: Phase,
    /// How long ago the newest deployment may have begun, where a log that nobody goes on with is to be found.
    pub max_age: Option<Span>,
}

fn ten() -> usize {
    10
}

fn one() -> usize {
    1
}

/// How a deployment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Succeeded,
    Failed,
    /// It was taken back; what runs is what ran before.
    RolledBack,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    schema: String,
    id: String,
    service: String,
    environment: String,
    version: String,
    commit: String,
    by: String,
    started_at: Timestamp,
    /// The deployment that this one takes back, by its id.
    rollback_of: Option<String>,
    outcome: Option<Outcome>,
    finished_at: Option<Timestamp>,
    /// What else is to be said.
    #[serde(default)]
    note: String,
}

impl Gate for DeploymentLog {
    fn wrong(&self, facts: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if self.run.is_empty() == self.file.is_none() {
            wrong.push(Wrong::gate("give either `file` or `run`, which prints the log"));
        }
        if self.last == 0 || self.min_deployments == 0 {
            wrong
                .push(Wrong::gate("`last` and `min_deployments` are at least 1: an empty log shows nothing"));
        }
        if !facts.has_subject {
            wrong.push(Wrong::gate("a deployment is of a commit: give the plan a `[subject]` with `commit`"));
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("the last {} deployments of {} are on record", self.last, self.service)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

/// What is asked of a log, with every reference replaced.
struct Wanted<'a> {
    rules: &'a DeploymentLog,
    service: String,
    environment: String,
    deployed: String,
    commit: String,
    now: Timestamp,
}

impl DeploymentLog {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let unresolved = |code, reason: String| Finding::error(Fault::Unresolved, code, reason);
        let commit = context.subject().and_then(|subject| subject.digest.get("gitCommit")).cloned();
        let commit = commit
            .ok_or_else(|| unresolved("no-commit", "the subject of the plan has no `commit`".to_owned()))?;
        let deployed = context.resolve(&self.deployed)?;
        if !full(&deployed) {
            // A short name may become another commit's as well.
            let reason = format!("`deployed` is `{deployed}`, which is not the full name of a commit");
            return Err(unresolved("commit", reason));
        }
        let text = match &self.file {
            Some(file) => read::text(context, file).await?,
            None => read::answer(context, &self.run, &[0]).await?,
        };
        let wanted = Wanted {
            rules: self,
            service: context.resolve(&self.service)?,
            environment: context.resolve(&self.environment)?,
            deployed,
            commit,
            now: context.now(),
        };
        wanted.judge(&text)
    }
}

impl Wanted<'_> {
    fn judge(&self, text: &str) -> Result<Finding, Finding> {
        let all = deployments(text)?;
        let ours: Vec<&Entry> = all
            .iter()
            .filter(|entry| entry.service == self.service && entry.environment == self.environment)
            .collect();
        let (service, environment) = (&self.service, &self.environment);
        if ours.len() < self.rules.min_deployments {
            let reason = format!(
                "the log has {} deployments of {service} in {environment}, expected at least {}",
                ours.len(),
                self.rules.min_deployments
            );
            return Err(Finding::fail("too-few", reason));
        }
        let newest = &ours[ours.len().saturating_sub(self.rules.last)..];
        for entry in newest {
            self.complete(entry, &all)?;
        }
        self.in_order(&ours)?;
        self.is_where_we_are(&ours)?;
        let succeeded = newest.iter().filter(|entry| entry.outcome == Some(Outcome::Succeeded)).count();
        let reason = format!(
            "the last {} deployments of {service} in {environment} are on record, {succeeded} of them succeeded",
            newest.len()
        );
        #[expect(clippy::cast_precision_loss, reason = "a log has no such number of lines")]
        let (count, succeeded) = (newest.len() as f64, succeeded as f64);
        Ok(Finding::pass(reason).measured("deployments", count).measured("succeeded", succeeded))
    }

    /// Whether one deployment says all that it must.
    fn complete(&self, entry: &Entry, all: &[Entry]) -> Result<(), Finding> {
        let id = &entry.id;
        let texts = [("version", &entry.version), ("by", &entry.by), ("id", id)];
        for (name, text) in texts {
            if text.trim().is_empty() || words::placeholder(text).is_some() {
                return Err(Finding::fail(
                    "incomplete",
                    format!("deployment `{id}` does not say its `{name}`"),
                ));
            }
        }
        if !full(&entry.commit) {
            let reason = format!("deployment `{id}` does not give the full name of its commit");
            return Err(Finding::fail("incomplete", reason));
        }
        let Some((_, finished_at)) = entry.outcome.zip(entry.finished_at) else {
            let reason = format!("deployment `{id}` by {} of {} has no outcome", entry.by, entry.started_at);
            return Err(Finding::fail("no-outcome", reason));
        };
        if finished_at < entry.started_at {
            let reason = format!("deployment `{id}` ended at {finished_at}, before it began");
            return Err(Finding::fail("order", reason));
        }
        let future =
            [entry.started_at, finished_at].into_iter().find(|at| at.duration_since(self.now) > CLOCK_SKEW);
        if let Some(at) = future {
            let reason = format!("deployment `{id}` is of {at}, in the future; one of the clocks is wrong");
            return Err(Finding::error(Fault::Unresolved, "from-the-future", reason));
        }
        let known = |of: &String| of != id && all.iter().any(|other| other.id == *of);
        if let Some(of) = entry.rollback_of.as_ref().filter(|of| !known(of)) {
            let reason = format!("deployment `{id}` takes back `{of}`, which is not in the log");
            return Err(Finding::fail("rollback-unknown", reason));
        }
        Ok(())
    }

    fn in_order(&self, ours: &[&Entry]) -> Result<(), Finding> {
        if let Some(pair) = ours.windows(2).find(|pair| pair[0].started_at > pair[1].started_at) {
            let reason =
                format!("deployment `{}` stands after `{}`, and began before it", pair[1].id, pair[0].id);
            return Err(Finding::fail("order", reason));
        }
        let newest = ours.last().map(|entry| entry.started_at);
        if let (Some(max_age), Some(newest)) = (self.rules.max_age, newest) {
            let age = self.now.duration_since(newest);
            if !age.is_negative() && age.unsigned_abs() > max_age.get() {
                let reason = format!("the newest deployment is of {newest}, longer ago than {max_age}");
                return Err(Finding::fail("log-too-old", reason));
            }
        }
        Ok(())
    }

    /// Whether the log ends where the service is, and the subject is in it as the phase says.
    fn is_where_we_are(&self, ours: &[&Entry]) -> Result<(), Finding> {
        let running = running(ours).map_or("nothing", |entry| entry.commit.as_str());
        let (deployed, commit) = (&self.deployed, &self.commit);
        if running != deployed {
            let reason =
                format!("{deployed} runs, and by the log it is {running}: a deployment was not written down");
            return Err(Finding::fail("not-logged", reason));
        }
        match self.rules.phase {
            Phase::BeforeDeploy if deployed == commit => {
                Err(Finding::fail("already-deployed", format!("{commit} is deployed already")))
            }
            Phase::AfterDeploy if deployed != commit => {
                Err(Finding::fail("not-deployed", format!("{commit} is not what runs, which is {deployed}")))
            }
            Phase::BeforeDeploy | Phase::AfterDeploy => Ok(()),
        }
    }
}

/// The deployment whose version runs: the newest that succeeded and was not taken back by another.
fn running<'a>(ours: &[&'a Entry]) -> Option<&'a Entry> {
    let taken_back = |entry: &Entry| {
        ours.iter().any(|other| {
            other.outcome == Some(Outcome::Succeeded) && other.rollback_of.as_deref() == Some(&*entry.id)
        })
    };
    let succeeded = ours.iter().rev().filter(|entry| entry.outcome == Some(Outcome::Succeeded));
    succeeded.copied().find(|entry| !taken_back(entry))
}

/// The deployments of a log in their order, each as its last line tells it.
fn deployments(text: &str) -> Result<Vec<Entry>, Finding> {
    let mut all: Vec<Entry> = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let number = number + 1;
        let strange = |what: String| {
            Finding::error(Fault::Parse, "not-understood", format!("line {number} of the log {what}"))
        };
        let entry: Entry =
            serde_json::from_str(line).map_err(|error| strange(format!("is not understood: {error}")))?;
        if entry.schema != SCHEMA {
            return Err(strange(format!("has the schema `{}`, known is `{SCHEMA}`", entry.schema)));
        }
        match all.iter_mut().find(|earlier| earlier.id == entry.id) {
            Some(earlier) => {
                let begun =
                    Entry { outcome: None, finished_at: None, note: earlier.note.clone(), ..entry.clone() };
                if *earlier != begun {
                    let reason = format!(
                        "line {number} of the log says something else about deployment `{}` than the lines before",
                        entry.id
                    );
                    return Err(Finding::fail("changed", reason));
                }
                *earlier = entry;
            }
            None => all.push(entry),
        }
    }
    Ok(all)
}

/// Whether this is the full name of a commit.
fn full(commit: &str) -> bool {
    is_hex(commit, 40) || is_hex(commit, 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn commit(digit: char) -> String {
        digit.to_string().repeat(40)
    }

    /// A line of a log: its id, its commit, the hour at which it began, and how it ended.
    fn line(id: &str, digit: char, hour: u32, more: Value) -> String {
        let mut line = json!({
            "schema": SCHEMA, "id": id, "service": "shop", "environment": "production", "version": "1.2.0",
            "commit": commit(digit), "by": "ada", "started_at": format!("2026-11-20T{hour:02}:00:00Z"),
        });
        let map = line.as_object_mut().expect("an object");
        map.extend(more.as_object().expect("an object").clone());
        if map.get("outcome").is_some_and(|outcome| !outcome.is_null()) {
            map.entry("finished_at").or_insert(json!(format!("2026-11-20T{hour:02}:10:00Z")));
        }
        line.to_string()
    }

    fn ok(id: &str, digit: char, hour: u32) -> String {
        line(id, digit, hour, json!({ "outcome": "succeeded" }))
    }

    fn check(lines: &[String], keys: &str, deployed: char, expected: &str) {
        let toml = format!(
            "file = \"x\"\nservice = \"shop\"\nenvironment = \"production\"\ndeployed = \"x\"\n{keys}\n{}",
            if keys.contains("phase") { "" } else { "phase = \"before-deploy\"" }
        );
        let rules: DeploymentLog = toml::from_str(&toml).expect(&toml);
        let wanted = Wanted {
            rules: &rules,
            service: "shop".to_owned(),
            environment: "production".to_owned(),
            deployed: commit(deployed),
            commit: commit('c'),
            now: "2026-11-21T00:00:00Z".parse().expect("a time"),
        };
        let finding = wanted.judge(&lines.join("\n")).unwrap_or_else(|finding| finding);
        assert_eq!(finding.code, expected, "{lines:#?} {keys}: {}", finding.reason);
    }

    #[test]
    fn the_log_ends_where_the_service_is() {
        let (a, b) = (ok("1", 'a', 1), ok("2", 'b', 2));
        check(&[a.clone(), b.clone()], "", 'b', "ok");
        // What runs was never written down.
        check(std::slice::from_ref(&a), "", 'b', "not-logged");
        check(&[b.clone(), ok("3", 'c', 3)], "", 'c', "already-deployed");
        check(&[b.clone(), ok("3", 'c', 3)], "phase = \"after-deploy\"", 'c', "ok");
        check(std::slice::from_ref(&b), "phase = \"after-deploy\"", 'b', "not-deployed");
        // It was tried and did not stay: it may be tried again.
        let failed = line("3", 'c', 3, json!({ "outcome": "failed" }));
        check(&[b.clone(), failed], "", 'b', "ok");
        let back = line("4", 'b', 4, json!({ "outcome": "succeeded", "rollback_of": "3" }));
        check(&[b.clone(), ok("3", 'c', 3), back], "", 'b', "ok");
        let itself = line("3", 'c', 3, json!({ "outcome": "rolled-back" }));
        check(&[b.clone(), itself], "", 'b', "ok");
        // Of others, nothing is said.
        let other = line("3", 'c', 3, json!({ "outcome": "succeeded", "environment": "stage" }));
        check(&[b.clone(), other], "", 'b', "ok");
        let other = line("3", 'c', 3, json!({ "service": "mail" }));
        check(&[b, other], "", 'b', "ok");
    }

    #[test]
    fn every_deployment_says_who_what_and_how_it_ended() {
        let good = ok("2", 'b', 2);
        let with = |more: Value| vec![line("1", 'a', 1, more), good.clone()];
        for (more, expected) in [
            (json!({ "outcome": "failed" }), "ok"),
            (json!({}), "no-outcome"),
            (json!({ "outcome": "succeeded", "by": " " }), "incomplete"),
            (json!({ "outcome": "succeeded", "version": "TBD" }), "incomplete"),
            (json!({ "outcome": "succeeded", "commit": "0123456" }), "incomplete"),
            (json!({ "outcome": "succeeded", "rollback_of": "0" }), "rollback-unknown"),
            (json!({ "outcome": "succeeded", "rollback_of": "1" }), "rollback-unknown"),
            (json!({ "outcome": "succeeded", "finished_at": "2026-11-20T00:59:59Z" }), "order"),
            (json!({ "outcome": "succeeded", "finished_at": "2026-11-22T00:00:00Z" }), "from-the-future"),
            (json!({ "outcome": "fine" }), "not-understood"),
            (json!({ "outcome": "succeeded", "by": 7 }), "not-understood"),
            (json!({ "outcome": "succeeded", "schema": "ops-gates/deployment/v2" }), "not-understood"),
        ] {
            check(&with(more), "", 'b', expected);
        }
        // Older than the last one is not looked at.
        check(&with(json!({})), "last = 1", 'b', "ok");
        check(std::slice::from_ref(&good), "min_deployments = 2", 'b', "too-few");
        check(&[good.clone(), ok("3", 'b', 1)], "", 'b', "order");
        check(std::slice::from_ref(&good), "max_age = \"21h\"", 'b', "log-too-old");
        check(&[good], "max_age = \"22h\"", 'b', "ok");
        check(&["{".to_owned()], "", 'b', "not-understood");
    }

    #[test]
    fn a_later_line_ends_a_deployment_and_changes_nothing_else() {
        let begun = line("1", 'a', 1, json!({}));
        check(&[begun.clone(), ok("1", 'a', 1)], "", 'a', "ok");
        check(
            &[begun.clone(), line("1", 'a', 1, json!({ "outcome": "succeeded", "note": "slow" }))],
            "",
            'a',
            "ok",
        );
        for more in [json!({ "by": "bob" }), json!({ "commit": commit('b') }), json!({ "rollback_of": "1" })]
        {
            check(&[begun.clone(), line("1", 'a', 1, more)], "", 'a', "changed");
        }
        // An outcome is final.
        let failed = line("1", 'a', 1, json!({ "outcome": "failed" }));
        check(&[failed, ok("1", 'a', 1)], "", 'a', "changed");
    }
}
