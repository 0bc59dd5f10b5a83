-- Reading: SELECT in all its clauses, and what looks like reading.
-- as: owner app
SELECT 1
SELECT
SELECT 'a' AS one, 2 AS "two words", NULL, true, 1.5e3, B'101', X'1F', E'\\x', $$dollar$$, U&'\0061'
SELECT * FROM customers
SELECT c.* FROM customers AS c
SELECT DISTINCT status FROM orders
SELECT DISTINCT ON (customer_id) customer_id, total FROM orders ORDER BY customer_id, total DESC
SELECT ALL id FROM orders
SELECT id, total FROM orders WHERE total > 10 AND status = 'new' OR NOT id < 3
SELECT id FROM orders WHERE total BETWEEN 5 AND 20
SELECT id FROM orders WHERE total BETWEEN SYMMETRIC 20 AND 5
SELECT id FROM customers WHERE name LIKE 'cust%' AND email NOT ILIKE '%x%' AND name ~ '^c' AND name !~* 'Z'
SELECT id FROM customers WHERE name SIMILAR TO '(c|d)%' ESCAPE '\'
SELECT id FROM customers WHERE note IS NULL AND email IS NOT NULL AND active IS TRUE AND active IS NOT UNKNOWN
SELECT id FROM customers WHERE note IS DISTINCT FROM email AND id IS NOT DISTINCT FROM id
SELECT id FROM customers WHERE id IN (1, 2, 3) AND id NOT IN (4)
SELECT id FROM customers WHERE id = ANY (ARRAY[1, 2]) AND id <> ALL ('{7,8}')
SELECT id FROM customers WHERE (id, name) = (1, 'customer 1')
SELECT id FROM customers WHERE (id, name) IN (SELECT id, name FROM customers)
SELECT id FROM customers WHERE EXISTS (SELECT 1 FROM orders WHERE customer_id = customers.id)
SELECT id FROM customers WHERE id > ALL (SELECT customer_id - 10 FROM orders)
SELECT id FROM customers WHERE row(id, credit) >= row(2, 10)
SELECT customer_id, count(*), sum(total), avg(total), min(placed), max(placed) FROM orders GROUP BY customer_id HAVING count(*) > 1
SELECT customer_id, status, count(*) FROM orders GROUP BY GROUPING SETS ((customer_id), (status), ())
SELECT customer_id, status, grouping(customer_id) FROM orders GROUP BY ROLLUP (customer_id, status)
SELECT customer_id, status, count(*) FROM orders GROUP BY CUBE (customer_id, status)
SELECT customer_id, count(*) FROM orders GROUP BY DISTINCT ROLLUP (customer_id), ROLLUP (customer_id)
SELECT count(*) FILTER (WHERE total > 10), count(DISTINCT status), array_agg(id ORDER BY id DESC) FROM orders
SELECT string_agg(name, ', ' ORDER BY name), bool_and(active), every(active), jsonb_agg(id), json_object_agg(id, name) FROM customers
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total), mode() WITHIN GROUP (ORDER BY status) FROM orders
SELECT rank(10) WITHIN GROUP (ORDER BY total) FROM orders
SELECT stddev(total), variance(total), corr(total, id), regr_slope(total, id) FROM orders
SELECT id, row_number() OVER (ORDER BY id), rank() OVER w, lag(total, 1, 0) OVER w FROM orders WINDOW w AS (PARTITION BY customer_id ORDER BY total)
SELECT sum(total) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES) FROM orders
SELECT sum(total) OVER (ORDER BY placed RANGE BETWEEN interval '3 days' PRECEDING AND UNBOUNDED FOLLOWING) FROM orders
SELECT sum(total) OVER (ORDER BY placed GROUPS 1 PRECEDING) FROM orders
SELECT first_value(id) OVER w, nth_value(id, 2) OVER (w ROWS UNBOUNDED PRECEDING), ntile(3) OVER w FROM orders WINDOW w AS (ORDER BY id)
SELECT id FROM orders ORDER BY total DESC NULLS LAST, id ASC NULLS FIRST LIMIT 5 OFFSET 2
SELECT id FROM orders ORDER BY total USING >
SELECT id FROM orders ORDER BY 1 FETCH FIRST 3 ROWS ONLY
SELECT id FROM orders ORDER BY total FETCH NEXT 2 ROWS WITH TIES
SELECT id FROM orders LIMIT ALL
SELECT o.id, c.name FROM orders AS o JOIN customers AS c ON c.id = o.customer_id
SELECT o.id, c.name FROM orders AS o LEFT OUTER JOIN customers AS c ON c.id = o.customer_id AND c.active
SELECT * FROM orders RIGHT JOIN invoices ON invoices.order_id = orders.id
SELECT * FROM orders FULL JOIN invoices ON invoices.order_id = orders.id
SELECT count(*) FROM orders CROSS JOIN invoices
SELECT * FROM orders NATURAL JOIN v_orders
SELECT * FROM order_lines JOIN (SELECT id AS order_id, total FROM orders) AS o USING (order_id) AS j WHERE j.order_id > 2
SELECT * FROM customers AS c, LATERAL (SELECT max(total) AS best FROM orders WHERE customer_id = c.id) AS b
SELECT * FROM customers AS c CROSS JOIN LATERAL generate_series(1, c.id) AS g
SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v(n, t)
SELECT * FROM ROWS FROM (generate_series(1, 3), unnest(ARRAY['a', 'b'])) WITH ORDINALITY AS r(n, t, o)
SELECT * FROM json_to_recordset('[{"a":1}]') AS x(a int)
SELECT * FROM unnest(ARRAY[1, 2], ARRAY['a', 'b']) AS u(n, t)
SELECT * FROM ONLY documents
SELECT * FROM documents*
SELECT tableoid::regclass, * FROM measurements WHERE day > '2024-01-01'
SELECT * FROM measurements_2023
SELECT ctid, xmin, xmax, cmin, tableoid FROM victim
SELECT * FROM customers TABLESAMPLE SYSTEM (50) REPEATABLE (1)
SELECT * FROM customers TABLESAMPLE BERNOULLI (10)
SELECT id FROM orders UNION SELECT id FROM invoices
SELECT id FROM orders UNION ALL SELECT id FROM invoices ORDER BY 1
SELECT id FROM orders INTERSECT SELECT id FROM invoices EXCEPT ALL SELECT 3
(SELECT id FROM orders LIMIT 1) UNION (SELECT id FROM invoices ORDER BY id LIMIT 1)
TABLE customers
VALUES (1, 'a'), (2, 'b') ORDER BY 1 DESC
WITH big AS (SELECT * FROM orders WHERE total > 20) SELECT count(*) FROM big
WITH a AS MATERIALIZED (SELECT 1 AS x), b AS NOT MATERIALIZED (SELECT x FROM a) SELECT * FROM a, b
WITH RECURSIVE down(id, depth) AS (SELECT id, 0 FROM tree WHERE parent_id IS NULL UNION ALL SELECT t.id, depth + 1 FROM tree AS t JOIN down ON t.parent_id = down.id) SELECT * FROM down
WITH RECURSIVE walk AS (SELECT id, parent_id FROM tree WHERE id = 1 UNION ALL SELECT t.id, t.parent_id FROM tree AS t, walk AS w WHERE t.parent_id = w.id) SEARCH DEPTH FIRST BY id SET ordering SELECT * FROM walk ORDER BY ordering
WITH RECURSIVE walk AS (SELECT id, parent_id FROM tree WHERE id = 1 UNION ALL SELECT t.id, t.parent_id FROM tree AS t, walk AS w WHERE t.parent_id = w.id) CYCLE id SET looped USING path SELECT * FROM walk
WITH orders AS (SELECT 1 AS id) SELECT * FROM orders
SELECT (SELECT max(total) FROM orders), ARRAY(SELECT id FROM orders), (ARRAY[[1, 2], [3, 4]])[2][1], (ARRAY[1, 2, 3])[1:2]
SELECT CASE WHEN id > 2 THEN 'big' WHEN id = 2 THEN 'two' ELSE 'small' END, CASE id WHEN 1 THEN 'one' END FROM customers
SELECT coalesce(note, name), nullif(id, 1), greatest(id, 2), least(id, 2) FROM customers
SELECT id::text, CAST(id AS numeric(10, 2)), date '2024-01-01', interval '1 day' YEAR, '{1,2}'::int[], 1::"char" FROM customers
SELECT current_date, current_time, current_timestamp(2), localtime, localtimestamp, current_user, session_user, current_role, current_schema, current_catalog
SELECT extract(year FROM placed), date_part('month', placed), date_trunc('week', placed), placed + interval '1 day', age(placed) FROM orders
SELECT substring(name FROM 1 FOR 3), position('u' IN name), trim(BOTH 'c' FROM name), overlay(name PLACING 'x' FROM 1 FOR 1), name COLLATE "C" FROM customers
SELECT upper(name), lower(name), initcap(name), length(name), md5(name), replace(name, 'c', 'k'), left(name, 2), lpad(name, 20, '.'), split_part(name, ' ', 2) FROM customers
SELECT format('%s %I %L', 1, 'a', 'b'), concat(1, 'a'), concat_ws(',', 1, 2), quote_ident('a b'), to_char(now(), 'YYYY'), to_number('12', '99')
SELECT abs(-1), round(1.5), ceil(1.2), floor(1.8), power(2, 3), sqrt(4), mod(5, 3), random() < 2, gcd(12, 8), width_bucket(5, 0, 10, 5)
SELECT regexp_replace(name, 'c', 'k'), regexp_match(name, '(\d)'), regexp_split_to_array(name, ' '), name ~ 'x' FROM customers
SELECT meta -> 'a', meta ->> 'a', meta #> '{a,b}', meta @> '{}', meta ? 'a', meta || '{"b":1}', meta - 'a', jsonb_set(meta, '{x}', '1') FROM customers
SELECT jsonb_path_query('{"a":[1,2]}', '$.a[*]'), jsonb_path_exists('{"a":1}', '$.a'), '{"a":1}'::jsonb @? '$.a', '{"a":1}'::jsonb @@ '$.a == 1'
SELECT jsonb_build_object('a', id), to_jsonb(c), row_to_json(c), jsonb_pretty(meta) FROM customers AS c
SELECT * FROM jsonb_each('{"a":1}') UNION ALL SELECT * FROM jsonb_each('{"b":2}')
SELECT to_tsvector('simple', body) @@ to_tsquery('simple', 'note'), ts_rank(search, plainto_tsquery('note')), ts_headline(body, to_tsquery('note')) FROM notes
SELECT int4range(1, 5) && int4range(3, 7), lower(int4range(1, 5)), '[1,5)'::int4range @> 3, range_merge(int4range(1, 2), int4range(4, 5)) FROM bookings
SELECT inet '10.0.0.1' << inet '10.0.0.0/8', host('10.0.0.1'), masklen('10.0.0.0/8'), macaddr '08:00:2b:01:02:03'
SELECT point(1, 2) <-> point(3, 4), box '((0,0),(1,1))' && box '((1,1),(2,2))', circle '<(0,0),1>', lseg '[(0,0),(1,1)]'
SELECT array_append(tags, 'x'), array_length(tags, 1), cardinality(tags), tags && '{a}', array_position(tags, 'a'), array_to_string(tags, ',') FROM customers
SELECT a.attname FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = 'app.orders'::regclass AND a.attnum > 0
SELECT table_name FROM information_schema.tables WHERE table_schema = 'app'
SELECT relname, pg_relation_size(oid), pg_get_expr(relpartbound, oid) FROM pg_class WHERE relnamespace = 'app'::regnamespace
SELECT pg_get_viewdef('app.v_orders'::regclass), pg_get_constraintdef(oid) FROM pg_constraint LIMIT 1
SELECT obj_description('app.orders'::regclass), has_table_privilege('app.orders', 'SELECT'), pg_table_is_visible('app.orders'::regclass)
SELECT version(), pg_backend_pid() > 0, current_setting('server_version'), current_setting('no.such', true), pg_postmaster_start_time() < now()
SELECT pg_column_size(name), pg_typeof(id), hashtext(name), encode(name::bytea, 'hex') FROM customers
SELECT pg_sleep(0)
SELECT pg_is_in_recovery(), pg_current_wal_lsn() IS NOT NULL, txid_current_if_assigned(), pg_current_snapshot()
SELECT txid_current() > 0
SELECT pg_current_xact_id() IS NOT NULL
SELECT pg_export_snapshot() IS NOT NULL
SELECT currval('seq_plain') WHERE false
SELECT last_value, is_called FROM seq_plain
SELECT * FROM v_orders
SELECT * FROM v_nested WHERE id > 3
SELECT * FROM v_joined ORDER BY total
SELECT * FROM v_grouped
SELECT * FROM v_barrier WHERE name LIKE '%1'
SELECT * FROM v_instead
SELECT * FROM v_ruled
SELECT * FROM mv_totals
SELECT * FROM secrets
SELECT count(*) FROM secrets WHERE tenant = 'b'
SELECT * FROM generated, identities, defaults
SELECT "Id", "select" FROM "Odd Name"
SELECT o."Id" FROM app."Odd Name" AS o WHERE "select" <> U&'\0061'
SELECT * FROM other.things
SELECT add_one(1), add_two(2), app.add_one(x => 3), app.add_one(x := 4)
SELECT total_of(1), app.total_of(c.id) FROM customers AS c
SELECT * FROM lines_of(1)
SELECT * FROM pairs(3) AS p WHERE p.a > 1
SELECT agg_sum(id) FROM customers
SELECT agg_sum(id) OVER (ORDER BY id) FROM customers
SELECT @#@ 3
SELECT app_now() <= now()
SELECT 1 OPERATOR(pg_catalog.+) 2
SELECT (1, 'x')::pair, ((1, 'x')::pair).a, (pair).b FROM notes
SELECT 5::positive, 'ok'::mood, enum_range(NULL::mood), '[1,2]'::span
SELECT ROW(1, 2, 3), (ROW(1, 'a')::pair).*
SELECT c FROM customers AS c
SELECT (c).name, c.name FROM customers AS c
SELECT name(c) FROM customers AS c
SELECT unnest(tags), generate_series(1, 2) FROM customers
SELECT xmlelement(name a, xmlattributes(id AS i), name), xmlforest(id, name), xmlconcat('<a/>', '<b/>'), xmlpi(name x), xmlroot('<a/>', version '1.0') FROM customers
SELECT xmlparse(CONTENT '<a/>'), xmlserialize(CONTENT '<a/>'::xml AS text), '<a/>' IS DOCUMENT, xpath('/a', '<a/>'), xmlexists('/a' PASSING '<a/>')
SELECT xmlagg(xmlelement(name n, name)) FROM customers
SELECT * FROM xmltable('/r/i' PASSING '<r><i n="1"/></r>' COLUMNS n int PATH '@n', o FOR ORDINALITY, d text DEFAULT 'x')
SELECT 'a' LIKE 'b' ESCAPE '!', 'abc' ^@ 'a', NOT 'a' = 'b', - 3, + 4, 2 ^ 3, 5 % 2, |/ 4, 5 # 3, ~ 1, 1 << 2
SELECT 'DELETE FROM victim' AS text, $$ DROP TABLE victim $$, 'a;b' -- DELETE FROM victim
SELECT /* DELETE FROM victim; /* nested */ */ 1
SELECT nullif(current_setting('app.tenant', true), '')
SELECT id FROM customers WHERE id = 1 OR id = 2 UNION SELECT (SELECT count(*) FROM orders)::int
SELECT x.* FROM (SELECT id AS k, name FROM customers) AS x (k2, n2) WHERE k2 = 1
SELECT 1 FROM customers AS a JOIN orders AS b ON b.customer_id = a.id JOIN order_lines AS c ON c.order_id = b.id JOIN invoices AS d ON d.order_id = b.id LEFT JOIN payments AS e ON e.invoice_id = d.id
SELECT (WITH w AS (SELECT 1 AS x) SELECT x FROM w)
SELECT count(*) FROM (SELECT DISTINCT customer_id FROM (SELECT customer_id FROM orders) AS i) AS o
SELECT timezone('UTC', now()), now() AT TIME ZONE 'UTC', (date '2024-01-01', date '2024-02-01') OVERLAPS (date '2024-01-15', date '2024-03-01')
SELECT pg_size_pretty(pg_total_relation_size('app.orders')), pg_relation_filepath('app.orders') IS NOT NULL
SELECT * FROM pg_stat_user_tables WHERE schemaname = 'app'
SELECT * FROM pg_stat_activity WHERE pid = pg_backend_pid()
SELECT locktype, mode FROM pg_locks WHERE pid = pg_backend_pid()
SELECT * FROM pg_settings WHERE name = 'work_mem'
SELECT gen_random_uuid() IS NOT NULL, sha256('a'), crc FROM (SELECT 1 AS crc) AS x
SELECT setseed(0.5)
SELECT json_build_array(1, 2), json_typeof('1'), json_strip_nulls('{"a":null}'), json_array_elements('[1,2]')
SELECT SUM(total) total_sum, COUNT(*) AS "count" FROM Orders O WHERE O.Status = 'new'
SELECT pg_advisory_lock(1)
SELECT pg_advisory_xact_lock(1, 2)
SELECT pg_try_advisory_lock(3), pg_advisory_unlock(3)
SELECT pg_try_advisory_xact_lock_shared(4)
SELECT pg_advisory_unlock_all()
-- since: 16
SELECT JSON_OBJECT('a' VALUE 1, 'b': 2 ABSENT ON NULL), JSON_ARRAY(1, 2 NULL ON NULL)
SELECT JSON_OBJECTAGG(id : name) FROM customers
SELECT JSON_ARRAYAGG(name ORDER BY id) FROM customers
SELECT '{}' IS JSON OBJECT, '[]' IS NOT JSON SCALAR, '{"a":1,"a":2}' IS JSON WITH UNIQUE KEYS
SELECT any_value(name) FROM customers
SELECT 0x1F, 0b101, 0o17, 1_000_000
SELECT random_normal() IS NOT NULL
SELECT * FROM (SELECT 1)
-- since: 17
SELECT JSON_EXISTS(jsonb '{"a":1}', '$.a'), JSON_VALUE(jsonb '{"a":1}', '$.a' RETURNING int DEFAULT 0 ON EMPTY), JSON_QUERY(jsonb '{"a":[1]}', '$.a' WITH WRAPPER)
SELECT * FROM JSON_TABLE('[{"a":1}]', '$[*]' COLUMNS (a int PATH '$.a', n FOR ORDINALITY, NESTED PATH '$.b[*]' COLUMNS (c int PATH '$')))
SELECT JSON('{"a":1}'), JSON_SCALAR(1), JSON_SERIALIZE('{"a":1}')
SELECT random(1, 10) > 0, to_bin(5), to_oct(8), xmltext('<a>')
SELECT now() AT LOCAL
SELECT merge_action() IS NULL WHERE false
-- since: 18
SELECT uuidv7() IS NOT NULL, uuidv4() IS NOT NULL, casefold('A'), crc32('a'), reverse('a'::bytea), array_sort(ARRAY[2, 1]), gamma(5)
-- since: 0
-- Locks on rows.
SELECT * FROM orders WHERE id = 1 FOR UPDATE
SELECT * FROM orders FOR NO KEY UPDATE NOWAIT
SELECT * FROM orders AS o JOIN customers AS c ON c.id = o.customer_id FOR SHARE OF o SKIP LOCKED
SELECT * FROM orders FOR KEY SHARE OF orders
SELECT * FROM orders AS o, customers AS c FOR UPDATE OF o FOR SHARE OF c
SELECT * FROM (SELECT id FROM orders FOR UPDATE) AS locked
WITH locked AS (SELECT id FROM orders WHERE id < 3 FOR UPDATE) SELECT count(*) FROM locked
SELECT id FROM orders WHERE customer_id = (SELECT id FROM customers WHERE id = 1 FOR SHARE)
SELECT * FROM v_orders FOR UPDATE
SELECT * FROM measurements WHERE id = 1 FOR UPDATE
-- Reading that is more.
SELECT nextval('seq_plain')
SELECT nextval('app.seq_plain'::regclass) FROM generate_series(1, 3)
SELECT wipe()
SELECT app.wipe()
SELECT * FROM wipe()
SELECT * FROM wipe_rows()
SELECT wipe_sql()
SELECT wipe_atomic()
SELECT wipe_secretly()
SELECT wipe_immutable(1)
SELECT wipe_stable(1)
SELECT wipe_nested()
SELECT wipe_dynamic('app.victim')
SELECT wipe_caught()
SELECT loops_rows()
SELECT cursor_wipes()
SELECT bump()
SELECT note('x')
SELECT defaulted()
SELECT defaulted(3)
SELECT length('a'::varchar)
SELECT (ROW(1)::wiper).wipe
SELECT (ROW(1)::wiper).upper
SELECT upper(ROW(1)::wiper)
SELECT v.wipe_all FROM victim AS v LIMIT 1
SELECT wipe_all(v) FROM victim AS v LIMIT 1
SELECT (v).wipe_all FROM victim AS v WHERE id = 1
SELECT 1 === 2
SELECT 1 OPERATOR(app.===) 2
SELECT 1 WHERE 1 ?| 'a'::text
SELECT CAST(ROW(1)::wiper AS int)
SELECT ROW(1)::wiper::int
SELECT ROW(1)::wiper::text
SELECT agg_wipe(id) FROM customers
SELECT agg_wipe(id) OVER () FROM customers
SELECT 3::checked
SELECT n FROM v_wiping
SELECT * FROM v_lazy
SELECT id FROM v_lazy
SELECT count(*) FROM v_lazy
SELECT * FROM watched
SELECT count(*) FROM watched WHERE v > 0
SELECT truncates()
SELECT makes_table()
SELECT drops_table()
SELECT grants_something()
SELECT locks_table()
SELECT sets_path()
SELECT sets_config()
SELECT moves_sequence()
SELECT unlinks()
SELECT set_config('work_mem', '6MB', true)
SELECT set_config('search_path', 'other', false)
SELECT set_config('app.tenant', 'b', true)
SELECT pg_notify('channel', 'x')
SELECT query_to_xml('SELECT app.wipe()', true, false, '')
SELECT query_to_xml('SELECT 1', true, false, '')
SELECT table_to_xml('app.customers', true, false, '')
SELECT schema_to_xml('other', true, false, '')
SELECT cursor_to_xml('c', 1, true, false, '') WHERE false
SELECT ts_stat('SELECT search FROM app.notes')
SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, ''b''::tsquery')
SELECT * FROM ts_stat('SELECT to_tsvector(app.wipe()::text)')
