//! One `[[rule]]`: its conditions, the effects that it is about, and its decision.

use toml::Spanned;

use super::super::document::{RuleTable, WindowTable, Words};
use super::super::matching::PolicyRule;
use super::super::pattern::{Glob, TablePattern};
use super::super::preset::Preset;
use super::super::rules::Rule;
use super::super::set::{GROUPS, RuleSet};
use super::super::window::{self, DAYS, EVERY_DAY, Window};
use super::{Reader, word};
use crate::guard::verdict::{Decision, Limits};

/// The effects that may be on a table.
const ON_TABLES: RuleSet = RuleSet::of(&[
    Rule::DataDrop,
    Rule::Truncate,
    Rule::DeleteAll,
    Rule::UpdateAll,
    Rule::CodeDefinition,
    Rule::SchemaDrop,
    Rule::Rewrite,
    Rule::SchemaChange,
    Rule::SchemaAdd,
    Rule::LockTable,
    Rule::SchemaAddTemporary,
    Rule::Delete,
    Rule::Update,
    Rule::Insert,
    Rule::Read,
]);

impl Reader<'_> {
    pub(super) fn rule(&mut self, rule: &Spanned<RuleTable>, base: Preset) -> Option<PolicyRule> {
        let table = rule.get_ref();
        let decision = self.decision(&table.decision);
        let principals = table.principal.as_ref().map(|words| self.globs(words));
        let databases = table.database.as_ref().map(|words| self.globs(words));
        let tables = table.table.as_ref().map(|words| self.tables(words));
        let window = table.window.as_ref().and_then(|window| self.window(window));
        let decision = decision?;
        let effects = self.effects(table, decision, base);
        let limits = self.limits(rule, decision);
        self.rule_words(table, decision);
        // A pattern for all names holds also where the name is not known.
        let unless_any =
            |globs: Option<Vec<Glob>>| globs.filter(|globs| !globs.iter().any(Glob::is_any)).map(sorted);
        Some(PolicyRule {
            name: table.name.as_ref().map(|name| name.get_ref().clone()),
            effects,
            principals: unless_any(principals),
            databases: unless_any(databases),
            tables: tables.map(sorted),
            window: window.filter(|window| !window.is_always_open()),
            decision,
            limits,
            reason: table.reason.as_ref().map(|reason| reason.get_ref().clone()),
            hint: table.hint.as_ref().map(|hint| hint.get_ref().clone()),
        })
    }

    fn globs(&mut self, words: &Spanned<Words>) -> Vec<Glob> {
        self.each(words, Glob::new)
    }

    fn tables(&mut self, words: &Spanned<Words>) -> Vec<TablePattern> {
        self.each(words, TablePattern::new)
    }

    fn each<T>(&mut self, words: &Spanned<Words>, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        self.not_empty(words);
        let mut found = Vec::new();
        for word in words.get_ref() {
            match read(word.get_ref()) {
                Ok(pattern) => found.push(pattern),
                Err(why) => self.problem(&word.span(), format!("`{}` fits nothing", word.get_ref()), why),
            }
        }
        found
    }

    /// The classes of effects that a rule is about. Groups leave out what the decision cannot be about.
    fn effects(&mut self, table: &RuleTable, decision: Decision, base: Preset) -> RuleSet {
        let opaque = RuleSet::of(&[Rule::Opaque]);
        let all = RuleSet::of(Rule::EFFECTS);
        // What cannot be judged may be closed further, never opened.
        let possible = match decision {
            Decision::Limit => RuleSet::COUNTED.or(RuleSet::CODE),
            Decision::Deny => all,
            Decision::Approve if base.ruling(Rule::Opaque).0 < Decision::Deny => all,
            _ => all.without(opaque),
        };
        let in_groups = if decision == Decision::Limit { RuleSet::COUNTED } else { possible };
        let Some(words) = &table.effect else { return in_groups };
        self.not_empty(words);
        let on_tables = match decision {
            Decision::Allow | Decision::Limit => ON_TABLES.without(RuleSet::of(&[Rule::Rewrite])),
            _ => ON_TABLES,
        };
        let mut effects = RuleSet::default();
        for word in words.get_ref() {
            let id = word.get_ref().as_str();
            if let Some((_, group)) = GROUPS.iter().find(|(name, _)| *name == id) {
                effects = effects.or(group.and(in_groups));
                if group.and(in_groups).is_empty() {
                    let hint = format!("limits hold for `{}`", RuleSet::COUNTED.ids().join("`, `"));
                    self.problem(&word.span(), format!("no effect of `{id}` can be limited"), hint);
                }
                continue;
            }
            let Some(rule) = Rule::ALL.iter().copied().find(|rule| rule.id() == id) else {
                let known: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).chain(all.ids()).collect();
                self.unknown(word, "class of effects", &known);
                continue;
            };
            effects = effects.or(RuleSet::of(&[rule]));
            if !all.contains(rule) {
                let message = format!("`{id}` is refused whatever a policy says");
                self.problem(&word.span(), message, "leave it out");
            } else if decision == Decision::Limit && !possible.contains(rule) {
                let hint = format!("limits hold for `{}`", possible.ids().join("`, `"));
                self.problem(&word.span(), format!("the rows of `{id}` are not counted"), hint);
            } else if !possible.contains(rule) {
                let hint = "what cannot be judged is for the base break_glass";
                self.problem(&word.span(), format!("no rule can open `{id}`"), hint);
            } else if table.table.is_some() && !on_tables.contains(rule) {
                let message = format!("`{id}` cannot be {} by its table", participle(decision));
                self.problem(&word.span(), message, "put it into a rule without `table`");
            }
        }
        effects
    }

    fn limits(&mut self, rule: &Spanned<RuleTable>, decision: Decision) -> Limits {
        let table = rule.get_ref();
        let keys = [&table.rows, &table.rows_per_table, &table.tables];
        let given: Vec<_> = keys.into_iter().flatten().collect();
        if decision == Decision::Limit && given.is_empty() {
            let hint = "give `rows`, `rows_per_table` or `tables`";
            self.problem(&table.decision.span(), "the limit is missing", hint);
        }
        if decision != Decision::Limit {
            for number in given {
                let message = format!("a limit means nothing where the decision is `{}`", word(decision));
                self.problem(&number.span(), message, "leave it out, or write `decision = \"limit\"`");
            }
        }
        let [rows, rows_per_table, tables] =
            keys.map(|number| number.as_ref().map(|number| *number.get_ref()));
        Limits { rows, rows_per_table, tables }
    }

    /// Words are for whoever is refused; there is nobody where the decision is mild.
    fn rule_words(&mut self, table: &RuleTable, decision: Decision) {
        for words in [&table.reason, &table.hint].into_iter().flatten() {
            if decision <= Decision::Limit {
                let message = format!("nobody sees it where the decision is `{}`", word(decision));
                self.problem(&words.span(), message, "write a comment instead");
            } else if words.get_ref().trim().is_empty() || words.get_ref().chars().any(char::is_control) {
                self.problem(
                    &words.span(),
                    "it is not one line of words",
                    "leave it out for the built-in words",
                );
            }
        }
    }

    fn window(&mut self, window: &Spanned<WindowTable>) -> Option<Window> {
        let table = window.get_ref();
        if table.days.is_none() && table.from.is_none() && table.to.is_none() {
            let hint = "give `days`, or `from` and `to`, or leave the window out";
            self.problem(&window.span(), "the window is always open", hint);
            return None;
        }
        let days = table.days.as_ref().map_or(EVERY_DAY, |days| self.days(days));
        let hours = match (&table.from, &table.to) {
            (Some(from), Some(to)) => self.hours(from, to),
            (None, None) => None,
            _ => {
                self.problem(
                    &window.span(),
                    "`from` and `to` belong together",
                    "give both, or neither for whole days",
                );
                None
            }
        };
        let zone = table.zone.as_ref().map_or("UTC", |zone| zone.get_ref());
        let Some(clock) = window::zone(zone) else {
            let hint = "write a name like `Europe/Berlin`; all but UTC need the system's tzdata";
            let span = table.zone.as_ref().map_or(window.span(), Spanned::span);
            self.problem(&span, format!("the time zone `{zone}` is not in the system's database"), hint);
            return None;
        };
        let zone = clock.iana_name().unwrap_or("UTC").to_owned();
        Some(Window { days, hours, zone, clock })
    }

    fn days(&mut self, words: &Spanned<Words>) -> u8 {
        self.not_empty(words);
        words.get_ref().iter().fold(0, |days, word| {
            let found = window::days(word.get_ref());
            if found.is_none() {
                let hint = format!("write `{}` or `mon-fri`", DAYS.join("`, `"));
                self.problem(&word.span(), format!("`{}` is no day", word.get_ref()), hint);
            }
            days | found.unwrap_or(0)
        })
    }

    fn hours(&mut self, from: &Spanned<String>, to: &Spanned<String>) -> Option<(u16, u16)> {
        let [start, end] = [from, to].map(|time| {
            let minutes = window::minutes(time.get_ref());
            if minutes.is_none() {
                let message = format!("`{}` is no time of the day", time.get_ref());
                self.problem(&time.span(), message, "write `00:00` to `24:00`");
            }
            minutes
        });
        let (start, end) = (start?, end?);
        if start == end || (start, end) == (0, 24 * 60) || start == 24 * 60 {
            let hint = "leave `from` and `to` out for whole days";
            self.problem(&to.span(), "the window is empty, or the whole day", hint);
            return None;
        }
        Some((start, end))
    }
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}

fn participle(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allowed",
        Decision::Limit => "limited",
        Decision::Approve => "approved",
        Decision::Deny => "denied",
    }
}
