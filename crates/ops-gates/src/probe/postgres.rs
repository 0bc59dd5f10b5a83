//! `kind = "postgres"`: connects, and runs one statement in a read-only transaction.

use super::{Context, chain};
use crate::outcome::{Fault, Finding};
use crate::plan::Postgres;
use futures_util::{StreamExt as _, pin_mut};
use ops_core::connection::ConnectionSettings;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

pub(super) async fn run(postgres: &Postgres, context: &Context<'_>) -> Finding {
    match connect(postgres, context).await {
        Ok(session) => match &postgres.query {
            Some(query) => ask(postgres, query, context, &session.client).await,
            None => Finding::pass("the server let us in"),
        },
        Err(finding) => finding,
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
    let settings = ConnectionSettings::parse(&context.resolve(&postgres.url))
        .map_err(|error| Finding::error(Fault::Unresolved, "settings", chain(&error)))?;
    let mut settings = settings.with_application("ops-gates", context.trace_id());
    if let Some(password) = postgres.password_env.as_ref().and_then(|name| context.plan.variables().get(name))
    {
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
        Ok(answer) => judge(postgres, context, &answer),
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
    let limit = context.gate.timeout.get().as_millis();
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

fn judge(postgres: &Postgres, context: &Context<'_>, answer: &Answer) -> Finding {
    if answer.columns == 0 {
        return Finding::error(Fault::NoData, "no-rows", "the statement returns no rows of any kind");
    }
    if let Some(least) = postgres.min_rows.filter(|least| answer.rows < *least) {
        return Finding::fail(
            "min-rows",
            format!("the query returned {} rows, expected at least {least}", answer.rows),
        );
    }
    let Some(expect) = &postgres.expect else {
        return Finding::pass(format!("the query returned at least {} rows", answer.rows));
    };
    let expected = context.resolve(expect);
    match (answer.rows, answer.columns, &answer.first) {
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
    }
}
