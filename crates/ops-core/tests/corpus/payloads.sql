-- Bypasses, one a line; `|>` stands between the statements of one attempt. After each of them no row may be gone or changed.
-- family: statements behind statements
COMMIT; DROP TABLE victim
SELECT 1; DELETE FROM victim
SELECT 1;;; TRUNCATE victim
-- nothing to see
/* harmless */ DELETE FROM victim
/* a /* nested */ */ DROP TABLE victim CASCADE
SELECT 1 /* */; DROP TABLE victim --
dElEtE fRoM vIcTiM
  	DELETE	FROM	victim
DELETE/**/FROM/**/victim
SELECT 'a'; DROP SCHEMA app CASCADE
ROLLBACK; DELETE FROM victim; COMMIT
BEGIN; DELETE FROM victim; COMMIT
INSERT INTO counters VALUES ('a', 1); DELETE FROM victim
-- family: writes inside reads
WITH gone AS (DELETE FROM victim RETURNING *) SELECT 1
WITH a AS (SELECT 1), gone AS (DELETE FROM victim) SELECT * FROM a
WITH gone AS (DELETE FROM victim WHERE true RETURNING *) SELECT count(*) FROM gone
WITH gone AS (DELETE FROM victim WHERE id > 0 RETURNING id) INSERT INTO journal (what) SELECT id::text FROM gone LIMIT 1
WITH moved AS (UPDATE victim SET n = -1 RETURNING 1) SELECT count(*) FROM moved
WITH a AS (WITH b AS (SELECT 1) SELECT * FROM b), c AS (DELETE FROM victim) TABLE a
COPY (DELETE FROM victim RETURNING *) TO STDOUT
CREATE TEMP TABLE kept AS WITH gone AS (DELETE FROM victim RETURNING *) SELECT * FROM gone
SELECT * INTO TEMP kept FROM victim |> DELETE FROM victim
EXPLAIN ANALYZE DELETE FROM victim
EXPLAIN (ANALYZE, FORMAT JSON) UPDATE victim SET n = 0
EXPLAIN (ANALYZE ON) WITH gone AS (DELETE FROM victim) SELECT 1
EXPLAIN (analyze 'yes') DELETE FROM victim
MERGE INTO victim AS v USING (SELECT 1) AS s ON true WHEN MATCHED THEN DELETE
MERGE INTO victim AS v USING victim AS w ON v.id = w.id WHEN MATCHED THEN DELETE
MERGE INTO victim AS v USING victim AS w ON v.id = w.id WHEN MATCHED THEN UPDATE SET n = 0
INSERT INTO victim SELECT id, 0 FROM victim ON CONFLICT (id) DO UPDATE SET n = 0
-- family: read-only mode
SET TRANSACTION READ WRITE |> DELETE FROM victim
SET transaction_read_only = off |> DELETE FROM victim
RESET transaction_read_only |> DELETE FROM victim
SET default_transaction_read_only = off |> DELETE FROM victim
RESET default_transaction_read_only |> DELETE FROM victim
SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE |> DELETE FROM victim
BEGIN READ WRITE |> DELETE FROM victim |> COMMIT
START TRANSACTION READ WRITE |> DELETE FROM victim |> COMMIT
SELECT set_config('transaction_read_only', 'off', false) |> DELETE FROM victim
SELECT set_config('default_transaction_read_only', 'off', false) |> SELECT wipe()
SELECT set_config('transaction_' || 'read_only', 'off', true), wipe()
DO $$ BEGIN COMMIT; SET TRANSACTION READ WRITE; DELETE FROM app.victim; COMMIT; END $$
CALL proc_commit()
CALL proc_wipe()
COMMIT |> BEGIN READ WRITE |> DELETE FROM victim
RELEASE SAVEPOINT guard |> DELETE FROM victim
ROLLBACK TO SAVEPOINT guard |> SET TRANSACTION READ WRITE |> DELETE FROM victim
ROLLBACK AND CHAIN |> DELETE FROM victim |> COMMIT
PREPARE TRANSACTION 'later'
COMMIT PREPARED 'later'
SELECT 1 |> COMMIT AND CHAIN |> DELETE FROM victim
-- family: calls in every clause
SELECT wipe()
SELECT * FROM wipe()
SELECT 1 LIMIT wipe()
SELECT 1 OFFSET wipe()
VALUES (wipe())
SELECT 1 FROM ROWS FROM (wipe_rows(), generate_series(1, 2)) AS r
SELECT 1 ORDER BY wipe()
SELECT 1 GROUP BY wipe()
SELECT 1 HAVING wipe() = 1
SELECT DISTINCT ON (wipe()) 1
SELECT count(*) FILTER (WHERE wipe() = 1) FROM counters
SELECT sum(1) OVER (PARTITION BY wipe())
SELECT 1 FROM counters WHERE wipe() = 1
SELECT 1 FROM counters JOIN customers ON wipe() = 1
SELECT CASE WHEN true THEN wipe() END
SELECT ARRAY(SELECT wipe())
INSERT INTO journal (what) VALUES (wipe()::text)
INSERT INTO journal (what) VALUES ('x') RETURNING wipe()
INSERT INTO counters VALUES ('calls', 1) ON CONFLICT (name) DO UPDATE SET value = wipe()
INSERT INTO counters VALUES ('calls', 1) ON CONFLICT (name) DO UPDATE SET value = 1 WHERE wipe() = 1
UPDATE counters SET value = wipe() WHERE name = 'calls'
DELETE FROM journal WHERE id = wipe()
MERGE INTO counters AS c USING (SELECT 1) AS s ON name = 'calls' WHEN MATCHED THEN UPDATE SET value = wipe()
SELECT * FROM xmltable('/a' PASSING '<a/>' COLUMNS x int DEFAULT wipe())
SELECT 1 FROM counters TABLESAMPLE bernoulli (wipe())
PREPARE p AS SELECT wipe() |> EXECUTE p
DECLARE c CURSOR WITH HOLD FOR SELECT wipe() |> FETCH c
EXPLAIN ANALYZE SELECT wipe()
COPY (SELECT wipe()) TO STDOUT
CREATE TEMP TABLE work AS SELECT wipe() AS n
CREATE TEMP TABLE work (n int DEFAULT wipe()) |> INSERT INTO work DEFAULT VALUES
CREATE TEMP TABLE work (n int CHECK (wipe() = 1)) |> INSERT INTO work VALUES (1)
CREATE TEMP VIEW work AS SELECT wipe() AS n |> SELECT * FROM work
SELECT lo_unlink(4242)
SELECT lo_unlink(oid) FROM pg_largeobject_metadata
SELECT lo_put(4242, 0, 'ruined')
SELECT lo_truncate(lo_open(4242, 131072), 0)
SELECT lowrite(lo_open(4242, 131072), 'ruined')
SELECT lo_from_bytea(4242, 'ruined')
SELECT pg_catalog.lo_unlink(4242::oid)
-- family: code without a call
SELECT (ROW(1)::wiper).wipe
SELECT v.wipe_all FROM victim AS v
SELECT (v).wipe_all FROM victim AS v LIMIT 1
SELECT app.victim.wipe_all FROM app.victim LIMIT 1
SELECT (SELECT v FROM victim AS v LIMIT 1).wipe_all
SELECT 1 FROM victim AS v WHERE v.wipe_all = 1
SELECT 1 === 2
SELECT 1 <=> 2
SELECT 1 OPERATOR(app.===) 2
SELECT id FROM customers WHERE id ?| 'a'::text
SELECT 1 FROM customers ORDER BY id === 1
SELECT CAST(ROW(1)::wiper AS int)
SELECT ROW(1)::wiper::int
SELECT 1::checked
SELECT ARRAY[1, 2]::checked[]
SELECT '1'::checked
SELECT agg_wipe(id) FROM customers
SELECT max(ROW(1)::wiper)
SELECT agg_wipe(id) OVER () FROM customers
SELECT * FROM v_wiping
SELECT count(*) FROM innocent WHERE n = 1
TABLE v_wiping
SELECT 1 WHERE EXISTS (SELECT n FROM v_wiping WHERE n = 1)
INSERT INTO domains (id, c) VALUES (90, 1)
UPDATE domains SET c = 5 WHERE id = 1
INSERT INTO checked_rows VALUES (90, 1)
SELECT length('a'::varchar)
SELECT lower('A'::varchar)
SELECT now(1)
SELECT upper(ROW(1)::wiper)
SELECT defaulted()
SELECT 1 WHERE length(name::varchar) = 1 FROM counters
SELECT length(name::varchar) FROM counters
-- family: rights and volatility that lie
SELECT secd()
SELECT wipe_secretly()
SELECT wipe_immutable(1)
SELECT wipe_stable(1)
EXPLAIN SELECT wipe_immutable(1)
EXPLAIN SELECT 1 FROM counters WHERE value = wipe_immutable(1)
SELECT 1 FROM counters WHERE value = wipe_stable(1)
SELECT wipe_nested()
SELECT wipe_dynamic('app.victim')
SELECT wipe_atomic()
SELECT truncates()
SELECT drops_table()
SELECT grants_something()
SELECT unlinks()
SELECT cursor_wipes()
SELECT loops_rows()
CALL proc_note((SELECT wipe()::text))
-- family: SQL in strings
SELECT query_to_xml('SELECT app.wipe()', true, false, '')
SELECT query_to_xml_and_xmlschema('SELECT app.wipe()', true, false, '')
SELECT query_to_xmlschema('SELECT app.wipe_immutable(1)', true, false, '')
SELECT ts_stat('SELECT to_tsvector(app.wipe()::text)')
SELECT * FROM ts_stat('SELECT to_tsvector(app.secd()::text)')
SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, app.wipe()::text::tsquery')
SELECT cursor_to_xml('c', 1, true, false, '')
SELECT table_to_xml('app.v_wiping', true, false, '')
SELECT schema_to_xml('app', true, false, '')
SELECT database_to_xml(true, false, '')
DO 'BEGIN DELETE FROM app.victim; END'
DO $a$ BEGIN EXECUTE 'DELETE' || ' FROM app.victim'; END $a$
DO LANGUAGE plpgsql $$ BEGIN PERFORM app.wipe(); END $$
DO U&'\0042EGIN DELETE FROM app.victim; END'
DO E'BEGIN \x44ELETE FROM app.victim; END'
-- family: names
DELETE FROM U&"vict\0069m"
DELETE FROM U&"vict!0069m" UESCAPE '!'
DELETE FROM "victim"
DELETE FROM app . victim
DELETE FROM postgres.app.victim
DELETE FROM ONLY (victim)
DELETE FROM victim *
TRUNCATE U&"\0076ictim"
SELECT U&"w\0069pe"()
SELECT "wipe"()
SELECT app."wipe"()
SELECT postgres.app.wipe()
DROP TABLE "users; DROP TABLE victim"
UPDATE "app"."victim" SET "n" = 0
CREATE TEMP TABLE victims AS SELECT 1 AS id |> DELETE FROM victim
CREATE TEMP VIEW customers_of_mine AS SELECT * FROM victim |> DELETE FROM customers_of_mine
-- family: encodings and quoting
SET client_encoding = 'SJIS' |> DELETE FROM victim
SET NAMES 'BIG5'
SET client_encoding TO 'GBK'
SELECT set_config('client_encoding', 'SJIS', false)
SET standard_conforming_strings = off |> SELECT 'a\'; DELETE FROM victim; --'
SET backslash_quote = on
SELECT set_config('standard_conforming_strings', 'off', false)
SELECT E'\'; DELETE FROM victim; --'
SELECT $$'$$; DELETE FROM victim; --$$
SELECT $é$ $é$; DELETE FROM victim
-- family: who one is and what holds
SET ROLE corpus_owner |> DELETE FROM victim
SET LOCAL ROLE corpus_owner
SET SESSION AUTHORIZATION corpus_owner
RESET ROLE
RESET SESSION AUTHORIZATION
SELECT set_config('role', 'corpus_owner', false)
SET session_replication_role = replica |> DELETE FROM parent WHERE id = 1
SELECT set_config('session_replication_role', 'replica', false)
SELECT set_config('session_' || 'replication_role', 'replica', false)
SET row_security = off |> SELECT * FROM secrets
SET search_path = other, app |> DELETE FROM victim
SELECT set_config('search_path', 'pg_temp, app', false)
SET SCHEMA 'other'
RESET ALL |> DELETE FROM victim
DISCARD ALL |> DELETE FROM victim
DISCARD TEMP
DEALLOCATE ALL
SET statement_timeout = 0
SET lock_timeout = 0
SET idle_in_transaction_session_timeout = 0
SET track_counts = off |> DELETE FROM victim
SET plpgsql.extra_warnings = 'none'
SET check_function_bodies = off
SET event_triggers = off
ALTER ROLE CURRENT_USER SET default_transaction_read_only = off
ALTER ROLE corpus_app SET search_path = other
ALTER DATABASE postgres SET session_replication_role = replica
ALTER SYSTEM SET fsync = off
CREATE EXTENSION plpython3u
CREATE EXTENSION dblink |> SELECT dblink_exec('dbname=postgres', 'DELETE FROM app.victim')
SELECT dblink_exec('dbname=postgres', 'DELETE FROM app.victim')
SELECT * FROM dblink('dbname=postgres', 'DELETE FROM app.victim RETURNING 1') AS d(x int)
LOAD 'auto_explain'
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()
SELECT pg_reload_conf()
COPY victim TO PROGRAM 'cat'
COPY victim FROM PROGRAM 'echo 1'
COPY victim TO '/dev/null'
SELECT lo_export(4242, '/dev/null')
GRANT ALL ON victim TO PUBLIC
GRANT corpus_owner TO corpus_app
REVOKE ALL ON victim FROM corpus_app
ALTER TABLE victim OWNER TO corpus_app
ALTER TABLE secrets DISABLE ROW LEVEL SECURITY
CREATE POLICY open ON secrets USING (true)
DROP POLICY tenant ON secrets
-- family: planting
CREATE OR REPLACE FUNCTION add_one(x int) RETURNS int LANGUAGE sql AS 'DELETE FROM app.victim; SELECT 1' |> SELECT add_one(1)
CREATE FUNCTION planted() RETURNS int LANGUAGE sql AS 'DELETE FROM app.victim; SELECT 1' |> SELECT planted()
CREATE FUNCTION pg_temp.planted() RETURNS int LANGUAGE sql AS 'DELETE FROM app.victim; SELECT 1' |> SELECT pg_temp.planted()
CREATE TRIGGER planted AFTER INSERT ON journal FOR EACH ROW EXECUTE FUNCTION tr_wipe() |> INSERT INTO journal (what) VALUES ('x')
CREATE TEMP TABLE work (id int) |> CREATE TRIGGER planted AFTER INSERT ON work FOR EACH ROW EXECUTE FUNCTION tr_wipe() |> INSERT INTO work VALUES (1)
CREATE RULE planted AS ON INSERT TO journal DO ALSO DELETE FROM victim |> INSERT INTO journal (what) VALUES ('x')
CREATE OPERATOR ?? (LEFTARG = int, RIGHTARG = int, FUNCTION = adds_wiping)
CREATE CAST (text AS wiper) WITH INOUT
CREATE OR REPLACE VIEW v_orders AS SELECT id, customer_id, total, status FROM orders WHERE false
ALTER TABLE victim ALTER COLUMN n SET DEFAULT wipe()
CREATE TEMP TABLE work (id int REFERENCES victim)
ALTER DOMAIN positive ADD CHECK (app.check_wipe(VALUE))
CREATE INDEX planted ON counters (wipe_immutable(value))
CREATE EVENT TRIGGER planted ON ddl_command_end EXECUTE FUNCTION tr_wipe()
COMMENT ON TABLE victim IS 'gone'
-- family: conditions that are none
DELETE FROM victim WHERE 1 = 1
DELETE FROM victim WHERE true
DELETE FROM victim WHERE id = id
DELETE FROM victim WHERE ctid = ctid
DELETE FROM victim WHERE id IS NOT NULL
DELETE FROM victim WHERE id = 1 OR true
DELETE FROM victim WHERE id = 1 OR id <> 1
DELETE FROM victim WHERE NOT false
DELETE FROM victim WHERE id > -1
DELETE FROM victim WHERE id::text LIKE '%'
DELETE FROM victim WHERE coalesce(id, 1) = coalesce(id, 1)
DELETE FROM victim WHERE id = (SELECT id)
DELETE FROM victim WHERE EXISTS (SELECT 1)
DELETE FROM victim WHERE (SELECT true)
DELETE FROM victim WHERE id IN (SELECT id FROM victim)
DELETE FROM victim USING counters AS c
DELETE FROM victim AS a USING victim AS b WHERE a.id = b.id
DELETE FROM victim WHERE id BETWEEN 0 AND 99999
DELETE FROM victim WHERE CASE WHEN id > 0 THEN true ELSE true END
DELETE FROM victim WHERE id % 1 = 0
DELETE FROM victim WHERE now() IS NOT NULL
DELETE FROM victim WHERE (NULL::int IS NULL OR id = NULL)
DELETE FROM victim WHERE random() < 2
DELETE FROM victim WHERE id = ANY (ARRAY(SELECT generate_series(1, 20000)))
UPDATE victim SET n = 0 WHERE n IS DISTINCT FROM NULL
UPDATE victim SET id = id + 100000 WHERE id > 0
UPDATE victim SET n = 0 FROM (SELECT 1) AS s WHERE true
UPDATE all_victims SET n = 0 WHERE id >= 0
DELETE FROM all_victims WHERE id >= 0
DELETE FROM v_ruled WHERE id >= 0
-- family: consequences
DELETE FROM parent WHERE id = 1
DELETE FROM parent WHERE id IN (1, 3)
UPDATE parent SET id = 100 WHERE id = 1
WITH gone AS (DELETE FROM parent WHERE id = 1 RETURNING id) SELECT * FROM gone
INSERT INTO bell VALUES (2, 2)
UPDATE bell SET v = 2 WHERE id = 1
DELETE FROM bell WHERE id = 1
MERGE INTO bell AS b USING (SELECT 1 AS id) AS s ON b.id = s.id WHEN MATCHED THEN UPDATE SET v = 5
INSERT INTO ruled VALUES (1, 1)
INSERT INTO dynamic_bell VALUES (1)
INSERT INTO t_deferred VALUES (90, 1)
UPDATE t_deferred SET v = 2 WHERE id = 1
INSERT INTO t_chain VALUES (91, 1)
SET CONSTRAINTS ALL DEFERRED |> INSERT INTO t_deferred VALUES (92, 1)
INSERT INTO emptier VALUES (1)
INSERT INTO hider VALUES (1)
INSERT INTO dropper VALUES (1)
INSERT INTO detacher VALUES (1)
INSERT INTO granter VALUES (1)
INSERT INTO unlinker VALUES (1)
INSERT INTO defaults (id) VALUES (wipe())
DELETE FROM r_also WHERE id = 1
SELECT * FROM watched
-- family: schema and storage
TRUNCATE victim
TRUNCATE victim, brood CASCADE
DELETE FROM victim |> TRUNCATE victim
DROP TABLE victim
DROP TABLE IF EXISTS victim CASCADE
DROP SCHEMA app CASCADE
DROP OWNED BY CURRENT_USER CASCADE
REASSIGN OWNED BY corpus_owner TO corpus_app
ALTER TABLE victim DROP COLUMN n
ALTER TABLE victim ALTER COLUMN n TYPE text USING 'gone'
ALTER TABLE victim RENAME TO hidden
ALTER TABLE victim SET SCHEMA other
ALTER TABLE measurements DETACH PARTITION measurements_2023
ALTER TABLE contracts NO INHERIT documents
ALTER TABLE victim SET UNLOGGED
ALTER TABLE bell DISABLE TRIGGER ALL
ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'
ALTER SEQUENCE seq_plain RESTART
SELECT setval('seq_plain', 1)
DROP INDEX spare_ab
DROP VIEW v_nested
DROP FUNCTION wipe() CASCADE
DROP TRIGGER t_after ON t_after
VACUUM FULL victim
CLUSTER victim USING victim_pkey
REINDEX TABLE victim
REFRESH MATERIALIZED VIEW mv_totals WITH NO DATA
LOCK TABLE victim
CREATE TABLE made AS SELECT * FROM victim
CREATE UNLOGGED TABLE made (id int)
COPY victim FROM STDIN
UPDATE pg_catalog.pg_class SET relname = 'gone' WHERE relname = 'victim'
DELETE FROM pg_catalog.pg_proc
-- family: prepared
PREPARE p AS DELETE FROM victim |> EXECUTE p
PREPARE p (int) AS DELETE FROM victim WHERE id > $1 |> EXECUTE p(0)
PREPARE p AS SELECT 1 |> DEALLOCATE p |> PREPARE p AS DELETE FROM victim |> EXECUTE p
EXECUTE s0
EXPLAIN ANALYZE EXECUTE s0
CREATE TEMP TABLE work AS EXECUTE s0
DEALLOCATE s0
DECLARE c CURSOR FOR SELECT * FROM victim FOR UPDATE |> DELETE FROM victim WHERE CURRENT OF c
