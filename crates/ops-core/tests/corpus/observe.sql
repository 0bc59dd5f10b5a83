-- What a session has done, asked of the server and of nobody else: one line a fact. Independent of the guard.
-- Row counters keep what earlier transactions of the session did until the server flushes them: only differences count.
CREATE SCHEMA observe;
GRANT USAGE ON SCHEMA observe TO PUBLIC;
CREATE TABLE observe.relations AS
    SELECT c.oid, n.nspname || '.' || c.relname AS name, c.relkind::text AS kind, c.relfilenode AS filenode
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('app', 'other', 'public');
CREATE TABLE observe.schemas AS SELECT oid FROM pg_catalog.pg_namespace WHERE nspname IN ('app', 'other', 'public');
CREATE TABLE observe.functions AS
    SELECT oid FROM pg_catalog.pg_proc WHERE pronamespace IN ('app'::regnamespace, 'other'::regnamespace);

-- The rows of each system catalog, and how many of them the current transaction has made: age() is zero for those,
-- and less for those of its subtransactions. Dependencies and statistics follow from the rest. Without a transaction id
-- nothing was written, and nothing needs to be looked at.
DO $$
BEGIN
    EXECUTE (
        SELECT 'CREATE FUNCTION observe.catalogs() RETURNS TABLE (name text, rows bigint, fresh bigint) LANGUAGE plpgsql AS ''BEGIN IF pg_catalog.pg_current_xact_id_if_assigned() IS NULL THEN RETURN; END IF; RETURN QUERY '
            || string_agg(format('SELECT ''''%s'''', pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE pg_catalog.age(c.xmin) <= 0) FROM pg_catalog.%I AS c',
                relname, relname), ' UNION ALL ') || '; END'''
        FROM pg_catalog.pg_class
        WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r'
        AND relname NOT IN ('pg_depend', 'pg_shdepend', 'pg_statistic', 'pg_statistic_ext_data', 'pg_init_privs', 'pg_amop', 'pg_amproc'));
END $$;
CREATE TABLE observe.baseline (name text, rows bigint);
CREATE TABLE observe.digest (privileges text);

-- Who may do what with the objects of the schema: owners, privileges, row security.
CREATE FUNCTION observe.privileges() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT pg_catalog.md5(pg_catalog.string_agg(line, ' ' ORDER BY line)) FROM (
        SELECT pg_catalog.concat_ws(' ', oid, relowner, relacl, relrowsecurity, relforcerowsecurity) AS line
            FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND oid IN (SELECT oid FROM observe.relations)
        UNION ALL SELECT pg_catalog.concat_ws(' ', oid, proowner, proacl)
            FROM pg_catalog.pg_proc WHERE oid IN (SELECT oid FROM observe.functions)
        UNION ALL SELECT pg_catalog.concat_ws(' ', oid, nspowner, nspacl)
            FROM pg_catalog.pg_namespace WHERE oid IN (SELECT oid FROM observe.schemas)
        UNION ALL SELECT pg_catalog.concat_ws(' ', attrelid, attnum, attacl)
            FROM pg_catalog.pg_attribute WHERE attrelid >= 16384 AND attacl IS NOT NULL
        UNION ALL SELECT pg_catalog.concat_ws(' ', oid, datdba, datacl) FROM pg_catalog.pg_database
        UNION ALL SELECT pg_catalog.concat_ws(' ', oid, lomowner, lomacl) FROM pg_catalog.pg_largeobject_metadata
    ) AS lines);
END $$;

CREATE FUNCTION observe.look(who text, session text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    RETURN (WITH facts AS (
        SELECT op || ' ' || r.name || ' ' || n AS fact
        FROM observe.relations AS r, LATERAL (VALUES
            ('insert', pg_catalog.pg_stat_get_xact_tuples_inserted(r.oid)),
            ('update', pg_catalog.pg_stat_get_xact_tuples_updated(r.oid)),
            ('delete', pg_catalog.pg_stat_get_xact_tuples_deleted(r.oid))) AS v(op, n)
        WHERE n > 0 AND r.kind IN ('r', 'm')
        UNION ALL
        SELECT CASE WHEN c.oid IS NULL THEN 'gone ' ELSE 'filenode ' END || r.kind || ' ' || r.name
        FROM observe.relations AS r LEFT JOIN pg_catalog.pg_class AS c USING (oid)
        WHERE c.oid IS NULL OR c.relfilenode <> r.filenode
        UNION ALL
        SELECT 'new ' || c.relkind::text || ' ' || CASE WHEN n.nspname LIKE 'pg\_temp\_%' THEN 'pg_temp' ELSE n.nspname END || '.' || c.relname
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'observe') AND n.nspname NOT LIKE 'pg\_toast%'
        AND c.oid >= 16384 AND c.oid NOT IN (SELECT oid FROM observe.relations)
        UNION ALL
        SELECT 'lock ' || l.mode || ' ' || r.name
        FROM pg_catalog.pg_locks AS l JOIN observe.relations AS r ON r.oid = l.relation
        WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND r.kind IN ('r', 'p', 'v', 'm', 'f', 'S')
        AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
        UNION ALL
        SELECT 'catalog ' || now.name || ' ' || (now.rows - k.rows) || ' ' || now.fresh
        FROM observe.catalogs() AS now JOIN observe.baseline AS k USING (name) WHERE now.rows <> k.rows OR now.fresh > 0
        UNION ALL
        SELECT 'privileges ' || digest FROM (SELECT observe.privileges() AS digest WHERE pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL) AS now
        WHERE digest <> (SELECT privileges FROM observe.digest)
        UNION ALL
        SELECT 'sequence ' || r.name || ' ' || coalesce(pg_catalog.pg_sequence_last_value(r.oid)::text, 'unused')
        FROM observe.relations AS r JOIN pg_catalog.pg_class AS c USING (oid) WHERE r.kind = 'S'
        UNION ALL
        SELECT 'setting ' || name || ' ' || setting FROM pg_catalog.pg_settings WHERE source IN ('session', 'user', 'database') OR name LIKE 'transaction%'
        UNION ALL
        SELECT 'role ' || who || ' ' || session
        UNION ALL
        SELECT 'advisory ' || pg_catalog.count(*) FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()
        UNION ALL
        SELECT 'prepared ' || name FROM pg_catalog.pg_prepared_statements
        UNION ALL
        SELECT 'cursor ' || name FROM pg_catalog.pg_cursors WHERE name <> '' AND statement NOT LIKE '%observe.look%'
        UNION ALL
        SELECT 'xid' WHERE pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL
    )
    SELECT pg_catalog.string_agg(fact, E'\n') FROM facts);
END $$;
-- Last, so that nothing of the above is taken for a change.
BEGIN;
INSERT INTO observe.digest SELECT observe.privileges();
INSERT INTO observe.baseline SELECT name, rows FROM observe.catalogs();
COMMIT;
VACUUM FREEZE ANALYZE;
