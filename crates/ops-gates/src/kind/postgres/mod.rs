//! `kind = "postgres"`: connects, and asks in a read-only transaction: one statement of the plan, and what the server says
//! about itself.

mod state;

pub use state::Migrations;

use super::chain;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text, Threshold, VariableName, holds_a_password};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, pin_mut};
use ops_core::connection::ConnectionSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

/// A PostgreSQL server that must answer a query as expected.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// The connection string, as a URL or as `key=value` pairs.
    pub url: Text,
    /// The variable that holds the password.
    pub password_env: Option<VariableName>,
    /// One statement, run in a read-only transaction.
    pub query: Option<String>,
    /// The text of the one value that the query must return.
    pub expect: Option<Text>,
    /// The fewest rows that the query must return.
    pub min_rows: Option<u64>,
    /// Accepts a server that only lets us in. Says nothing about its data, so it has to be asked for.
    #[serde(default)]
    pub connect_only: bool,
    /// Whether the server must be in recovery (a standby, `true`) or must not be (a primary, `false`).
    pub in_recovery: Option<bool>,
    /// Whether the role must be unable to destroy: no superuser, no right to create roles, owner of no table, schema or
    /// database, also by membership, and without TRUNCATE. The catalog is asked; nothing is tried.
    #[serde(default)]
    pub cannot_drop: bool,
    /// How far replication may be behind, in seconds: on a primary its last standby, on a standby itself.
    pub max_lag_seconds: Option<Threshold>,
    /// How far replication may be behind, in bytes of WAL that were not replayed.
    pub max_lag_bytes: Option<Threshold>,
    /// How many standbys must stream from this primary; with a limit on the lag at least one.
    pub min_standbys: Option<u64>,
    /// What a migration tool must have done.
    pub migrations: Option<Migrations>,
    /// For how long a session may wait for a lock at this moment.
    pub max_lock_wait: Option<Span>,
    /// How old the oldest transaction of another session may be at this moment.
    pub max_transaction_age: Option<Span>,
    /// Extensions that must be installed in the database.
    #[serde(default)]
    pub extensions: Vec<String>,
}

impl Gate for Postgres {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if holds_a_password(self.url.template()) {
            let message = "the connection string holds a password, which a plan must not; name its variable with `password_env`";
            wrong.push(Wrong::text(&self.url, message));
        }
        let asserts = self.expect.is_some() || self.min_rows.is_some();
        match (&self.query, self.connect_only) {
            (None, false) if !asserts && !self.asks_state() => wrong.push(Wrong::gate(
                "connecting proves little; give `query` with `expect` or `min_rows`, or write `connect_only = true`",
            )),
            (None, _) if asserts => wrong.push(Wrong::gate("`expect` and `min_rows` need a `query`")),
            (None, true) if self.asks_state() => {
                wrong.push(Wrong::gate("`connect_only` excludes every other question"));
            }
            (Some(_), true) => wrong.push(Wrong::gate("`connect_only` and `query` exclude each other")),
            (Some(_), false) if !asserts => {
                wrong.push(Wrong::gate("a query proves nothing without `expect` or `min_rows`"));
            }
            _ => {}
        }
        if self.min_rows == Some(0) {
            wrong.push(Wrong::gate("`min_rows = 0` is true of every answer, so it would prove nothing"));
        }
        if self.min_standbys == Some(0) {
            wrong.push(Wrong::gate("`min_standbys = 0` is true of every server, so it would prove nothing"));
        }
        if self.in_recovery == Some(true) && self.min_standbys.is_some() {
            wrong.push(Wrong::gate("`min_standbys` is asked of a primary"));
        }
        if self.query.as_deref().is_some_and(|query| query.contains("${env:")) {
            let message = "a variable in a query would be read as SQL; compare it with `expect` instead";
            wrong.push(Wrong::gate(message));
        }
        wrong
    }

    fn secrets(&self) -> Vec<&VariableName> {
        self.password_env.iter().collect()
    }

    fn summary(&self) -> String {
        match &self.query {
            Some(query) => format!("{} on {}", query.lines().next().unwrap_or(""), self.url),
            None if self.asks_state() => format!("the state of {}", self.url),
            None => format!("connects to {}", self.url),
        }
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Postgres {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let session = connect(self, context).await?;
        let client = &session.client;
        let limit = context.timeout().as_millis();
        // Never committed: the session ends with the gate, and the server rolls back.
        let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {limit}");
        client.batch_execute(&begin).await.map_err(|error| query_failed(&error))?;
        let state = if self.asks_state() { Some(self.state(context, client).await?) } else { None };
        let Some(query) = &self.query else {
            return Ok(state.unwrap_or_else(|| Finding::pass("the server let us in")));
        };
        let answer = answer(self, query, client).await.map_err(|error| query_failed(&error))?;
        let mut finding = judge(self, context, &answer)?;
        if let Some(state) = state {
            finding.reason = format!("{}; {}", state.reason, finding.reason);
            finding.measurements = state.measurements;
            finding.thresholds = state.thresholds;
        }
        Ok(finding)
    }
}

fn query_failed(error: &tokio_postgres::Error) -> Finding {
    let code = error.code().map(|state| format!(" (SQLSTATE {})", state.code())).unwrap_or_default();
    Finding::error(Fault::Tool, "query", format!("the query failed: {}{code}", chain(error)))
}

/// A connection that ends with the gate, however much of an answer is still to come.
struct Session {
    client: Client,
    driver: JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn connect(postgres: &Postgres, context: &Context<'_>) -> Result<Session, Finding> {
    let settings = ConnectionSettings::parse(&context.resolve(&postgres.url)?)
        .map_err(|error| Finding::error(Fault::Unresolved, "settings", chain(&error)))?;
    let mut settings = settings.with_application("ops-gates", context.trace_id());
    if let Some(password) = postgres.password_env.as_ref().and_then(|name| context.variable(name)) {
        settings = settings.with_password(password.clone());
    }
    let tls = settings.tls().map_err(|error| Finding::error(Fault::Unresolved, "tls", chain(&error)))?;
    let (client, connection) = settings.config().connect(tls).await.map_err(|error| {
        let (fault, code) = match error.as_db_error() {
            // cannot_connect_now: it starts, stops or recovers.
            Some(error) if error.code().code() == "57P03" => (Fault::NotReady, "not-ready"),
            Some(_) => (Fault::Tool, "refused"),
            None => (Fault::Connect, "connect"),
        };
        Finding::error(fault, code, format!("{}: {}", settings.target(), chain(&error)))
    })?;
    Ok(Session { client, driver: tokio::spawn(connection) })
}

/// The beginning of a result: as many rows as the judgement needs.
struct Answer {
    rows: u64,
    columns: usize,
    first: Option<String>,
}

async fn answer(postgres: &Postgres, query: &str, client: &Client) -> Result<Answer, tokio_postgres::Error> {
    // The extended protocol refuses several statements in one string, so that none can end the transaction for the next.
    let columns = client.prepare(query).await?.columns().len();
    let mut answer = Answer { rows: 0, columns, first: None };
    let enough = postgres.min_rows.unwrap_or(0).max(2);
    // The simple protocol gives every type as text, as psql shows it.
    let messages = client.simple_query_raw(query).await?;
    pin_mut!(messages);
    while answer.rows < enough {
        match messages.next().await {
            Some(Ok(SimpleQueryMessage::Row(row))) => {
                if answer.rows == 0 && columns == 1 {
                    answer.first = row.get(0).map(str::to_owned);
                }
                answer.rows += 1;
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error),
            None => break,
        }
    }
    Ok(answer)
}

fn judge(postgres: &Postgres, context: &Context<'_>, answer: &Answer) -> Result<Finding, Finding> {
    if answer.columns == 0 {
        return Err(Finding::error(Fault::NoData, "no-rows", "the statement returns no rows of any kind"));
    }
    if let Some(least) = postgres.min_rows.filter(|least| answer.rows < *least) {
        let reason = format!("the query returned {} rows, expected at least {least}", answer.rows);
        return Err(Finding::fail("min-rows", reason));
    }
    let Some(expect) = &postgres.expect else {
        return Ok(Finding::pass(format!("the query returned at least {} rows", answer.rows)));
    };
    let expected = context.resolve(expect)?;
    Ok(match (answer.rows, answer.columns, &answer.first) {
        (0, ..) => Finding::error(Fault::NoData, "no-rows", "the query returned no row"),
        (1, 1, Some(value)) if *value == expected => Finding::pass(format!("the query returned {expect:?}")),
        (1, 1, Some(value)) => {
            let value: String = value.chars().take(200).collect();
            Finding::fail("value", format!("the query returned {value:?}, expected {expect:?}"))
        }
        (1, 1, None) => Finding::fail("value", format!("the query returned NULL, expected {expect:?}")),
        (1, columns, _) => Finding::error(
            Fault::Parse,
            "columns",
            format!("the query returned {columns} columns, expected one"),
        ),
        _ => Finding::error(Fault::Parse, "rows", "the query returned several rows, expected one"),
    })
}
