//! The data whose sums are known, and the statements that are tried on it.

use anyhow::{Context as _, Result};

/// Accounts in the ledger.
pub(crate) const ACCOUNTS: i64 = 100;

/// Entries in the ledger: entry `n` moves `n` cents, so the sum is known without asking a database.
pub(crate) const ENTRIES: i64 = 10_000;

/// The sum of all amounts: 1 + 2 + … + n.
pub(crate) const SUM: i64 = ENTRIES * (ENTRIES + 1) / 2;

/// What the assertions of the rehearsal, the probe of the gate and the story itself ask, and what must come back.
pub(crate) const QUESTION: &str = "SELECT count(*) || ' entries, sum ' || sum(amount) FROM ledger";

/// The answer to [`QUESTION`] while the ledger is whole.
pub(crate) fn answer() -> String {
    format!("{ENTRIES} entries, sum {SUM}")
}

/// The ledger, its rows, and a role that owns nothing: ownership, not GRANT, is what lets a role drop a table.
pub(crate) fn create() -> String {
    format!(
        "CREATE TABLE ledger (id bigint PRIMARY KEY, account int NOT NULL, amount bigint NOT NULL, note text NOT NULL DEFAULT '');
         INSERT INTO ledger SELECT n, n % {ACCOUNTS}, n, 'entry ' || n FROM generate_series(1, {ENTRIES}) AS n;
         CREATE TABLE heartbeat (at timestamptz NOT NULL);"
    )
}

/// Statements of an application that pass the guard.
pub(crate) const GOOD: [(&str, &str); 4] = [
    ("a read", "SELECT account, sum(amount) FROM ledger GROUP BY account ORDER BY account LIMIT 5"),
    ("an insert", "INSERT INTO heartbeat VALUES (now())"),
    ("a bounded update", "UPDATE ledger SET note = 'seen' WHERE id = 42"),
    ("a bounded delete", "DELETE FROM heartbeat WHERE at < now() - interval '1 day'"),
];

/// Statements that the guard must refuse.
pub(crate) const BAD: [(&str, &str); 5] = [
    ("a delete without a condition", "DELETE FROM ledger"),
    ("a drop", "DROP TABLE ledger"),
    ("a delete inside a query", "WITH d AS (DELETE FROM ledger RETURNING *) SELECT count(*) FROM d"),
    ("two statements in one string", "SELECT 1; DROP TABLE ledger"),
    ("code in a block", "DO $$ BEGIN DELETE FROM ledger; END $$"),
];

/// Asks [`QUESTION`].
pub(crate) async fn ask(client: &tokio_postgres::Client) -> Result<String> {
    let row = client.query_one(QUESTION, &[]).await.context("the ledger cannot be read")?;
    Ok(row.get(0))
}
