//! The rules of a policy file: which effects they are about, and how they are weighed against the base.

use serde::{Serialize, Serializer};

use super::super::context::Context;
use super::super::effect::Effect;
use super::super::verdict::{Decision, Limits};
use super::pattern::{Fit, Glob, TablePattern};
use super::rules::{Rule, RuleText};
use super::set::RuleSet;
use super::window::Window;

/// One `[[rule]]`. What is absent holds for all.
#[derive(Clone, Debug, Serialize)]
pub(super) struct PolicyRule {
    pub(super) name: Option<String>,
    #[serde(serialize_with = "ids")]
    pub(super) effects: RuleSet,
    pub(super) principals: Option<Vec<Glob>>,
    pub(super) databases: Option<Vec<Glob>>,
    pub(super) tables: Option<Vec<TablePattern>>,
    pub(super) window: Option<Window>,
    pub(super) decision: Decision,
    pub(super) limits: Limits,
    pub(super) reason: Option<String>,
    pub(super) hint: Option<String>,
}

fn ids<S: Serializer>(rules: &RuleSet, serializer: S) -> Result<S::Ok, S::Error> {
    rules.ids().serialize(serializer)
}

/// What the rules make of one effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weighed<'a> {
    pub(super) decision: Decision,
    pub(super) limits: Limits,
    /// The rule that refuses or asks for an approval; none where that is the base's doing.
    pub(super) by: Option<&'a PolicyRule>,
}

/// Weighs the rules: a `deny` wins, then an `approve`, then the first `allow` or `limit`, then the base.
///
/// Where it is not known whether a rule applies, the strictest decision of all that may hold is taken.
pub(super) fn weigh<'a>(
    rules: &'a [PolicyRule],
    class: Rule,
    effect: &Effect,
    context: &Context,
    base: (Decision, Limits),
) -> Weighed<'a> {
    let mut refusing: Option<&PolicyRule> = None;
    let mut mild: Option<(Decision, Limits)> = None;
    // Whether an approval, or an allowance, certainly takes the place of the base.
    let (mut is_approved, mut is_settled) = (false, false);
    for rule in rules.iter().filter(|rule| rule.effects.contains(class)) {
        if rule.decision <= Decision::Limit && is_settled {
            continue;
        }
        let fit = rule.fit(effect, context);
        if fit == Fit::No {
            continue;
        }
        if rule.decision <= Decision::Limit {
            mild = Some(stricter(mild, (rule.decision, rule.limits)));
            is_settled = fit == Fit::Yes;
        } else {
            is_approved |= fit == Fit::Yes;
            if refusing.is_none_or(|known| rule.decision > known.decision) {
                refusing = Some(rule);
            }
        }
    }
    let (decision, limits) = match mild {
        Some(mild) if is_settled => mild,
        mild => stricter(mild, base),
    };
    match refusing {
        Some(rule) if is_approved || rule.decision >= decision => {
            Weighed { decision: rule.decision, limits: Limits::default(), by: Some(rule) }
        }
        _ => Weighed { decision, limits, by: None },
    }
}

fn stricter(one: Option<(Decision, Limits)>, other: (Decision, Limits)) -> (Decision, Limits) {
    match one {
        Some(one) if one.0 == other.0 => (one.0, one.1.and(other.1)),
        Some(one) if one.0 > other.0 => one,
        _ => other,
    }
}

impl PolicyRule {
    fn fit(&self, effect: &Effect, context: &Context) -> Fit {
        let window = match (&self.window, context.at) {
            (None, _) => Fit::Yes,
            (Some(_), None) => Fit::Maybe,
            (Some(window), Some(at)) => Fit::from(window.is_open(at)),
        };
        let table = match &self.tables {
            None => Fit::Yes,
            Some(patterns) => patterns.iter().map(|pattern| table(pattern, effect)).max().unwrap_or(Fit::No),
        };
        named(self.principals.as_deref(), context.principal.as_deref())
            .min(named(self.databases.as_deref(), context.database.as_deref()))
            .min(table)
            .min(window)
    }

    /// Returns the words of the rule; those that it does not have are those of the class of effects.
    ///
    /// `is_open` tells that the base would let the effect happen: its hint is then about another kind of refusal.
    pub(super) fn text(&self, class: Rule, effect: &Effect, policy: &str, is_open: bool) -> RuleText {
        let words = class.text(Some(effect));
        let hint = match self.decision {
            Decision::Approve => "have somebody else sign an approval with `ops-guard approve`".to_owned(),
            _ if !is_open => words.hint,
            _ if self.window.is_some() => {
                format!("wait until the hours of this rule of policy {policy} are over")
            }
            _ => {
                format!("ask those who keep the policy {policy}; the rule holds whatever the condition says")
            }
        };
        RuleText {
            id: self.name.clone().unwrap_or(words.id),
            reason: self.reason.clone().unwrap_or(words.reason),
            hint: self.hint.clone().unwrap_or(hint),
        }
    }
}

fn named(patterns: Option<&[Glob]>, name: Option<&str>) -> Fit {
    match (patterns, name) {
        (None, _) => Fit::Yes,
        (Some(_), None) => Fit::Maybe,
        (Some(patterns), Some(name)) => Fit::from(patterns.iter().any(|pattern| pattern.fits(name))),
    }
}

/// Tells whether an effect is on a table of the pattern. What is on something else never is.
fn table(pattern: &TablePattern, effect: &Effect) -> Fit {
    match effect {
        Effect::Read { table }
        | Effect::LockTable { table, .. }
        | Effect::Write { table, .. }
        | Effect::Truncate { table, .. } => pattern.fit(table),
        Effect::SchemaAdd { kind, name, .. } if is_table(kind) => pattern.fit(name),
        // A rename of a column or a constraint names the table; an ALTER is a change of the table.
        Effect::SchemaChange { kind, name } if is_table(kind) || is_part(kind) => pattern.fit(name),
        Effect::SchemaDrop { kind, name, .. } if is_table(kind) || kind == "partition" => pattern.fit(name),
        Effect::SchemaDrop { kind, name, .. } if is_part(kind) => pattern.fit_owner(name),
        Effect::CodeDefinition { kind, name } if kind == "trigger or rule" => pattern.fit_owner(name),
        // The name may be that of a column, or of a table without its schema: that is not enough to allow it.
        Effect::Rewrite { name } => pattern.fit(name).max(pattern.fit_owner(name)).min(Fit::Maybe),
        _ => Fit::No,
    }
}

fn is_table(kind: &str) -> bool {
    matches!(kind, "table" | "view" | "materialized view" | "foreign table")
}

fn is_part(kind: &str) -> bool {
    matches!(kind, "column" | "constraint" | "column default")
}
