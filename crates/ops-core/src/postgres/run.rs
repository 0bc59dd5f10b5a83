//! Running one statement: judge, refuse or send, and tell `tracing` what happened. Never the text, never a parameter.

use std::sync::Arc;
use std::time::Instant;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Column, GenericClient, Row, Statement};
use tracing::{Instrument as _, Span, field};

use super::failure::failure;
use crate::error::{Error, ErrorKind};
use crate::guard::{Judge, Verdict};

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A statement that was judged and prepared; running it again costs no second look.
#[derive(Clone)]
pub struct GuardedStatement {
    statement: Statement,
    sql: Arc<str>,
    verdict: Arc<Verdict>,
}

impl GuardedStatement {
    /// Returns the types of the parameters.
    pub fn params(&self) -> &[Type] {
        self.statement.params()
    }

    /// Returns the columns of the answer.
    pub fn columns(&self) -> &[Column] {
        self.statement.columns()
    }

    /// Returns the verdict that let it pass.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

impl std::fmt::Debug for GuardedStatement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardedStatement").field("verdict", &self.verdict).finish_non_exhaustive()
    }
}

/// What a guarded client can run: a text, or a [`GuardedStatement`].
pub trait ToStatement: sealed::Sealed {}

impl ToStatement for str {}
impl ToStatement for String {}
impl ToStatement for GuardedStatement {}

pub(super) mod sealed {
    use super::GuardedStatement;

    pub trait Sealed {
        #[doc(hidden)]
        fn source(&self) -> Source<'_>;
    }

    /// The two things that can be run.
    #[derive(Debug)]
    pub enum Source<'a> {
        Text(&'a str),
        Statement(&'a GuardedStatement),
    }

    impl Sealed for str {
        fn source(&self) -> Source<'_> {
            Source::Text(self)
        }
    }

    impl Sealed for String {
        fn source(&self) -> Source<'_> {
            Source::Text(self)
        }
    }

    impl Sealed for GuardedStatement {
        fn source(&self) -> Source<'_> {
            Source::Statement(self)
        }
    }
}

use sealed::Source;

/// What a client and its transactions share.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) judge: Arc<Judge>,
    /// The server, for messages.
    pub(super) target: Arc<str>,
}

impl Guard {
    /// Judges a text that is to run as one statement.
    ///
    /// A prepared statement of another policy is judged again: what one client may run, another may not.
    fn admit(&self, source: &Source<'_>) -> Result<Arc<Verdict>, Error> {
        let verdict = match source {
            Source::Statement(prepared) if prepared.verdict.policy_hash == self.judge.policy().hash() => {
                return Ok(Arc::clone(&prepared.verdict));
            }
            Source::Statement(prepared) => self.judge.judge(&prepared.sql),
            Source::Text(sql) => self.judge.judge(sql),
        };
        let Some(denied) = verdict.denied().next() else { return Ok(verdict) };
        let rule = denied.rule.as_deref().unwrap_or("unknown");
        // A parser's message quotes the text, which may hold what no log should; the verdict has it.
        let reason = denied
            .reason
            .as_deref()
            .filter(|_| rule != "unparsable")
            .unwrap_or("it is not SQL that the guard can read");
        tracing::warn!(
            rule,
            policy = verdict.policy,
            policy_hash = verdict.policy_hash,
            effects = effects(&verdict),
            "statement refused"
        );
        let message = format!("statement refused by policy {}, rule {rule}: {reason}", verdict.policy);
        Err(Error::denied(message, Verdict::clone(&verdict)))
    }

    pub(super) async fn prepare(
        &self,
        client: &impl GenericClient,
        sql: &str,
    ) -> Result<GuardedStatement, Error> {
        let verdict = self.admit(&Source::Text(sql))?;
        let span = self.span("prepare", &verdict);
        let statement = client
            .prepare(sql)
            .instrument(span)
            .await
            .map_err(|error| self.failure("prepare a statement", error))?;
        Ok(GuardedStatement { statement, sql: sql.into(), verdict })
    }

    pub(super) async fn query(
        &self,
        client: &impl GenericClient,
        statement: &(impl ToStatement + ?Sized),
        params: Params<'_>,
    ) -> Result<Vec<Row>, Error> {
        let source = statement.source();
        let verdict = self.admit(&source)?;
        let work = async {
            let rows = match source {
                Source::Text(sql) => client.query(sql, params).await,
                Source::Statement(prepared) => client.query(&prepared.statement, params).await,
            };
            rows.map_err(|error| self.failure("run a query", error))
        };
        self.observe("query", &verdict, work, |rows| rows.len() as u64).await
    }

    pub(super) async fn execute(
        &self,
        client: &impl GenericClient,
        statement: &(impl ToStatement + ?Sized),
        params: Params<'_>,
    ) -> Result<u64, Error> {
        let source = statement.source();
        let verdict = self.admit(&source)?;
        let work = async {
            let rows = match source {
                Source::Text(sql) => client.execute(sql, params).await,
                Source::Statement(prepared) => client.execute(&prepared.statement, params).await,
            };
            rows.map_err(|error| self.failure("run a statement", error))
        };
        self.observe("execute", &verdict, work, |rows| *rows).await
    }

    pub(super) async fn query_opt(
        &self,
        client: &impl GenericClient,
        statement: &(impl ToStatement + ?Sized),
        params: Params<'_>,
    ) -> Result<Option<Row>, Error> {
        let mut rows = self.query(client, statement, params).await?;
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            found => Err(self.unexpected("at most one row", found)),
        }
    }

    pub(super) async fn query_one(
        &self,
        client: &impl GenericClient,
        statement: &(impl ToStatement + ?Sized),
        params: Params<'_>,
    ) -> Result<Row, Error> {
        self.query_opt(client, statement, params).await?.ok_or_else(|| self.unexpected("one row", 0))
    }

    pub(super) fn failure(&self, operation: &str, error: tokio_postgres::Error) -> Error {
        failure(operation, &self.target, error)
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

    async fn observe<T>(
        &self,
        operation: &'static str,
        verdict: &Verdict,
        work: impl Future<Output = Result<T, Error>>,
        rows: impl FnOnce(&T) -> u64,
    ) -> Result<T, Error> {
        let span = self.span(operation, verdict);
        let began = Instant::now();
        let result = work.instrument(span.clone()).await;
        span.record("duration_ms", began.elapsed().as_secs_f64() * 1e3);
        match &result {
            Ok(answer) => span.record("rows", rows(answer)),
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
