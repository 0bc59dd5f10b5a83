//! From the tables of a policy file to what they mean. Every problem is collected; nothing is guessed.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;

use super::super::effect::Operation;
use super::super::verdict::{Decision, Limits};
use super::budget::{self, Budget};
use super::document::{
    BudgetTable, Document, PolicyTable, RuleTable, TestTable, WindowTable, Words, problem,
};
use super::matching::PolicyRule;
use super::pattern::{self, Glob, TablePattern};
use super::preset::Preset;
use super::problem::{PolicyError, PolicyProblem, suggestion};
use super::rules::Rule;
use super::set::{GROUPS, RuleSet};
use super::trial::PolicyTest;
use super::window::{self, DAYS, EVERY_DAY, Window};

/// The only version that there is.
const VERSION: u64 = 1;

/// One bit each tells which windows are open.
const MAX_WINDOWS: usize = 64;

/// A longer name would drown the messages that carry it.
const MAX_NAME_CHARS: usize = 64;

const DECISIONS: [(&str, Decision); 4] = [
    ("allow", Decision::Allow),
    ("limit", Decision::Limit),
    ("approve", Decision::Approve),
    ("deny", Decision::Deny),
];

const OPERATIONS: [(&str, Operation); 3] =
    [("insert", Operation::Insert), ("update", Operation::Update), ("delete", Operation::Delete)];

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

/// The problems found so far.
pub(super) struct Reader<'a> {
    text: &'a str,
    problems: Vec<PolicyProblem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, problems: Vec::new() }
    }

    pub(super) fn document(mut self, table: PolicyTable) -> Result<Document, PolicyError> {
        if *table.version.get_ref() != VERSION {
            let hint = format!("this version of the guard reads version {VERSION}");
            self.problem(
                &table.version.span(),
                format!("version {} is not known", table.version.get_ref()),
                hint,
            );
        }
        self.name(&table.name);
        let base =
            table.base.as_ref().map_or(Some(Preset::App), |base| self.base(base)).unwrap_or(Preset::App);
        let functions = self.functions(&table.functions);
        let rules: Vec<PolicyRule> = table.rule.iter().filter_map(|rule| self.rule(rule, base)).collect();
        self.rule_names(&table.rule);
        self.window_count(&table.rule, &rules);
        let names: Vec<&str> = rules.iter().filter_map(|rule| rule.name.as_deref()).collect();
        let budgets = table.budget.iter().filter_map(|budget| self.budget(budget.get_ref())).collect();
        let tests = table.test.iter().filter_map(|test| self.test(test, &names)).collect();
        if !self.problems.is_empty() {
            self.problems.sort_by_key(|problem| problem.line);
            return Err(PolicyError::new(self.problems));
        }
        let name = table.name.into_inner();
        Ok(Document { name, base, shadow: table.shadow, functions, rules, budgets, tests })
    }

    fn name(&mut self, name: &Spanned<String>) {
        let text = name.get_ref();
        let length = text.chars().count();
        if Preset::by_name(text).is_some() {
            let message = format!("`{text}` is the name of a built-in policy");
            self.problem(&name.span(), message, "give the policy a name of its own");
        } else if text.trim().is_empty() || length > MAX_NAME_CHARS || text.chars().any(char::is_control) {
            let hint = format!("a name is one line of 1 to {MAX_NAME_CHARS} characters");
            self.problem(&name.span(), format!("the name has {length} characters"), hint);
        }
    }

    fn base(&mut self, base: &Spanned<String>) -> Option<Preset> {
        let preset = Preset::by_name(base.get_ref());
        if preset.is_none() {
            let known = Preset::ALL.map(Preset::name);
            self.unknown(base, "built-in policy", &known);
        }
        preset
    }

    fn functions(&mut self, names: &Words) -> BTreeSet<String> {
        for name in names {
            let text = name.get_ref();
            let operator = text.strip_prefix("operator ");
            let star = text.find('*').filter(|_| operator.is_none());
            if text.is_empty() || operator.is_none() && text.contains(char::is_whitespace) {
                self.problem(
                    &name.span(),
                    format!("`{text}` is no name of a function"),
                    "write `similarity`, `app.next_invoice`, `app.*` or `operator ===`",
                );
            } else if star.is_some_and(|at| !text.ends_with(".*") || at + 1 != text.len() || at < 2) {
                self.problem(
                    &name.span(),
                    format!("`{text}` is no name of a function"),
                    "`*` stands for all functions of a schema: `app.*`",
                );
            } else if let Some(folded) = pattern::folded(text) {
                let hint = format!("write `{folded}`, or put the name between double quotes");
                self.problem(&name.span(), "SQL reads names without quotes in lower case", hint);
            }
        }
        names.iter().map(|name| name.get_ref().clone()).collect()
    }

    fn rule(&mut self, rule: &Spanned<RuleTable>, base: Preset) -> Option<PolicyRule> {
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

    fn decision(&mut self, word: &Spanned<String>) -> Option<Decision> {
        let found = DECISIONS.iter().find(|(name, _)| name == word.get_ref());
        if found.is_none() {
            self.unknown(word, "decision", &DECISIONS.map(|(name, _)| name));
        }
        found.map(|(_, decision)| *decision)
    }

    fn globs(&mut self, words: &Spanned<Words>) -> Vec<Glob> {
        self.each(words, |word| Glob::new(word))
    }

    fn tables(&mut self, words: &Spanned<Words>) -> Vec<TablePattern> {
        self.each(words, |word| TablePattern::new(word))
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

    fn rule_names(&mut self, rules: &[Spanned<RuleTable>]) {
        let mut known = BTreeSet::new();
        for name in rules.iter().filter_map(|rule| rule.get_ref().name.as_ref()) {
            let text = name.get_ref().as_str();
            let is_word = |word: &str| {
                !word.is_empty()
                    && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            };
            if !text.split('-').all(is_word) || text.len() > MAX_NAME_CHARS {
                let message = format!("`{text}` is no name of a rule");
                self.problem(
                    &name.span(),
                    message,
                    "use small letters, digits and `-`: `ledger-is-append-only`",
                );
            } else if Rule::ALL.iter().any(|rule| rule.id() == text) {
                let message = format!("`{text}` is the name of a built-in rule");
                self.problem(&name.span(), message, "give the rule a name of its own");
            } else if !known.insert(text) {
                self.problem(&name.span(), format!("two rules have the name `{text}`"), "give each its own");
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

    fn window_count(&mut self, tables: &[Spanned<RuleTable>], rules: &[PolicyRule]) {
        let mut windows: Vec<&Window> = Vec::new();
        for window in rules.iter().filter_map(|rule| rule.window.as_ref()) {
            if !windows.contains(&window) {
                windows.push(window);
            }
        }
        if windows.len() > MAX_WINDOWS
            && let Some(window) = tables.iter().filter_map(|rule| rule.get_ref().window.as_ref()).next_back()
        {
            let message = format!("the policy has {} different windows", windows.len());
            self.problem(&window.span(), message, format!("it may have {MAX_WINDOWS}"));
        }
    }

    fn budget(&mut self, table: &BudgetTable) -> Option<Budget> {
        self.not_empty(&table.effect);
        let mut effects = Vec::new();
        for word in table.effect.get_ref() {
            match OPERATIONS.iter().find(|(name, _)| name == word.get_ref()) {
                Some((_, operation)) => effects.push(*operation),
                None => self.unknown(word, "change of rows", &OPERATIONS.map(|(name, _)| name)),
            }
        }
        let per = match &table.per {
            None => None,
            Some(per) => {
                let span = budget::span(per.get_ref());
                if span.is_none() {
                    let message = format!("`{}` is no span of time", per.get_ref());
                    self.problem(&per.span(), message, "write a number and `s`, `m`, `h` or `d`: `1h`");
                }
                Some(span?)
            }
        };
        Some(Budget { effects, rows: table.rows, per })
    }

    fn test(&mut self, test: &Spanned<TestTable>, names: &[&str]) -> Option<PolicyTest> {
        let table = test.get_ref();
        let expected = self.decision(&table.expect);
        let at = match &table.at {
            None => None,
            Some(at) => {
                let time = at.get_ref().parse();
                if time.is_err() {
                    let message = format!("`{}` is no instant", at.get_ref());
                    self.problem(&at.span(), message, "write `2026-11-21T23:00:00+01:00`");
                }
                Some(time.ok()?)
            }
        };
        let expected = expected?;
        if let Some(rule) = &table.rule {
            let known: Vec<&str> =
                names.iter().copied().chain(Rule::ALL.iter().map(|rule| rule.id())).collect();
            if expected <= Decision::Limit {
                let message = format!("no rule is named where the decision is `{}`", word(expected));
                self.problem(&rule.span(), message, "leave it out");
            } else if !known.contains(&rule.get_ref().as_str()) {
                self.unknown(rule, "rule of this policy", &known);
            }
        }
        Some(PolicyTest {
            line: problem(self.text, test.span().start, String::new(), None).line,
            sql: table.sql.clone(),
            principal: table.principal.clone(),
            database: table.database.clone(),
            at,
            expected,
            rule: table.rule.as_ref().map(|rule| rule.get_ref().clone()),
        })
    }

    fn not_empty(&mut self, words: &Spanned<Words>) {
        if words.get_ref().is_empty() {
            self.problem(&words.span(), "an empty list fits nothing", "name something, or leave the key out");
        }
    }

    fn unknown(&mut self, word: &Spanned<String>, what: &str, known: &[&str]) {
        let message = format!("`{}` is no {what}", word.get_ref());
        self.problem(&word.span(), message, suggestion(word.get_ref(), known));
    }

    fn problem(&mut self, span: &Range<usize>, message: impl Into<String>, hint: impl Into<String>) {
        let found = problem(self.text, span.start, message.into(), Some(hint.into()));
        self.problems.push(found);
    }
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}

fn word(decision: Decision) -> &'static str {
    DECISIONS.iter().find(|(_, known)| *known == decision).map_or("deny", |(word, _)| word)
}

fn participle(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allowed",
        Decision::Limit => "limited",
        Decision::Approve => "approved",
        Decision::Deny => "denied",
    }
}
