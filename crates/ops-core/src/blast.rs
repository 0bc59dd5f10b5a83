//! The blast radius: how many rows a DELETE or UPDATE would concern by the planner's estimate, and where foreign keys take it.
//!
//! It is advice and no truth: an estimate may be far off, cascades are never in it, and triggers are not looked at. What really
//! happens is observed when the statement runs.

use tokio_postgres::{Client, IsolationLevel, SimpleQueryMessage, Transaction};

use crate::connection::ConnectionSettings;
use crate::error::Error;
use crate::guard::undo::{self, Reached};
use crate::postgres::failure::{connect_failure, failure};

/// How far one DELETE or UPDATE would reach.
#[derive(Clone, Debug, PartialEq)]
pub struct BlastRadius {
    /// The rows that it would concern itself; none where the planner could not be asked.
    pub rows: Option<u64>,
    /// Why there is no estimate: the server's words, or that the statement's parameters are not known.
    pub unknown: Option<String>,
    /// The tables that foreign keys take it to, near ones first.
    pub reached: Vec<Reached>,
}

/// Looks at statements over a session of its own, which only reads. The answer has one entry for each: none where it is
/// neither a DELETE nor an UPDATE, or changes data in another part as well.
///
/// Nothing is executed, but planning runs functions that are declared immutable.
///
/// # Errors
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) and [`ErrorKind::Server`](crate::ErrorKind::Server) where there is no
/// session, or it is lost.
pub async fn radius(
    settings: &ConnectionSettings,
    statements: &[&str],
) -> Result<Vec<Option<BlastRadius>>, Error> {
    let target = settings.target();
    let (mut client, connection) =
        settings.config().connect(settings.tls()?).await.map_err(|error| connect_failure(&target, error))?;
    // An error of the line reaches whoever waits for an answer; here it only ends the task.
    drop(tokio::spawn(async move { drop(connection.await) }));
    let fail = |error| failure("prepare the session", &target, error);
    let limits =
        "SET standard_conforming_strings = on; SET statement_timeout = '15s'; SET lock_timeout = '2s'";
    client.batch_execute(limits).await.map_err(fail)?;
    let mut answers = Vec::new();
    for sql in statements {
        answers.push(match undo::target(sql) {
            Ok(table) => Some(look(&mut client, &target, sql, &table).await?),
            Err(_) => None,
        });
    }
    Ok(answers)
}

async fn look(client: &mut Client, target: &str, sql: &str, table: &str) -> Result<BlastRadius, Error> {
    let fail = |error| failure("estimate a statement", target, error);
    let begun =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start();
    let transaction = begun.await.map_err(fail)?;
    // A snapshot and a savepoint: from here on the transaction cannot be made one that writes.
    transaction.batch_execute("SELECT 1; SAVEPOINT estimate").await.map_err(fail)?;
    let shapes = crate::undo::load(&transaction, table).await?;
    let reached = undo::reached(sql, &shapes).unwrap_or_default();
    let (rows, unknown) = match estimate(&transaction, sql).await {
        Ok(Ok(rows)) => (rows, None),
        Ok(Err(reason)) => (None, Some(reason)),
        Err(error) => {
            let error = failure("estimate a statement", target, error);
            let Some(server) = error.server() else { return Err(error) };
            (None, Some(server.message().to_owned()))
        }
    };
    transaction.rollback().await.map_err(fail)?;
    Ok(BlastRadius { rows, unknown, reached })
}

/// Asks the planner. The text is one DELETE or UPDATE, as its parse has shown, and the server refuses to prepare more than one.
///
/// A statement with parameters is planned for any values of them, which PostgreSQL does since 16, and only over the simple
/// protocol; it then was prepared before, so it is known to be one.
async fn estimate(
    transaction: &Transaction<'_>,
    sql: &str,
) -> Result<Result<Option<u64>, String>, tokio_postgres::Error> {
    let explain = transaction.prepare(&format!("EXPLAIN (FORMAT JSON) {sql}")).await?;
    if explain.params().is_empty() {
        let row = transaction.query_one(&explain, &[]).await?;
        return Ok(Ok(parsed(&row.try_get::<_, Json>(0)?.0)));
    }
    let version = "SELECT pg_catalog.current_setting('server_version_num')::int4";
    if transaction.query_one(version, &[]).await?.get::<_, i32>(0) < 160_000 {
        return Ok(Err(
            "it has parameters, and before version 16 PostgreSQL cannot plan without them".to_owned()
        ));
    }
    let answers = transaction.simple_query(&format!("EXPLAIN (FORMAT JSON, GENERIC_PLAN) {sql}")).await?;
    let plan = answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(Ok(plan.and_then(parsed)))
}

/// The text of a `json` value.
struct Json(String);

impl<'a> tokio_postgres::types::FromSql<'a> for Json {
    fn from_sql(
        _: &tokio_postgres::types::Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(String::from_utf8(raw.to_vec())?))
    }

    fn accepts(kind: &tokio_postgres::types::Type) -> bool {
        *kind == tokio_postgres::types::Type::JSON
    }
}

fn parsed(plan: &str) -> Option<u64> {
    serde_json::from_str(plan).ok().and_then(|plan: serde_json::Value| rows(&plan))
}

/// Returns how many rows a plan would change: what the node below `ModifyTable` gives, for that node itself says zero.
fn rows(plan: &serde_json::Value) -> Option<u64> {
    let modify = plan.get(0)?.get("Plan")?;
    if modify.get("Node Type")? != "ModifyTable" {
        return None;
    }
    // The others are sub-selects that are planned beside it.
    let is_source = |node: &&serde_json::Value| {
        node.get("Parent Relationship").is_some_and(|relation| relation == "Outer" || relation == "Member")
    };
    let sources = modify.get("Plans")?.as_array()?.iter().filter(is_source);
    Some(sources.filter_map(|node| node.get("Plan Rows")?.as_u64()).sum())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_estimate_is_that_of_the_node_below() {
        let modify = |plans: serde_json::Value| json!([{"Plan": {"Node Type": "ModifyTable", "Plan Rows": 0, "Plans": plans}}]);
        let cases = [
            (modify(json!([{"Parent Relationship": "Outer", "Plan Rows": 42}])), Some(42)),
            (
                modify(
                    json!([{"Parent Relationship": "InitPlan", "Plan Rows": 7}, {"Parent Relationship": "Outer", "Plan Rows": 1}]),
                ),
                Some(1),
            ),
            (modify(json!([])), Some(0)),
            (json!([{"Plan": {"Node Type": "Result", "Plan Rows": 1}}]), None),
            (json!({}), None),
        ];
        for (plan, expected) in cases {
            assert_eq!(rows(&plan), expected, "{plan}");
        }
    }
}
