//! Sets of rules, small enough to be copied, and the groups that a policy file may name instead of single rules.

use super::rules::Rule;

/// A set of rules, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RuleSet(u64);

/// The groups of a policy file: `write` is every change of rows, `schema` every `schema-…`, `any` all effects.
pub(super) const GROUPS: [(&str, RuleSet); 3] =
    [("write", RuleSet::WRITE), ("schema", RuleSet::SCHEMA), ("any", RuleSet::of(Rule::EFFECTS))];

impl RuleSet {
    /// The changes of rows whose number is known before the commit, so that a limit can hold.
    pub(super) const COUNTED: Self =
        Self::of(&[Rule::Insert, Rule::Update, Rule::UpdateAll, Rule::Delete, Rule::DeleteAll]);

    /// Code that may change rows: its limits are the business of whoever names it.
    pub(super) const CODE: Self = Self::of(&[Rule::UnknownFunction, Rule::DynamicCode, Rule::HiddenCode]);

    const WRITE: Self = Self::COUNTED.or(Self::of(&[Rule::Truncate]));

    const SCHEMA: Self =
        Self::of(&[Rule::SchemaAdd, Rule::SchemaAddTemporary, Rule::SchemaChange, Rule::SchemaDrop]);

    pub(super) const fn of(rules: &[Rule]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < rules.len() {
            bits |= 1 << rules[index] as u32;
            index += 1;
        }
        Self(bits)
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn contains(self, rule: Rule) -> bool {
        self.0 >> rule as u32 & 1 == 1
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the names of the rules, in the order of the alphabet.
    pub(super) fn ids(self) -> Vec<&'static str> {
        let mut ids: Vec<&str> =
            Rule::ALL.iter().filter(|rule| self.contains(**rule)).map(|rule| rule.id()).collect();
        ids.sort_unstable();
        ids
    }
}

const _: () = assert!(Rule::ALL.len() <= 64, "one bit a rule");
