//! What must be proven, whatever a plan says: a file of its own, so that whoever changes the plan cannot drop a check.
//!
//! A policy is pinned by its digest, and holds its keys itself: a key in a file beside it could be exchanged. It comes
//! from whoever runs the gates ([`ReadOptions::policies`](crate::ReadOptions)), from the plan, or both; all of them
//! count. Whoever deploys asks [`verify`](crate::verify) for the digest of theirs.

mod waiver;

pub(crate) use waiver::{Case, excuses};
pub use waiver::{Excuse, WAIVER_KIND, Waiver};

use crate::error::{Error, ErrorKind};
use crate::value::Span;
use ops_core::evidence::{VerifyingKey, sha256_hex};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::Path;

const SCHEMA: &str = "ops-gates/policy/v1";

/// What must be proven, and who may say otherwise.
#[derive(Debug, Clone)]
pub struct Policy {
    keys: PolicyKeys,
    sha256: String,
    approvers: Vec<(Approver, VerifyingKey)>,
}

/// The keys of a policy file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyKeys {
    /// The format: `ops-gates/policy/v1`.
    schema: String,
    /// The name of the policy.
    name: String,
    /// What must be there, and pass.
    #[serde(default)]
    require: Vec<Rule>,
    /// What is demanded of the subject.
    #[serde(default)]
    subject: SubjectRule,
    /// Whether a required command may pass by its exit code alone.
    #[serde(default = "yes")]
    exit_code_alone: bool,
    /// Whether a required gate may pass after an attempt that did not.
    #[serde(default = "yes")]
    flaky: bool,
    /// Who may waive a gate.
    #[serde(default)]
    approver: Vec<Approver>,
    /// The longest time for which a gate may be waived.
    #[serde(default = "week")]
    waived_for: Span,
}

/// A gate that must be there, and pass.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// The id, or a pattern with `*` that must fit at least one gate.
    pub(crate) id: String,
    /// The kind that it must have.
    kind: Option<String>,
    /// Whether its `when` may excuse it, where that is shown not to be so.
    #[serde(default)]
    pub(crate) conditional: bool,
    /// Whether it may be waived.
    #[serde(default)]
    pub(crate) waivable: bool,
}

/// What is demanded of the subject.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SubjectRule {
    /// Whether it must be the clean commit of a repository (`subject.git`).
    #[serde(default)]
    git: bool,
}

/// A person who may waive a gate.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approver {
    /// The name.
    pub(crate) name: String,
    /// The e-mail address, as git knows it: nobody waives a gate for a commit of their own.
    pub(crate) email: String,
    /// The public key (ed25519, PEM).
    public_key: String,
}

/// A gate that a policy requires and a plan does not have as it must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) id: String,
    pub(crate) reason: String,
}

fn yes() -> bool {
    true
}

fn week() -> Span {
    Span::from_secs(7 * 86_400)
}

impl Policy {
    /// Reads a policy from its TOML text.
    ///
    /// # Errors
    /// [`ErrorKind::PolicyInvalid`] says what is wrong with it.
    pub fn parse(toml: &str, origin: &str) -> Result<Self, Error> {
        let invalid = |what: &str| Error::new(ErrorKind::PolicyInvalid, format!("policy {origin}: {what}"));
        let keys: PolicyKeys =
            toml::from_str(toml).map_err(|error| invalid(&Error::in_toml(toml, &error)))?;
        if keys.schema != SCHEMA {
            return Err(invalid(&format!(
                "schema `{}` is not known; this version reads `{SCHEMA}`",
                keys.schema
            )));
        }
        if keys.require.is_empty() {
            return Err(invalid("it requires nothing; write `[[require]]` and `id = \"…\"`"));
        }
        let mut approvers = Vec::new();
        for approver in &keys.approver {
            let key = VerifyingKey::from_pem(&approver.public_key)
                .map_err(|error| invalid(&format!("the key of {}: {error}", approver.name)))?;
            approvers.push((approver.clone(), key));
        }
        Ok(Self { keys, sha256: sha256_hex(toml.as_bytes()), approvers })
    }

    /// Reads a policy from a file, which must have a digest where one is given.
    ///
    /// # Errors
    /// [`ErrorKind::PolicyInvalid`], where it cannot be read, is another one, or is wrong.
    pub fn load(path: &Path, sha256: Option<&str>) -> Result<Self, Error> {
        let toml = std::fs::read_to_string(path)
            .map_err(|error| Error::io(ErrorKind::PolicyInvalid, "read policy", path, error))?;
        let policy = Self::parse(&toml, &path.display().to_string())?;
        match sha256.filter(|wanted| *wanted != policy.sha256) {
            Some(wanted) => {
                let path = path.display();
                let message = format!("policy {path} has the digest {}, expected {wanted}", policy.sha256);
                Err(Error::new(ErrorKind::PolicyInvalid, message))
            }
            None => Ok(policy),
        }
    }

    /// The name of the policy.
    pub fn name(&self) -> &str {
        &self.keys.name
    }

    /// The digest of its text.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What it says of a gate.
    pub(crate) fn rule(&self, id: &str) -> Option<&Rule> {
        self.keys.require.iter().find(|rule| rule.fits(id))
    }

    /// Whether a required gate may pass after an attempt that did not.
    pub(crate) fn allows_flaky(&self) -> bool {
        self.keys.flaky
    }

    /// Whether the subject must be the clean commit of a repository.
    pub(crate) fn wants_git(&self) -> bool {
        self.keys.subject.git
    }

    /// Whether a required command may pass by its exit code alone.
    pub(crate) fn allows_exit_code_alone(&self) -> bool {
        self.keys.exit_code_alone
    }

    /// What a plan with these gates, each with its id and kind, does not have.
    pub(crate) fn missing<'a>(
        &self,
        gates: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) -> Vec<Missing> {
        let mut ids = HashSet::new();
        let mut missing = Vec::new();
        for rule in &self.keys.require {
            let mut fitting = gates.clone().filter(|(id, _)| rule.fits(id)).peekable();
            let name = self.name();
            let reason = if fitting.peek().is_none() {
                format!("policy `{name}` requires `{}`, and the plan does not have it", rule.id)
            } else if let Some(kind) = &rule.kind
                && let Some((id, other)) = fitting.find(|(_, other)| other != kind)
            {
                format!(
                    "policy `{name}` requires `{id}` to be of kind `{kind}`, and in the plan it is `{other}`"
                )
            } else {
                continue;
            };
            let id: String = rule.id.chars().map(|c| if c == '*' { '_' } else { c }).collect();
            let id = format!("policy.{id}");
            if ids.insert(id.clone()) {
                missing.push(Missing { id, reason });
            }
        }
        missing
    }
}

impl Rule {
    /// Whether it speaks of a gate: `*` stands for any characters.
    fn fits(&self, id: &str) -> bool {
        let mut parts = self.id.split('*');
        let Some(mut rest) = parts.next().and_then(|first| id.strip_prefix(first)) else { return false };
        let mut last = None;
        for part in parts {
            if let Some(part) = last.replace(part) {
                match rest.find(part) {
                    Some(at) => rest = &rest[at + part.len()..],
                    None => return false,
                }
            }
        }
        last.map_or(rest.is_empty(), |end: &str| rest.ends_with(end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_whole_ids() {
        for (pattern, id, expected) in [
            ("smoke", "smoke", true),
            ("smoke", "smoke-2", false),
            ("poc-*", "poc-payment", true),
            ("poc-*", "a-poc-payment", false),
            ("*-poc", "payment-poc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*", "x", true),
            ("a*a", "a", false),
        ] {
            let rule = Rule { id: pattern.to_owned(), kind: None, conditional: false, waivable: false };
            assert_eq!(rule.fits(id), expected, "{pattern} {id}");
        }
    }

    #[test]
    fn what_a_plan_lacks_is_named() {
        let policy = "schema = 'ops-gates/policy/v1'\nname = 'prod'\n[[require]]\nid = 'smoke'\nkind = 'command'\n[[require]]\nid = 'poc-*'\n";
        let policy = Policy::parse(policy, "p.toml").expect("a policy");
        let missing = |gates: &[(&str, &str)]| -> Vec<String> {
            policy.missing(gates.iter().copied()).into_iter().map(|missing| missing.id).collect()
        };
        assert!(missing(&[("smoke", "command"), ("poc-a", "http")]).is_empty());
        assert_eq!(missing(&[("smoke", "http"), ("poc-a", "http")]), ["policy.smoke"]);
        assert_eq!(missing(&[]), ["policy.smoke", "policy.poc-_"]);
    }

    #[test]
    fn a_policy_that_says_nothing_or_too_much_is_refused() {
        for (toml, part) in [
            ("schema = 'ops-gates/policy/v1'\nname = 'x'", "requires nothing"),
            ("schema = 'v2'\nname = 'x'\n[[require]]\nid = 'a'", "is not known"),
            ("schema = 'ops-gates/policy/v1'\nname = 'x'\nreqiure = []", "line 3"),
            (
                "schema = 'ops-gates/policy/v1'\nname = 'x'\n[[require]]\nid = 'a'\n[[approver]]\nname = 'n'\nemail = 'e'\npublic_key = 'x'",
                "the key of n",
            ),
        ] {
            let error = Policy::parse(toml, "p.toml").expect_err(toml).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
