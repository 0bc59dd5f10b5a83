-- Who may do what, and what concerns the whole server.
-- as: owner
GRANT SELECT ON victim TO corpus_group
GRANT ALL PRIVILEGES ON TABLE victim, journal TO corpus_app WITH GRANT OPTION
GRANT UPDATE (n), SELECT (id) ON victim TO PUBLIC
GRANT SELECT ON ALL TABLES IN SCHEMA other TO corpus_group
GRANT USAGE ON SEQUENCE seq_plain TO corpus_group
GRANT EXECUTE ON FUNCTION wipe() TO corpus_group
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA app TO corpus_group
GRANT USAGE ON SCHEMA app TO corpus_spare
GRANT CREATE ON SCHEMA app TO corpus_app
GRANT USAGE ON TYPE mood TO corpus_group
GRANT USAGE ON DOMAIN positive TO corpus_group
GRANT SELECT ON LARGE OBJECT 4243 TO corpus_group
GRANT TRUNCATE ON victim TO corpus_app
GRANT EXECUTE ON PROCEDURE proc_wipe() TO corpus_group
GRANT EXECUTE ON ROUTINE proc_note(text) TO corpus_spare
REVOKE ALL ON victim FROM corpus_app
REVOKE GRANT OPTION FOR SELECT ON victim FROM corpus_app CASCADE
REVOKE EXECUTE ON FUNCTION wipe() FROM PUBLIC
REVOKE SELECT (id) ON victim FROM corpus_app
REVOKE USAGE ON SCHEMA app FROM corpus_app
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO corpus_group
ALTER DEFAULT PRIVILEGES FOR ROLE corpus_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO corpus_app
DROP OWNED BY corpus_owner CASCADE
SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY
-- as: super
GRANT corpus_owner TO corpus_app
GRANT corpus_group TO corpus_spare WITH ADMIN OPTION GRANTED BY CURRENT_USER
REVOKE corpus_group FROM corpus_app
REVOKE ADMIN OPTION FOR corpus_group FROM corpus_app
GRANT pg_read_all_data TO corpus_app
GRANT CREATE ON DATABASE postgres TO corpus_app
GRANT CONNECT, TEMP ON DATABASE postgres TO corpus_app
GRANT USAGE ON LANGUAGE plpgsql TO corpus_app
GRANT USAGE ON FOREIGN SERVER spare_server TO corpus_app
GRANT USAGE ON FOREIGN DATA WRAPPER spare_wrapper TO corpus_app
GRANT CREATE ON TABLESPACE pg_default TO corpus_app
GRANT SET ON PARAMETER work_mem TO corpus_app
GRANT ALTER SYSTEM ON PARAMETER work_mem TO corpus_app
REVOKE ALL ON DATABASE postgres FROM PUBLIC
REVOKE CREATE ON SCHEMA public FROM PUBLIC
CREATE ROLE made
CREATE ROLE made SUPERUSER CREATEDB CREATEROLE INHERIT LOGIN REPLICATION BYPASSRLS CONNECTION LIMIT 5 PASSWORD 'x' VALID UNTIL '2030-01-01' IN ROLE corpus_group ROLE corpus_spare ADMIN corpus_app
CREATE USER made PASSWORD 'x'
CREATE GROUP made USER corpus_app
ALTER ROLE corpus_spare LOGIN
ALTER ROLE corpus_app SUPERUSER
ALTER USER corpus_spare PASSWORD 'y'
ALTER ROLE corpus_spare RENAME TO spare_corpus
ALTER ROLE corpus_app SET search_path = other
ALTER ROLE corpus_app IN DATABASE postgres SET default_transaction_read_only = off
ALTER ROLE corpus_app RESET ALL
ALTER ROLE ALL SET work_mem = '8MB'
ALTER USER corpus_app SET session_replication_role = replica
ALTER GROUP corpus_group ADD USER corpus_spare
ALTER GROUP corpus_group DROP USER corpus_app
DROP ROLE corpus_spare
DROP USER IF EXISTS no_such
DROP GROUP corpus_spare
REASSIGN OWNED BY corpus_owner TO corpus_spare
DROP OWNED BY corpus_app
ALTER TABLE victim OWNER TO corpus_spare
ALTER FUNCTION wipe() OWNER TO corpus_spare
ALTER SCHEMA other OWNER TO corpus_spare
ALTER VIEW v_orders OWNER TO corpus_spare
ALTER SEQUENCE seq_plain OWNER TO corpus_spare
ALTER TYPE mood OWNER TO corpus_spare
ALTER DOMAIN positive OWNER TO corpus_spare
ALTER MATERIALIZED VIEW mv_totals OWNER TO corpus_spare
ALTER LARGE OBJECT 4242 OWNER TO corpus_spare
ALTER AGGREGATE agg_sum(int) OWNER TO corpus_spare
ALTER DATABASE postgres OWNER TO corpus_owner
ALTER DATABASE postgres SET search_path = other
ALTER DATABASE postgres RESET search_path
ALTER DATABASE postgres CONNECTION LIMIT 5
ALTER DATABASE postgres SET TABLESPACE pg_default
ALTER TABLE ALL IN TABLESPACE pg_default OWNED BY corpus_owner SET TABLESPACE pg_default
ALTER INDEX ALL IN TABLESPACE pg_default SET TABLESPACE pg_default
ALTER TABLESPACE pg_default SET (random_page_cost = 1)
ALTER TABLESPACE pg_default RESET (random_page_cost)
ALTER LANGUAGE plpgsql OWNER TO corpus_spare
CREATE DATABASE made
DROP DATABASE IF EXISTS made
DROP DATABASE made WITH (FORCE)
CREATE TABLESPACE made LOCATION '/nowhere'
DROP TABLESPACE IF EXISTS made
ALTER SYSTEM SET work_mem = '8MB'
ALTER SYSTEM RESET ALL
ALTER DATABASE postgres REFRESH COLLATION VERSION
REINDEX DATABASE postgres
REINDEX SYSTEM postgres
VACUUM
DROP SUBSCRIPTION IF EXISTS made
CHECKPOINT
LOAD 'plpgsql'
SELECT pg_reload_conf()
SELECT pg_rotate_logfile()
SELECT pg_switch_wal() IS NOT NULL
SELECT pg_create_restore_point('x') IS NOT NULL
SELECT pg_terminate_backend(0)
SELECT pg_cancel_backend(0)
SELECT pg_log_backend_memory_contexts(pg_backend_pid())
SELECT pg_stat_reset()
SELECT pg_stat_reset_shared('bgwriter')
SELECT pg_stat_reset_single_table_counters('app.victim'::regclass)
SELECT pg_stat_force_next_flush()
SELECT pg_logical_emit_message(true, 'a', 'b') IS NOT NULL
SELECT pg_logical_emit_message(false, 'a', 'b') IS NOT NULL
SELECT pg_replication_origin_create('made')
SELECT pg_create_physical_replication_slot('made', false, true)
SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'none'
SELECT pg_import_system_collations('pg_catalog') >= 0
SELECT pg_read_file('PG_VERSION')
SELECT pg_read_binary_file('PG_VERSION')
SELECT pg_stat_file('PG_VERSION')
SELECT pg_ls_dir('.')
SELECT * FROM pg_ls_waldir()
SELECT * FROM pg_ls_logdir() WHERE false
SELECT * FROM pg_hba_file_rules
SELECT lo_import('/dev/null')
SELECT lo_export(4242, '/dev/null')
SELECT * FROM pg_get_wal_replay_pause_state() WHERE false
SELECT * FROM pg_file_settings
SELECT pg_wal_replay_pause() WHERE false
CREATE EXTENSION dblink |> SELECT dblink_exec('dbname=postgres', 'SELECT 1') WHERE false
CREATE EXTENSION pgcrypto |> SELECT crypt('a', gen_salt('md5')), digest('a', 'sha256')
CREATE EXTENSION tablefunc |> SELECT * FROM crosstab('SELECT 1, 2, app.wipe()') AS c(a int, b int)
CREATE EXTENSION tablefunc |> SELECT * FROM connectby('app.tree', 'id', 'parent_id', '1', 0) AS t(k int, p int, l int)
CREATE EXTENSION pg_trgm |> SELECT similarity('a', 'b'), 'a' % 'b'
CREATE EXTENSION hstore |> SELECT 'a=>1'::hstore -> 'a'
CREATE EXTENSION unaccent |> SELECT unaccent('a')
CREATE EXTENSION pg_surgery |> SELECT heap_force_kill('app.victim'::regclass, ARRAY['(0,1)']::tid[])
CREATE EXTENSION file_fdw |> CREATE SERVER files FOREIGN DATA WRAPPER file_fdw |> CREATE FOREIGN TABLE file_rows (a text) SERVER files OPTIONS (program 'echo a') |> SELECT * FROM file_rows
BEGIN
SELECT pg_catalog.pg_extension_config_dump('app.victim', '') WHERE false
