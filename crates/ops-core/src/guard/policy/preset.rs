//! The built-in policies, which are also what the policy files build on.

use std::time::Duration;

use super::super::effect::Operation;
use super::super::verdict::{Decision, Limits};
use super::budget::Budget;
use super::rules::Rule;
use super::set::RuleSet;

/// How many rows one statement of an application may change or remove.
const APP_ROWS: u64 = 10_000;

/// How many rows one session of an application may remove in an hour.
const APP_DELETED_ROWS: u64 = 100_000;

/// What holds where no rule of a policy file speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preset {
    ReadOnly,
    App,
    Migration,
    BreakGlass,
}

impl Preset {
    pub(super) const ALL: [Self; 4] = [Self::ReadOnly, Self::App, Self::Migration, Self::BreakGlass];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::App => "app",
            Self::Migration => "migration",
            Self::BreakGlass => "break_glass",
        }
    }

    /// Returns the preset of a name, written with `-` or `_`.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        let same = |preset: &Self| {
            let pairs = || preset.name().bytes().zip(name.bytes());
            preset.name().len() == name.len()
                && pairs().all(|(own, given)| own == given || own == b'_' && given == b'-')
        };
        Self::ALL.into_iter().find(same)
    }

    /// Returns what it says of a class of effects, without a look at the effect.
    pub(super) const fn ruling(self, rule: Rule) -> (Decision, Limits) {
        let none = Limits { rows: None, rows_per_table: None, tables: None };
        if !self.allowed().contains(rule) {
            return (Decision::Deny, none);
        }
        match (self, rule) {
            (Self::App, Rule::Update | Rule::Delete) => {
                (Decision::Limit, Limits { rows: Some(APP_ROWS), ..none })
            }
            _ => (Decision::Allow, none),
        }
    }

    pub(super) fn budgets(self) -> Vec<Budget> {
        match self {
            Self::App => vec![Budget {
                effects: vec![Operation::Delete],
                rows: APP_DELETED_ROWS,
                per: Some(Duration::from_secs(3600)),
            }],
            Self::ReadOnly | Self::Migration | Self::BreakGlass => Vec::new(),
        }
    }

    const fn allowed(self) -> RuleSet {
        match self {
            Self::ReadOnly => READ_ONLY,
            Self::App => APP,
            Self::Migration => APP.or(MIGRATION),
            Self::BreakGlass => RuleSet::of(Rule::EFFECTS),
        }
    }
}

const READ_ONLY: RuleSet = RuleSet::of(&[Rule::Read, Rule::HarmlessSetting]);

const APP: RuleSet = RuleSet::of(&[
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
]);

/// What a migration may do beyond an application.
const MIGRATION: RuleSet = RuleSet::of(&[
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
]);
