//! Policies: which effects are allowed, how far, and by whom. A preset decides, unless a rule of a policy file speaks.

mod budget;
mod document;
mod explain;
mod judge;
mod matching;
mod pattern;
mod preset;
mod problem;
mod read;
mod rules;
mod set;
mod trial;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

pub use self::budget::Budget;
pub use self::explain::Explained;
use self::matching::{PolicyRule, weigh};
use self::preset::Preset;
pub use self::problem::{PolicyError, PolicyProblem};
use self::rules::Rule;
pub(crate) use self::rules::RuleText;
use self::set::RuleSet;
use self::trial::PolicyTest;
pub use self::trial::TestOutcome;
use self::window::Windows;
use super::context::Context;
use super::effect::Effect;
use super::names;
use super::verdict::{Decision, Limits};

/// Which effects a session may have, and how many rows it may change. Deny wins: one refused effect refuses its statement.
///
/// | preset | allows |
/// |---|---|
/// | [`Policy::read_only`] | reads, built-in functions that only compute, harmless settings |
/// | [`Policy::app`] (default) | that, and inserts, updates and deletes with a condition on the rows, row locks, advisory locks, temporary tables, sequences, notifications, VACUUM and ANALYZE; a statement that updates or deletes may change 10,000 rows, and a session delete 100,000 in an hour |
/// | [`Policy::migration`] | that without limits, and adding, changing and rewriting objects, dropping what holds no rows, updates of all rows, code definitions, grants, table locks, transaction commands |
/// | [`Policy::break_glass`] | everything that can be parsed |
///
/// A policy file builds on one of them: [`Policy::from_toml`].
///
/// A function that PostgreSQL does not bring along may do anything, so every preset but `break_glass` refuses it until
/// [`Policy::allow_function`] names it. Without a catalog the guard judges names and text: a view, a trigger, a user's own
/// operator or cast, or a function that shadows a built-in one runs code that it cannot see.
#[derive(Clone, Debug)]
pub struct Policy {
    name: String,
    base: Preset,
    shadow: bool,
    functions: BTreeSet<String>,
    rules: Vec<PolicyRule>,
    /// The effects that some rule is about: over all others the base decides at once.
    ruled: RuleSet,
    budgets: Vec<Budget>,
    windows: Windows,
    tests: Vec<PolicyTest>,
    hash: String,
}

impl Default for Policy {
    fn default() -> Self {
        Self::app()
    }
}

impl Policy {
    /// Allows reads alone.
    pub fn read_only() -> Self {
        Self::preset(Preset::ReadOnly)
    }

    /// Allows what an application does to rows, within limits, and no destruction.
    pub fn app() -> Self {
        Self::preset(Preset::App)
    }

    /// Allows what a schema migration does, except dropping rows.
    pub fn migration() -> Self {
        Self::preset(Preset::Migration)
    }

    /// Allows everything that can be parsed. For a person who repairs something by hand.
    pub fn break_glass() -> Self {
        Self::preset(Preset::BreakGlass)
    }

    /// Returns the preset of this name: `read_only`, `app`, `migration` or `break_glass`, also with `-` for `_`.
    pub fn by_name(name: &str) -> Option<Self> {
        Preset::by_name(name).map(Self::preset)
    }

    /// Reads a policy file's text; `docs/policies.md` says what it may hold.
    ///
    /// ```
    /// use ops_core::guard::{Decision, Policy};
    ///
    /// let policy = Policy::from_toml(r#"
    ///     version = 1
    ///     name = "shop"
    ///     base = "app"
    ///     [[rule]]
    ///     name = "ledger-is-append-only"
    ///     table = ["public.ledger"]
    ///     effect = ["update", "delete"]
    ///     decision = "deny"
    /// "#)?;
    /// let verdict = policy.judge("DELETE FROM public.ledger WHERE id = 1");
    /// assert_eq!(verdict.statements[0].decision, Decision::Deny);
    /// assert_eq!(verdict.statements[0].rule.as_deref(), Some("ledger-is-append-only"));
    /// # Ok::<(), ops_core::guard::PolicyError>(())
    /// ```
    ///
    /// # Errors
    /// Fails where the text is no policy, and says on which lines and why.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        read::read(text).map(Self::of_document)
    }

    /// Reads a policy file.
    ///
    /// # Errors
    /// Fails where the file cannot be read, is not UTF-8, or is no policy.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, PolicyError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| PolicyError::unread(path, error))?;
        Self::from_toml(&text).map_err(|error| error.of_file(path))
    }

    /// Allows calls of a function that PostgreSQL does not bring along, where no rule speaks.
    ///
    /// The name is compared as statements write it, in lower case unless quoted: `similarity`, `app.next_invoice`, or
    /// `app.*` for all functions of a schema. Operators are written `operator ===`.
    #[must_use]
    pub fn allow_function(mut self, name: impl Into<String>) -> Self {
        self.functions.insert(name.into());
        self.hash = self.digest();
        self
    }

    /// Returns the name, which verdicts carry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the SHA-256 of what the policy says, in hexadecimal; equal policies have equal hashes.
    ///
    /// The name of the policy, its tests, and how its file is written are no part of it.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Tells whether the policy only reports: then everything may run.
    pub fn is_shadow(&self) -> bool {
        self.shadow
    }

    /// Tells whether the policy allows no write at all, so that sessions may be read-only altogether.
    pub fn is_read_only(&self) -> bool {
        const WITHOUT_WRITING: RuleSet = RuleSet::of(&[
            Rule::Read,
            Rule::HarmlessSetting,
            Rule::SessionSetting,
            Rule::AdvisoryLock,
            Rule::UnknownFunction,
        ]);
        let opens = |rule: &PolicyRule| {
            rule.decision < Decision::Deny && !rule.effects.without(WITHOUT_WRITING).is_empty()
        };
        self.base == Preset::ReadOnly && !self.shadow && !self.rules.iter().any(opens)
    }

    /// Returns how many rows one session may change over all its statements.
    pub fn budgets(&self) -> &[Budget] {
        &self.budgets
    }

    /// Tells whether the time can change a verdict.
    pub fn depends_on_time(&self) -> bool {
        !self.windows.is_empty()
    }

    /// Returns which windows of the policy are open, as a number: while it stays the same, time changes no verdict.
    pub fn slot(&self, at: Timestamp) -> u64 {
        self.windows.open(at)
    }

    /// Runs the tests of the policy file, in order. A preset has none.
    pub fn run_tests(&self) -> Vec<TestOutcome> {
        self.tests.iter().map(|test| test.run(|sql, context| self.judge_in(sql, context))).collect()
    }

    /// Decides over one effect, predicted or observed.
    pub(crate) fn rule_on(&self, effect: &Effect, context: &Context) -> Ruling {
        let class = Rule::of(effect);
        let (mut decision, mut limits) = self.base.ruling(class);
        if decision == Decision::Deny && self.names_function(effect, context) {
            decision = Decision::Allow;
        }
        let is_open = decision < Decision::Deny;
        let mut by = None;
        if self.ruled.contains(class) {
            let weighed = weigh(&self.rules, class, effect, context, (decision, limits));
            (decision, limits, by) = (weighed.decision, weighed.limits, weighed.by);
        }
        let words = match by {
            Some(rule) => Some(rule.text(class, effect, &self.name, is_open)),
            None => (decision > Decision::Limit).then(|| class.text(Some(effect))),
        };
        Ruling { decision, limits, words }
    }

    fn names_function(&self, effect: &Effect, context: &Context) -> bool {
        let Effect::Call { function } = effect else { return false };
        if self.functions.is_empty() {
            return false;
        }
        let operator = function.strip_prefix("operator ");
        let (prefix, name) = operator.map_or(("", function.as_str()), |name| ("operator ", name));
        let Some((schema, bare)) = name.rsplit_once('.') else { return self.functions.contains(function) };
        // A catalog gives the name its schema, also where the statement and the policy have it without.
        let is_in_path = || {
            let path = context.catalog.as_ref().map_or(&[][..], |catalog| catalog.search_path());
            path.iter().any(|known| names::quoted(known) == schema)
        };
        self.functions.contains(function)
            || self.functions.contains(&format!("{schema}.*"))
            || self.functions.contains(&format!("{prefix}{bare}")) && is_in_path()
    }

    fn preset(base: Preset) -> Self {
        Self::of_document(read::Document {
            name: base.name().to_owned(),
            base,
            shadow: false,
            functions: BTreeSet::new(),
            rules: Vec::new(),
            budgets: Vec::new(),
            tests: Vec::new(),
        })
    }

    fn of_document(document: read::Document) -> Self {
        let read::Document { name, base, shadow, functions, rules, budgets, tests } = document;
        let ruled = rules.iter().fold(RuleSet::default(), |ruled, rule| ruled.or(rule.effects));
        let windows = Windows::of(rules.iter().filter_map(|rule| rule.window.as_ref()));
        let budgets = budget::joined(budgets, base.budgets());
        let hash = String::new();
        let mut policy = Self { name, base, shadow, functions, rules, ruled, budgets, windows, tests, hash };
        policy.hash = policy.digest();
        policy
    }

    fn digest(&self) -> String {
        let canonical = Canonical {
            version: 2,
            shadow: self.shadow,
            base: Rule::EFFECTS.iter().map(|rule| (rule.id(), self.base.ruling(*rule))).collect(),
            functions: &self.functions,
            rules: &self.rules,
            budgets: &self.budgets,
        };
        let bytes = serde_json::to_vec(&canonical).expect("maps with string keys always serialise");
        crate::digest::sha256_hex(&bytes)
    }
}

/// What a policy says of one effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) decision: Decision,
    /// Meant where the decision is [`Decision::Limit`].
    pub(crate) limits: Limits,
    /// The rule, the reason and the hint, where the effect may not just happen.
    pub(crate) words: Option<RuleText>,
}

/// What a policy says, in the form that is hashed. The base stands there by what it says, not by its name: a version of
/// this crate that changes a preset changes the hashes.
#[derive(Serialize)]
struct Canonical<'a> {
    version: u32,
    shadow: bool,
    base: BTreeMap<&'static str, (Decision, Limits)>,
    functions: &'a BTreeSet<String>,
    rules: &'a [PolicyRule],
    budgets: &'a [Budget],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::effect::{Bound, Operation};

    fn policy(body: &str) -> Policy {
        Policy::from_toml(&format!("version = 1\nname = \"test\"\n{body}")).unwrap()
    }

    fn decide(policy: &Policy, effect: &Effect) -> Decision {
        let ruling = policy.rule_on(effect, &Context::default());
        assert_eq!(
            ruling.words.is_some(),
            ruling.decision > Decision::Limit,
            "words are for whoever is refused"
        );
        ruling.decision
    }

    #[test]
    fn an_opaque_effect_is_closed_by_rules_and_never_opened() {
        let cases = [
            ("app", "allow", Decision::Deny),
            ("app", "approve", Decision::Deny),
            ("app", "deny", Decision::Deny),
            ("break_glass", "allow", Decision::Allow),
            ("break_glass", "approve", Decision::Approve),
            ("break_glass", "deny", Decision::Deny),
        ];
        for (base, decision, expected) in cases {
            for effect in ["", "effect = [\"any\"]\n"] {
                let policy =
                    policy(&format!("base = \"{base}\"\n[[rule]]\n{effect}decision = \"{decision}\"\n"));
                assert_eq!(
                    decide(&policy, &Effect::Opaque { node: "x" }),
                    expected,
                    "{base} {decision} {effect}"
                );
            }
        }
    }

    #[test]
    fn only_what_is_on_a_table_has_one() {
        let policy = policy("[[rule]]\nname = \"mine\"\ntable = [\"*.*\"]\ndecision = \"deny\"\n");
        let text = || "public.t".to_owned();
        let on_tables = [
            Effect::Read { table: text() },
            Effect::Write { table: text(), operation: Operation::Insert, bound: Bound::Conditional },
            Effect::Truncate { table: text(), cascade: false },
            Effect::LockTable { table: text(), mode: "ROW SHARE" },
            Effect::SchemaAdd { kind: "table".into(), name: text(), temporary: true },
            Effect::SchemaChange { kind: "column".into(), name: text() },
            Effect::SchemaDrop { kind: "view".into(), name: text(), cascade: false },
            Effect::SchemaDrop { kind: "column".into(), name: "public.t.a".into(), cascade: false },
            Effect::CodeDefinition { kind: "trigger or rule".into(), name: "public.t.x".into() },
            Effect::Rewrite { name: text() },
        ];
        let elsewhere = [
            Effect::LockRows,
            Effect::SequenceAdvance,
            Effect::Maintenance,
            Effect::Call { function: text() },
            Effect::Setting { name: text(), reach: crate::guard::effect::Reach::Harmless },
            Effect::SchemaAdd { kind: "schema".into(), name: text(), temporary: false },
            Effect::SchemaDrop { kind: "function".into(), name: text(), cascade: false },
            Effect::CodeDefinition { kind: "function".into(), name: text() },
            Effect::External { construct: text() },
        ];
        let is_mine = |effect: &Effect| {
            policy.rule_on(effect, &Context::default()).words.is_some_and(|words| words.id == "mine")
        };
        for effect in on_tables {
            assert!(is_mine(&effect), "{effect}");
        }
        for effect in elsewhere {
            assert!(!is_mine(&effect), "{effect}");
        }
    }
}
