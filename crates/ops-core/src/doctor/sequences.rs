//! Sequences that have fallen behind the columns they feed. One query cannot tell: each column must be asked.

use super::checks::Check;
use super::report::{Finding, Report, Unjudged};
use super::session::{Failed, Session};
use crate::error::Error;

/// So many columns are looked at; more would make an examination slow.
const MOST: usize = 500;

/// The sequences with the column that each belongs to, and a query for those that can be asked quickly: the role may
/// read column and sequence, and an index begins with the column.
const COLUMNS: &str = "
    SELECT format('%s of %s', a.attname, a.attrelid::regclass),
        CASE WHEN has_column_privilege(session_user, a.attrelid, a.attnum, 'SELECT')
              AND has_schema_privilege(session_user, t.relnamespace, 'USAGE')
              AND has_schema_privilege(session_user, n.oid, 'USAGE')
              AND has_sequence_privilege(session_user, c.oid, 'SELECT')
              AND EXISTS (SELECT FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
                          JOIN pg_catalog.pg_am AS m ON m.oid = x.relam
                          WHERE i.indrelid = a.attrelid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = a.attnum
                            AND m.amname = 'btree')
        THEN ARRAY[format(
            'SELECT %L || '' at '' || s.last_value || '', the column at '' || h.highest, ARRAY[%L] '
            'FROM %I.%I AS s, LATERAL (SELECT max(%I) AS highest FROM %s) AS h '
            'WHERE h.highest IS NOT NULL AND (h.highest > s.last_value OR h.highest = s.last_value AND NOT s.is_called)',
            format('%I.%I', n.nspname, c.relname),
            format('SELECT pg_catalog.setval(%L, (SELECT max(%I) FROM %s), true) '
                   'WHERE (SELECT max(%I) FROM %s) >= (SELECT last_value FROM %I.%I)',
                   format('%I.%I', n.nspname, c.relname), a.attname, a.attrelid::regclass,
                   a.attname, a.attrelid::regclass, n.nspname, c.relname),
            n.nspname, c.relname, a.attname, a.attrelid::regclass)]
        END
    FROM pg_catalog.pg_sequence AS q
    JOIN pg_catalog.pg_class AS c ON c.oid = q.seqrelid
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
        AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    JOIN pg_catalog.pg_class AS t ON t.oid = a.attrelid
    WHERE q.seqincrement > 0 AND NOT q.seqcycle AND n.nspname !~ '^pg_'
      AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
    ORDER BY 1";

/// The check, whose query gives further queries.
pub(super) const BEHIND: Check = Check::warn(
    "sequence-behind",
    "a sequence is behind the column that it feeds",
    "Its next values are taken already, so inserts fail, or worse: they reuse the key of a row that was deleted.",
    COLUMNS,
);

/// Looks at each column that can be asked; the others are told by name.
pub(super) async fn examine(session: &Session, report: &mut Report) -> Result<(), Error> {
    let columns = match session.run(BEHIND.query).await {
        Ok(columns) => columns,
        Err(failed) => {
            report.unjudged.push(super::unjudged(&BEHIND, failed)?);
            return Ok(());
        }
    };
    let mut finding = Finding::new(&BEHIND);
    let mut blind = Vec::new();
    for (index, column) in columns.into_iter().enumerate() {
        let name = column.object.unwrap_or_default();
        let Some(query) = column.fix.first().filter(|_| index < MOST) else {
            blind.push(name);
            continue;
        };
        match session.run(query).await {
            Ok(rows) => rows.into_iter().for_each(|row| finding.add(row.object, row.fix)),
            Err(Failed::Refused(_)) => blind.push(name),
            Err(Failed::Lost(error)) => return Err(error),
        }
    }
    if !finding.objects.is_empty() {
        report.findings.push(finding);
    }
    if !blind.is_empty() {
        let reason = format!("not readable, or without an index: {}", blind.join(", "));
        report.unjudged.push(Unjudged::new(&BEHIND, reason));
    }
    Ok(())
}
