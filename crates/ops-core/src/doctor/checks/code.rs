//! Code that the role may run with more than its own rights, and what should watch over it.

use super::{Check, revoke};

/// True where the function can be named in a statement at all; a trigger's function cannot.
macro_rules! callable {
    () => {
        "p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'language_handler'::regtype, \
           'fdw_handler'::regtype, 'index_am_handler'::regtype, 'table_am_handler'::regtype, 'tsm_handler'::regtype, \
           'internal'::regtype) AND NOT 'internal'::regtype = ANY (p.proargtypes::oid[])"
    };
}

/// The privileges on functions; where nothing was ever granted, PUBLIC may execute.
macro_rules! functions {
    () => {
        " FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
          CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS x
          WHERE x.privilege_type = 'EXECUTE' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
            AND x.grantee = ANY ({roles}) AND x.grantee <> p.proowner AND "
    };
}

/// The columns of a finding that takes the right to execute away.
macro_rules! stop_executing {
    () => {
        concat!(
            "SELECT DISTINCT format('%s, granted to %s', p.oid::regprocedure, {grantee}), ARRAY[",
            revoke!(
                "p.proowner",
                "format('REVOKE EXECUTE ON ROUTINE %s FROM %s CASCADE', p.oid::regprocedure, {grantee})"
            ),
            "]"
        )
    };
}

/// True for a member of an extension.
macro_rules! of_extension {
    () => {
        "EXISTS (SELECT FROM pg_catalog.pg_depend AS e WHERE e.classid = 'pg_catalog.pg_proc'::regclass \
           AND e.objid = p.oid AND e.deptype = 'e')"
    };
}

pub(super) const DEFINER_UNPINNED: Check = Check::refuse(
    "security-definer-search-path",
    "functions with their owner's rights look names up in the caller's search path",
    "The caller decides which table or operator such a function finds, and it runs with its owner's rights.",
    "SELECT p.oid::regprocedure::text, ARRAY[format('ALTER ROUTINE %s SET search_path = %s', p.oid::regprocedure,
         (SELECT string_agg(quote_ident(s.name), ', ' ORDER BY s.place) FROM
             (SELECT name, min(place) AS place FROM (VALUES (n.nspname::text, 0), ('pg_temp', 9999)
                  UNION ALL SELECT t.name, t.place FROM unnest({schemas}) WITH ORDINALITY AS t (name, place)) AS u (name, place)
              GROUP BY name) AS s))]
     FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
     WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema')
       AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS s (entry) WHERE s.entry ~ '^search_path=')
       AND (p.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype)
            OR EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS x
                       WHERE x.grantee = ANY ({roles})))",
);

pub(super) const DEFINER_PUBLIC: Check = Check::refuse(
    "security-definer-public",
    "every role may call functions that run with their owner's rights",
    "EXECUTE is granted to PUBLIC unless somebody takes it away, so nobody decided who may use those rights.",
    concat!(stop_executing!(), functions!(), "p.prosecdef AND x.grantee = 0 AND ", callable!()),
);

pub(super) const DEFINER_GRANTED: Check = Check::warn(
    "security-definer-granted",
    "the role may call functions that run with their owner's rights",
    "Each is a door through which the role does what it may not do itself; keep those that were made for it.",
    concat!(stop_executing!(), functions!(), "p.prosecdef AND x.grantee <> 0 AND ", callable!()),
);

pub(super) const TRUSTED_NATIVE_LANGUAGE: Check = Check::refuse(
    "trusted-native-language",
    "a language of native code is marked as trusted",
    "Whoever may create functions can then run machine code inside the server.",
    "SELECT quote_ident(l.lanname), ARRAY[format('UPDATE pg_catalog.pg_language SET lanpltrusted = false WHERE lanname = %L',
         l.lanname)]
     FROM pg_catalog.pg_language AS l WHERE l.lanname IN ('c', 'internal') AND l.lanpltrusted",
);

pub(super) const UNTRUSTED_FUNCTION: Check = Check::refuse(
    "untrusted-function",
    "the role may call functions in a language without limits",
    "Native code, PL/Python and PL/PerlU do what the server's operating system user may do.",
    concat!(
        stop_executing!(),
        functions!(),
        callable!(),
        " AND NOT ",
        of_extension!(),
        " AND p.prolang IN (SELECT l.oid FROM pg_catalog.pg_language AS l WHERE NOT l.lanpltrusted)"
    ),
);

pub(super) const DANGEROUS_EXTENSION: Check = Check::refuse(
    "dangerous-extension",
    "the role may call functions of an extension that reaches out of the transaction",
    "They open other sessions, read files, call the network, schedule statements, or run SQL out of strings.",
    concat!(
        stop_executing!(),
        functions!(),
        callable!(),
        " AND EXISTS (SELECT FROM pg_catalog.pg_depend AS e JOIN pg_catalog.pg_extension AS t ON t.oid = e.refobjid
              WHERE e.classid = 'pg_catalog.pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e'
                AND e.refclassid = 'pg_catalog.pg_extension'::regclass
                AND t.extname IN ('dblink', 'postgres_fdw', 'file_fdw', 'adminpack', 'pg_cron', 'http', 'pg_net',
                                  'plpython3u', 'plperlu', 'pltclu', 'pg_surgery', 'pg_background', 'tablefunc', 'xml2'))
          AND EXISTS (SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS u
              WHERE u.privilege_type = 'USAGE' AND u.grantee = ANY ({roles}))"
    ),
);

pub(super) const PUBLIC_EXECUTE_DEFAULT: Check = Check::warn(
    "public-execute-default",
    "every role may call functions that are made later",
    "EXECUTE is granted to PUBLIC with each new function, also with those that run with their owner's rights.",
    "SELECT format('functions of %I', o.name), ARRAY[
         format('ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC', o.name)]
     FROM (SELECT DISTINCT pg_get_userbyid(owner) AS name, owner FROM (
               SELECT c.relowner AS owner, c.relnamespace AS namespace FROM pg_catalog.pg_class AS c
               UNION ALL SELECT p.proowner, p.pronamespace FROM pg_catalog.pg_proc AS p
               UNION ALL SELECT n.nspowner, n.oid FROM pg_catalog.pg_namespace AS n) AS owned
           JOIN pg_catalog.pg_namespace AS n ON n.oid = owned.namespace
           WHERE {user_schema} AND owner <> {me}) AS o
     WHERE o.name !~ '^pg_' AND NOT EXISTS (SELECT FROM pg_catalog.pg_default_acl AS d
         WHERE d.defaclrole = o.owner AND d.defaclnamespace = 0 AND d.defaclobjtype = 'f'
           AND NOT EXISTS (SELECT FROM aclexplode(d.defaclacl) AS x WHERE x.grantee = 0))",
);

/// The trigger's function refuses by the role of the session, so that a migration under another role still may drop.
pub(super) const NO_EVENT_TRIGGER: Check = Check::warn(
    "no-event-trigger",
    "no event trigger watches over dropped objects",
    "It is the one thing that sees a DROP wherever it comes from, in a function or a DO block too.",
    "SELECT quote_ident(current_database()), ARRAY[
         'CREATE SCHEMA IF NOT EXISTS ops_guard',
         format('CREATE OR REPLACE FUNCTION ops_guard.refuse_drop() RETURNS event_trigger LANGUAGE plpgsql '
                'SET search_path = pg_catalog, pg_temp AS %L', format(
                'BEGIN IF session_user = %L AND EXISTS (SELECT FROM pg_event_trigger_dropped_objects() AS o '
                'WHERE o.original AND NOT o.is_temporary) THEN RAISE insufficient_privilege '
                'USING MESSAGE = ''this role may not drop objects''; END IF; END', session_user)),
         'DROP EVENT TRIGGER IF EXISTS ops_guard_refuse_drop',
         'CREATE EVENT TRIGGER ops_guard_refuse_drop ON sql_drop EXECUTE FUNCTION ops_guard.refuse_drop()']
     WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger AS t
                       WHERE t.evtevent = 'sql_drop' AND t.evtenabled IN ('O', 'A'))",
);
