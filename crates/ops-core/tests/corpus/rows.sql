-- Writing rows: INSERT, UPDATE, DELETE, MERGE, COPY, TRUNCATE, in and around everything.
-- as: owner app
INSERT INTO victim VALUES (20, 1)
INSERT INTO victim (id) VALUES (20), (21), (22)
INSERT INTO victim (id, n) VALUES (20, DEFAULT)
INSERT INTO journal DEFAULT VALUES
INSERT INTO journal (what) SELECT name FROM customers
INSERT INTO journal (id, what) TABLE other.things
INSERT INTO journal (id, what) OVERRIDING SYSTEM VALUE VALUES (99, 'x')
INSERT INTO identities (id, v) OVERRIDING USER VALUE VALUES (7, 'x')
INSERT INTO identities (id, v) OVERRIDING SYSTEM VALUE VALUES (7, 'x')
INSERT INTO customers (id, name) VALUES (50, 'new') RETURNING id, name AS n
INSERT INTO customers AS c (id, name) VALUES (1, 'x') ON CONFLICT DO NOTHING
INSERT INTO customers AS c (id, name) VALUES (1, 'x') ON CONFLICT (id) DO NOTHING
INSERT INTO customers AS c (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE c.active
INSERT INTO customers (id, name, email) VALUES (70, 'x', 'c1@example.org') ON CONFLICT (email) DO UPDATE SET (name, note) = ROW (excluded.name, 'again')
INSERT INTO customers (id, name) VALUES (1, 'x') ON CONFLICT ON CONSTRAINT customers_pkey DO UPDATE SET credit = customers.credit + 1 RETURNING *
INSERT INTO customers (id, name) SELECT id, name || '!' FROM customers ON CONFLICT (id) DO UPDATE SET name = excluded.name
INSERT INTO customers (id, name, tags[2], meta) VALUES (60, 'x', 'second', '{}')
INSERT INTO orders (customer_id, total) VALUES (1, 5)
INSERT INTO orders (customer_id, total) VALUES (1, (SELECT max(total) FROM orders)) RETURNING id
INSERT INTO order_lines (order_id, line) VALUES (1, 9)
INSERT INTO measurements VALUES (100, '2023-05-05', 1), (101, '2024-05-05', 1), (102, '2031-01-01', 1)
INSERT INTO measurements_2023 VALUES (100, '2023-05-05', 1)
INSERT INTO measurements VALUES (1, '2023-11-08', 5) ON CONFLICT (id, day) DO UPDATE SET value = excluded.value
INSERT INTO regions VALUES ('z', 'north', 1), ('y', 'south', 2)
INSERT INTO documents VALUES (9, 'nine')
INSERT INTO contracts VALUES (9, 'nine', now())
INSERT INTO t_before VALUES (20, 1)
INSERT INTO t_after VALUES (20, 1), (21, 2)
INSERT INTO t_statement VALUES (20, 1)
INSERT INTO t_deferred VALUES (20, 1)
INSERT INTO t_dynamic VALUES (20, 1)
INSERT INTO t_disabled VALUES (20, 1)
INSERT INTO t_chain VALUES (20, 1)
INSERT INTO t_when VALUES (20, 1)
INSERT INTO r_also VALUES (20, 1)
INSERT INTO r_nothing VALUES (20, 1)
INSERT INTO r_nothing VALUES (20, 500)
INSERT INTO v_orders (customer_id, total) VALUES (1, 5)
INSERT INTO v_nested (total) VALUES (5)
INSERT INTO v_checked (customer_id, total) VALUES (1, 5)
INSERT INTO v_instead VALUES (50, 'x')
INSERT INTO v_ruled VALUES (50, 1)
INSERT INTO v_barrier VALUES (50, 'x')
INSERT INTO generated (id, a) VALUES (5, 5)
INSERT INTO defaults (v) VALUES ('x')
INSERT INTO defaults (id, v) VALUES (5, 'x')
INSERT INTO defaults DEFAULT VALUES
INSERT INTO checked_rows VALUES (5, 5)
INSERT INTO domains (id, p) VALUES (5, 5)
INSERT INTO domains (id, c) VALUES (5, 5)
INSERT INTO indexed VALUES (5, 5)
INSERT INTO bookings VALUES (5, '[20,30)')
INSERT INTO secrets VALUES (9, 'a', 'x')
INSERT INTO "Odd Name" VALUES (2, 'b')
INSERT INTO other.things VALUES (3, 'c')
INSERT INTO unlogged VALUES (3, 3)
INSERT INTO wide VALUES (2, repeat('x', 5000))
INSERT INTO typed VALUES (1, 'x')
INSERT INTO tree VALUES (9, 5, 'leaf')
INSERT INTO refunds VALUES (9, 1, 5)
INSERT INTO journal (what) VALUES (wipe()::text)
INSERT INTO journal (what) SELECT 'x' FROM wipe_rows()
INSERT INTO victim VALUES (30, 1) RETURNING wipe_sql()
INSERT INTO customers (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET credit = wipe()
INSERT INTO customers (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET credit = 1 WHERE wipe() = 1
WITH s AS (SELECT 40 AS id) INSERT INTO victim SELECT id FROM s
INSERT INTO victim WITH s AS (SELECT 41 AS id) SELECT id FROM s
UPDATE victim SET n = 5
UPDATE victim SET n = 5 WHERE true
UPDATE victim SET n = 5 WHERE id = id
UPDATE victim SET n = 5 WHERE id = 1
UPDATE ONLY victim AS v SET n = v.n + 1 WHERE v.id < 4 RETURNING v.*
UPDATE victim SET n = DEFAULT WHERE id = 2
UPDATE victim SET (n) = ROW (7) WHERE id = 2
UPDATE victim SET (id, n) = (SELECT 55, 56) WHERE id = 3
UPDATE victim SET n = c.id FROM customers AS c WHERE c.id = victim.id
UPDATE victim SET n = c.id FROM customers AS c JOIN orders AS o ON o.customer_id = c.id WHERE victim.id = o.id
UPDATE victim SET n = 1 FROM customers
UPDATE customers SET tags[1] = 'x', meta['a'] = '1' WHERE id = 1
UPDATE customers SET id = id + 100 WHERE id = 1
UPDATE customers SET name = (SELECT max(v) FROM other.things) WHERE id IN (SELECT customer_id FROM orders)
UPDATE orders SET id = 1003 FROM (SELECT 1) AS s WHERE orders.id = (SELECT max(id) FROM orders WHERE total < 0)
UPDATE invoices SET id = 77 WHERE id = 2
UPDATE tree SET label = 'x' WHERE parent_id = 1
UPDATE measurements SET value = 0 WHERE day < '2024-01-01'
UPDATE measurements SET day = '2024-12-31' WHERE id = 1
UPDATE measurements_2024 SET value = 0 WHERE id = 15
UPDATE documents SET title = 'x' WHERE id > 0
UPDATE ONLY documents SET title = 'x' WHERE id > 0
UPDATE regions SET region = 'south' WHERE code = 'c2'
UPDATE regions_north SET n = 0 WHERE code = 'c2'
UPDATE t_before SET v = 1 WHERE id = 1
UPDATE t_after SET v = 1 WHERE id = 1
UPDATE t_statement SET v = 1 WHERE id = 1
UPDATE t_deferred SET v = 1 WHERE id = 1
UPDATE t_when SET v = 99 WHERE id = 1
UPDATE t_when SET v = v WHERE id = 1
UPDATE t_when SET id = 50 WHERE id = 1
UPDATE t_disabled SET v = 1 WHERE id = 1
UPDATE r_nothing SET v = 1 WHERE id = 1
UPDATE r_also SET v = 1 WHERE id = 1
UPDATE v_orders SET total = 1 WHERE id = 1
UPDATE v_nested SET total = 1 WHERE id = 1
UPDATE v_checked SET total = 1 WHERE id = 1
UPDATE v_instead SET name = 'x' WHERE id = 1
UPDATE v_ruled SET n = 1 WHERE id = 1
UPDATE v_barrier SET name = 'x' WHERE id = 1
UPDATE generated SET a = 9 WHERE id = 1
UPDATE checked_rows SET v = 5 WHERE id = 1
UPDATE domains SET p = 7 WHERE id = 1
UPDATE domains SET c = 7 WHERE id = 1
UPDATE indexed SET v = 9 WHERE id = 1
UPDATE secrets SET body = 'x' WHERE id = 1
UPDATE secrets SET body = 'x' WHERE id = 3
UPDATE watched SET v = 5 WHERE id = 1
UPDATE "Odd Name" SET "select" = 'b' WHERE "Id" = 1
UPDATE counters SET value = wipe() WHERE name = 'calls'
UPDATE victim SET n = 1 WHERE id = bump()
UPDATE victim SET n = 1 WHERE id = 1 RETURNING bump()
UPDATE victim AS v SET n = 1 FROM lines_of(1) AS l WHERE l.line = v.id
UPDATE customers SET credit = 1 === 2 WHERE id = 1
WITH t AS (SELECT 1 AS id) UPDATE victim SET n = 0 FROM t WHERE t.id = victim.id
DELETE FROM victim
DELETE FROM victim WHERE id = 1
DELETE FROM ONLY victim AS v WHERE v.id = 2 RETURNING *
DELETE FROM victim USING customers AS c WHERE c.id = victim.id
DELETE FROM victim USING customers AS c, orders AS o WHERE c.id = victim.id AND o.id = c.id
DELETE FROM victim WHERE id IN (SELECT id FROM customers)
DELETE FROM victim WHERE NOT EXISTS (SELECT 1 FROM customers WHERE id = victim.id)
DELETE FROM victim WHERE ctid = '(0,1)'
DELETE FROM victim WHERE ctid = ANY (ARRAY(SELECT ctid FROM victim LIMIT 2))
DELETE FROM victim WHERE false
DELETE FROM victim WHERE id > 1000
DELETE FROM counters WHERE wipe() = 1 AND name = 'calls'
DELETE FROM victim WHERE id = 1 RETURNING note('gone')
DELETE FROM customers WHERE id = 5
DELETE FROM customers WHERE id = 2
DELETE FROM orders WHERE id = 4
DELETE FROM order_lines WHERE order_id = 1 AND line = 1
DELETE FROM invoices WHERE id = 3
DELETE FROM invoices WHERE id = 6
DELETE FROM payments WHERE id = 2
DELETE FROM shipments WHERE id = 1
DELETE FROM refunds
DELETE FROM tree WHERE id = 1
DELETE FROM tree WHERE id = 4
DELETE FROM measurements WHERE day < '2024-01-01'
DELETE FROM measurements WHERE id = 3
DELETE FROM measurements_2024 WHERE value > 10
DELETE FROM regions WHERE n = 3
DELETE FROM regions_north WHERE n > 0
DELETE FROM documents WHERE id = 3
DELETE FROM ONLY documents WHERE id = 3
DELETE FROM contracts WHERE id = 3
DELETE FROM t_before WHERE id = 1
DELETE FROM t_after WHERE id = 1
DELETE FROM t_statement WHERE id < 3
DELETE FROM t_statement WHERE false
DELETE FROM t_deferred WHERE id = 1
DELETE FROM t_null WHERE id = 1
DELETE FROM t_null
DELETE FROM t_disabled WHERE id = 1
DELETE FROM r_also WHERE id = 1
DELETE FROM r_instead WHERE id = 1
DELETE FROM r_instead
DELETE FROM r_nothing WHERE id = 1
DELETE FROM v_orders WHERE id = 1
DELETE FROM v_nested WHERE id = 1
DELETE FROM v_checked WHERE id = 1
DELETE FROM v_instead WHERE id = 1
DELETE FROM v_ruled WHERE id = 1
DELETE FROM v_barrier WHERE id = 5
DELETE FROM secrets WHERE id = 1
DELETE FROM secrets WHERE tenant = 'b'
DELETE FROM watched WHERE id = 1
DELETE FROM "Odd Name" WHERE "Id" = 1
DELETE FROM other.things WHERE id = 1
DELETE FROM journal AS v USING LATERAL (SELECT wipe() AS n) AS w WHERE v.id = w.n
DECLARE c CURSOR FOR SELECT * FROM victim FOR UPDATE |> FETCH 1 FROM c
DECLARE c CURSOR FOR SELECT * FROM victim FOR UPDATE |> FETCH 1 FROM c |> DELETE FROM victim WHERE CURRENT OF c
DECLARE c CURSOR FOR SELECT * FROM victim FOR UPDATE |> FETCH 2 FROM c |> UPDATE victim SET n = 99 WHERE CURRENT OF c
WITH gone AS (DELETE FROM victim WHERE id < 4 RETURNING *) SELECT count(*) FROM gone
WITH gone AS (DELETE FROM victim RETURNING *) SELECT 1
WITH gone AS (DELETE FROM victim WHERE id = 1) SELECT 1 AS nothing_about_it
WITH gone AS (DELETE FROM victim WHERE id = 1 RETURNING *), kept AS (INSERT INTO journal (what) SELECT n::text FROM gone RETURNING *) SELECT * FROM kept
WITH gone AS (DELETE FROM victim WHERE id = 1 RETURNING *) INSERT INTO journal (what) SELECT id::text FROM gone
WITH changed AS (UPDATE victim SET n = 1 WHERE id = 1 RETURNING *) DELETE FROM orders WHERE id IN (SELECT id FROM changed)
WITH added AS (INSERT INTO victim VALUES (60, 1) RETURNING id) UPDATE counters SET value = (SELECT id FROM added) WHERE name = 'calls'
WITH RECURSIVE down AS (SELECT id FROM tree WHERE id = 2 UNION ALL SELECT t.id FROM tree AS t JOIN down ON t.parent_id = down.id) DELETE FROM tree WHERE id IN (SELECT id FROM down)
WITH a AS (DELETE FROM victim WHERE id = 1), b AS (UPDATE victim SET n = 0 WHERE id = 2), c AS (INSERT INTO victim VALUES (70, 1)) SELECT
WITH a AS (SELECT 1), b AS (DELETE FROM t_after WHERE id = 1 RETURNING id) (SELECT id FROM b UNION ALL SELECT 2) ORDER BY 1
WITH d AS (DELETE FROM orders WHERE id = 5 RETURNING *) SELECT * FROM d JOIN customers AS c ON c.id = d.customer_id
WITH d AS (DELETE FROM v_ruled WHERE id = 1) SELECT 1
WITH d AS (DELETE FROM v_instead WHERE id = 1 RETURNING id) SELECT * FROM d
EXPLAIN SELECT * FROM victim
EXPLAIN (FORMAT JSON, COSTS OFF, SETTINGS, VERBOSE) SELECT * FROM victim
EXPLAIN DELETE FROM victim
EXPLAIN VERBOSE UPDATE victim SET n = 1
EXPLAIN ANALYZE SELECT * FROM victim
EXPLAIN ANALYZE DELETE FROM victim WHERE id = 1
EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, SUMMARY, WAL) INSERT INTO victim VALUES (80, 1)
EXPLAIN (ANALYZE false) DELETE FROM victim
EXPLAIN (ANALYZE 1) UPDATE victim SET n = 2 WHERE id = 1
EXPLAIN (ANALYZE off, VERBOSE on) DELETE FROM victim
EXPLAIN (ANALYZE true, FORMAT yaml) WITH gone AS (DELETE FROM victim RETURNING *) SELECT * FROM gone
EXPLAIN ANALYZE SELECT wipe()
EXPLAIN SELECT wipe()
EXPLAIN SELECT wipe_immutable(1)
EXPLAIN SELECT * FROM victim WHERE id = wipe_stable(1)
EXPLAIN SELECT * FROM victim WHERE id = add_one(1)
EXPLAIN (ANALYZE) CREATE TABLE made AS SELECT * FROM victim
EXPLAIN CREATE TABLE made AS SELECT * FROM victim
EXPLAIN CREATE MATERIALIZED VIEW made AS SELECT 1
EXPLAIN ANALYZE DELETE FROM customers WHERE id = 5
PREPARE p AS DELETE FROM victim WHERE id = $1 |> EXPLAIN EXECUTE p(1)
PREPARE p AS DELETE FROM victim WHERE id = $1 |> EXPLAIN ANALYZE EXECUTE p(1)
EXPLAIN DECLARE c CURSOR FOR SELECT * FROM victim
EXPLAIN SELECT * FROM orders FOR UPDATE
EXPLAIN ANALYZE SELECT * FROM orders FOR UPDATE
PREPARE p AS SELECT 1
PREPARE p (int) AS DELETE FROM victim WHERE id = $1
PREPARE p AS DELETE FROM victim
PREPARE p (int) AS DELETE FROM victim WHERE id = $1 |> EXECUTE p(2)
PREPARE p AS SELECT wipe() |> EXECUTE p
PREPARE p AS INSERT INTO t_chain VALUES ($1, 1) |> EXECUTE p(500)
PREPARE p (int) AS SELECT $1 |> EXECUTE p(wipe())
PREPARE p AS SELECT id FROM victim |> CREATE TEMP TABLE from_p AS EXECUTE p
PREPARE p AS SELECT 1 |> DEALLOCATE p
DEALLOCATE PREPARE ALL
DECLARE c CURSOR FOR SELECT * FROM victim
DECLARE c SCROLL INSENSITIVE CURSOR FOR SELECT * FROM victim
DECLARE c BINARY NO SCROLL CURSOR WITHOUT HOLD FOR SELECT 1
DECLARE c CURSOR WITH HOLD FOR SELECT wipe()
DECLARE c CURSOR FOR SELECT wipe()
DECLARE c CURSOR FOR SELECT wipe() |> FETCH ALL FROM c
DECLARE c CURSOR FOR SELECT wipe() |> MOVE 1 IN c
DECLARE c CURSOR FOR SELECT * FROM victim ORDER BY id |> FETCH FORWARD 2 FROM c
DECLARE c SCROLL CURSOR FOR SELECT * FROM victim |> FETCH ABSOLUTE 2 FROM c
DECLARE c SCROLL CURSOR FOR SELECT * FROM victim |> FETCH LAST c
DECLARE c CURSOR FOR SELECT * FROM victim |> MOVE FORWARD ALL FROM c
DECLARE c CURSOR FOR SELECT * FROM victim |> CLOSE c
CLOSE ALL
DECLARE c CURSOR FOR SELECT * FROM orders FOR UPDATE |> FETCH ALL c
DECLARE c CURSOR FOR SELECT * FROM v_lazy |> FETCH 2 FROM c
-- COPY with the client; the server's files and programs are superusers'.
COPY victim TO STDOUT
COPY victim (id) TO STDOUT WITH (FORMAT csv, HEADER)
COPY (SELECT * FROM orders WHERE id < 3) TO STDOUT
COPY (VALUES (1), (2)) TO STDOUT (FORMAT text, DELIMITER '|')
COPY (DELETE FROM victim WHERE id = 1 RETURNING *) TO STDOUT
COPY (INSERT INTO journal (what) VALUES ('x') RETURNING id) TO STDOUT
COPY (UPDATE victim SET n = 3 RETURNING *) TO STDOUT
COPY (WITH gone AS (DELETE FROM t_after RETURNING *) SELECT * FROM gone) TO STDOUT
COPY (SELECT wipe()) TO STDOUT
COPY (SELECT * FROM v_lazy) TO STDOUT
COPY (SELECT * FROM watched) TO STDOUT
COPY victim FROM STDIN <| 100	1\n101	2\n
COPY victim (id) FROM STDIN WITH (FORMAT csv) <| 100\n101\n
COPY victim FROM STDIN (FORMAT csv, NULL 'x', QUOTE '"') <| 100,5\n
COPY t_after FROM STDIN <| 100	1\n
COPY t_deferred FROM STDIN <| 100	1\n
COPY t_chain FROM STDIN <| 100	1\n
COPY measurements FROM STDIN <| 100	2023-02-02	1\n101	2024-02-02	1\n
COPY v_instead FROM STDIN <| 100	a\n
COPY defaults (v) FROM STDIN <| a\n
COPY checked_rows FROM STDIN <| 100	1\n
COPY domains (id, c) FROM STDIN <| 100	1\n
COPY generated (id, a) FROM STDIN <| 100	1\n
COPY orders (customer_id, total) FROM STDIN <| 1	9\n
COPY customers (id, name) FROM STDIN <| 100	a\n
COPY victim FROM STDIN WHERE id > 100 <| 100	1\n101	1\n
COPY victim FROM STDIN WHERE id = bump() <| 100	1\n
COPY r_also FROM STDIN <| 100	1\n
-- as: super
COPY victim TO '/dev/null'
COPY victim TO PROGRAM 'cat > /dev/null'
COPY victim FROM PROGRAM 'echo 200,1' (FORMAT csv)
COPY victim FROM '/dev/null'
COPY (SELECT 1) TO PROGRAM 'true'
-- as: owner
TRUNCATE victim
TRUNCATE TABLE journal RESTART IDENTITY
TRUNCATE ONLY documents CONTINUE IDENTITY
TRUNCATE documents
TRUNCATE documents *
TRUNCATE victim, journal, counters
TRUNCATE customers CASCADE
TRUNCATE orders RESTART IDENTITY CASCADE
TRUNCATE measurements
TRUNCATE measurements_2023
TRUNCATE regions
TRUNCATE t_truncate
TRUNCATE app.t_truncate CASCADE
TRUNCATE "Odd Name"
TRUNCATE unlogged
DELETE FROM victim |> TRUNCATE victim
CREATE TEMP TABLE work (id int) |> TRUNCATE work
-- as: owner app
MERGE INTO victim AS v USING customers AS c ON v.id = c.id WHEN MATCHED THEN UPDATE SET n = c.id * 100
MERGE INTO victim AS v USING customers AS c ON v.id = c.id WHEN MATCHED THEN DELETE
MERGE INTO victim AS v USING customers AS c ON v.id = c.id + 100 WHEN NOT MATCHED THEN INSERT (id, n) VALUES (c.id + 100, 1)
MERGE INTO victim AS v USING customers AS c ON v.id = c.id WHEN MATCHED AND c.id < 3 THEN DELETE WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN INSERT VALUES (c.id, 0)
MERGE INTO counters AS v USING (SELECT 'calls' AS id) AS s ON v.name = s.id WHEN MATCHED AND wipe() = 1 THEN UPDATE SET value = 5
MERGE INTO victim USING (VALUES (1), (2)) AS s(k) ON victim.id = s.k WHEN MATCHED THEN UPDATE SET (n) = ROW (9)
MERGE INTO victim AS v USING (SELECT 500 AS id) AS s ON v.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (s.id, bump())
MERGE INTO victim AS v USING customers AS c ON true WHEN MATCHED AND v.id = 1 AND c.id = 1 THEN DELETE
MERGE INTO victim AS v USING customers AS c ON v.id = c.id WHEN MATCHED THEN DO NOTHING
MERGE INTO victim AS v USING customers AS c ON v.id = c.id WHEN NOT MATCHED THEN INSERT DEFAULT VALUES
MERGE INTO ONLY documents AS d USING customers AS c ON d.id = c.id WHEN MATCHED THEN UPDATE SET title = c.name
MERGE INTO measurements AS m USING (SELECT 1 AS id) AS s ON m.id = s.id WHEN MATCHED THEN UPDATE SET value = 1
MERGE INTO measurements AS m USING (SELECT 1 AS id) AS s ON m.id = s.id WHEN MATCHED THEN DELETE
MERGE INTO t_after AS t USING (SELECT 1 AS id) AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET v = 10
MERGE INTO t_chain AS t USING (SELECT 100 AS id) AS s ON t.id = s.id WHEN NOT MATCHED THEN INSERT VALUES (s.id, 1)
MERGE INTO orders AS o USING (SELECT 5 AS id) AS s ON o.id = s.id WHEN MATCHED THEN DELETE
MERGE INTO journal AS j USING other.things AS t ON j.what = t.v WHEN NOT MATCHED THEN INSERT (what) OVERRIDING USER VALUE VALUES (t.v)
WITH s AS (SELECT 1 AS id) MERGE INTO victim AS v USING s ON v.id = s.id WHEN MATCHED THEN DELETE
EXPLAIN ANALYZE MERGE INTO victim AS v USING customers AS c ON v.id = c.id WHEN MATCHED THEN DELETE
EXPLAIN MERGE INTO victim AS v USING customers AS c ON v.id = c.id WHEN MATCHED THEN DELETE
-- since: 17
MERGE INTO victim AS v USING customers AS c ON v.id = c.id WHEN NOT MATCHED BY SOURCE THEN DELETE
MERGE INTO victim AS v USING customers AS c ON v.id = c.id WHEN NOT MATCHED BY SOURCE AND v.id = 7 THEN UPDATE SET n = 0 WHEN NOT MATCHED BY TARGET THEN INSERT VALUES (c.id, 0)
MERGE INTO victim AS v USING customers AS c ON v.id = c.id WHEN MATCHED THEN DELETE RETURNING merge_action(), v.*
WITH m AS (MERGE INTO victim AS v USING customers AS c ON v.id = c.id WHEN MATCHED THEN DELETE RETURNING v.id) SELECT count(*) FROM m
MERGE INTO v_orders AS v USING (SELECT 5 AS id) AS s ON v.id = s.id WHEN MATCHED THEN UPDATE SET total = 0
MERGE INTO v_instead AS v USING (SELECT 1 AS id) AS s ON v.id = s.id WHEN MATCHED THEN DELETE
COPY (MERGE INTO victim AS v USING customers AS c ON v.id = c.id WHEN MATCHED THEN DELETE RETURNING v.id) TO STDOUT
COPY victim FROM STDIN (FORMAT csv, ON_ERROR ignore) <| 100,5\nx,y\n
-- since: 18
INSERT INTO victim VALUES (90, 1) RETURNING old.id, new.id
UPDATE victim SET n = 8 WHERE id = 1 RETURNING old.n, new.n
DELETE FROM victim WHERE id = 1 RETURNING WITH (OLD AS o, NEW AS n) o.id
-- since: 0
-- Large objects and sequences.
SELECT lo_get(4242)
SELECT lo_put(4242, 0, 'x')
SELECT loread(lo_open(4242, 262144), 10)
-- as: owner
SELECT lo_create(0)
SELECT lo_creat(-1)
SELECT lo_from_bytea(0, 'x')
SELECT lo_unlink(4242)
SELECT lo_unlink(l.oid) FROM pg_largeobject_metadata AS l WHERE l.oid = 4243
SELECT lowrite(lo_open(4242, 131072), 'abc')
SELECT lo_truncate(lo_open(4242, 131072), 1)
SELECT lo_truncate64(lo_open(4242, 131072), 2)
SELECT lo_lseek(lo_open(4242, 131072), 0, 0)
SELECT setval('seq_plain', 1)
SELECT setval('app.seq_plain', 200, false)
SELECT pg_catalog.setval('seq_plain'::regclass, (SELECT max(id) FROM orders))
ALTER SEQUENCE seq_plain RESTART
ALTER SEQUENCE seq_plain RESTART WITH 5
ALTER SEQUENCE seq_plain INCREMENT BY 10
ALTER SEQUENCE seq_plain OWNED BY orders.id
ALTER SEQUENCE seq_plain MAXVALUE 100000 CYCLE CACHE 5
ALTER SEQUENCE seq_plain AS bigint
ALTER SEQUENCE orders_id_seq RESTART WITH 1
ALTER TABLE identities ALTER COLUMN id RESTART WITH 1
ALTER TABLE identities ALTER COLUMN id SET GENERATED BY DEFAULT SET INCREMENT 5
