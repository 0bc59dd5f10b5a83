-- The session and its transactions.
-- as: owner app
SET work_mem = '7MB'
SET LOCAL work_mem = '7MB'
SET SESSION work_mem TO DEFAULT
SET work_mem FROM CURRENT
SET search_path = other
SET search_path TO other, app, "$user"
SET LOCAL search_path = pg_temp
SET SCHEMA 'other'
SET NAMES 'UTF8'
SET NAMES 'LATIN1'
SET client_encoding = 'LATIN1'
SET TIME ZONE 'UTC'
SET LOCAL TIME ZONE LOCAL
SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE
SET datestyle = 'German'
SET seed = 0.5
SET XML OPTION DOCUMENT
SET application_name = 'x'
SET "app.tenant" = 'b'
SET app.tenant = 'b'
SET statement_timeout = '1min'
SET statement_timeout = 0
SET lock_timeout = '1s'
SET row_security = off
SET standard_conforming_strings = off
SET backslash_quote = on
SET escape_string_warning = off
SET transaction_read_only = on
SET default_transaction_read_only = on
SET default_transaction_isolation = 'serializable'
SET enable_seqscan = off
SET constraint_exclusion = on
SET client_min_messages = 'error'
SET check_function_bodies = off
SET extra_float_digits = 0
SET synchronous_commit = off
SET idle_in_transaction_session_timeout = 0
SET cursor_tuple_fraction = 0.5
SET plpgsql.variable_conflict = 'use_column'
SET ROLE NONE
SET LOCAL ROLE NONE
RESET ROLE
RESET work_mem
RESET search_path
RESET ALL
RESET TIME ZONE
RESET SESSION AUTHORIZATION
RESET statement_timeout
SET SESSION AUTHORIZATION DEFAULT
SHOW work_mem
SHOW ALL
SHOW search_path
SHOW TIME ZONE
SHOW transaction_read_only
SHOW SESSION AUTHORIZATION
SET TRANSACTION ISOLATION LEVEL READ COMMITTED
SET TRANSACTION READ ONLY
SET TRANSACTION READ WRITE
SET LOCAL TRANSACTION READ ONLY, DEFERRABLE
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE
SET CONSTRAINTS ALL DEFERRED
SET CONSTRAINTS ALL IMMEDIATE
SET CONSTRAINTS refunds_payment_id_fkey IMMEDIATE
SET CONSTRAINTS app.t_deferred DEFERRED
BEGIN
BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE
START TRANSACTION
COMMIT
COMMIT WORK AND CHAIN
END
ROLLBACK
ROLLBACK AND NO CHAIN
ABORT
SAVEPOINT s
SAVEPOINT s |> RELEASE SAVEPOINT s
SAVEPOINT s |> ROLLBACK TO SAVEPOINT s
SAVEPOINT s |> DELETE FROM victim |> ROLLBACK TO s
DISCARD PLANS
DISCARD SEQUENCES
DISCARD TEMP
DISCARD ALL
LISTEN channel
LISTEN channel |> UNLISTEN channel
UNLISTEN *
NOTIFY channel
NOTIFY channel, 'payload'
INSERT INTO t_deferred VALUES (30, 1) |> SET CONSTRAINTS ALL IMMEDIATE
COMMIT PREPARED 'none'
ROLLBACK PREPARED 'none'
-- as: owner app
DO $$ BEGIN DELETE FROM app.victim; END $$
DO LANGUAGE plpgsql 'BEGIN PERFORM app.wipe(); END'
DO $$ BEGIN NULL; END $$
DO $$ DECLARE n int; BEGIN SELECT count(*) INTO n FROM app.victim; END $$
DO $body$ BEGIN EXECUTE 'DELETE FROM app.victim WHERE id = 1'; END $body$
DO $body$ BEGIN EXECUTE 'DELETE ' || 'FROM app.victim'; END $body$
DO $$ BEGIN FOR i IN 1..3 LOOP INSERT INTO app.journal (what) VALUES (i::text); END LOOP; END $$
DO $$ BEGIN UPDATE app.victim SET n = 0 WHERE id = 1; EXCEPTION WHEN OTHERS THEN NULL; END $$
DO $$ BEGIN SET LOCAL work_mem = '9MB'; END $$
DO $$ BEGIN RAISE NOTICE 'x'; IF false THEN DELETE FROM app.victim; END IF; END $$
CALL proc_wipe()
CALL app.proc_wipe()
CALL proc_note('x')
CALL proc_note(what => 'x')
CALL proc_sql(5)
CALL proc_sql(bump())
-- as: owner
DO $$ BEGIN TRUNCATE app.journal; END $$
DO $$ BEGIN DROP TABLE app.spare_alone; END $$
DO $$ BEGIN CREATE TABLE app.made (id int); END $$
DO $$ BEGIN GRANT SELECT ON app.victim TO corpus_group; END $$
-- as: super
SET session_replication_role = replica
SET LOCAL session_replication_role = replica
SET ROLE corpus_app
SET ROLE 'corpus_owner'
SET LOCAL ROLE corpus_app
SET SESSION AUTHORIZATION corpus_app
SET LOCAL SESSION AUTHORIZATION 'corpus_app'
SET allow_system_table_mods = on
SET zero_damaged_pages = on
SET track_counts = off
SET session_preload_libraries = ''
SET log_statement = 'none'
SET lo_compat_privileges = on
SET ignore_checksum_failure = on
SET LOCAL session_replication_role = replica |> DELETE FROM customers WHERE id = 2
SET LOCAL session_replication_role = replica |> INSERT INTO t_after VALUES (50, 1)
