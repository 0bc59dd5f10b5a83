//! From the tables of a policy file to what they mean. Every problem is collected; nothing is guessed.

mod rule;

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;

use super::budget::{self, Budget};
use super::document::{BudgetTable, PolicyTable, RuleTable, TestTable, Words, problem, reworded};
use super::matching::PolicyRule;
use super::pattern;
use super::preset::Preset;
use super::problem::{PolicyError, PolicyProblem, suggestion};
use super::rules::Rule;
use super::trial::PolicyTest;
use super::window::Windows;
use crate::guard::effect::Operation;
use crate::guard::verdict::Decision;

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

/// What a policy file says, understood and checked.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) name: String,
    pub(super) base: Preset,
    pub(super) shadow: bool,
    pub(super) functions: BTreeSet<String>,
    pub(super) rules: Vec<PolicyRule>,
    pub(super) budgets: Vec<Budget>,
    pub(super) tests: Vec<PolicyTest>,
}

/// Reads a policy file's text.
pub(super) fn read(text: &str) -> Result<Document, PolicyError> {
    let table: PolicyTable = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let (message, hint) = reworded(error.message());
        PolicyError::new(vec![problem(text, start, message, hint)])
    })?;
    Reader::new(text).document(table)
}

/// The problems found so far.
struct Reader<'a> {
    text: &'a str,
    problems: Vec<PolicyProblem>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, problems: Vec::new() }
    }

    fn document(mut self, table: PolicyTable) -> Result<Document, PolicyError> {
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

    fn decision(&mut self, word: &Spanned<String>) -> Option<Decision> {
        let found = DECISIONS.iter().find(|(name, _)| name == word.get_ref());
        if found.is_none() {
            self.unknown(word, "decision", &DECISIONS.map(|(name, _)| name));
        }
        found.map(|(_, decision)| *decision)
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

    fn window_count(&mut self, tables: &[Spanned<RuleTable>], rules: &[PolicyRule]) {
        let windows = Windows::of(rules.iter().filter_map(|rule| rule.window.as_ref()));
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

fn word(decision: Decision) -> &'static str {
    DECISIONS.iter().find(|(_, known)| *known == decision).map_or("deny", |(word, _)| word)
}
