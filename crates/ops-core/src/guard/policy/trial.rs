//! The tests of a policy file: statements, and the verdicts that its author expects.

use jiff::Timestamp;

use super::super::context::Context;
use super::super::verdict::{Decision, Verdict};

/// One `[[test]]`.
#[derive(Clone, Debug)]
pub(super) struct PolicyTest {
    pub(super) line: usize,
    pub(super) sql: String,
    pub(super) principal: Option<String>,
    pub(super) database: Option<String>,
    pub(super) at: Option<Timestamp>,
    pub(super) expected: Decision,
    pub(super) rule: Option<String>,
}

/// How one test of a policy file came out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TestOutcome {
    /// The line of the policy file on which the test begins.
    pub line: usize,
    /// The statement, or several: then the strictest verdict counts.
    pub sql: String,
    /// The decision that the test expects.
    pub expected: Decision,
    /// The rule that the test expects to refuse; None: any.
    pub expected_rule: Option<String>,
    /// The decision of the policy.
    pub found: Decision,
    /// The rule that refuses.
    pub found_rule: Option<String>,
}

impl TestOutcome {
    /// Tells whether the policy does what the test expects.
    pub fn holds(&self) -> bool {
        self.expected == self.found && (self.expected_rule.is_none() || self.expected_rule == self.found_rule)
    }
}

impl PolicyTest {
    pub(super) fn run(&self, judge: impl FnOnce(&str, &Context) -> Verdict) -> TestOutcome {
        let context = Context {
            principal: self.principal.clone(),
            database: self.database.clone(),
            at: self.at,
            catalog: None,
        };
        let verdict = judge(&self.sql, &context);
        let mut found = (Decision::Allow, None);
        for statement in verdict.statements {
            if statement.decision > found.0 {
                found = (statement.decision, statement.rule);
            }
        }
        TestOutcome {
            line: self.line,
            sql: self.sql.clone(),
            expected: self.expected,
            expected_rule: self.rule.clone(),
            found: found.0,
            found_rule: found.1,
        }
    }
}
