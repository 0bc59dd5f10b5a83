//! Reads from a server what [`guard::undo`](crate::guard::undo) must know of the tables that a statement can reach.
//!
//! ```no_run
//! # async fn example(client: &tokio_postgres::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use ops_core::guard::undo::{self, Naming};
//!
//! let sql = "DELETE FROM orders WHERE placed < $1";
//! let shapes = ops_core::undo::load(client, &undo::target(sql)?).await?;
//! let plan = undo::plan(sql, &Naming::new("20261121"), &shapes)?;
//! # let _ = plan;
//! # Ok(())
//! # }
//! ```

use tokio_postgres::{GenericClient, Row};

use crate::error::Error;
use crate::guard::undo::{Action, ColumnShape, ForeignKey, Shapes, TableName, TableShape};
use crate::postgres::failure::failure;

/// The target and every table that is reached from it through foreign keys, from the referred to the referring one. Partitions share
/// the keys of their table, and the target may be a partition.
const TABLES: &str = "
    WITH RECURSIVE reached (oid, step) AS (
        SELECT pg_catalog.to_regclass($1)::pg_catalog.oid, 0 WHERE pg_catalog.to_regclass($1) IS NOT NULL
        UNION
        SELECT k.conrelid, 1 FROM reached AS r JOIN pg_catalog.pg_constraint AS k
          ON k.contype = 'f' AND k.conparentid = 0
             AND (k.confrelid = r.oid OR k.confrelid IN (SELECT a.relid FROM pg_catalog.pg_partition_ancestors(r.oid) AS a (relid)))
    )
    SELECT c.oid, n.nspname::text, c.relname::text, c.relkind IN ('r', 'p') AS holds_rows, c.relkind = 'p' AS partitioned,
        EXISTS (SELECT FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS h ON h.oid = i.inhrelid
                WHERE i.inhparent = c.oid AND NOT h.relispartition) AS inherited,
        EXISTS (SELECT FROM pg_catalog.pg_rewrite AS w WHERE w.ev_class = c.oid AND w.ev_type <> '1') AS has_rules,
        ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute AS a
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns,
        ARRAY(SELECT a.attgenerated <> '' FROM pg_catalog.pg_attribute AS a
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS computed,
        ARRAY(SELECT a.attidentity = 'a' FROM pg_catalog.pg_attribute AS a
              WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS always_identity,
        ARRAY(SELECT a.attname::text FROM pg_catalog.pg_index AS i CROSS JOIN pg_catalog.unnest(i.indkey) WITH ORDINALITY AS p (attnum, place)
              JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = p.attnum
              WHERE i.indrelid = c.oid AND i.indisprimary AND p.place <= i.indnkeyatts ORDER BY p.place) AS primary_key
    FROM (SELECT oid, min(step) AS step FROM reached GROUP BY oid) AS r
    JOIN pg_catalog.pg_class AS c ON c.oid = r.oid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    ORDER BY r.step, n.nspname, c.relname";

/// The foreign keys between tables. One on the ancestor of a partition counts for the partition that was reached.
const FOREIGN_KEYS: &str = "
    SELECT k.conname::text, p.oid AS parent, k.conrelid AS child, k.confdeltype::text, k.confupdtype::text,
        ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY AS u (attnum, place)
              JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.attnum ORDER BY u.place) AS parent_columns,
        ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS u (attnum, place)
              JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.attnum ORDER BY u.place) AS child_columns
    FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS p (oid) JOIN pg_catalog.pg_constraint AS k
      ON k.contype = 'f' AND k.conparentid = 0 AND k.conrelid = ANY ($1)
         AND (k.confrelid = p.oid OR k.confrelid IN (SELECT a.relid FROM pg_catalog.pg_partition_ancestors(p.oid) AS a (relid)))
    ORDER BY k.conname, k.oid";

/// Reads the shapes for a target as [`guard::undo::target`](crate::guard::undo::target) names it. Where it is not there, there
/// are none, and the plan says so.
///
/// # Errors
/// What the server or the line reports.
pub async fn load(client: &impl GenericClient, target: &str) -> Result<Shapes, Error> {
    let fail = |error| failure("read the shapes of tables", "the session's server", error);
    let rows = client.query(TABLES, &[&target]).await.map_err(fail)?;
    let oids: Vec<u32> = rows.iter().map(|row| row.get("oid")).collect();
    let tables: Vec<TableShape> = rows.iter().map(table).collect();
    let rows = client.query(FOREIGN_KEYS, &[&oids]).await.map_err(fail)?;
    let named = |oid: u32| oids.iter().position(|known| *known == oid).map(|at| tables[at].name.clone());
    let foreign_keys = rows.iter().filter_map(|row| {
        let action = |column| match row.get::<_, &str>(column) {
            "c" => Action::Cascade,
            "n" | "d" => Action::Set,
            _ => Action::Refuse,
        };
        Some(ForeignKey {
            name: row.get("conname"),
            parent: named(row.get("parent"))?,
            parent_columns: row.get("parent_columns"),
            child: named(row.get("child"))?,
            child_columns: row.get("child_columns"),
            on_delete: action("confdeltype"),
            on_update: action("confupdtype"),
        })
    });
    let foreign_keys = foreign_keys.collect();
    Ok(Shapes { tables, foreign_keys })
}

fn table(row: &Row) -> TableShape {
    let names: Vec<String> = row.get("columns");
    let computed: Vec<bool> = row.get("computed");
    let always_identity: Vec<bool> = row.get("always_identity");
    let columns = names.into_iter().zip(computed).zip(always_identity);
    TableShape {
        name: TableName::new(row.get::<_, String>("nspname"), row.get::<_, String>("relname")),
        columns: columns
            .map(|((name, computed), always_identity)| ColumnShape { name, computed, always_identity })
            .collect(),
        primary_key: row.get("primary_key"),
        holds_rows: row.get("holds_rows"),
        partitioned: row.get("partitioned"),
        inherited: row.get("inherited"),
        has_rules: row.get("has_rules"),
    }
}
