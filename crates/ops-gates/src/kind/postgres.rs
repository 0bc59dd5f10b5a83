//! `kind = "postgres"`: connects, and runs one statement in a read-only transaction.

use super::chain;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Text, VariableName, holds_a_password};
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
            (None, false) => wrong.push(Wrong::gate(
                "connecting proves little; give `query` with `expect` or `min_rows`, or write `connect_only = true`",
            )),
            (None, true) if asserts => wrong.push(Wrong::gate("`expect` and `min_rows` need a `query`")),
            (Some(_), true) => wrong.push(Wrong::gate("`connect_only` and `query` exclude each other")),
            (Some(_), false) if !asserts => {
                wrong.push(Wrong::gate("a query proves nothing without `expect` or `min_rows`"));
            }
            _ => {}
        }
        if self.min_rows == Some(0) {
            wrong.push(Wrong::gate("`min_rows = 0` is true of every answer, so it would prove nothing"));
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
            None => format!("connects to {}", self.url),
        }
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async {
            match connect(self, context).await {
                Ok(session) => match &self.query {
                    Some(query) => ask(self, query, context, &session.client).await,
                    None => Finding::pass("the server let us in"),
                },
                Err(finding) => finding,
            }
        })
    }
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
            Some(_) => (Fault::Tool, "refused"),
            None => (Fault::Connect, "connect"),
        };
        Finding::error(fault, code, format!("{}: {}", settings.target(), chain(&error)))
    })?;
    Ok(Session { client, driver: tokio::spawn(connection) })
}

async fn ask(postgres: &Postgres, query: &str, context: &Context<'_>, client: &Client) -> Finding {
    match answer(postgres, query, context, client).await {
        Ok(answer) => judge(postgres, context, &answer).unwrap_or_else(|finding| finding),
        Err(error) => {
            let code = error.code().map(|state| format!(" (SQLSTATE {})", state.code())).unwrap_or_default();
            Finding::error(Fault::Tool, "query", format!("the query failed: {}{code}", chain(&error)))
        }
    }
}

/// The beginning of a result: as many rows as the judgement needs.
struct Answer {
    rows: u64,
    columns: usize,
    first: Option<String>,
}

async fn answer(
    postgres: &Postgres,
    query: &str,
    context: &Context<'_>,
    client: &Client,
) -> Result<Answer, tokio_postgres::Error> {
    let limit = context.timeout().as_millis();
    // Never committed: the session ends with the gate, and the server rolls back.
    client.batch_execute(&format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {limit}")).await?;
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
