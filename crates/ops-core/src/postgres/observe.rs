//! Looks at what the transaction at hand has done, in one query.
//!
//! Whatever changes a table holds a lock on it until the transaction ends, so the locks name every table that can have
//! changed, and the server's counters of the transaction tell by how many rows. Only the system's own tables are unlocked
//! early: their counters are all looked at. The view `pg_stat_xact_all_tables` has the same counters, but takes a time that
//! grows with the number of tables of the database.

use std::collections::HashMap;

use tokio_postgres::{GenericClient, Row, Statement};

use crate::guard::{Catalog, LOCK_MODES, Observation, Touched};

/// The tables of the system that a look needs: those that came with the server.
const SYSTEM: &str =
    "SELECT pg_catalog.array_agg(oid) FROM pg_catalog.pg_class WHERE oid < 16384 AND relkind = 'r'";

/// One row for each relation that was changed or is locked for more than reading, or one with nulls. The parameter is the
/// tables of the system.
///
/// The counters keep what the server has not yet flushed of earlier transactions, for up to a second; so it is told to
/// flush at the end of this one, and the next begins at zero. Locks of indexes and TOAST tables come with those of their
/// tables, so they are left out.
const OBSERVE: &str = "\
SELECT pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL, l.relation, l.mode, c.oid IS NULL,
       n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
       pg_catalog.pg_stat_get_xact_tuples_inserted(l.relation),
       pg_catalog.pg_stat_get_xact_tuples_updated(l.relation),
       pg_catalog.pg_stat_get_xact_tuples_deleted(l.relation)
FROM (SELECT pg_catalog.pg_stat_force_next_flush()) AS flush
LEFT JOIN (
  SELECT relation, pg_catalog.max(CASE mode WHEN 'AccessExclusiveLock' THEN 8 WHEN 'ExclusiveLock' THEN 7
    WHEN 'ShareRowExclusiveLock' THEN 6 WHEN 'ShareLock' THEN 5 WHEN 'ShareUpdateExclusiveLock' THEN 4 ELSE 3 END) AS mode
  FROM pg_catalog.pg_locks
  WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND granted
    AND mode NOT IN ('AccessShareLock', 'RowShareLock') AND relation >= 16384
  GROUP BY relation
  UNION ALL
  SELECT system.oid, 0 FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS system (oid)
  WHERE pg_catalog.pg_stat_get_xact_tuples_inserted(system.oid) > 0
    OR pg_catalog.pg_stat_get_xact_tuples_updated(system.oid) > 0
    OR pg_catalog.pg_stat_get_xact_tuples_deleted(system.oid) > 0
) AS l ON true
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IS NULL OR c.relkind NOT IN ('i', 'I', 't')";

/// A look that is prepared on a session.
#[derive(Debug)]
pub(super) struct Observer {
    statement: Statement,
    system: Vec<u32>,
}

impl Observer {
    pub(super) async fn prepare<C: GenericClient + Sync>(client: &C) -> Result<Self, tokio_postgres::Error> {
        let statement = client.prepare(OBSERVE).await?;
        let system = client.query_one(SYSTEM, &[]).await?.get(0);
        Ok(Self { statement, system })
    }

    /// Looks; sent with the first poll, like any prepared statement.
    pub(super) async fn look<C: GenericClient + Sync>(
        &self,
        client: &C,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        client.query(&self.statement, &[&self.system]).await
    }
}

/// Sets the counters to zero where something ran that was not observed.
pub(super) const FLUSH: &str = "SELECT pg_catalog.pg_stat_force_next_flush()";

/// The mode that changing rows takes.
const ROW_EXCLUSIVE: i32 = 3;

/// The totals of one relation since the transaction began.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    rows: [i64; 3],
    mode: i32,
    dropped: bool,
}

/// What was known of a transaction when it was last looked at.
///
/// The server's counters only grow, also over a rollback to a savepoint, except that TRUNCATE sets them to zero.
#[derive(Debug, Default)]
pub(super) struct Baseline(HashMap<u32, Totals>);

impl Baseline {
    /// Reads what happened since the last look, and remembers this one.
    pub(super) fn read(&mut self, rows: &[Row], catalog: Option<&Catalog>) -> Observation {
        let wrote = rows.first().is_some_and(|row| row.get(0));
        let mut relations = Vec::new();
        for row in rows {
            let Some(oid) = row.get::<_, Option<u32>>(1) else { continue };
            let count = |column| row.get::<_, Option<i64>>(column).unwrap_or_default();
            let now = Totals { rows: [count(6), count(7), count(8)], mode: row.get(2), dropped: row.get(3) };
            let before = self.0.insert(oid, now).unwrap_or_default();
            let since = |index: usize| {
                // Fewer than before: they were set to zero, and everything since then is new.
                let (now, before) = (now.rows[index], before.rows[index]);
                u64::try_from(if now < before { now } else { now - before }).unwrap_or_default()
            };
            let is_locked = now.mode > before.mode && now.mode > ROW_EXCLUSIVE;
            let Some(relation) = name(row, oid, catalog) else { continue };
            let touched = Touched {
                relation,
                inserted: since(0),
                updated: since(1),
                deleted: since(2),
                lock: usize::try_from(now.mode)
                    .ok()
                    .filter(|_| is_locked)
                    .and_then(|mode| LOCK_MODES.get(mode).copied()),
                dropped: now.dropped && !before.dropped,
            };
            if touched.rows() > 0 || touched.lock.is_some() || touched.dropped {
                relations.push(touched);
            }
        }
        relations.sort_by(|one, other| one.relation.cmp(&other.relation));
        Observation { relations, wrote }
    }
}

/// Returns a relation's name; none for an index or a TOAST table that is gone, and for a table that is gone and younger than
/// the catalog, whose drop still shows in the system's own tables.
fn name(row: &Row, oid: u32, catalog: Option<&Catalog>) -> Option<String> {
    match (row.get::<_, Option<&str>>(4), row.get::<_, Option<&str>>(5)) {
        (Some(schema), Some(relation)) => Some(crate::guard::qualified(schema, relation)),
        _ => {
            let (name, kind) = catalog?.relation_name(oid)?;
            (!matches!(kind, 'i' | 'I' | 't')).then(|| name.to_owned())
        }
    }
}
