//! What a PostgreSQL server says about itself: its role in replication, its schema, its locks, and what we may do there.
//!
//! Everything is asked for in the read-only transaction of the check. What a role without `pg_monitor` is not shown is an
//! error, never an empty list.

use super::Postgres;
use crate::gate::Context;
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};

/// The table in which a migration tool notes what it has done.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Migrations {
    /// The table, with its schema where it is not in the search path, such as `_sqlx_migrations`.
    pub table: String,
    /// The column of the version.
    #[serde(default = "version")]
    pub column: String,
    /// The version that must be the newest one.
    pub version: Text,
    /// A boolean column that must be true in every row, such as `success`.
    pub success_column: Option<String>,
}

fn version() -> String {
    "version".to_owned()
}

/// Whether the role can take data away, and how. Asked of the catalog; nothing is tried.
const DESTROYS: &str = "
SELECT why FROM (
  SELECT 1 AS rank, 'is a superuser' AS why FROM pg_roles WHERE rolname = current_user AND rolsuper
  UNION ALL
  SELECT 2, 'may create roles, and so grant itself others' FROM pg_roles WHERE rolname = current_user AND rolcreaterole
  UNION ALL
  SELECT 3, 'is a member of ' || r.rolname FROM pg_roles r
   WHERE r.rolname <> current_user AND pg_has_role(current_user, r.oid, 'MEMBER')
     AND (r.rolsuper OR r.rolcreaterole
          OR r.rolname IN ('pg_write_server_files', 'pg_execute_server_program'))
  UNION ALL
  SELECT 4, 'owns the database' FROM pg_database
   WHERE datname = current_database() AND pg_has_role(current_user, datdba, 'MEMBER')
  UNION ALL
  SELECT 5, 'owns the schema ' || nspname FROM pg_namespace
   WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND pg_has_role(current_user, nspowner, 'MEMBER')
  UNION ALL
  SELECT 6, 'owns ' || c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'S', 'v', 'm', 'f')
     AND pg_has_role(current_user, c.relowner, 'MEMBER')
  UNION ALL
  SELECT 7, 'may truncate ' || c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p')
     AND has_table_privilege(c.oid, 'TRUNCATE')
) found ORDER BY rank, why LIMIT 1";

const TABLES: &str = "
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p')";

/// On a primary: of all standbys that stream, how many there are, and how far the last one is behind. Columns of other
/// roles' sessions are NULL without `pg_read_all_stats`.
const STANDBYS: &str = "
SELECT count(*) FILTER (WHERE state = 'streaming'), count(*) FILTER (WHERE state IS NULL),
       max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) FILTER (WHERE state = 'streaming'),
       max(CASE WHEN replay_lsn = pg_current_wal_lsn() THEN 0 ELSE extract(epoch FROM replay_lag) END)
         FILTER (WHERE state = 'streaming'),
       bool_or(replay_lsn < pg_current_wal_lsn() AND replay_lag IS NULL) FILTER (WHERE state = 'streaming')
  FROM pg_stat_replication";

/// On a standby: whether it streams, and how far it is behind what its primary last said or sent.
const STANDBY: &str = "
SELECT status, there, pg_wal_lsn_diff(known, replayed),
       CASE WHEN known <= replayed THEN 0
            ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END,
       extract(epoch FROM clock_timestamp() - heard)
  FROM (SELECT max(status) AS status, count(pid) > 0 AS there, max(last_msg_receipt_time) AS heard,
               greatest(max(latest_end_lsn), pg_last_wal_receive_lsn()) AS known,
               pg_last_wal_replay_lsn() AS replayed
          FROM pg_stat_wal_receiver) receiver";

/// Waits for locks; `pg_locks` shows all of them to everyone.
const WAITS: &str = "
SELECT count(*), max(extract(epoch FROM clock_timestamp() - waitstart)),
       (array_agg(pid ORDER BY waitstart))[1]
  FROM pg_locks WHERE NOT granted";

const TRANSACTIONS: &str = "
SELECT max(extract(epoch FROM clock_timestamp() - xact_start)), (array_agg(pid ORDER BY xact_start))[1],
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
  FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";

impl Postgres {
    /// Whether anything is asked about the server itself.
    pub(super) fn asks_state(&self) -> bool {
        self.in_recovery.is_some()
            || self.cannot_drop
            || self.asks_lag()
            || self.migrations.is_some()
            || self.max_lock_wait.is_some()
            || self.max_transaction_age.is_some()
            || !self.extensions.is_empty()
    }

    pub(super) fn asks_lag(&self) -> bool {
        self.max_lag_seconds.is_some() || self.max_lag_bytes.is_some() || self.min_standbys.is_some()
    }

    /// Judges all that is asked about the server, within a transaction that has begun.
    pub(super) async fn state(&self, context: &Context<'_>, client: &Client) -> Result<Finding, Finding> {
        let mut finding = Finding::pass("");
        let mut shown = Vec::new();
        let recovery = self.recovery(client, &mut shown).await?;
        if self.asks_lag() {
            let lag = if recovery { self.lag_of_standby(client).await? } else { self.lag(client).await? };
            shown.push(lag.reason.clone());
            finding.measurements.extend(lag.measurements);
            finding.thresholds.extend(lag.thresholds);
        }
        if self.cannot_drop {
            self.role(client, &mut shown).await?;
        }
        if let Some(migrations) = &self.migrations {
            shown.push(migrated(migrations, context, client).await?);
        }
        if let Some(limit) = self.max_lock_wait {
            let seconds = lock_wait(client, limit).await?;
            shown.push(format!("no lock is waited for longer than {limit}"));
            finding = finding.measured("lock_wait_seconds", seconds);
        }
        if let Some(limit) = self.max_transaction_age {
            let seconds = transaction_age(client, limit).await?;
            shown.push(format!("no transaction is older than {limit}"));
            finding = finding.measured("transaction_seconds", seconds);
        }
        for extension in &self.extensions {
            let sql = format!("SELECT extversion FROM pg_extension WHERE extname = {}", literal(extension));
            if row(client, &sql).await?.is_none() {
                let reason = format!("the extension `{extension}` is not installed in this database");
                return Err(Finding::fail("extension-missing", reason));
            }
        }
        if !self.extensions.is_empty() {
            shown.push(format!("{} there", self.extensions.join(" and ")));
        }
        finding.reason = shown.join("; ");
        Ok(finding)
    }

    async fn recovery(&self, client: &Client, shown: &mut Vec<String>) -> Result<bool, Finding> {
        let row = one(client, "SELECT pg_is_in_recovery()").await?;
        let recovery = row.get(0) == Some("t");
        let word = if recovery { "in recovery" } else { "a primary" };
        match self.in_recovery {
            Some(wanted) if wanted != recovery => {
                Err(Finding::fail("recovery", format!("the server is {word}, and must not be")))
            }
            Some(_) => {
                shown.push(format!("the server is {word}"));
                Ok(recovery)
            }
            None => Ok(recovery),
        }
    }

    async fn role(&self, client: &Client, shown: &mut Vec<String>) -> Result<(), Finding> {
        if let Some(row) = row(client, DESTROYS).await? {
            let why = row.get(0).unwrap_or_default();
            return Err(Finding::fail("role-can-destroy", format!("the role {why}")));
        }
        // Nothing can be dropped where there is nothing: the wrong database would pass.
        let tables = number(&one(client, TABLES).await?, 0).unwrap_or(0.0);
        if tables < 1.0 {
            let reason = "the database has no table, so that nothing is shown about what the role could drop";
            return Err(Finding::error(Fault::NoData, "no-tables", reason));
        }
        shown.push(format!("the role can drop and truncate none of {tables} tables"));
        Ok(())
    }

    async fn lag(&self, client: &Client) -> Result<Finding, Finding> {
        let row = one(client, STANDBYS).await?;
        let streaming = number(&row, 0).unwrap_or(0.0);
        if number(&row, 1).is_some_and(|hidden| hidden > 0.0) {
            return Err(privilege("the state of replication"));
        }
        #[expect(clippy::cast_precision_loss, reason = "a primary has few standbys")]
        let least = self.min_standbys.unwrap_or(1) as f64;
        if streaming < least {
            let reason = format!("{streaming} standbys stream, expected at least {least}");
            return Err(Finding::fail("standbys", reason).measured("standbys", streaming));
        }
        if row.get(4) == Some("t") && self.max_lag_seconds.is_some() {
            let reason = "a standby is behind and has not said for how long";
            return Err(Finding::inconclusive("lag-unknown", reason));
        }
        self.judge_lag(number(&row, 3), number(&row, 2), format!("{streaming} standbys stream"))
            .map(|finding| finding.measured("standbys", streaming))
    }

    async fn lag_of_standby(&self, client: &Client) -> Result<Finding, Finding> {
        let row = one(client, STANDBY).await?;
        if self.min_standbys.is_some() {
            let reason = "the server is in recovery; `min_standbys` is asked of a primary";
            return Err(Finding::fail("recovery", reason));
        }
        match row.get(0) {
            Some("streaming") => {}
            None if row.get(1) == Some("t") => return Err(privilege("the state of its receiver")),
            _ => {
                let reason = "the standby does not stream from a primary";
                return Err(Finding::fail("not-streaming", reason));
            }
        }
        // A primary that is silent for long has said nothing new about where it is.
        if number(&row, 4).is_none_or(|seconds| seconds > 60.0) {
            let reason = "the standby has not heard of its primary for a minute";
            return Err(Finding::inconclusive("lag-unknown", reason));
        }
        self.judge_lag(number(&row, 3), number(&row, 2), "the standby streams".to_owned())
    }

    fn judge_lag(&self, seconds: Option<f64>, bytes: Option<f64>, who: String) -> Result<Finding, Finding> {
        let mut finding = Finding::pass(who);
        for (what, value, limit) in
            [("lag_seconds", seconds, &self.max_lag_seconds), ("lag_bytes", bytes, &self.max_lag_bytes)]
        {
            // A standby may know more than what we asked first: that is no lag.
            let value = value.map(|value| value.max(0.0));
            if let Some(value) = value {
                finding = finding.measured(what, value);
            }
            let Some(limit) = limit else { continue };
            let rule = format!("{what} <= {limit}");
            let Some(value) = value else {
                return Err(Finding::error(Fault::NoData, "lag-unknown", format!("{what} is not known")));
            };
            if value > limit.get() {
                let reason = format!("replication is behind: {what} is {value}, more than {}", limit.get());
                let mut failed = Finding::fail("lag", reason).judged_by(rule);
                failed.measurements = finding.measurements;
                return Err(failed);
            }
            finding.reason = format!("{}, {what} {value}", finding.reason);
            finding = finding.judged_by(rule);
        }
        Ok(finding)
    }
}

async fn migrated(
    migrations: &Migrations,
    context: &Context<'_>,
    client: &Client,
) -> Result<String, Finding> {
    let table = migrations.table.split('.').map(identifier).collect::<Vec<_>>().join(".");
    let column = identifier(&migrations.column);
    let failed = migrations.success_column.as_ref().map_or_else(
        || "0".to_owned(),
        |success| format!("count(*) FILTER (WHERE {} IS NOT TRUE)", identifier(success)),
    );
    let row = one(client, &format!("SELECT max({column})::text, count(*), {failed} FROM {table}")).await?;
    let expected = context.resolve(&migrations.version)?;
    let Some(newest) = row.get(0) else {
        let reason = format!("{} has no row: no migration has run", migrations.table);
        return Err(Finding::fail("migrations-none", reason));
    };
    if row.get(2) != Some("0") {
        let reason = format!("{} has a migration that did not succeed", migrations.table);
        return Err(Finding::fail("migration-failed", reason));
    }
    if newest != expected {
        let newest: String = newest.chars().take(200).collect();
        let reason = format!("the newest migration is {newest:?}, expected {:?}", migrations.version);
        return Err(Finding::fail("migration", reason));
    }
    Ok(format!("the newest of {} migrations is {newest}", row.get(1).unwrap_or_default()))
}

async fn lock_wait(client: &Client, limit: Span) -> Result<f64, Finding> {
    let row = one(client, WAITS).await?;
    let seconds = number(&row, 1).unwrap_or(0.0);
    if seconds <= limit.get().as_secs_f64() {
        return Ok(seconds);
    }
    let reason = format!(
        "process {} has waited for a lock for {seconds:.1} s, longer than {limit}",
        row.get(2).unwrap_or("?")
    );
    Err(Finding::fail("lock-wait", reason).measured("lock_wait_seconds", seconds))
}

async fn transaction_age(client: &Client, limit: Span) -> Result<f64, Finding> {
    let row = one(client, TRANSACTIONS).await?;
    if row.get(2) != Some("t") {
        return Err(privilege("the transactions of others"));
    }
    let seconds = number(&row, 0).unwrap_or(0.0);
    if seconds <= limit.get().as_secs_f64() {
        return Ok(seconds);
    }
    let pid = row.get(1).unwrap_or("?");
    let reason = format!("process {pid} has a transaction that is {seconds:.1} s old, older than {limit}");
    Err(Finding::fail("transaction-age", reason).measured("transaction_seconds", seconds))
}

fn privilege(what: &str) -> Finding {
    let reason = format!("the role is not shown {what}; grant it pg_monitor");
    Finding::error(Fault::Tool, "privilege", reason)
}

async fn row(client: &Client, sql: &str) -> Result<Option<SimpleQueryRow>, Finding> {
    let messages = client.simple_query(sql).await.map_err(|error| super::query_failed(&error))?;
    Ok(messages.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    }))
}

async fn one(client: &Client, sql: &str) -> Result<SimpleQueryRow, Finding> {
    let missing = || Finding::error(Fault::NoData, "no-rows", "the server answered without a row");
    row(client, sql).await?.ok_or_else(missing)
}

fn number(row: &SimpleQueryRow, column: usize) -> Option<f64> {
    row.get(column)?.parse().ok()
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL; with `E`, since a setting of the server decides what a backslash means without it.
fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
