//! Statements and the rule that each falls under: every row of the taxonomy of destruction, and the ways round it.

use ops_core::guard::Policy;

/// Judges under a policy, and names the rules that refuse, or `allow`.
fn rules(policy: &Policy, sql: &str) -> String {
    let verdict = policy.judge(sql);
    let rules: Vec<&str> =
        verdict.statements.iter().map(|statement| statement.rule.as_deref().unwrap_or("allow")).collect();
    rules.join(",")
}

fn check(policy: &Policy, table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|(expected, sql)| {
            let found = rules(policy, sql);
            (found != *expected).then(|| format!("expected {expected}, found {found}: {sql}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), table.len(), wrong.join("\n"));
}

#[test]
fn ordinary_work_is_allowed() {
    let statements = [
        "",
        "  -- nothing\n/* at /* all */ */ ; ;",
        "SELECT 1",
        "select * from ledger where account = $1 order by id limit 10 offset $2",
        "SELECT count(*), sum(amount), max(at) FROM app.ledger GROUP BY account HAVING count(*) > 1",
        "SELECT a.*, b.x FROM a LEFT JOIN b USING (id) WHERE a.name LIKE '%x%' AND b.y ILIKE $1",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x) FROM t",
        "SELECT row_number() OVER (PARTITION BY a ORDER BY b), lag(x) OVER w FROM t WINDOW w AS (ORDER BY y)",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 10) SELECT * FROM r",
        "SELECT jsonb_build_object('a', a) -> 'a' ->> 'b', data #>> '{a,b}', data @> '{}' FROM t",
        "SELECT array_agg(x ORDER BY x), string_agg(y, ',') FILTER (WHERE y <> '') FROM t",
        "SELECT * FROM generate_series(1, 10) AS g, unnest($1::int[]) WITH ORDINALITY AS u(x, n)",
        "SELECT now(), clock_timestamp(), current_date, gen_random_uuid(), random(), uuidv7()",
        "SELECT to_tsvector('english', body) @@ plainto_tsquery($1) FROM t",
        "SELECT 'DELETE FROM ledger; DROP TABLE ledger' AS text, $$TRUNCATE t$$, E'it''s'",
        "SELECT x BETWEEN 1 AND 2, x IS DISTINCT FROM y, x IN (1, 2), NOT x, -x, x ~* 'a' FROM t",
        "SELECT CASE WHEN a THEN b ELSE c END, coalesce(a, b), nullif(a, b), greatest(a, b), a::text FROM t",
        "SELECT * FROM t WHERE embedding <=> $1 < 0.5 AND name % 'x' AND tags ? 'a'",
        "SELECT * FROM json_to_recordset($1) AS x(a int, b text)",
        "SELECT extract(year FROM at), date_trunc('day', at), at AT TIME ZONE 'UTC', substring(x FROM 1 FOR 2) FROM t",
        "SELECT * FROM t TABLESAMPLE bernoulli (1)",
        "SELECT * FROM t FOR UPDATE SKIP LOCKED",
        "SELECT pg_try_advisory_xact_lock(1), pg_advisory_unlock(2)",
        "SELECT nextval('s'), currval('s'), lastval()",
        "SELECT pg_notify('channel', 'payload')",
        "SELECT current_setting('app.tenant', true), pg_size_pretty(pg_database_size(current_database()))",
        "TABLE t",
        "VALUES (1, 'a'), (2, 'b')",
        "INSERT INTO t (a, b) VALUES ($1, $2) RETURNING id",
        "INSERT INTO t DEFAULT VALUES",
        "INSERT INTO t SELECT * FROM u",
        "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = excluded.b WHERE t.b IS NULL",
        "INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING",
        "UPDATE t SET a = a + 1 WHERE id = $1",
        "UPDATE t SET (a, b) = (1, 2) WHERE id = ANY($1)",
        "UPDATE t AS x SET a = u.a FROM u WHERE x.id = u.id",
        "UPDATE t SET deleted_at = now() WHERE deleted_at IS NULL AND id IN ($1, $2)",
        "DELETE FROM t WHERE id = 1",
        "DELETE FROM ONLY app.t WHERE app.t.id = $1",
        "DELETE FROM t USING u WHERE t.id = u.id AND u.gone",
        "DELETE FROM t WHERE id IN (SELECT id FROM t WHERE old ORDER BY at LIMIT 100)",
        "DELETE FROM t WHERE ctid = ANY(ARRAY(SELECT ctid FROM t WHERE old LIMIT 100))",
        "DELETE FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.t_id = t.id)",
        "DELETE FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.t_id = id)",
        "DELETE FROM t WHERE false",
        "DELETE FROM t WHERE expires_at < now()",
        "DELETE FROM t WHERE CURRENT OF c",
        "WITH gone AS (DELETE FROM t WHERE id = 1 RETURNING *) INSERT INTO archive SELECT * FROM gone",
        "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED AND s.gone THEN DELETE WHEN MATCHED THEN UPDATE SET a = s.a \
         WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.a)",
        "CREATE TEMP TABLE work (id int) ON COMMIT DROP",
        "CREATE TEMPORARY TABLE work AS SELECT * FROM t",
        "SELECT * INTO TEMP work FROM t",
        "SET application_name = 'x'",
        "SET LOCAL statement_timeout = '5s'",
        "SET lock_timeout TO 1000",
        "SET TIME ZONE 'UTC'",
        "SET client_encoding = 'UTF8'",
        "SET NAMES 'UTF8'",
        "SET CONSTRAINTS ALL IMMEDIATE",
        "SHOW search_path",
        "EXPLAIN SELECT * FROM t",
        "EXPLAIN DELETE FROM t",
        "EXPLAIN (ANALYZE off) DELETE FROM t",
        "EXPLAIN ANALYZE SELECT * FROM t",
        "DECLARE c CURSOR FOR SELECT * FROM t",
        "FETCH 10 FROM c",
        "CLOSE c",
        "LISTEN channel",
        "NOTIFY channel, 'x'",
        "UNLISTEN *",
        "COPY t TO STDOUT",
        "COPY t (a, b) FROM STDIN WITH (FORMAT csv)",
        "COPY (SELECT * FROM t WHERE a = 1) TO STDOUT",
        "ANALYZE t",
        "VACUUM t",
        "LOCK TABLE t IN ROW EXCLUSIVE MODE",
    ];
    check(&Policy::app(), &statements.map(|sql| (expected_allow(sql), sql)));

    fn expected_allow(sql: &str) -> &'static str {
        if sql.is_empty() || sql.contains("nothing\n") { "" } else { "allow" }
    }
}

#[test]
fn writes_without_a_condition_on_the_rows_are_refused() {
    let deletes = [
        "DELETE FROM t",
        "delete from only t",
        "/* harmless */ DELETE /**/ FROM t -- WHERE id = 1",
        "DELETE FROM t RETURNING *",
        "DELETE FROM t WHERE true",
        "DELETE FROM t WHERE 't'::bool",
        "DELETE FROM t WHERE 1 = 1",
        "DELETE FROM t WHERE 1 < 2",
        "DELETE FROM t WHERE 'a' = 'a'",
        "DELETE FROM t WHERE 1.5 <> 2",
        "DELETE FROM t WHERE id = id",
        "DELETE FROM t WHERE t.id = id",
        "DELETE FROM t WHERE id >= id",
        "DELETE FROM t WHERE ctid = ctid",
        "DELETE FROM t WHERE ctid IS NOT NULL",
        "DELETE FROM t WHERE id IS NOT DISTINCT FROM id",
        "DELETE FROM t WHERE (id, a) = (id, a)",
        "DELETE FROM t WHERE id = 1 OR true",
        "DELETE FROM t WHERE id = 1 OR 1 = 1",
        "DELETE FROM t WHERE id IS NULL OR id IS NOT NULL",
        "DELETE FROM t WHERE a = 1 OR a <> 1",
        "DELETE FROM t WHERE NOT false",
        "DELETE FROM t WHERE NOT (1 = 2)",
        "DELETE FROM t WHERE NOT NOT true",
        "DELETE FROM t WHERE true IS TRUE",
        "DELETE FROM t WHERE false IS NOT TRUE",
        "DELETE FROM t WHERE 1 IS NOT NULL",
        "DELETE FROM t WHERE NULL IS NULL",
        "DELETE FROM t WHERE name LIKE '%'",
        "DELETE FROM t WHERE name ILIKE '%%'",
        "DELETE FROM t WHERE name ~ '.*'",
        "DELETE FROM t WHERE 1 IN (1, 2)",
        "DELETE FROM t WHERE 1 BETWEEN 0 AND 2",
        "DELETE FROM t WHERE coalesce(true, id = 1)",
        "DELETE FROM t WHERE CASE WHEN true THEN true ELSE id = 1 END",
        "DELETE FROM t WHERE EXISTS (SELECT 1)",
        "DELETE FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.x = 1)",
        "DELETE FROM t WHERE id IN (SELECT id FROM t)",
        "DELETE FROM t WHERE id IN (SELECT id FROM t WHERE true)",
        "DELETE FROM t WHERE now() > '2020-01-01'",
        "DELETE FROM t WHERE random() < 2",
        "DELETE FROM t WHERE 1 + 1 = 2",
        "DELETE FROM t WHERE $1",
        "DELETE FROM t WHERE $1 = $1",
        "DELETE FROM t USING u",
        "DELETE FROM t USING u WHERE u.id = 1",
        "DELETE FROM t AS x USING u WHERE u.id = 1",
        "WITH d AS (DELETE FROM t RETURNING *) SELECT count(*) FROM d",
        "WITH a AS (WITH b AS (SELECT 1) DELETE FROM t RETURNING *) SELECT * FROM a",
        "WITH d AS (DELETE FROM t RETURNING *) INSERT INTO archive SELECT * FROM d",
        "INSERT INTO u WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d",
        "EXPLAIN ANALYZE DELETE FROM t",
        "EXPLAIN (ANALYZE, COSTS off) DELETE FROM t",
        "EXPLAIN (ANALYZE 1) WITH d AS (DELETE FROM t RETURNING 1) SELECT 1",
        "COPY (DELETE FROM t RETURNING *) TO STDOUT",
        "CREATE TEMP TABLE x AS WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d",
        "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
        "MERGE INTO t USING s ON s.a = s.b WHEN MATCHED THEN DELETE",
        "MERGE INTO t USING s ON t.id = s.id WHEN NOT MATCHED BY SOURCE THEN DELETE",
    ];
    check(&Policy::app(), &deletes.map(|sql| ("delete-all", sql)));
    let updates = [
        "UPDATE t SET a = 1",
        "UPDATE t SET a = 1 WHERE 2 > 1",
        "UPDATE t SET a = u.a FROM u",
        "UPDATE t SET a = u.a FROM u WHERE u.b = 1",
        "WITH u AS (UPDATE t SET a = 1 RETURNING *) SELECT * FROM u",
        "MERGE INTO t USING s ON 1 = 1 WHEN MATCHED THEN UPDATE SET a = 1",
    ];
    check(&Policy::app(), &updates.map(|sql| ("update-all", sql)));
}

#[test]
fn changes_of_objects_are_refused() {
    check(
        &Policy::app(),
        &[
            ("truncate", "TRUNCATE t"),
            ("truncate", "TRUNCATE TABLE ONLY a, b RESTART IDENTITY CASCADE"),
            ("data-drop", "DROP TABLE t"),
            ("data-drop", "DROP TABLE IF EXISTS a, b CASCADE"),
            ("data-drop", "drop schema app cascade"),
            ("data-drop", "DROP MATERIALIZED VIEW m"),
            ("data-drop", "DROP SEQUENCE s"),
            ("data-drop", "DROP TYPE y CASCADE"),
            ("data-drop", "DROP EXTENSION hstore"),
            ("data-drop", "DROP VIEW v CASCADE"),
            ("data-drop", "DROP OWNED BY app"),
            ("data-drop", "ALTER TABLE t DROP COLUMN a"),
            ("data-drop", "ALTER TABLE t ADD COLUMN b int, DROP COLUMN a CASCADE"),
            ("data-drop", "ALTER TABLE t DETACH PARTITION p"),
            ("data-drop", "ALTER TABLE c NO INHERIT p"),
            ("schema-drop", "DROP VIEW v"),
            ("schema-drop", "DROP INDEX CONCURRENTLY i"),
            ("schema-drop", "DROP FUNCTION f(int)"),
            ("schema-drop", "DROP TRIGGER x ON t"),
            ("schema-drop", "ALTER TABLE t DROP CONSTRAINT c"),
            ("schema-add", "CREATE TABLE x (id int)"),
            ("schema-add", "CREATE TABLE x AS SELECT * FROM t"),
            ("schema-add", "SELECT * INTO x FROM t"),
            ("schema-add", "CREATE INDEX CONCURRENTLY i ON t (a)"),
            ("schema-add", "CREATE INDEX i ON t (a)"),
            ("schema-add", "CREATE VIEW v AS SELECT 1"),
            ("schema-add", "CREATE MATERIALIZED VIEW m AS SELECT 1"),
            ("schema-add", "CREATE SEQUENCE s"),
            ("schema-add", "CREATE SCHEMA x"),
            ("schema-add", "CREATE TYPE x AS ENUM ('a')"),
            ("schema-add", "CREATE DOMAIN d AS int"),
            ("schema-change", "CREATE OR REPLACE VIEW v AS SELECT 1"),
            ("schema-change", "ALTER TABLE t ADD COLUMN a int DEFAULT 1"),
            ("schema-change", "ALTER TABLE t RENAME TO u"),
            ("schema-change", "ALTER TABLE t RENAME COLUMN a TO b"),
            ("schema-change", "ALTER TABLE t SET SCHEMA x"),
            ("schema-change", "ALTER TYPE x ADD VALUE 'b'"),
            ("schema-change", "COMMENT ON TABLE t IS 'x'"),
            ("rewrite", "ALTER TABLE t ALTER COLUMN a TYPE varchar(1)"),
            ("rewrite", "ALTER TABLE t SET UNLOGGED"),
            ("rewrite", "VACUUM FULL t"),
            ("rewrite", "VACUUM (FULL, VERBOSE) t"),
            ("rewrite", "CLUSTER t USING i"),
            ("rewrite", "REINDEX TABLE t"),
            ("rewrite", "REFRESH MATERIALIZED VIEW m"),
            ("sequence-reset", "SELECT setval('s', 1)"),
            ("schema-change", "ALTER SEQUENCE s RESTART"),
            ("lock-table", "LOCK TABLE t"),
            ("lock-table", "LOCK t IN SHARE MODE"),
            ("privilege", "GRANT SELECT ON t TO PUBLIC"),
            ("privilege", "REVOKE ALL ON ALL TABLES IN SCHEMA app FROM app"),
            ("privilege", "ALTER TABLE t OWNER TO x"),
            ("privilege", "ALTER TABLE t DISABLE ROW LEVEL SECURITY"),
            ("privilege", "CREATE POLICY p ON t USING (true)"),
            ("privilege", "DROP POLICY p ON t"),
            ("privilege", "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO app"),
            ("role", "CREATE ROLE x SUPERUSER"),
            ("role", "ALTER ROLE app SET default_transaction_read_only = off"),
            ("role", "GRANT admin TO app"),
            ("role", "DROP ROLE x"),
            ("role", "REASSIGN OWNED BY a TO b"),
        ],
    );
}

#[test]
fn code_that_the_text_does_not_show_is_refused() {
    check(
        &Policy::app(),
        &[
            ("code-definition", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
            ("code-definition", "CREATE OR REPLACE PROCEDURE p() LANGUAGE sql AS 'DELETE FROM t'"),
            ("code-definition", "CREATE TRIGGER x AFTER INSERT ON t EXECUTE FUNCTION f()"),
            ("code-definition", "CREATE RULE r AS ON INSERT TO t DO ALSO DELETE FROM u"),
            ("code-definition", "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = f)"),
            ("code-definition", "CREATE CAST (text AS y) WITH FUNCTION f(text) AS IMPLICIT"),
            ("code-definition", "CREATE AGGREGATE a (int) (SFUNC = f, STYPE = int)"),
            ("code-definition", "CREATE EXTENSION plpython3u"),
            ("code-definition", "ALTER TABLE t DISABLE TRIGGER ALL"),
            ("code-definition", "ALTER FUNCTION f() SECURITY DEFINER"),
            ("delete-all", "DO $$ BEGIN DELETE FROM t; END $$"),
            ("dynamic-code", "DO LANGUAGE plpgsql 'BEGIN COMMIT; END'"),
            ("dynamic-code", "EXECUTE p"),
            ("dynamic-code", "EXPLAIN ANALYZE EXECUTE p"),
            ("delete-all", "SELECT query_to_xml('DELETE FROM t', true, true, '')"),
            ("dynamic-code", "SELECT pg_catalog.query_to_xml($1, true, true, '')"),
            ("dynamic-code", "SELECT * FROM ts_stat('SELECT f()')"),
            ("dynamic-code", "SELECT * FROM crosstab('SELECT f()') AS t(a int)"),
            ("dynamic-code", "SELECT database_to_xml(true, true, '')"),
            ("delete-all", "SELECT cron.schedule('* * * * *', 'DELETE FROM t')"),
            ("delete-all", "PREPARE p AS DELETE FROM t"),
            ("session-setting", "PREPARE p AS SELECT 1"),
            ("unknown-function", "CALL p()"),
            ("unknown-function", "SELECT wipe()"),
            ("unknown-function", "SELECT app.wipe(1) FROM t"),
            ("unknown-function", "SELECT public.length('a')"),
            ("unknown-function", "SELECT 'a' === 'b'"),
            ("unknown-function", "SELECT 1 OPERATOR(app.+) 2"),
            ("unknown-function", "SELECT * FROM t ORDER BY a USING ==="),
            ("unknown-function", "SELECT * FROM t WHERE a = 1 AND b === ANY(SELECT 1)"),
            ("unknown-function", "SELECT * FROM t TABLESAMPLE mine (1)"),
            ("external", "COPY t TO PROGRAM 'curl x'"),
            ("external", "COPY t FROM PROGRAM 'id'"),
            ("external", "COPY t TO '/tmp/x'"),
            ("external", "COPY (SELECT 1) TO '/tmp/x'"),
            ("external", "SELECT pg_read_file('/etc/passwd')"),
            ("external", "SELECT U&\"pg_read_fil\\0065\"('/etc/passwd')"),
            ("external", "SELECT * FROM pg_ls_dir('.')"),
            ("external", "SELECT lo_import('/etc/passwd')"),
            ("external", "SELECT lo_export(1, '/tmp/x')"),
            ("external", "SELECT * FROM dblink('c', 'DELETE FROM t') AS x(a int)"),
            ("external", "SELECT dblink_exec('c', 'DROP TABLE t')"),
            ("external", "SELECT http_get('http://x')"),
            ("external", "LOAD 'x'"),
            ("external", "CREATE FOREIGN TABLE f (a int) SERVER s"),
            ("cluster", "ALTER SYSTEM SET archive_mode = off"),
            ("cluster", "CREATE DATABASE x"),
            ("cluster", "DROP DATABASE x WITH (FORCE)"),
            ("cluster", "ALTER DATABASE x SET row_security = off"),
            ("cluster", "CREATE TABLESPACE x LOCATION '/x'"),
            ("cluster", "CHECKPOINT"),
            ("cluster", "PREPARE TRANSACTION 'x'"),
            ("cluster", "COMMIT PREPARED 'x'"),
            ("cluster", "CREATE PUBLICATION p FOR ALL TABLES"),
            ("cluster", "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p"),
            ("cluster", "CREATE SERVER s FOREIGN DATA WRAPPER w"),
            ("cluster", "IMPORT FOREIGN SCHEMA x FROM SERVER s INTO y"),
            ("cluster", "CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION f()"),
            ("cluster", "SELECT pg_terminate_backend(1)"),
            ("cluster", "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"),
            ("cluster", "SELECT pg_reload_conf()"),
            ("cluster", "SELECT pg_switch_wal()"),
            ("cluster", "SELECT pg_promote()"),
            ("cluster", "SELECT pg_stat_reset()"),
            ("cluster", "SELECT pg_create_logical_replication_slot('s', 'p')"),
            ("cluster", "SELECT pg_drop_replication_slot('s')"),
            ("cluster", "SELECT * FROM pg_logical_slot_get_changes('s', NULL, NULL)"),
            ("cluster", "SELECT pg_logical_emit_message(false, 'a', 'b')"),
            ("cluster", "SELECT pg_import_system_collations('pg_catalog')"),
            ("cluster", "SELECT heap_force_kill('t'::regclass, ARRAY['(0,1)']::tid[])"),
        ],
    );
}

#[test]
fn what_reaches_beyond_a_transaction_is_refused() {
    check(
        &Policy::app(),
        &[
            ("large-object", "SELECT lo_unlink(1)"),
            ("large-object", "SELECT lo_unlink(loid) FROM pg_largeobject_metadata"),
            ("large-object", "SELECT lo_from_bytea(0, 'x')"),
            ("session-escape", "SET ROLE postgres"),
            ("session-escape", "SET SESSION AUTHORIZATION postgres"),
            ("session-escape", "RESET ROLE"),
            ("session-escape", "RESET SESSION AUTHORIZATION"),
            ("session-escape", "SET session_replication_role = replica"),
            ("session-escape", "SET row_security = off"),
            ("session-escape", "SET default_transaction_read_only = off"),
            ("session-escape", "SET transaction_read_only = off"),
            ("session-escape", "RESET transaction_read_only"),
            ("session-escape", "SET standard_conforming_strings = off"),
            ("session-escape", "SET client_encoding = 'SJIS'"),
            ("session-escape", "SET NAMES 'BIG5'"),
            ("session-escape", "SET statement_timeout = 0"),
            ("session-escape", "SET lock_timeout TO DEFAULT"),
            ("session-escape", "SET statement_timeout = '0s'"),
            ("session-escape", "RESET ALL"),
            ("session-escape", "DISCARD ALL"),
            ("session-escape", "DEALLOCATE ALL"),
            ("session-escape", "SELECT set_config('session_replication_role', 'replica', false)"),
            ("session-escape", "SELECT set_config('ROLE', 'postgres', true)"),
            ("session-escape", "SELECT set_config($1, $2, false)"),
            ("session-escape", "SELECT set_config('ro' || 'le', 'x', false)"),
            ("session-setting", "SET search_path = evil, public"),
            ("session-setting", "SET CONSTRAINTS ALL DEFERRED"),
            ("session-setting", "SELECT set_config('search_path', 'evil', false)"),
            ("transaction-control", "BEGIN"),
            ("transaction-control", "START TRANSACTION READ WRITE"),
            ("transaction-control", "COMMIT AND CHAIN"),
            ("transaction-control", "ROLLBACK"),
            ("transaction-control", "SAVEPOINT x"),
            ("transaction-control", "ROLLBACK TO SAVEPOINT x"),
            ("transaction-control", "SET TRANSACTION READ WRITE"),
            ("transaction-control", "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"),
            ("transaction-control,data-drop", "COMMIT; DROP TABLE t"),
            ("allow,data-drop", "SELECT 1; DROP TABLE t"),
            ("unparsable", "SELCT 1"),
            ("unparsable", "SELECT 1; SELCT 2"),
            ("unparsable", "SELECT 1\0; DROP TABLE t"),
            ("unparsable", "DELETE FROM t WHERE"),
        ],
    );
}

/// What a block or a literal says is a better reason than that it runs code; where it cannot be read, that remains.
#[test]
fn code_in_text_is_read() {
    let nested = (0..6).fold("DELETE FROM t".to_owned(), |inner, level| {
        format!("DO $x{level}$ BEGIN {inner}; END $x{level}$")
    });
    check(
        &Policy::app(),
        &[
            ("delete-all", "DO $$ BEGIN IF now() > '2020-01-01' THEN DELETE FROM t; END IF; END $$"),
            (
                "delete-all",
                "DO 'DECLARE r record; BEGIN FOR r IN DELETE FROM t RETURNING * LOOP NULL; END LOOP; END'",
            ),
            (
                "delete-all",
                "DO LANGUAGE plpgsql $$ BEGIN NULL; EXCEPTION WHEN others THEN DELETE FROM t; END $$",
            ),
            ("truncate", "DO $$ BEGIN EXECUTE 'TRUNCATE t'; END $$"),
            ("data-drop", "DO $$ BEGIN FOR i IN 1..3 LOOP DROP TABLE t; END LOOP; END $$"),
            ("external", "DO $$ BEGIN COPY t TO PROGRAM 'x'; END $$"),
            ("external", "DO $$ DECLARE a text := pg_read_file('x'); BEGIN END $$"),
            ("cluster", "DO $$ DECLARE a int[]; BEGIN a[pg_switch_wal()] := 2; END $$"),
            ("external", "DO $$ BEGIN RAISE NOTICE '%', pg_read_file('x'); END $$"),
            ("cluster", "DO $$ BEGIN PERFORM pg_terminate_backend(pid) FROM pg_stat_activity; END $$"),
            ("dynamic-code", "DO $$ BEGIN DELETE FROM t WHERE id = 1; END $$"),
            ("dynamic-code", "DO $$ BEGIN EXECUTE format('DROP TABLE %I', x); END $$"),
            ("dynamic-code", "DO $$ BEGIN EXECUTE 'DROP TABLE ' || x; END $$"),
            ("dynamic-code", "DO LANGUAGE plpython3u 'import os'"),
            ("dynamic-code", "DO $$ this is no block $$"),
            ("dynamic-code", &nested),
            ("data-drop", "SELECT * FROM crosstab('DROP TABLE t') AS x(a int)"),
            ("delete-all", "SELECT * FROM ts_stat('WITH d AS (DELETE FROM t RETURNING *) SELECT a FROM d')"),
            ("truncate", "SELECT cron.schedule('nightly', '0 3 * * *', $$TRUNCATE t$$)"),
            ("external", "SELECT dblink_exec('connection', 'DELETE FROM t')"),
            ("dynamic-code", "SELECT query_to_xml('SELECT ' || $1, true, true, '')"),
        ],
    );
    let verdict =
        Policy::break_glass().judge("DO $$ BEGIN UPDATE t SET a = 1; PERFORM f(1); EXECUTE x; END $$");
    let found: Vec<String> = verdict.statements[0]
        .effects
        .iter()
        .map(|predicted| format!("{} via {:?}", predicted.effect, predicted.via.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            "dynamic_code(DO) via None",
            "write(update t, every row) via Some(\"DO\")",
            "call(f) via Some(\"DO\")",
            "dynamic_code(EXECUTE) via Some(\"DO\")"
        ]
    );
}

/// `(123).lo_unlink` calls the function: the server takes any function of one argument for a field.
#[test]
fn a_call_that_looks_like_a_field_is_seen() {
    check(
        &Policy::app(),
        &[
            ("large-object", "SELECT (123).lo_unlink"),
            ("large-object", "SELECT (oid).lo_unlink FROM pg_largeobject_metadata"),
            ("cluster", "SELECT (123).pg_terminate_backend"),
            ("cluster", "SELECT ('slot').pg_drop_replication_slot"),
            ("external", "SELECT ('/etc/passwd'::text).pg_read_file"),
            ("dynamic-code", "SELECT ('SELECT f()'::text).ts_stat"),
            ("allow", "SELECT (address).city, (settings).http, (x).y.z FROM t"),
        ],
    );
}

#[test]
fn each_row_of_the_taxonomy_has_its_rule() {
    let long = format!("DELETE FROM {}", "a".repeat(70));
    check(
        &Policy::app(),
        &[
            ("code-definition", "ALTER TABLE t ENABLE REPLICA TRIGGER x"),
            ("code-definition", "ALTER TABLE t ENABLE TRIGGER USER"),
            ("code-definition", "ALTER TABLE t DISABLE RULE r"),
            ("data-drop", "ALTER TABLE t DETACH PARTITION p CONCURRENTLY"),
            ("data-drop", "ALTER TABLE t DETACH PARTITION p FINALIZE"),
            ("role", "ALTER ROLE ALL SET search_path = x"),
            ("role", "ALTER ROLE app IN DATABASE d RESET ALL"),
            ("cluster", "ALTER DATABASE d SET default_transaction_read_only = off"),
            ("cluster", "ALTER DATABASE d RESET ALL"),
            ("schema-change", "ALTER TYPE e RENAME VALUE 'a' TO 'b'"),
            ("schema-change", "ALTER TABLE t REPLICA IDENTITY NOTHING"),
            ("schema-change", "ALTER VIEW v SET SCHEMA x"),
            ("schema-drop", "ALTER TABLE t ALTER COLUMN a DROP IDENTITY"),
            ("privilege", "ALTER TABLE t FORCE ROW LEVEL SECURITY"),
            ("privilege", "ALTER POLICY p ON t USING (true)"),
            ("rewrite", "ALTER TABLE t SET ACCESS METHOD other"),
            ("cluster", "DROP FOREIGN TABLE f"),
            ("cluster", "DROP SUBSCRIPTION s"),
            ("cluster", "ALTER EVENT TRIGGER e DISABLE"),
            ("cluster", "DROP EVENT TRIGGER e"),
            ("cluster", "SELECT pg_backup_start('x')"),
            ("cluster", "SELECT pg_rotate_logfile()"),
            ("cluster", "SELECT pg_replication_origin_create('x')"),
            ("session-escape", "SET LOCAL lock_timeout = 0"),
            ("session-escape", "SET event_triggers = off"),
            ("session-escape", "SELECT set_config('row_security', 'off', true)"),
            ("delete-all", "DELETE FROM t WHERE /* /* */ id = 1 */ true"),
            ("delete-all", "DELETE FROM U&\"d\\0061t\\+000061\""),
            ("delete-all", "DELETE FROM U&\"d!0061t\" UESCAPE '!' WHERE 1 = 1 -- AND id = 1"),
            // A carriage return ends a comment, for the server too.
            ("allow", "DELETE FROM t WHERE 1 = 1 -- \r AND id = 1"),
            ("delete-all", long.as_str()),
            ("allow", "DELETE FROM t WHERE CURRENT OF cursor"),
        ],
    );
}

/// `lo_unlink` stands for any call: it must be seen wherever an expression may stand.
#[test]
fn a_call_is_seen_wherever_it_stands() {
    let places = [
        "SELECT lo_unlink(1)",
        "SELECT abs(lo_unlink(1))",
        "SELECT (lo_unlink(1))::text",
        "SELECT ARRAY[lo_unlink(1)]",
        "SELECT (ARRAY[1])[lo_unlink(1)]",
        "SELECT ROW(lo_unlink(1))",
        "SELECT (lo_unlink(1)).x",
        "SELECT CASE WHEN true THEN lo_unlink(1) END",
        "SELECT CASE lo_unlink(1) WHEN 1 THEN 2 END",
        "SELECT coalesce(lo_unlink(1), 2)",
        "SELECT greatest(1, lo_unlink(1))",
        "SELECT 1 WHERE lo_unlink(1) = 1",
        "SELECT 1 WHERE 1 IN (lo_unlink(1))",
        "SELECT 1 WHERE 1 BETWEEN lo_unlink(1) AND 2",
        "SELECT 1 WHERE EXISTS (SELECT lo_unlink(1))",
        "SELECT 1 WHERE lo_unlink(1) IS NULL",
        "SELECT 1 WHERE (lo_unlink(1) = 1) IS TRUE",
        "SELECT 1 GROUP BY lo_unlink(1)",
        "SELECT 1 GROUP BY ROLLUP (lo_unlink(1))",
        "SELECT 1 HAVING lo_unlink(1) = 1",
        "SELECT 1 ORDER BY lo_unlink(1)",
        "SELECT 1 LIMIT lo_unlink(1)",
        "SELECT 1 OFFSET lo_unlink(1)",
        "SELECT DISTINCT ON (lo_unlink(1)) 1",
        "SELECT sum(1) FILTER (WHERE lo_unlink(1) = 1) FROM t",
        "SELECT sum(1 ORDER BY lo_unlink(1)) FROM t",
        "SELECT sum(1) OVER (PARTITION BY lo_unlink(1)) FROM t",
        "SELECT sum(1) OVER (ROWS lo_unlink(1) PRECEDING) FROM t",
        "SELECT sum(1) OVER w FROM t WINDOW w AS (ORDER BY lo_unlink(1))",
        "SELECT * FROM lo_unlink(1)",
        "SELECT * FROM ROWS FROM (lo_unlink(1), abs(1))",
        "SELECT * FROM t, LATERAL (SELECT lo_unlink(1)) x",
        "SELECT * FROM t JOIN u ON lo_unlink(1) = 1",
        "SELECT * FROM t TABLESAMPLE system (lo_unlink(1))",
        "SELECT * FROM XMLTABLE('x' PASSING xml(lo_unlink(1)) COLUMNS a int PATH 'a')",
        "SELECT * FROM JSON_TABLE(jsonb_build_array(lo_unlink(1)), '$' COLUMNS (a int PATH '$'))",
        "SELECT JSON_OBJECT('a': lo_unlink(1))",
        "SELECT JSON_ARRAY(lo_unlink(1))",
        "SELECT JSON_ARRAYAGG(lo_unlink(1))",
        "SELECT JSON_QUERY('{}', '$' PASSING lo_unlink(1) AS x)",
        "SELECT JSON_VALUE('{}', '$' DEFAULT lo_unlink(1) ON ERROR)",
        "SELECT xmlelement(name a, lo_unlink(1))",
        "SELECT xmlforest(lo_unlink(1) AS a)",
        "SELECT 1 UNION SELECT lo_unlink(1)",
        "WITH x AS (SELECT lo_unlink(1)) SELECT 1",
        "VALUES (lo_unlink(1))",
        "INSERT INTO t VALUES (lo_unlink(1))",
        "INSERT INTO t VALUES (1) RETURNING lo_unlink(1)",
        "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = lo_unlink(1)",
        "INSERT INTO t VALUES (1) ON CONFLICT (a) WHERE lo_unlink(1) = 1 DO NOTHING",
        "UPDATE t SET a = lo_unlink(1) WHERE id = 1",
        "UPDATE t SET a[lo_unlink(1)] = 1 WHERE id = 1",
        "UPDATE t SET (a, b) = (SELECT lo_unlink(1), 2) WHERE id = 1",
        "DELETE FROM t WHERE id = lo_unlink(1)",
        "DELETE FROM t WHERE id = 1 RETURNING lo_unlink(1)",
        "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = lo_unlink(1)",
        "MERGE INTO t USING s ON t.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (lo_unlink(1))",
        "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED AND lo_unlink(1) = 1 THEN DO NOTHING",
        "COPY (SELECT lo_unlink(1)) TO STDOUT",
        "COPY t FROM STDIN WHERE lo_unlink(1) = 1",
        "EXPLAIN SELECT lo_unlink(1)",
        "DECLARE c CURSOR FOR SELECT lo_unlink(1)",
        "CREATE TEMP TABLE x (a int DEFAULT lo_unlink(1))",
        "CREATE TEMP TABLE x (a int CHECK (lo_unlink(a) = 1))",
        "CREATE TEMP TABLE x (a int GENERATED ALWAYS AS (lo_unlink(1)) STORED)",
        "CREATE TEMP TABLE x AS SELECT lo_unlink(1)",
        "CREATE TEMP VIEW x AS SELECT lo_unlink(1)",
        "SELECT U&\"lo_unlin\\006b\"(1)",
        "SELECT LO_UNLINK(1)",
        "SELECT \"lo_unlink\"(1)",
        "SELECT pg_catalog.lo_unlink(1)",
    ];
    check(&Policy::app(), &places.map(|sql| ("large-object", sql)));
}

/// What the text alone cannot tell. These pass: privileges of the role, and later the observation of what really
/// happened, are the answer. The list is here so that nobody believes otherwise.
#[test]
fn what_no_text_can_tell_passes() {
    let beyond = [
        // A function in attribute notation looks like a column.
        "SELECT t.wipe FROM t",
        "SELECT (t).wipe FROM t",
        // A user's function may shadow a built-in one of the same name.
        "SELECT length('a'::varchar)",
        // A view, a rule, a trigger, a cascade.
        "SELECT * FROM view_that_calls_wipe",
        "INSERT INTO table_with_a_trigger VALUES (1)",
        "DELETE FROM parent_with_a_cascade WHERE id = 1",
        // A user's cast, domain or type.
        "SELECT 'a'::type_with_a_function",
        // Conditions that happen to hold for all rows.
        "DELETE FROM t WHERE id > -1",
        "DELETE FROM t WHERE ($1 IS NULL OR id = $1)",
        "DELETE FROM t WHERE name IS NOT NULL",
    ];
    check(&Policy::app(), &beyond.map(|sql| ("allow", sql)));
}

#[test]
fn each_preset_allows_what_its_name_says() {
    let read = "SELECT * FROM t";
    let insert = "INSERT INTO t VALUES (1)";
    let create = "CREATE TABLE x (id int)";
    let drop = "DROP TABLE t";
    let cases = [
        (
            Policy::read_only(),
            [("allow", read), ("insert", insert), ("schema-add", create), ("data-drop", drop)],
        ),
        (Policy::app(), [("allow", read), ("allow", insert), ("schema-add", create), ("data-drop", drop)]),
        (Policy::migration(), [("allow", read), ("allow", insert), ("allow", create), ("data-drop", drop)]),
        (Policy::break_glass(), [("allow", read), ("allow", insert), ("allow", create), ("allow", drop)]),
    ];
    for (policy, table) in &cases {
        check(policy, table);
    }
    check(
        &Policy::read_only(),
        &[
            ("lock-rows", "SELECT * FROM t FOR SHARE"),
            ("sequence-advance", "SELECT nextval('s')"),
            ("delete", "WITH d AS (DELETE FROM t WHERE id = 1 RETURNING *) SELECT * FROM d"),
            ("schema-add-temporary", "CREATE TEMP TABLE x (id int)"),
            ("advisory-lock", "SELECT pg_advisory_lock(1)"),
            ("notification", "NOTIFY x"),
        ],
    );
    check(
        &Policy::migration(),
        &[
            ("allow,allow,allow", "BEGIN; ALTER TABLE t ADD COLUMN a int; COMMIT"),
            ("allow", "UPDATE t SET a = 1"),
            ("allow", "ALTER TABLE t ALTER COLUMN a TYPE bigint"),
            ("allow", "DROP INDEX i"),
            ("allow", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
            ("allow", "SET search_path = app"),
            ("delete-all", "DELETE FROM t"),
            ("truncate", "TRUNCATE t"),
            ("data-drop", "ALTER TABLE t DROP COLUMN a"),
            ("dynamic-code", "DO $$ BEGIN END $$"),
            ("session-escape", "SET session_replication_role = replica"),
            ("role", "CREATE ROLE x"),
            ("external", "COPY t FROM PROGRAM 'x'"),
        ],
    );
    check(&Policy::break_glass(), &[("unparsable", "SELCT"), ("allow", "DO $$ BEGIN END $$")]);
}

#[test]
fn a_function_runs_once_the_policy_names_it() {
    let policy =
        Policy::app().allow_function("similarity").allow_function("app.*").allow_function("operator ===");
    check(
        &policy,
        &[
            ("allow", "SELECT similarity(a, b), app.invoice(1), a === b FROM t"),
            ("unknown-function", "SELECT public.similarity(a, b)"),
            ("unknown-function", "SELECT application.invoice(1)"),
            // Naming a function does not make a hazard harmless.
            ("large-object", "SELECT app.invoice(lo_unlink(1))"),
        ],
    );
    assert_ne!(policy.hash(), Policy::app().hash());
    assert_eq!(Policy::app().hash(), Policy::app().hash());
    let hashes = [Policy::read_only(), Policy::app(), Policy::migration(), Policy::break_glass()]
        .map(|p| p.hash().to_owned());
    assert_eq!(std::collections::HashSet::from(hashes).len(), 4);
}

#[test]
fn a_refusal_says_what_where_and_what_next() {
    let sql = "SELECT 1;\n-- clean up\nDELETE FROM \"Ledger\"\n  WHERE 1 = 1 ;";
    let verdict = Policy::app().judge(sql);
    let refused = verdict.denied().next().unwrap();
    assert_eq!(refused.line, 3);
    assert_eq!(&sql[refused.start..refused.end], "DELETE FROM \"Ledger\"\n  WHERE 1 = 1");
    assert!(sql[refused.position..].starts_with("\"Ledger\""));
    assert_eq!(
        refused.reason.as_deref(),
        Some("would delete every row of \"Ledger\": its condition is the same for all of them")
    );
    assert_eq!(
        serde_json::to_value(refused).unwrap(),
        serde_json::json!({
            "line": 3, "start": 22, "end": 56, "verdict": "deny", "rule": "delete-all", "position": 34,
            "effects": [{"effect": "write", "table": "\"Ledger\"", "operation": "delete", "bound": "constant"}],
            "reason": "would delete every row of \"Ledger\": its condition is the same for all of them",
            "hint": "add a WHERE clause that tells rows apart by the table's own columns",
        })
    );
}

#[test]
fn tables_are_reported_once_and_common_tables_not_at_all() {
    let cases = [
        ("WITH f AS (SELECT * FROM f) SELECT * FROM f", "read(f)"),
        ("WITH f AS (SELECT * FROM t) SELECT * FROM f, app.f", "read(t) read(app.f)"),
        ("WITH RECURSIVE f AS (SELECT 1 UNION SELECT * FROM f) SELECT * FROM f", ""),
        ("WITH a AS (SELECT * FROM b), b AS (SELECT * FROM a) SELECT * FROM a, b", "read(b)"),
        ("SELECT * FROM (WITH f AS (SELECT 1) SELECT * FROM f) x, f", "read(f)"),
        ("UPDATE t SET a = 1 FROM t AS other WHERE t.id = other.id", "write(update t) read(t)"),
    ];
    for (sql, expected) in cases {
        let verdict = Policy::app().judge(sql);
        let effects: Vec<String> =
            verdict.statements[0].effects.iter().map(|predicted| predicted.effect.to_string()).collect();
        assert_eq!(effects.join(" "), expected, "{sql}");
    }
}
