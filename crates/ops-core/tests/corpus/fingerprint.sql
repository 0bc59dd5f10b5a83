-- What must be the same after every attempt: one line an object. The journal may grow; its first row stays.
INSERT INTO app.journal (what) VALUES ('keep');
CREATE FUNCTION public.fingerprint() RETURNS TABLE (object text, digest text) LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    relation record;
BEGIN
    FOR relation IN
        SELECT c.oid, n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('app', 'other', 'public') AND c.relkind IN ('r', 'm') AND c.relispopulated
    LOOP
        object := 'rows of ' || relation.relname;
        EXECUTE format('SELECT count(*) || '' '' || coalesce(sum(hashtextextended(x::text, 0)), 0) FROM ONLY %I.%I AS x WHERE %s',
            relation.nspname, relation.relname, CASE relation.relname WHEN 'journal' THEN 'what = ''keep''' ELSE 'true' END) INTO digest;
        RETURN NEXT;
    END LOOP;
    RETURN QUERY
        SELECT 'relation ' || c.relname, concat_ws(' ', n.nspname, c.relkind, c.relowner, c.relacl, c.relrowsecurity, c.relpersistence, c.relispopulated, c.relhastriggers)
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname IN ('app', 'other', 'public');
    RETURN QUERY SELECT 'function ' || p.oid::regprocedure, md5(concat_ws(' ', p.proowner, p.proacl, p.prosrc, p.prosqlbody))
        FROM pg_proc AS p WHERE p.pronamespace IN ('app'::regnamespace, 'other'::regnamespace, 'public'::regnamespace);
    RETURN QUERY SELECT 'columns of ' || attrelid::regclass, md5(string_agg(concat_ws(' ', attname, atttypid, attisdropped, attnotnull, atthasdef), ',' ORDER BY attnum))
        FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid WHERE c.relnamespace IN ('app'::regnamespace, 'other'::regnamespace) GROUP BY attrelid;
    RETURN QUERY SELECT 'trigger ' || t.tgname || t.oid, t.tgenabled::text FROM pg_trigger AS t WHERE t.tgrelid IN (SELECT c.oid FROM pg_class AS c WHERE c.relnamespace IN ('app'::regnamespace, 'other'::regnamespace));
    RETURN QUERY SELECT 'rule ' || r.rulename || r.oid, r.ev_enabled::text || md5(r.ev_action::text) FROM pg_rewrite AS r WHERE r.ev_class IN (SELECT c.oid FROM pg_class AS c WHERE c.relnamespace IN ('app'::regnamespace, 'other'::regnamespace));
    RETURN QUERY SELECT 'policy ' || p.polname, md5(concat_ws(' ', p.polrelid, p.polqual)) FROM pg_policy AS p;
    RETURN QUERY SELECT 'enum value', string_agg(enumlabel, ',' ORDER BY oid) FROM pg_enum;
    RETURN QUERY SELECT 'inheritance', count(*)::text FROM pg_inherits;
    RETURN QUERY SELECT 'constraints', count(*)::text FROM pg_constraint WHERE connamespace IN ('app'::regnamespace, 'other'::regnamespace);
    RETURN QUERY SELECT 'comments', count(*)::text FROM pg_description WHERE objoid >= 16384;
    RETURN QUERY SELECT 'operators, casts and event triggers', concat_ws(' ', (SELECT count(*) FROM pg_operator), (SELECT count(*) FROM pg_cast), (SELECT count(*) FROM pg_event_trigger));
    RETURN QUERY SELECT 'extensions', string_agg(extname, ',' ORDER BY extname) FROM pg_extension;
    RETURN QUERY SELECT 'schemas', string_agg(concat_ws(' ', nspname, nspowner, nspacl), ',' ORDER BY nspname) FROM pg_namespace WHERE nspname NOT LIKE 'pg\_t%';
    RETURN QUERY SELECT 'role ' || r.rolname, concat_ws(' ', r.rolsuper, r.rolbypassrls, r.rolconfig) FROM pg_roles AS r;
    RETURN QUERY SELECT 'memberships', string_agg(concat_ws(' ', roleid, member), ',' ORDER BY roleid, member) FROM pg_auth_members;
    RETURN QUERY SELECT 'settings of roles', coalesce(string_agg(concat_ws(' ', setdatabase, setrole, setconfig), ',' ORDER BY setdatabase, setrole), '') FROM pg_db_role_setting;
    RETURN QUERY SELECT 'settings of the server', md5(string_agg(concat_ws(' ', f.name, f.setting), ',' ORDER BY f.seqno)) FROM pg_file_settings AS f;
    RETURN QUERY SELECT 'large object ' || l.oid, concat_ws(' ', l.lomowner, l.lomacl, md5(lo_get(l.oid))) FROM pg_largeobject_metadata AS l;
    RETURN QUERY SELECT 'sequence seq_plain', (last_value >= 100)::text FROM app.seq_plain;
    RETURN QUERY SELECT 'prepared transactions', count(*)::text FROM pg_prepared_xacts;
END $$;
