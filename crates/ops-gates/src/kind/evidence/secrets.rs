//! `kind = "secret-scan"`: somebody looked for committed secrets in what is released, and found none.
//!
//! A scan of nothing finds nothing: a report must show that it looked at something, that all of it could be judged, and
//! at which commit. `ops-secrets` is run here on the released commit; another scanner's report is read as SARIF, which
//! names the commit itself.

use super::super::git::Git;
use super::super::read;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Text, is_hex};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The exit codes of `ops-secrets scan` that come with a report.
const ANSWERS: [i32; 4] = [0, 20, 21, 22];

/// A scan for secrets, of the commit that the plan's subject names.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretScan {
    /// The program that scans now, such as `["ops-secrets", "scan", "--history", "--format", "json"]`. The work tree must
    /// be exactly the released commit, before and after.
    #[serde(default)]
    pub run: Vec<Text>,
    /// A SARIF report that was made before, instead of `run`. Each run in it must name the released commit in
    /// `versionControlProvenance`.
    pub sarif: Option<Text>,
    /// Where the repository is; the plan's directory where it is absent.
    pub repository: Option<Text>,
    /// Whether findings that a scanner is not sure of block too.
    #[serde(default)]
    pub strict: bool,
}

#[derive(Deserialize)]
struct Scan {
    schema: String,
    verdict: String,
    scanned: Scanned,
    findings: Vec<Found>,
    gaps: Vec<Value>,
}

#[derive(Deserialize)]
struct Scanned {
    files: u64,
    objects: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Found {
    title: String,
    tier: String,
    state: String,
    fingerprint: String,
}

impl Gate for SecretScan {
    fn wrong(&self, facts: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if self.run.is_empty() == self.sarif.is_none() {
            wrong.push(Wrong::gate("give either `run`, which scans now, or `sarif`"));
        }
        if !facts.has_subject {
            wrong.push(Wrong::gate("a scan is of a commit: give the plan a `[subject]` with `commit`"));
        }
        wrong
    }

    fn summary(&self) -> String {
        "no secret in the released commit".to_owned()
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl SecretScan {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let git = Git::new(context, self.repository.as_ref())?;
        if let Some(file) = &self.sarif {
            let wanted = context.subject().and_then(|subject| subject.digest.get("gitCommit"));
            let wanted = wanted.ok_or_else(|| {
                Finding::error(Fault::Unresolved, "no-commit", "the subject of the plan has no `commit`")
            })?;
            let report: Value = read::json(&read::text(context, file).await?, "the report")?;
            return sarif(&report, wanted, self.strict);
        }
        let commit = git.subject().await?;
        exactly(&git, &commit).await?;
        let text = read::answer(context, &self.run, &ANSWERS).await?;
        exactly(&git, &commit).await?;
        self.own(&read::json(&text, "the report")?)
    }

    fn own(&self, scan: &Scan) -> Result<Finding, Finding> {
        if scan.schema != "ops-secrets/scan/v1" {
            let reason =
                format!("the report has the schema `{}`, known is `ops-secrets/scan/v1`", scan.schema);
            return Err(Finding::error(Fault::Parse, "not-understood", reason));
        }
        let open = |found: &&Found| {
            matches!(found.state.as_str(), "new" | "expired") && (self.strict || found.tier != "likely")
        };
        let blocking: Vec<&Found> = scan.findings.iter().filter(open).collect();
        if let Some(first) = blocking.first() {
            let reason = format!(
                "{} found (fingerprint {}), {} in all",
                first.title,
                first.fingerprint,
                blocking.len()
            );
            return Err(Finding::fail("secret-found", reason));
        }
        if scan.scanned.bytes == 0 || scan.scanned.files + scan.scanned.objects == 0 {
            return Err(Finding::error(Fault::NoData, "nothing-scanned", "the scanner looked at nothing"));
        }
        if !scan.gaps.is_empty() || scan.verdict == "unjudged" {
            let reason = format!("{} places could not be judged", scan.gaps.len());
            return Err(Finding::inconclusive("not-judged", reason));
        }
        match scan.verdict.as_str() {
            "clean" => {
                let reason =
                    format!("no secret in {} files and {} objects", scan.scanned.files, scan.scanned.objects);
                #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
                Ok(Finding::pass(reason).measured("scanned_bytes", scan.scanned.bytes as f64))
            }
            "found" => Err(Finding::fail("secret-found", "the scanner found a secret")),
            other => {
                Err(Finding::error(Fault::NoData, "nothing-scanned", format!("the scanner says `{other}`")))
            }
        }
    }
}

async fn exactly(git: &Git<'_, '_>, commit: &str) -> Result<(), Finding> {
    if git.is_exactly(commit).await? {
        return Ok(());
    }
    let reason = format!(
        "the work tree is not exactly the released commit {commit}, so that a scan of it proves nothing"
    );
    Err(Finding::error(Fault::Unresolved, "other-commit", reason))
}

fn sarif(report: &Value, commit: &str, strict: bool) -> Result<Finding, Finding> {
    let runs = report.get("runs").and_then(Value::as_array).filter(|runs| !runs.is_empty());
    let runs =
        runs.ok_or_else(|| Finding::error(Fault::NoData, "nothing-scanned", "the report has no run"))?;
    let mut blocking = Vec::new();
    for run in runs {
        let provenance = run.get("versionControlProvenance").and_then(Value::as_array).into_iter().flatten();
        let revisions: Vec<&str> = provenance.filter_map(|it| it.get("revisionId")?.as_str()).collect();
        if !revisions.iter().any(|it| is_hex(it, commit.len()) && *it == commit) {
            let reason = format!("the report does not say that it is of the released commit {commit}");
            return Err(Finding::fail("other-commit", reason));
        }
        let invocations = run.get("invocations").and_then(Value::as_array).filter(|list| !list.is_empty());
        let succeeded = |list: &Vec<Value>| {
            list.iter().all(|it| it.get("executionSuccessful") == Some(&Value::Bool(true)))
        };
        if !invocations.is_some_and(succeeded) {
            return Err(Finding::error(
                Fault::Tool,
                "tool",
                "the report does not say that the scanner did its work",
            ));
        }
        // No list means that the scanner did not get so far; an empty one that nothing was found.
        let results = run.get("results").and_then(Value::as_array);
        let results = results
            .ok_or_else(|| Finding::error(Fault::NoData, "nothing-scanned", "a run has no results"))?;
        blocking.extend(results.iter().filter(|it| counts(run, it, strict)));
        let artifacts = run.get("artifacts").and_then(Value::as_array);
        if artifacts.is_none_or(Vec::is_empty) {
            let reason = "a run lists no `artifacts`, so that it does not show what was looked at";
            return Err(Finding::error(Fault::NoData, "nothing-scanned", reason));
        }
    }
    match blocking.first() {
        Some(first) => {
            let rule = first.get("ruleId").and_then(Value::as_str).unwrap_or("a rule without a name");
            Err(Finding::fail("secret-found", format!("{rule} found, {} in all", blocking.len())))
        }
        None => Ok(Finding::pass(format!("no secret in commit {commit}, by {} runs", runs.len()))),
    }
}

/// Whether a result blocks. What is suppressed does not, where it says why, nor what an earlier scan found and this one did
/// not. Only where the scanner says that it is less sure than an error does `strict` decide: many scanners give no level at all.
fn counts(run: &Value, result: &Value, strict: bool) -> bool {
    let text = |name: &str| result.get(name).and_then(Value::as_str);
    if text("baselineState") == Some("absent")
        || matches!(text("kind"), Some("pass" | "notApplicable" | "informational"))
    {
        return false;
    }
    let suppressions = result.get("suppressions").and_then(Value::as_array).filter(|list| !list.is_empty());
    let accepted = |it: &Value| {
        let status = it.get("status").and_then(Value::as_str).unwrap_or("accepted");
        status == "accepted"
            && it.get("justification").and_then(Value::as_str).is_some_and(|why| !why.is_empty())
    };
    let level = text("level").or_else(|| rule(run, result)?.pointer("/defaultConfiguration/level")?.as_str());
    let sure = !matches!(level, Some("warning" | "note" | "none"));
    !suppressions.is_some_and(|list| list.iter().all(accepted)) && (strict || sure)
}

/// The rule of a result, by its place in the list or by its id (SARIF 2.1.0, sections 3.27.5 to 3.27.7).
fn rule<'a>(run: &'a Value, result: &Value) -> Option<&'a Value> {
    let rules = run.pointer("/tool/driver/rules")?.as_array()?;
    let index = result.get("ruleIndex").or_else(|| result.pointer("/rule/index")).and_then(Value::as_u64);
    if let Some(index) = index.and_then(|index| usize::try_from(index).ok()) {
        return rules.get(index);
    }
    let id = result.get("ruleId").or_else(|| result.pointer("/rule/id"))?;
    rules.iter().find(|rule| rule.get("id") == Some(id))
}
