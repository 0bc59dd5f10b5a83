//! From text to a sound [`Plan`], collecting every problem with its place instead of stopping at the first.
//!
//! The order: all sources (`include`), the keys of the plan, every gate with its kind, the policies over them, then what
//! the gates name: each other, variables, secrets.

use super::gates::Placed;
use super::source::{Reader, Source};
use super::{Groups, Plan, ReadOptions};
use crate::error::Error;
use crate::gate::{Facts, Objectives};
use crate::policy::Policy;
use crate::subject::SubjectKeys;
use crate::value::{Span, seeing};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::DeValue;

const SCHEMA: &str = "ops-gates/plan/v1";

/// The keys of a plan beside its gates.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Top {
    /// The format: `ops-gates/plan/v1`.
    #[schemars(with = "Option<String>")]
    schema: Option<Spanned<String>>,
    /// The name of the plan.
    #[schemars(with = "String")]
    name: Spanned<String>,
    /// Where the release goes: `dev`, `stage` or `prod`; `local`, `staging` and `production` are understood.
    #[schemars(with = "Option<String>")]
    environment: Option<Spanned<String>>,
    /// How long the whole run may take.
    timeout: Option<Span>,
    /// How many gates run at once; the command line counts more.
    jobs: Option<std::num::NonZeroUsize>,
    /// What is released.
    #[schemars(with = "Option<SubjectKeys>")]
    subject: Option<Spanned<SubjectKeys>>,
    /// The promises of the service.
    #[serde(default)]
    objectives: Objectives,
    /// The policy that says what is required, whatever the plan says.
    #[schemars(with = "Option<PolicyKeys>")]
    policy: Option<Spanned<PolicyKeys>>,
    /// Patterns of files with signed waivers. They count under a policy that names who may waive.
    #[serde(default)]
    waivers: Vec<String>,
    /// Named semaphores: how many gates of a group run at once.
    #[serde(default)]
    groups: BTreeMap<String, GroupKeys>,
    /// Where each secret comes from.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, SecretKeys>")]
    pub(super) secrets: BTreeMap<String, Spanned<SecretKeys>>,
}

/// The keys of a file that a plan includes: it has gates alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    #[serde(rename = "schema")]
    schema: Option<Spanned<String>>,
}

/// Which policy a plan names.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct PolicyKeys {
    /// The file.
    file: PathBuf,
    /// The digest of its bytes, which it must have.
    sha256: String,
}

/// A named semaphore.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct GroupKeys {
    /// How many gates of the group run at once.
    max: std::num::NonZeroUsize,
}

/// Where the value of a secret comes from: exactly one of the two.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretKeys {
    /// A variable of the environment.
    pub(super) env: Option<String>,
    /// A file; one line end at its end is not part of the value.
    pub(super) file: Option<PathBuf>,
}

pub(super) fn plan(
    text: &str,
    origin: &str,
    directory: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
    options: &ReadOptions,
) -> Result<Plan, Error> {
    let (sources, problems) = Source::all(text, origin, directory);
    let mut reader = Reader::new(&sources, problems, variable, options);
    let plan = reader.plan();
    match plan {
        Some(plan) if reader.is_sound() => Ok(plan),
        _ => Err(reader.into_error()),
    }
}

impl Reader<'_> {
    fn plan(&mut self) -> Option<Plan> {
        let mut table = self.table()?;
        let gates = table.remove("gate");
        table.remove("include");
        let keys = Spanned::new(0..0, DeValue::Table(table));
        let (top, seen) = seeing(|| self.deserialize::<Top>(keys, &["gate", "include"]));
        let mut placed = self.gates(gates);
        for source in 1..self.sources.len() {
            self.current = source;
            placed.extend(self.part());
        }
        self.current = 0;
        let top = top?;
        self.top(&top);
        let policies = self.policies(top.policy.as_ref());
        for policy in &policies {
            let missing = require(policy, &mut placed);
            placed.extend(missing);
        }
        self.some_gates(&placed);
        let facts = Facts { objectives: top.objectives.clone(), has_subject: top.subject.is_some() };
        self.kinds_are_right(&placed, &facts);
        self.policies_are_kept(&policies, &placed, top.subject.as_ref().map(Spanned::get_ref));
        let groups = Groups::new(top.groups.iter().map(|(name, group)| (name.clone(), group.max.get())));
        self.ids_needs_and_groups(&mut placed, &groups);
        let variables = self.variables(&placed, &seen.texts, &top.secrets);
        let subject = top.subject.map(Spanned::into_inner);
        if let Some(problem) = subject.as_ref().and_then(|subject| subject.wrong(&variables)) {
            self.problem(problem.span.unwrap_or(0..0), problem.message, None);
        }
        Some(Plan {
            name: top.name.into_inner(),
            origin: self.sources[0].origin.clone(),
            directory: self.sources[0].directory.clone(),
            sha256: digest(self.sources),
            environment: top.environment.as_ref().and_then(|name| environment(name.get_ref())),
            timeout: top.timeout,
            jobs: top.jobs.map(std::num::NonZeroUsize::get),
            subject,
            objectives: top.objectives,
            policies,
            waivers: top.waivers,
            groups,
            gates: placed.into_iter().map(|placed| placed.gate).collect(),
            variables,
        })
    }

    fn part(&mut self) -> Vec<Placed> {
        let Some(mut table) = self.table() else { return Vec::new() };
        let gates = table.remove("gate");
        table.remove("include");
        let keys = Spanned::new(0..0, DeValue::Table(table));
        if let Some(Part { schema }) = self.deserialize::<Part>(keys, &["gate", "include"]) {
            self.schema(schema.as_ref());
        }
        self.gates(gates)
    }

    fn top(&mut self, top: &Top) {
        self.schema(top.schema.as_ref());
        if top.name.get_ref().trim().is_empty() {
            self.problem(top.name.span(), "the plan's name is empty", None);
        }
        if let Some(name) = top.environment.as_ref().filter(|name| environment(name.get_ref()).is_none()) {
            let hint = "write `dev`, `stage` or `prod`".to_owned();
            self.problem(name.span(), format!("environment `{}` is not known", name.get_ref()), Some(hint));
        }
        if top.objectives.slo.is_some_and(|slo| !(slo > 0.0 && slo < 100.0)) {
            let hint = "write a share in per cent that leaves something to lose, such as 99.5".to_owned();
            self.problem(0..0, "`objectives.slo` is not between 0 and 100", Some(hint));
        }
    }

    fn schema(&mut self, schema: Option<&Spanned<String>>) {
        if let Some(schema) = schema.filter(|schema| schema.get_ref() != SCHEMA) {
            let message = format!("schema `{}` is not known", schema.get_ref());
            self.problem(schema.span(), message, Some(format!("this version reads `{SCHEMA}`")));
        }
    }

    /// The policies of whoever reads the plan, and the one that the plan names.
    fn policies(&mut self, named: Option<&Spanned<PolicyKeys>>) -> Vec<Policy> {
        let mut policies = self.options.policies.clone();
        if let Some(named) = named {
            let keys = named.get_ref();
            match Policy::load(&self.sources[0].directory.join(&keys.file), Some(&keys.sha256)) {
                Ok(policy) if policies.iter().any(|known| known.sha256() == policy.sha256()) => {}
                Ok(policy) => policies.push(policy),
                Err(error) => self.problem(named.span(), error.to_string(), None),
            }
        }
        policies
    }

    /// What policies demand beside the gates themselves.
    fn policies_are_kept(&mut self, policies: &[Policy], placed: &[Placed], subject: Option<&SubjectKeys>) {
        for policy in policies {
            let name = policy.name();
            if policy.wants_git() && subject.is_none_or(|subject| subject.git.is_none()) {
                let hint = "write `[subject]` with `git = \".\"`".to_owned();
                let message =
                    format!("policy `{name}` demands the clean commit of a repository as the subject");
                self.problem(0..0, message, Some(hint));
            }
            let by_exit_code =
                |gate: &&Placed| gate.gate.kind == "command" && gate.gate.keys["expect_stdout"].is_null();
            let by_exit_code =
                placed.iter().filter(|_| !policy.allows_exit_code_alone()).filter(by_exit_code);
            for Placed { span, source, .. } in by_exit_code.filter(|placed| placed.gate.required) {
                self.current = *source;
                let message = format!("policy `{name}` lets no command pass by its exit code alone");
                self.problem(span.clone(), message, Some("give `expect_stdout`".to_owned()));
                self.current = 0;
            }
        }
    }

    fn kinds_are_right(&mut self, placed: &[Placed], facts: &Facts) {
        for Placed { gate, span, source, .. } in placed {
            self.current = *source;
            for wrong in gate.gate.wrong(facts) {
                self.problem(wrong.span.unwrap_or_else(|| span.clone()), wrong.message, None);
            }
        }
        self.current = 0;
    }
}

/// Applies what a policy requires. The gates that the plan does not have are given, and can only block.
fn require(policy: &Policy, placed: &mut [Placed]) -> Vec<Placed> {
    let named = placed.iter().map(|placed| (placed.gate.id.as_str(), placed.gate.kind.as_str()));
    let missing = policy.missing(named);
    for Placed { gate, .. } in placed {
        if let Some(rule) = policy.rule(&gate.id) {
            gate.required = true;
            gate.may_be_skipped &= rule.conditional;
            gate.may_be_waived &= rule.waivable;
        }
    }
    missing.into_iter().map(|missing| Placed::missing(missing.id, missing.reason)).collect()
}

/// The name of an environment, one for all its spellings.
fn environment(name: &str) -> Option<&'static str> {
    match name {
        "dev" | "local" => Some("dev"),
        "stage" | "staging" => Some("stage"),
        "prod" | "production" => Some("prod"),
        _ => None,
    }
}

/// The digest of the plan: of its text where it includes nothing, so that `sha256sum` says the same.
fn digest(sources: &[Source]) -> String {
    let mut all = Sha256::new();
    if let [only] = sources {
        all.update(only.text.as_bytes());
    } else {
        for source in sources {
            all.update(Sha256::digest(source.text.as_bytes()));
        }
    }
    all.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
