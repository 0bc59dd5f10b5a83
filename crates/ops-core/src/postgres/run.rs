//! Running one statement: judge, refuse or send, observe, and tell `tracing` what happened. Never the text, never a
//! parameter.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{GenericClient, Row, Statement};
use tracing::{Instrument as _, Span, field};

use super::failure::failure;
use super::statement::GuardedStatement;
use super::statement::sealed::Source;
use crate::error::{Error, ErrorKind};
use crate::guard::{
    Course, Decision, Judge, Limits, Observation, Prediction, StatementVerdict, Verdict, Violation,
};

pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// What a client and its transactions share: the judge, and the words for what goes wrong.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) judge: Arc<Judge>,
    /// The server, for messages.
    pub(super) target: Arc<str>,
}

impl Guard {
    /// Refuses a statement that may not run: nothing is sent.
    pub(super) fn deny(&self, verdict: &Verdict) -> Result<(), Error> {
        let Some(denied) = verdict.denied().next() else { return Ok(()) };
        let rule = denied.rule.as_deref().unwrap_or("unknown");
        tracing::warn!(
            rule,
            policy = verdict.policy,
            policy_hash = verdict.policy_hash,
            effects = effects(verdict),
            shadow = verdict.shadow,
            "statement refused"
        );
        if verdict.shadow {
            return Ok(());
        }
        // A parser's message quotes the text, which may hold what no log should; the verdict has it.
        let reason = denied
            .reason
            .as_deref()
            .filter(|_| rule != "unparsable")
            .unwrap_or("it is not SQL that the guard can read");
        let refused = if denied.decision == Decision::Approve { "needs an approval" } else { "refused" };
        let message = format!("statement {refused} by policy {}, rule {rule}: {reason}", verdict.policy);
        Err(Error::denied(message, Verdict::clone(verdict), None))
    }

    /// Judges a text that is to run as one statement.
    ///
    /// A prepared statement keeps its verdict as long as the judge has no other: what one client may run, another may not.
    pub(super) fn judge(&self, source: Source<'_>) -> Arc<Verdict> {
        let now = self.now();
        match source {
            Source::Statement(prepared) if prepared.epoch == self.judge.epoch(now) => {
                Arc::clone(&prepared.verdict)
            }
            source => self.judge.judge(source.text(), now),
        }
    }

    pub(super) fn course(&self, verdict: &Verdict) -> Course {
        Course::of(verdict, self.judge.policy().is_read_only())
    }

    fn now(&self) -> Timestamp {
        // The clock is asked only where the policy has windows.
        if self.judge.policy().depends_on_time() { Timestamp::now() } else { Timestamp::UNIX_EPOCH }
    }

    /// Compares what happened with what the statements were predicted to do, and with what the policy allows.
    pub(super) fn check(
        &self,
        verdicts: &[&Verdict],
        observation: &Observation,
        granted: Option<Limits>,
    ) -> Result<(), Violation> {
        if !observation.wrote && observation.relations.is_empty() {
            return Ok(());
        }
        let statements: Vec<&StatementVerdict> =
            verdicts.iter().flat_map(|verdict| verdict.statements.iter()).collect();
        let context = self.judge.context(self.now());
        Prediction::of(&statements, context.catalog.as_deref()).check(
            observation,
            self.judge.policy(),
            &context,
            granted,
        )
    }

    /// Says what a statement did more than it may.
    pub(super) fn report(&self, verdict: &Verdict, violation: &Violation, observation: &Observation) {
        tracing::warn!(
            rule = violation.rule,
            policy = verdict.policy,
            policy_hash = verdict.policy_hash,
            effects = effects(verdict),
            rows = observation.rows(),
            shadow = verdict.shadow,
            "statement did more than it may"
        );
    }

    /// Makes the error of a statement that was rolled back for what it did.
    pub(super) fn refusal(&self, verdict: &Verdict, violation: Violation, observation: Observation) -> Error {
        self.report(verdict, &violation, &observation);
        let Violation { rule, reason, hint, .. } = violation;
        let message = format!("statement rolled back by policy {}, rule {rule}: {reason}", verdict.policy);
        let mut verdict = verdict.clone();
        if let Some(statement) = verdict.statements.first_mut() {
            statement.decision = Decision::Deny;
            (statement.rule, statement.reason, statement.hint) = (Some(rule), Some(reason), Some(hint));
        }
        Error::denied(message, verdict, Some(observation))
    }

    pub(super) async fn prepare(
        &self,
        client: &impl GenericClient,
        sql: &str,
    ) -> Result<GuardedStatement, Error> {
        // The epoch first: if the verdict is of a later one, it is only given once more than needed.
        let epoch = self.judge.epoch(self.now());
        let verdict = self.judge(Source::Text(sql));
        self.deny(&verdict)?;
        let statement = self.prepare_source(client, Source::Text(sql), &verdict).await?;
        Ok(GuardedStatement { statement, sql: sql.into(), verdict, epoch })
    }

    /// Gets the server's statement of a source.
    pub(super) async fn prepare_source(
        &self,
        client: &impl GenericClient,
        source: Source<'_>,
        verdict: &Verdict,
    ) -> Result<Statement, Error> {
        match source {
            Source::Statement(prepared) => Ok(prepared.statement.clone()),
            Source::Text(sql) => {
                let span = self.span("prepare", verdict);
                let prepared = client.prepare(sql).instrument(span).await;
                prepared.map_err(|error| self.failure("prepare a statement", error))
            }
        }
    }

    pub(super) fn failure(&self, operation: &str, error: tokio_postgres::Error) -> Error {
        failure(operation, &self.target, error)
    }

    pub(super) fn one_at_most(&self, mut rows: Vec<Row>) -> Result<Option<Row>, Error> {
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            found => Err(self.unexpected("at most one row", found)),
        }
    }

    pub(super) fn exactly_one(&self, rows: Vec<Row>) -> Result<Row, Error> {
        self.one_at_most(rows)?.ok_or_else(|| self.unexpected("one row", 0))
    }

    fn unexpected(&self, expected: &str, found: usize) -> Error {
        let message = format!("query on {} returned {found} rows instead of {expected}", self.target);
        Error::new(ErrorKind::UnexpectedRows, message)
    }

    fn span(&self, operation: &'static str, verdict: &Verdict) -> Span {
        tracing::info_span!(
            "postgres",
            operation,
            server = &*self.target,
            effects = effects(verdict),
            policy_hash = verdict.policy_hash,
            rows = field::Empty,
            duration_ms = field::Empty,
            sqlstate = field::Empty,
        )
    }

    /// Runs work in a span that says what was done, for how long, and to how many rows.
    pub(super) async fn traced<T: Rows>(
        &self,
        operation: &'static str,
        verdict: &Verdict,
        work: impl Future<Output = Result<(T, Option<Observation>), Error>>,
    ) -> Result<(T, Option<Observation>), Error> {
        let span = self.span(operation, verdict);
        if span.is_disabled() {
            return work.await;
        }
        let began = Instant::now();
        let result = work.instrument(span.clone()).await;
        span.record("duration_ms", began.elapsed().as_secs_f64() * 1e3);
        match &result {
            Ok((answer, _)) => span.record("rows", answer.rows()),
            Err(error) => span.record("sqlstate", error.sqlstate().unwrap_or("none")),
        };
        span.in_scope(|| tracing::debug!("statement finished"));
        result
    }
}

fn effects(verdict: &Verdict) -> String {
    let effects = verdict.statements.iter().flat_map(|statement| &statement.effects);
    effects.map(|predicted| predicted.effect.to_string()).collect::<Vec<_>>().join(" ")
}

/// The two forms of an answer, each got from a prepared statement.
pub(super) trait Rows: Sized + Default + Send {
    /// The name of the operation in spans and messages.
    const OPERATION: &'static str;

    /// What could not be done, in messages.
    const WORDS: &'static str;

    /// How many rows the statement gave or concerned.
    fn rows(&self) -> u64;

    fn send<C: GenericClient + Sync>(
        client: &C,
        statement: &Statement,
        params: Params<'_>,
    ) -> impl Future<Output = Result<Self, tokio_postgres::Error>> + Send;
}

impl Rows for Vec<Row> {
    const OPERATION: &'static str = "query";
    const WORDS: &'static str = "run a query";

    fn rows(&self) -> u64 {
        self.len() as u64
    }

    async fn send<C: GenericClient + Sync>(
        client: &C,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Self, tokio_postgres::Error> {
        client.query(statement, params).await
    }
}

impl Rows for u64 {
    const OPERATION: &'static str = "execute";
    const WORDS: &'static str = "run a statement";

    fn rows(&self) -> u64 {
        *self
    }

    async fn send<C: GenericClient + Sync>(
        client: &C,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Self, tokio_postgres::Error> {
        client.execute(statement, params).await
    }
}
