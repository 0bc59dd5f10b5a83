//! From a text to its verdict: parse, analyse, rule on each effect, and let the strictest ruling decide.

use super::super::classify::{self, Located};
use super::super::context::Context;
use super::super::effect::Effect;
use super::super::parse::{self, Failure, Statement};
use super::super::verdict::{Decision, Predicted, StatementVerdict, Verdict};
use super::Policy;
use super::rules::{Rule, RuleText};

impl Policy {
    /// Judges every statement of a text. It reads nothing but the text, and any text ends in a verdict.
    ///
    /// Who asks, where and when is not known then, and is taken for the worst: see [`Context`].
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
        Verdict {
            policy: self.name().to_owned(),
            policy_hash: self.hash().to_owned(),
            shadow: self.is_shadow(),
            statements,
        }
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
            let limits = verdict.limits;
            refuse(&mut verdict, words);
            if decision < Decision::Deny {
                (verdict.decision, verdict.limits) = (decision, limits);
            }
        }
        verdict.effects = effects.into_iter().map(|located| located.predicted).collect();
        verdict
    }
}

fn refuse(verdict: &mut StatementVerdict, text: RuleText) {
    verdict.decision = Decision::Deny;
    verdict.rule = Some(text.id);
    verdict.reason = Some(text.reason);
    verdict.hint = Some(text.hint);
    verdict.limits = None;
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
