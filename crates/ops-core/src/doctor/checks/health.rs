//! What makes an accident likelier, or harder to undo.

use super::Check;

pub(super) const PREPARED_TRANSACTIONS: Check = Check::warn(
    "prepared-transactions",
    "prepared transactions lie around",
    "They keep their locks until somebody ends them, also after a restart.",
    "SELECT format('%L of %I since %s', x.gid, x.owner, x.prepared), ARRAY[
         format('-- decide: COMMIT PREPARED %L; or ROLLBACK PREPARED %L;', x.gid, x.gid)]
     FROM pg_catalog.pg_prepared_xacts AS x WHERE x.database = current_database()",
);

/// One that is being built is not valid yet.
pub(super) const INVALID_INDEX: Check = Check::warn(
    "invalid-index",
    "an index is not valid",
    "It costs time with each write, serves no query, and does not keep values unique.",
    "SELECT i.indexrelid::regclass::text, ARRAY[format('REINDEX INDEX CONCURRENTLY %s', i.indexrelid::regclass)]
     FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid AND c.relkind = 'i'
     JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE NOT i.indisvalid AND n.nspname !~ '^pg_(toast|temp)'
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index AS b WHERE b.index_relid = i.indexrelid)",
);

/// The tables of owners that the role is a member of count as well: it keeps the right to delete from them.
pub(super) const NO_PRIMARY_KEY: Check = Check::warn(
    "no-primary-key",
    "tables that the role may delete from have no primary key",
    "Rows that cannot be told apart can neither be deleted one by one nor put back.",
    "SELECT format('%I.%I', n.nspname, c.relname), ARRAY[coalesce(
         (SELECT format('DO $guard$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_index WHERE indisprimary AND indrelid = %L::regclass) '
                        'THEN ALTER TABLE %I.%I ADD PRIMARY KEY USING INDEX %I; END IF; END $guard$',
                        c.oid::regclass, n.nspname, c.relname, u.relname)
          FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS u ON u.oid = i.indexrelid
          WHERE i.indrelid = c.oid AND c.relkind = 'r' AND NOT c.relispartition
            AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = i.indnatts
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS k WHERE k.conindid = u.oid)
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                            WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey) AND NOT a.attnotnull)
          ORDER BY i.indnatts, u.relname LIMIT 1),
         format('-- give it a key: ALTER TABLE %I.%I ADD PRIMARY KEY (…); or ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY',
                n.nspname, c.relname))]
     FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND {user_schema}
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary)
       AND EXISTS (SELECT FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS x
                   WHERE x.privilege_type = 'DELETE' AND x.grantee = ANY ({roles} || {mighty}))",
);

/// The column behind a sequence may be narrower than the sequence.
pub(super) const SEQUENCE_NEAR_END: Check = Check {
    blind: Some(
        "SELECT format('%I.%I', n.nspname, c.relname), NULL::text[]
         FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relkind = 'S' AND {user_schema}
           AND (NOT has_schema_privilege(session_user, n.oid, 'USAGE')
                OR NOT has_sequence_privilege(session_user, c.oid, 'USAGE, SELECT'))",
    ),
    ..Check::warn(
        "sequence-near-end",
        "a sequence has used up most of its values",
        "When it reaches its end, every insert fails.",
        "WITH sequence AS (
             SELECT q.schemaname, q.sequencename, q.last_value, k.tab, k.attname,
                 least(q.max_value, CASE k.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647
                                                    ELSE 9223372036854775807 END) AS highest
             FROM pg_catalog.pg_sequences AS q
             JOIN pg_catalog.pg_namespace AS n ON n.nspname = q.schemaname
             JOIN pg_catalog.pg_class AS c ON c.relname = q.sequencename AND c.relnamespace = n.oid
             LEFT JOIN LATERAL (SELECT a.attrelid::regclass AS tab, a.attname, a.atttypid
                 FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                 WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
                   AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid > 0
                   AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)) AS k ON true
             WHERE NOT q.cycle AND q.increment_by > 0 AND {user_schema})
         SELECT format('%I.%I at %s of %s', schemaname, sequencename, last_value, highest),
             CASE WHEN highest = 9223372036854775807 THEN ARRAY['-- no integer type is wider: plan for new keys']
                  ELSE CASE WHEN tab IS NULL THEN '{}'
                            ELSE ARRAY[format('ALTER TABLE %s ALTER COLUMN %s TYPE bigint', tab, quote_ident(attname))] END
                       || format('ALTER SEQUENCE %I.%I AS bigint NO MAXVALUE', schemaname, sequencename) END
         FROM sequence WHERE last_value > 0.8 * highest",
    )
};
