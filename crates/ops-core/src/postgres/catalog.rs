//! Reads the catalog of the database that a session is connected to.

use tokio_postgres::{Client, Row};

use super::failure::{connect_failure, failure};
use crate::connection::ConnectionSettings;
use crate::error::Error;
use crate::guard::{
    CastRow, Catalog, Dependent, DependsRow, ForeignKeyRow, FunctionRow, OperatorRow, RelationRow, Rows,
    RuleRow, TriggerRow, TypeRow,
};

// The numbers from 16384 on are those of objects that did not come with the server (`FirstNormalObjectId`).
const SEARCH_PATH: &str = "SELECT pg_catalog.current_schemas(true)::pg_catalog.text[]";

const RELATIONS: &str = "
    SELECT c.oid, n.nspname::text, c.relname::text, c.relkind, i.inhparent, x.indrelid, c.reltoastrelid
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = c.oid
    LEFT JOIN pg_catalog.pg_index AS x ON x.indexrelid = c.oid
    WHERE c.oid >= 16384 OR c.relkind IN ('r', 'v') AND n.nspname = 'pg_catalog'";

/// Of the keys of partitions, those that only repeat the key of the whole table are left out.
const ATTACHED: &str = "
    SELECT 't'::\"char\", t.oid, t.tgrelid, t.tgname::text, t.tgfoid, t.tgtype, ' '::\"char\", ' '::\"char\", false, NULL
    FROM pg_catalog.pg_trigger AS t
    WHERE t.oid >= 16384 AND (NOT t.tgisinternal OR t.tgparentid <> 0) AND t.tgenabled IN ('O', 'A')
    UNION ALL
    SELECT 'r', r.oid, r.ev_class, r.rulename::text, 0, 0::int2, r.ev_type, ' ', r.is_instead,
        pg_catalog.pg_get_ruledef(r.oid)
    FROM pg_catalog.pg_rewrite AS r
    WHERE r.oid >= 16384 AND r.ev_enabled IN ('O', 'A')
    UNION ALL
    SELECT 'f', f.oid, f.confrelid, f.conname::text, f.conrelid, 0::int2, f.confdeltype, f.confupdtype, false, NULL
    FROM pg_catalog.pg_constraint AS f
    LEFT JOIN pg_catalog.pg_constraint AS p ON p.oid = f.conparentid
    WHERE f.contype = 'f' AND (p.oid IS NULL OR p.confrelid <> f.confrelid)";

const FUNCTIONS: &str = "
    SELECT p.oid, n.nspname::text, p.proname::text, pg_catalog.pg_get_function_identity_arguments(p.oid), p.pronargs,
        p.pronargdefaults, p.provariadic <> 0, coalesce(t.typtype IN ('c', 'p', 'd'), false), p.prokind, p.provolatile,
        p.prosecdef, coalesce(p.proconfig, '{}'), l.lanname::text, e.extname::text, p.prosrc,
        CASE WHEN p.prosqlbody IS NOT NULL THEN pg_catalog.pg_get_function_sqlbody(p.oid) END,
        CASE WHEN a.aggfnoid IS NULL THEN '{}' ELSE ARRAY[a.aggtransfn::oid, a.aggfinalfn, a.aggcombinefn, a.aggserialfn,
            a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn] END
    FROM pg_catalog.pg_proc AS p
    JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
    JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
    LEFT JOIN pg_catalog.pg_type AS t ON t.oid = p.proargtypes[0]
    LEFT JOIN pg_catalog.pg_aggregate AS a ON a.aggfnoid = p.oid
    LEFT JOIN pg_catalog.pg_depend AS d
        ON d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    LEFT JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
    WHERE p.oid >= 16384";

/// Types of arrays and row types are left out: they run what their elements and columns run.
const OPERATORS_TYPES_CASTS: &str = "
    SELECT 'o'::\"char\", o.oid, n.nspname::text, o.oprname::text, o.oprkind = 'l', o.oprcode::oid, 0::oid
    FROM pg_catalog.pg_operator AS o
    JOIN pg_catalog.pg_namespace AS n ON n.oid = o.oprnamespace
    WHERE o.oid >= 16384
    UNION ALL
    SELECT 't', t.oid, n.nspname::text, t.typname::text, false, t.typarray, 0
    FROM pg_catalog.pg_type AS t
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
    LEFT JOIN pg_catalog.pg_class AS c ON c.oid = t.typrelid
    WHERE t.oid >= 16384 AND (t.typtype <> 'c' OR c.relkind = 'c')
        AND t.typsubscript::oid <> 'pg_catalog.array_subscript_handler'::regproc::oid
    UNION ALL
    SELECT 'c', c.castsource, '', '', false, c.casttarget, c.castfunc
    FROM pg_catalog.pg_cast AS c
    WHERE c.castfunc >= 16384";

/// What belongs to the server itself is pinned, and has no rows here.
const DEPENDS: &str = "
    SELECT CASE
            WHEN p.oid IS NOT NULL THEN 'p'
            WHEN d.classid = 'pg_catalog.pg_trigger'::regclass THEN 't'
            WHEN d.classid = 'pg_catalog.pg_rewrite'::regclass THEN 'r'
            WHEN d.classid = 'pg_catalog.pg_type'::regclass OR k.oid IS NOT NULL THEN 'y'
            WHEN d.classid = 'pg_catalog.pg_proc'::regclass THEN 'f'
            ELSE 'e' END::\"char\",
        coalesce(a.adrelid, nullif(c.conrelid, 0), c.contypid, p.polrelid, i.indrelid, k.reltype, d.objid),
        CASE d.refclassid WHEN 'pg_catalog.pg_proc'::regclass THEN 'f' WHEN 'pg_catalog.pg_operator'::regclass THEN 'o'
            ELSE 't' END::\"char\",
        d.refobjid
    FROM pg_catalog.pg_depend AS d
    LEFT JOIN pg_catalog.pg_attrdef AS a ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND a.oid = d.objid
    LEFT JOIN pg_catalog.pg_constraint AS c ON d.classid = 'pg_catalog.pg_constraint'::regclass AND c.oid = d.objid
    LEFT JOIN pg_catalog.pg_policy AS p ON d.classid = 'pg_catalog.pg_policy'::regclass AND p.oid = d.objid
    LEFT JOIN pg_catalog.pg_index AS i ON d.classid = 'pg_catalog.pg_class'::regclass AND i.indexrelid = d.objid
    LEFT JOIN pg_catalog.pg_class AS k
        ON d.classid = 'pg_catalog.pg_class'::regclass AND k.oid = d.objid AND k.relkind = 'c'
    WHERE d.refclassid IN ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_operator'::regclass,
            'pg_catalog.pg_type'::regclass)
        AND d.refobjid >= 16384 AND d.deptype IN ('n', 'a')
        AND d.classid IN ('pg_catalog.pg_attrdef'::regclass, 'pg_catalog.pg_constraint'::regclass,
            'pg_catalog.pg_policy'::regclass, 'pg_catalog.pg_class'::regclass, 'pg_catalog.pg_trigger'::regclass,
            'pg_catalog.pg_rewrite'::regclass, 'pg_catalog.pg_type'::regclass, 'pg_catalog.pg_proc'::regclass)";

/// Reads the catalog over a session of its own.
///
/// # Errors
/// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) where the server does not answer,
/// [`ErrorKind::Server`](crate::ErrorKind::Server) where it refuses.
pub async fn load_catalog(settings: &ConnectionSettings) -> Result<Catalog, Error> {
    let target = settings.target();
    let (client, connection) =
        settings.config().connect(settings.tls()?).await.map_err(|error| connect_failure(&target, error))?;
    let driver = tokio::spawn(async move { drop(connection.await) });
    let loaded = load(&client).await.map_err(|error| failure(&target, "read the catalog", error));
    drop(client);
    // It says goodbye to the server, and then ends; that it was cut short changes nothing.
    drop(driver.await);
    loaded
}

/// Reads the catalog. One picture: all of it is of one moment. The session must not be inside a transaction.
pub(super) async fn load(client: &Client) -> Result<Catalog, tokio_postgres::Error> {
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    match read(client).await {
        Ok(catalog) => {
            client.batch_execute("COMMIT").await?;
            Ok(catalog)
        }
        Err(error) => {
            // The first error says what is wrong; a session that cannot even roll back is dropped by its owner.
            drop(client.batch_execute("ROLLBACK").await);
            Err(error)
        }
    }
}

async fn read(client: &Client) -> Result<Catalog, tokio_postgres::Error> {
    let search_path = client.query_one(SEARCH_PATH, &[]).await?.try_get(0)?;
    // From here on the server writes every name with its schema, and nobody's operators come before its own.
    client.batch_execute("SET LOCAL search_path = ''").await?;
    let mut rows = Rows { search_path, ..Rows::default() };
    for row in client.query(RELATIONS, &[]).await? {
        rows.relations.push(relation(&row)?);
    }
    for row in client.query(ATTACHED, &[]).await? {
        attached(&row, &mut rows)?;
    }
    for row in client.query(FUNCTIONS, &[]).await? {
        rows.functions.push(function(&row)?);
    }
    for row in client.query(OPERATORS_TYPES_CASTS, &[]).await? {
        operator_type_or_cast(&row, &mut rows)?;
    }
    for row in client.query(DEPENDS, &[]).await? {
        let dependent = match letter(&row, 0)? {
            'p' => Dependent::Policy,
            't' => Dependent::Trigger,
            'r' => Dependent::Rule,
            'y' => Dependent::Type,
            'f' => Dependent::Function,
            _ => Dependent::Expression,
        };
        let (oid, kind, used) = (row.try_get(1)?, letter(&row, 2)?, row.try_get(3)?);
        rows.depends.push(DependsRow { dependent, oid, kind, used });
    }
    Ok(Catalog::from_rows(rows))
}

fn relation(row: &Row) -> Result<RelationRow, tokio_postgres::Error> {
    Ok(RelationRow {
        oid: row.try_get(0)?,
        schema: row.try_get(1)?,
        name: row.try_get(2)?,
        kind: letter(row, 3)?,
        parent: row.try_get(4)?,
        table: row.try_get(5)?,
        toast: row.try_get(6)?,
    })
}

fn attached(row: &Row, rows: &mut Rows) -> Result<(), tokio_postgres::Error> {
    let (oid, relation, name) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    match letter(row, 0)? {
        't' => {
            let (function, events) = (row.try_get(4)?, row.try_get(5)?);
            rows.triggers.push(TriggerRow { oid, relation, name, function, events });
        }
        'r' => {
            let (event, is_instead) = (letter(row, 6)?, row.try_get(8)?);
            // A rule that went while it was read has no text; without one it cannot be read, which is the safe side.
            let text = row.try_get::<_, Option<String>>(9)?.unwrap_or_default();
            rows.rules.push(RuleRow { oid, relation, name, event, is_instead, text });
        }
        _ => {
            let (on_delete, on_update) = (letter(row, 6)?, letter(row, 7)?);
            let child = row.try_get(4)?;
            rows.foreign_keys.push(ForeignKeyRow { parent: relation, child, name, on_delete, on_update });
        }
    }
    Ok(())
}

fn function(row: &Row) -> Result<FunctionRow, tokio_postgres::Error> {
    Ok(FunctionRow {
        oid: row.try_get(0)?,
        schema: row.try_get(1)?,
        name: row.try_get(2)?,
        signature: row.try_get::<_, Option<String>>(3)?.unwrap_or_default(),
        arguments: row.try_get(4)?,
        defaults: row.try_get(5)?,
        is_variadic: row.try_get(6)?,
        takes_row: row.try_get(7)?,
        kind: letter(row, 8)?,
        volatility: letter(row, 9)?,
        is_security_definer: row.try_get(10)?,
        settings: row.try_get(11)?,
        language: row.try_get(12)?,
        extension: row.try_get(13)?,
        source: row.try_get(14)?,
        standard_body: row.try_get(15)?,
        support: row.try_get(16)?,
    })
}

fn operator_type_or_cast(row: &Row, rows: &mut Rows) -> Result<(), tokio_postgres::Error> {
    let (first, schema, name) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    match letter(row, 0)? {
        'o' => {
            let (is_prefix, function) = (row.try_get(4)?, row.try_get(5)?);
            rows.operators.push(OperatorRow { oid: first, schema, name, is_prefix, function });
        }
        't' => rows.types.push(TypeRow { oid: first, schema, name, array: row.try_get(5)? }),
        _ => {
            rows.casts.push(CastRow { source: first, target: row.try_get(5)?, function: row.try_get(6)? });
        }
    }
    Ok(())
}

/// Reads a column of the type `"char"`.
fn letter(row: &Row, column: usize) -> Result<char, tokio_postgres::Error> {
    Ok(char::from(row.try_get::<_, i8>(column)?.cast_unsigned()))
}
