//! Policies: which effects are allowed. The rules are a table; a policy is the set of rules that it switches off.

mod rules;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use self::rules::Rule;
pub(crate) use self::rules::RuleText;
use super::classify::{self, Located};
use super::context::Context;
use super::effect::Effect;
use super::parse::{self, Failure, Statement};
use super::verdict::{Decision, Limits, Predicted, StatementVerdict, Verdict};

/// Which effects a session may have. Deny wins: one refused effect refuses its statement.
///
/// | preset | allows |
/// |---|---|
/// | [`Policy::read_only`] | reads, built-in functions that only compute, harmless settings |
/// | [`Policy::app`] (default) | that, and inserts, updates and deletes with a condition on the rows, row locks, advisory locks, temporary tables, sequences, notifications, VACUUM and ANALYZE |
/// | [`Policy::migration`] | that, and adding, changing and rewriting objects, dropping what holds no rows, updates of all rows, code definitions, grants, table locks, transaction commands |
/// | [`Policy::break_glass`] | everything that can be parsed |
///
/// A function that PostgreSQL does not bring along may do anything, so every preset but `break_glass` refuses it until
/// [`Policy::allow_function`] names it. The guard judges names and text, not the catalog: a view, a trigger, a user's own
/// operator or cast, or a function that shadows a built-in one runs code that it cannot see.
#[derive(Clone, Debug)]
pub struct Policy {
    name: &'static str,
    canonical: Canonical,
    hash: String,
}

/// What a policy says, in the form that is hashed.
#[derive(Clone, Debug, Serialize)]
struct Canonical {
    version: u32,
    rules: BTreeMap<&'static str, Decision>,
    functions: BTreeSet<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self::app()
    }
}

impl Policy {
    /// Allows reads alone.
    pub fn read_only() -> Self {
        Self::preset("read_only", &[Rule::Read, Rule::HarmlessSetting])
    }

    /// Allows what an application does to rows, and no destruction.
    pub fn app() -> Self {
        Self::preset("app", APP)
    }

    /// Allows what a schema migration does, except dropping rows.
    pub fn migration() -> Self {
        let more = [
            Rule::UpdateAll,
            Rule::LockTable,
            Rule::SequenceReset,
            Rule::SchemaAdd,
            Rule::SchemaChange,
            Rule::SchemaDrop,
            Rule::Rewrite,
            Rule::CodeDefinition,
            Rule::Privilege,
            Rule::SessionSetting,
            Rule::TransactionControl,
        ];
        Self::preset("migration", &[APP, &more].concat())
    }

    /// Allows everything that can be parsed. For a person who repairs something by hand.
    pub fn break_glass() -> Self {
        Self::preset("break_glass", Rule::EFFECTS)
    }

    /// Allows calls of a function that PostgreSQL does not bring along.
    ///
    /// The name is compared as statements write it, in lower case unless quoted: `similarity`, `app.next_invoice`, or
    /// `app.*` for all functions of a schema. Operators are written `operator ===`.
    #[must_use]
    pub fn allow_function(mut self, name: impl Into<String>) -> Self {
        self.canonical.functions.insert(name.into());
        self.hash = hash(&self.canonical);
        self
    }

    /// Returns the preset of this name: `read_only`, `app`, `migration` or `break_glass`.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "read_only" => Some(Self::read_only()),
            "app" => Some(Self::app()),
            "migration" => Some(Self::migration()),
            "break_glass" => Some(Self::break_glass()),
            _ => None,
        }
    }

    /// Returns the preset's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the SHA-256 of what the policy says, in hexadecimal; equal policies have equal hashes.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Tells whether the policy allows no write at all.
    pub fn is_read_only(&self) -> bool {
        self.decision(Rule::Insert) == Decision::Deny
    }

    /// Tells whether verdicts depend on the time.
    pub fn depends_on_time(&self) -> bool {
        false
    }

    /// Returns which of the policy's windows are open: verdicts hold while it stays the same.
    pub fn slot(&self, _at: jiff::Timestamp) -> u64 {
        0
    }

    /// Judges every statement of a text. It reads nothing but the text, and any text ends in a verdict.
    pub fn judge(&self, sql: &str) -> Verdict {
        self.judge_in(sql, &Context::default())
    }

    /// Judges every statement of a text, knowing more than the text.
    pub fn judge_in(&self, sql: &str, context: &Context) -> Verdict {
        let statements = parse::with_statements(sql, |statements| {
            let mut lines = Lines::new(sql);
            statements.iter().map(|statement| self.judge_statement(statement, context, &mut lines)).collect()
        });
        let statements = statements.unwrap_or_else(|failure| vec![unparsed(sql, failure)]);
        Verdict { policy: self.name.to_owned(), policy_hash: self.hash.clone(), shadow: false, statements }
    }

    /// Judges a text that a client is to send as one statement, outside or inside a transaction of its own.
    ///
    /// Further statements and transaction commands are refused whatever the policy says: the client would lose track.
    pub(in crate::guard) fn judge_one(&self, sql: &str, context: &Context) -> Verdict {
        let mut verdict = self.judge_in(sql, context);
        for (index, statement) in verdict.statements.iter_mut().enumerate() {
            let control = statement.effects.iter().map(|predicted| &predicted.effect);
            let mut control = control.filter(|effect| matches!(effect, Effect::TransactionControl { .. }));
            if let Some(effect) = control.next() {
                let text = Rule::TransactionControl.text(Some(effect));
                refuse(statement, text);
            }
            if index > 0 {
                refuse(statement, Rule::MultipleStatements.text(None));
            }
        }
        verdict
    }

    /// Decides over one effect, predicted or observed.
    pub(crate) fn rule_on(&self, effect: &Effect, _context: &Context) -> Ruling {
        if self.allows(effect) {
            return Ruling { decision: Decision::Allow, limits: Limits::default(), words: None };
        }
        let text = Rule::of(effect).text(Some(effect));
        Ruling { decision: Decision::Deny, limits: Limits::default(), words: Some(text) }
    }

    fn preset(name: &'static str, allowed: &[Rule]) -> Self {
        let decide = |rule: &Rule| if allowed.contains(rule) { Decision::Allow } else { Decision::Deny };
        let rules = Rule::EFFECTS.iter().map(|rule| (rule.id(), decide(rule))).collect();
        let canonical = Canonical { version: 1, rules, functions: BTreeSet::new() };
        let hash = hash(&canonical);
        Self { name, canonical, hash }
    }

    fn decision(&self, rule: Rule) -> Decision {
        self.canonical.rules.get(rule.id()).copied().unwrap_or(Decision::Deny)
    }

    fn allows(&self, effect: &Effect) -> bool {
        if self.decision(Rule::of(effect)) == Decision::Allow {
            return true;
        }
        let Effect::Call { function } = effect else { return false };
        let in_schema = || function.rsplit_once('.').map(|(schema, _)| format!("{schema}.*"));
        self.canonical.functions.contains(function)
            || in_schema().is_some_and(|pattern| self.canonical.functions.contains(&pattern))
    }

    fn judge_statement(
        &self,
        statement: &Statement<'_>,
        context: &Context,
        lines: &mut Lines<'_>,
    ) -> StatementVerdict {
        let (effects, transactional) = match statement.node {
            Some(node) => {
                let analysis = classify::analyse(node, context.catalog.as_deref());
                (analysis.effects, analysis.transactional)
            }
            None => {
                let effect = Effect::Opaque { node: "RawStmt" };
                (vec![Located { predicted: Predicted { effect, via: None }, offset: None }], true)
            }
        };
        let mut verdict = StatementVerdict {
            line: lines.number(statement.start),
            start: statement.start,
            end: statement.end,
            decision: Decision::Allow,
            effects: Vec::new(),
            rule: None,
            reason: None,
            hint: None,
            limits: None,
            transactional,
            position: statement.start,
        };
        // The strictest decision counts, and among equals the worst effect explains it best.
        let mut worst: Option<(Decision, Rule, &Located, RuleText)> = None;
        for located in &effects {
            let effect = &located.predicted.effect;
            let ruling = self.rule_on(effect, context);
            if ruling.decision == Decision::Limit {
                verdict.limits = Some(verdict.limits.unwrap_or_default().and(ruling.limits));
            }
            verdict.decision = verdict.decision.max(ruling.decision);
            let Some(words) = ruling.words else { continue };
            let rule = Rule::of(effect);
            let is_worse = worst.as_ref().is_none_or(|(decision, known, ..)| {
                ruling.decision > *decision || ruling.decision == *decision && rule < *known
            });
            if is_worse {
                worst = Some((ruling.decision, rule, located, words));
            }
        }
        if let Some((decision, _, located, words)) = worst {
            let offset = located.offset.filter(|offset| (statement.start..statement.end).contains(offset));
            verdict.position = offset.unwrap_or(statement.start);
            refuse(&mut verdict, words);
            verdict.decision = decision;
        }
        verdict.effects = effects.into_iter().map(|located| located.predicted).collect();
        verdict
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

const APP: &[Rule] = &[
    Rule::Read,
    Rule::HarmlessSetting,
    Rule::Insert,
    Rule::Update,
    Rule::Delete,
    Rule::LockRows,
    Rule::AdvisoryLock,
    Rule::SchemaAddTemporary,
    Rule::SequenceAdvance,
    Rule::Notification,
    Rule::Maintenance,
    Rule::HiddenCode,
];

fn hash(canonical: &Canonical) -> String {
    let bytes = serde_json::to_vec(canonical).expect("maps with string keys always serialise");
    crate::digest::sha256_hex(&bytes)
}

fn refuse(verdict: &mut StatementVerdict, text: RuleText) {
    verdict.decision = Decision::Deny;
    verdict.rule = Some(text.id);
    verdict.reason = Some(text.reason);
    verdict.hint = Some(text.hint);
}

/// The verdict over a text that gave no tree: its one entry spans it all.
fn unparsed(sql: &str, failure: Failure) -> StatementVerdict {
    let (rule, detail) = match failure {
        Failure::Syntax { message } => (Rule::Unparsable, Some(message)),
        Failure::TooComplex => (Rule::TooComplex, None),
        Failure::TooLong => (Rule::TooLong, None),
    };
    let mut text = rule.text(None);
    if let Some(detail) = detail {
        text.reason = format!("{}: {detail}", text.reason);
    }
    let mut verdict = StatementVerdict {
        line: 1,
        start: 0,
        end: sql.len(),
        decision: Decision::Deny,
        effects: vec![Predicted { effect: Effect::Opaque { node: "text" }, via: None }],
        rule: None,
        reason: None,
        hint: None,
        limits: None,
        transactional: true,
        position: 0,
    };
    refuse(&mut verdict, text);
    verdict
}

/// Counts lines while the statements go by in order.
struct Lines<'a> {
    sql: &'a str,
    at: usize,
    number: usize,
}

impl<'a> Lines<'a> {
    fn new(sql: &'a str) -> Self {
        Self { sql, at: 0, number: 1 }
    }

    fn number(&mut self, offset: usize) -> usize {
        let passed = self.sql.as_bytes().get(self.at..offset).unwrap_or_default();
        self.number += passed.iter().filter(|byte| **byte == b'\n').count();
        self.at = self.at.max(offset);
        self.number
    }
}
