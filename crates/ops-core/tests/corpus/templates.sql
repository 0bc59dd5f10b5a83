-- Every position at which PostgreSQL evaluates an expression, with every kind of code that an expression can run.
-- as: owner
-- let call = wipe() ;; wipe_atomic() ;; wipe_secretly() ;; wipe_immutable(1) ;; wipe_nested() ;; (ROW(1)::wiper).wipe ;; length('a'::varchar) ;; (1 === 2) ;; CAST(ROW(1)::wiper AS int) ;; (3::checked)::int ;; (SELECT n FROM v_wiping) ;; (SELECT agg_wipe(x) FROM (VALUES (1)) AS v(x)) ;; add_one(1) ;; bump()
SELECT @call@ AS plain
SELECT 1 WHERE @call@ = 1
SELECT 1 FROM counters GROUP BY name HAVING @call@ > 0
SELECT name FROM counters ORDER BY @call@
SELECT name FROM counters LIMIT @call@
SELECT name FROM counters OFFSET @call@
SELECT DISTINCT ON (@call@) name FROM counters
SELECT count(*) FILTER (WHERE @call@ = 1) FROM counters
SELECT sum(value) OVER (PARTITION BY @call@) FROM counters
SELECT sum(value) OVER (ORDER BY value ROWS @call@ PRECEDING) FROM counters
SELECT CASE WHEN @call@ = 1 THEN 1 END
SELECT coalesce(NULL, @call@), greatest(1, @call@)
SELECT ARRAY[@call@], (ARRAY[1, 2, 3])[@call@]
SELECT ROW(@call@, 2), EXISTS (SELECT @call@)
SELECT 1 IN (SELECT @call@), 1 = ANY (ARRAY[@call@])
SELECT * FROM counters AS c JOIN customers AS k ON k.id = @call@
SELECT * FROM (SELECT @call@ AS x) AS s
SELECT * FROM LATERAL (SELECT @call@ AS x) AS s, counters
SELECT * FROM generate_series(1, @call@)
SELECT * FROM ROWS FROM (generate_series(1, @call@)) AS r
SELECT * FROM customers TABLESAMPLE bernoulli (@call@ * 100)
VALUES (@call@)
WITH c AS (SELECT @call@ AS x) SELECT * FROM c
WITH c AS MATERIALIZED (SELECT @call@ AS x) SELECT 1 FROM c
WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + @call@ FROM r WHERE n < 2) SELECT * FROM r
SELECT 1 UNION SELECT @call@
SELECT count(*) FROM counters GROUP BY ROLLUP (value + @call@)
SELECT string_agg(name, ',' ORDER BY @call@) FROM counters
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY value + @call@) FROM counters
SELECT xmlelement(name x, @call@)
SELECT xmlforest(@call@ AS a)
SELECT * FROM xmltable('/a' PASSING '<a/>' COLUMNS x int DEFAULT @call@)
SELECT 1 WHERE row(@call@, 1) IS NOT NULL
SELECT substring('abc' FROM @call@), extract(year FROM now() + @call@ * interval '1 day')
SELECT 'x' COLLATE "C", @call@::text COLLATE "C"
SELECT @call@ BETWEEN 0 AND 2, @call@ IS DISTINCT FROM 1
INSERT INTO journal (what) VALUES (@call@::text)
INSERT INTO journal (what) SELECT @call@::text
INSERT INTO journal (what) VALUES ('x') RETURNING @call@
INSERT INTO counters VALUES ('calls', 1) ON CONFLICT (name) DO UPDATE SET value = @call@
INSERT INTO counters VALUES ('calls', 1) ON CONFLICT (name) DO UPDATE SET value = 1 WHERE @call@ = 1
UPDATE counters SET value = @call@ WHERE name = 'orders'
UPDATE counters SET (name, value) = ('x', @call@) WHERE name = 'orders'
UPDATE counters SET value = 1 WHERE name = 'orders' AND @call@ = 1
UPDATE counters SET value = 1 FROM (SELECT @call@ AS x) AS s WHERE name = 'orders'
UPDATE counters SET value = 1 WHERE name = 'orders' RETURNING @call@
DELETE FROM journal WHERE id = @call@
DELETE FROM counters WHERE name = 'orders' RETURNING @call@
DELETE FROM journal USING (SELECT @call@ AS x) AS s WHERE journal.id = s.x
MERGE INTO counters AS c USING (SELECT @call@ AS x) AS s ON c.value = s.x WHEN MATCHED THEN DO NOTHING
MERGE INTO counters AS c USING (SELECT 'orders' AS k) AS s ON c.name = s.k WHEN MATCHED AND @call@ = 1 THEN DO NOTHING
MERGE INTO counters AS c USING (SELECT 'orders' AS k) AS s ON c.name = s.k WHEN MATCHED THEN UPDATE SET value = @call@
MERGE INTO counters AS c USING (SELECT 'made' AS k) AS s ON c.name = s.k WHEN NOT MATCHED THEN INSERT VALUES (s.k, @call@)
CREATE TABLE made AS SELECT @call@ AS x
CREATE TABLE made (a int DEFAULT @call@)
CREATE TABLE made (a int CHECK (@call@ = 1))
CREATE TABLE made (a int, b int GENERATED ALWAYS AS (a + @call@) STORED)
CREATE TABLE made (a int) PARTITION BY RANGE ((a + @call@))
CREATE MATERIALIZED VIEW made AS SELECT @call@ AS x
CREATE VIEW made AS SELECT @call@ AS x
CREATE INDEX made ON customers ((id + @call@))
CREATE INDEX made ON customers (id) WHERE @call@ = 1
CREATE POLICY made ON victim USING (@call@ = 1)
CREATE RULE made AS ON INSERT TO spare_alone DO ALSO SELECT @call@
CREATE STATISTICS made ON (id + @call@), name FROM customers
CREATE TEMP TABLE work AS SELECT @call@ AS x
ALTER TABLE spare ADD COLUMN x int DEFAULT @call@
ALTER TABLE spare ALTER COLUMN a TYPE int USING @call@
ALTER TABLE spare ADD CHECK (@call@ > 0)
ALTER TABLE spare ALTER COLUMN a SET DEFAULT @call@
ALTER DOMAIN positive ADD CHECK (@call@ > 0)
CREATE DOMAIN made AS int DEFAULT @call@
PREPARE p AS SELECT @call@
PREPARE p (int) AS SELECT $1 |> EXECUTE p(@call@)
DECLARE c CURSOR FOR SELECT @call@
DECLARE c CURSOR FOR SELECT @call@ |> FETCH c
EXPLAIN SELECT @call@
EXPLAIN ANALYZE SELECT @call@
EXPLAIN (VERBOSE, COSTS OFF) SELECT 1 FROM counters WHERE value = @call@
COPY (SELECT @call@) TO STDOUT
COPY journal (what) FROM STDIN WHERE @call@ = 1 <| x\n
DO $$ BEGIN PERFORM @call@; END $$
DO $$ DECLARE x int := @call@; BEGIN NULL; END $$
DO $$ BEGIN IF @call@ = 1 THEN NULL; END IF; END $$
DO $$ DECLARE x int; BEGIN x := @call@; END $$
DO $$ DECLARE r record; BEGIN FOR r IN SELECT @call@ LOOP NULL; END LOOP; END $$
DO $$ BEGIN EXECUTE 'SELECT $1' USING @call@; END $$
DO $$ BEGIN ASSERT @call@ > 0; END $$
DO $$ BEGIN RAISE NOTICE '%', @call@; END $$
DO $$ BEGIN WHILE @call@ < 0 LOOP NULL; END LOOP; END $$
DO $$ DECLARE c CURSOR FOR SELECT @call@; x int; BEGIN OPEN c; FETCH c INTO x; END $$
CALL proc_sql(@call@)
SELECT 1 WHERE EXISTS (SELECT 1 FROM counters WHERE @call@ = 1 FOR UPDATE)
CREATE FUNCTION made() RETURNS int LANGUAGE sql AS $$ SELECT @call@ $$
CREATE FUNCTION made() RETURNS int LANGUAGE sql RETURN @call@
CREATE FUNCTION made(x int DEFAULT @call@) RETURNS int LANGUAGE sql AS 'SELECT x'
CREATE FUNCTION made() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN @call@; END $$ |> SELECT made()
-- since: 17
SELECT JSON_VALUE('{}', '$.a' RETURNING int DEFAULT @call@ ON EMPTY)
SELECT * FROM JSON_TABLE('{}', '$' COLUMNS (x int PATH '$.a' DEFAULT @call@ ON EMPTY))
MERGE INTO counters AS c USING (SELECT 'orders' AS k) AS s ON c.name = s.k WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED BY SOURCE AND @call@ = 5 THEN DELETE
MERGE INTO counters AS c USING (SELECT 'orders' AS k) AS s ON c.name = s.k WHEN MATCHED THEN UPDATE SET value = 1 RETURNING @call@
-- since: 16
SELECT JSON_OBJECT('a': @call@), JSON_ARRAY(@call@)
-- since: 0
-- Every write, wherever a statement can stand.
-- as: owner app
-- let write = DELETE FROM victim WHERE id = 1 RETURNING id ;; DELETE FROM orders WHERE id = 5 RETURNING id ;; UPDATE victim SET n = 0 RETURNING id ;; UPDATE t_when SET v = 77 WHERE id = 1 RETURNING id ;; INSERT INTO t_after VALUES (90, 1) RETURNING id ;; DELETE FROM v_orders WHERE id = 6 RETURNING id ;; DELETE FROM v_instead WHERE id = 1 RETURNING id ;; INSERT INTO t_chain VALUES (91, 1) RETURNING id ;; DELETE FROM measurements WHERE id = 2 RETURNING id ;; UPDATE customers SET id = 80 WHERE id = 4 RETURNING id ;; INSERT INTO customers (id, name) VALUES (2, 'x') ON CONFLICT (id) DO UPDATE SET name = 'y' RETURNING id ;; DELETE FROM tree WHERE id = 1 RETURNING id ;; DELETE FROM documents WHERE id = 3 RETURNING id
@write@
WITH w AS (@write@) SELECT 1
WITH w AS (@write@) SELECT * FROM w
WITH w AS (@write@) INSERT INTO journal (what) SELECT id::text FROM w
WITH w AS (@write@) UPDATE counters SET value = (SELECT max(id) FROM w) WHERE name = 'orders'
WITH w AS (@write@) DELETE FROM other.things WHERE id IN (SELECT id FROM w)
WITH a AS (SELECT 1), w AS (@write@), z AS (SELECT 2) SELECT * FROM a, z
WITH w AS (@write@) MERGE INTO counters AS c USING w ON c.value = w.id WHEN MATCHED THEN DO NOTHING
WITH w AS (@write@) SELECT id FROM w UNION ALL SELECT 1 ORDER BY 1 LIMIT 0
EXPLAIN @write@
EXPLAIN ANALYZE @write@
EXPLAIN (ANALYZE, TIMING OFF) WITH w AS (@write@) SELECT 1
PREPARE p AS @write@
PREPARE p AS @write@ |> EXECUTE p
COPY (@write@) TO STDOUT
COPY (WITH w AS (@write@) SELECT * FROM w) TO STDOUT
CREATE TEMP TABLE work AS WITH w AS (@write@) SELECT * FROM w
DO $$ DECLARE x int; BEGIN @write@ INTO x; END $$
DO $$ BEGIN EXECUTE $x$ @write@ $x$; END $$
DECLARE c CURSOR FOR WITH w AS (@write@) SELECT * FROM w
CREATE FUNCTION pg_temp.made() RETURNS int LANGUAGE sql AS $$ @write@ $$ |> SELECT pg_temp.made()
EXPLAIN ANALYZE CREATE TEMP TABLE work AS WITH w AS (@write@) SELECT * FROM w
-- Every operation on every kind of table.
-- let table = t_before ;; t_after ;; t_statement ;; t_deferred ;; t_when ;; t_null ;; t_dynamic ;; t_disabled ;; t_chain ;; r_also ;; r_instead ;; r_nothing ;; unlogged ;; indexed
INSERT INTO @table@ VALUES (700, 1)
INSERT INTO @table@ SELECT i, i FROM generate_series(701, 703) AS i
INSERT INTO @table@ VALUES (1, 1) ON CONFLICT DO NOTHING
INSERT INTO @table@ VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET v = 55
UPDATE @table@ SET v = 500 WHERE id = 1
UPDATE @table@ SET v = 500
UPDATE @table@ SET id = 800 WHERE id = 2
DELETE FROM @table@ WHERE id = 1
DELETE FROM @table@
MERGE INTO @table@ AS t USING (VALUES (1), (900)) AS s(k) ON t.id = s.k WHEN MATCHED THEN UPDATE SET v = 9 WHEN NOT MATCHED THEN INSERT VALUES (s.k, 0)
MERGE INTO @table@ AS t USING (VALUES (1)) AS s(k) ON t.id = s.k WHEN MATCHED THEN DELETE
COPY @table@ FROM STDIN <| 750	1\n
-- as: owner
TRUNCATE @table@
LOCK TABLE @table@ IN EXCLUSIVE MODE
ALTER TABLE @table@ ADD COLUMN extra int
ALTER TABLE @table@ DROP COLUMN v CASCADE
ALTER TABLE @table@ ALTER COLUMN v TYPE bigint
ALTER TABLE @table@ RENAME TO other_name
ALTER TABLE @table@ DISABLE TRIGGER ALL
ALTER TABLE @table@ ADD CONSTRAINT made CHECK (v IS NULL OR v < 10000)
DROP TABLE @table@
CREATE INDEX made ON @table@ (v)
CREATE TRIGGER made AFTER INSERT ON @table@ FOR EACH ROW EXECUTE FUNCTION tr_journal()
CREATE RULE made AS ON INSERT TO @table@ DO ALSO NOTHING
GRANT SELECT ON @table@ TO corpus_group
COMMENT ON TABLE @table@ IS 'x'
SELECT * FROM @table@ FOR UPDATE
