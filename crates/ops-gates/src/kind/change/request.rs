//! `kind = "change-request"`: the change is described completely, for exactly this commit, with a way back that is quick.
//!
//! The document is TOML, or Markdown that begins with a TOML part between two lines `+++`. Every field must be there
//! and say something; "none" is an answer, "TBD" is not. What cannot be done before the deployment is `pending` until then.

use super::documents::document;
use super::words;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const SCHEMA: &str = "ops-gates/change-request/v1";

/// What may be put off until the deployment.
const PENDING: &str = "pending";

/// A change request.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    /// The document. It names the commit, so that it lies outside of it.
    pub path: Text,
    /// The environment that it must be for.
    pub environment: Text,
    /// How long the rollback may take, by what the document says.
    pub max_rollback: Span,
    /// Whether the deployment has been made.
    pub phase: Phase,
}

/// Where a change stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Before: what is done in production may be `pending`.
    BeforeDeploy,
    /// After: nothing may be.
    AfterDeploy,
}

/// The document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    schema: String,
    id: String,
    commit: String,
    service: String,
    environment: String,
    reason: String,
    impact: Impact,
    implementation: Implementation,
    testing: Testing,
    documentation: Documentation,
    pre_deploy: PreDeploy,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Impact {
    downtime: String,
    rollback_time: String,
    dependencies: String,
    data_migration: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Implementation {
    pull_request: String,
    infrastructure: String,
    database_migration: String,
    steps: Vec<String>,
    verification: Vec<String>,
    rollback_plan: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Testing {
    ci: String,
    staging_deploy: String,
    staging_smoke: String,
    production_deploy: String,
    production_smoke: String,
    alerts_active: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Documentation {
    deployment_guide: String,
    service_runbooks: String,
    incident_procedures: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PreDeploy {
    tests: String,
    review: String,
    release_notes: String,
    rollback_plan: String,
    staging: String,
    dashboards: String,
}

impl Gate for ChangeRequest {
    fn wrong(&self, facts: &Facts) -> Vec<Wrong> {
        let message = "a change request is for a commit: give the plan a `[subject]` with `commit`";
        (!facts.has_subject).then(|| Wrong::gate(message)).into_iter().collect()
    }

    fn summary(&self) -> String {
        format!("{} is complete for {}", self.path, self.environment)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl ChangeRequest {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let text = document(context, &self.path).await?;
        let text = match text.trim_start().strip_prefix("+++") {
            Some(rest) => rest.split_once("\n+++").map(|(front, _)| front).ok_or_else(|| {
                Finding::error(
                    Fault::Parse,
                    "not-understood",
                    format!("{} begins with `+++` and has no second one", self.path),
                )
            })?,
            None => text.as_str(),
        };
        let request: Request = toml::from_str(text).map_err(|error| incomplete(&error))?;
        if request.schema != SCHEMA {
            let reason =
                format!("the change request has the schema `{}`, known is `{SCHEMA}`", request.schema);
            return Err(Finding::error(Fault::Parse, "not-understood", reason));
        }
        let commit = context.subject().and_then(|subject| subject.digest.get("gitCommit"));
        let commit = commit.ok_or_else(|| {
            Finding::error(Fault::Unresolved, "no-commit", "the subject of the plan has no `commit`")
        })?;
        self.judge(context, &request, commit).await
    }

    async fn judge(
        &self,
        context: &Context<'_>,
        request: &Request,
        commit: &str,
    ) -> Result<Finding, Finding> {
        if request.commit != *commit {
            let reason =
                format!("{} is for the commit {}, not for the released {commit}", request.id, request.commit);
            return Err(Finding::fail("other-commit", reason));
        }
        let environment = context.resolve(&self.environment)?;
        if request.environment != environment {
            let reason = format!("{} is for {}, not for {environment}", request.id, request.environment);
            return Err(Finding::fail("other-environment", reason));
        }
        for (name, text) in request.fields() {
            let put_off = text.trim().eq_ignore_ascii_case(PENDING);
            let later = self.phase == Phase::BeforeDeploy
                && matches!(name, "testing.production_deploy" | "testing.production_smoke");
            if text.trim().is_empty() {
                return Err(Finding::fail("field-empty", format!("{name} of {} is empty", request.id)));
            }
            if put_off && !later {
                return Err(Finding::fail("field-pending", format!("{name} of {} is pending", request.id)));
            }
            if let Some(word) = words::placeholder(text) {
                return Err(Finding::fail(
                    "placeholder",
                    format!("{name} of {} still says \"{word}\"", request.id),
                ));
            }
        }
        for (name, list) in
            [("steps", &request.implementation.steps), ("verification", &request.implementation.verification)]
        {
            if list.is_empty() {
                return Err(Finding::fail(
                    "field-empty",
                    format!("implementation.{name} of {} is empty", request.id),
                ));
            }
        }
        for (name, place) in request.documents() {
            let is_address = place.starts_with("https://") || place.starts_with("http://");
            if !is_address && !is_file(&context.directory().join(place)).await {
                return Err(Finding::fail(
                    "document-missing",
                    format!("{name} of {} is {place}, which is no file", request.id),
                ));
            }
        }
        let rollback: Span = request.impact.rollback_time.parse().map_err(|error: String| {
            Finding::fail("rollback-time", format!("impact.rollback_time of {}: {error}", request.id))
        })?;
        let finding = if rollback > self.max_rollback {
            Finding::fail(
                "rollback-time",
                format!("the rollback would take {rollback}, allowed at most {}", self.max_rollback),
            )
        } else {
            Finding::pass(format!("{} is complete, with a rollback of {rollback}", request.id))
        };
        Ok(finding
            .measured("rollback_seconds", rollback.get().as_secs_f64())
            .judged_by(format!("rollback_seconds <= {} (plan)", self.max_rollback.get().as_secs_f64()))
            .output("id", &request.id))
    }
}

impl Request {
    /// Every field that must say something, by its name in the document.
    fn fields(&self) -> Vec<(&'static str, &str)> {
        let Self { impact, implementation, testing, pre_deploy, .. } = self;
        let single = [
            ("id", &self.id),
            ("service", &self.service),
            ("reason", &self.reason),
            ("impact.downtime", &impact.downtime),
            ("impact.rollback_time", &impact.rollback_time),
            ("impact.dependencies", &impact.dependencies),
            ("impact.data_migration", &impact.data_migration),
            ("implementation.pull_request", &implementation.pull_request),
            ("implementation.infrastructure", &implementation.infrastructure),
            ("implementation.database_migration", &implementation.database_migration),
            ("testing.ci", &testing.ci),
            ("testing.staging_deploy", &testing.staging_deploy),
            ("testing.staging_smoke", &testing.staging_smoke),
            ("testing.production_deploy", &testing.production_deploy),
            ("testing.production_smoke", &testing.production_smoke),
            ("testing.alerts_active", &testing.alerts_active),
            ("pre_deploy.tests", &pre_deploy.tests),
            ("pre_deploy.review", &pre_deploy.review),
            ("pre_deploy.release_notes", &pre_deploy.release_notes),
            ("pre_deploy.rollback_plan", &pre_deploy.rollback_plan),
            ("pre_deploy.staging", &pre_deploy.staging),
            ("pre_deploy.dashboards", &pre_deploy.dashboards),
        ];
        let steps = implementation.steps.iter().map(|text| ("implementation.steps", text.as_str()));
        let verification =
            implementation.verification.iter().map(|text| ("implementation.verification", text.as_str()));
        let documents = self.documents();
        single
            .into_iter()
            .map(|(name, text)| (name, text.as_str()))
            .chain(steps)
            .chain(verification)
            .chain(documents)
            .collect()
    }

    fn documents(&self) -> [(&'static str, &str); 4] {
        [
            ("implementation.rollback_plan", &self.implementation.rollback_plan),
            ("documentation.deployment_guide", &self.documentation.deployment_guide),
            ("documentation.service_runbooks", &self.documentation.service_runbooks),
            ("documentation.incident_procedures", &self.documentation.incident_procedures),
        ]
    }
}

async fn is_file(path: &std::path::Path) -> bool {
    tokio::fs::metadata(path).await.is_ok_and(|it| it.is_file() && it.len() > 0)
}

/// A field that is missing is the answer; that the document is no TOML is an error.
fn incomplete(error: &toml::de::Error) -> Finding {
    let message = error.message().replace('\n', "; ");
    if message.starts_with("missing field") {
        return Finding::fail("field-missing", format!("the change request is not complete: {message}"));
    }
    Finding::error(Fault::Parse, "not-understood", format!("the change request is not understood: {message}"))
}
