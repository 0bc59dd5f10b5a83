//! What was granted to the role, to PUBLIC, or to a harmless role that it is a member of.

use super::{Check, revoke};

/// A privilege on tables that an application does not need. A privilege on columns goes with the one on their table.
macro_rules! on_tables {
    ($privilege:literal) => {
        concat!(
            "SELECT DISTINCT format('%I.%I, granted to %s', n.nspname, c.relname, {grantee}), ARRAY[",
            revoke!(
                "c.relowner",
                concat!("format('REVOKE ", $privilege, " ON TABLE %I.%I FROM %s CASCADE', n.nspname, c.relname, {grantee})")
            ),
            "] FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
              CROSS JOIN LATERAL (SELECT a.* FROM aclexplode(c.relacl) AS a
                  UNION ALL SELECT a.* FROM pg_catalog.pg_attribute AS t, aclexplode(t.attacl) AS a WHERE t.attrelid = c.oid) AS x
              WHERE {user_schema} AND x.privilege_type = '",
            $privilege,
            "' AND x.grantee = ANY ({roles}) AND x.grantee <> c.relowner"
        )
    };
}

/// CREATE on schemas that the role may name.
macro_rules! create_in_schema {
    ($which:literal) => {
        concat!(
            "SELECT DISTINCT format('%I, granted to %s', n.nspname, {grantee}), ARRAY[",
            revoke!("n.nspowner", "format('REVOKE CREATE ON SCHEMA %I FROM %s CASCADE', n.nspname, {grantee})"),
            "] FROM pg_catalog.pg_namespace AS n, aclexplode(n.nspacl) AS x
              WHERE n.nspname !~ '^pg_(toast|temp)' AND x.privilege_type = 'CREATE' AND x.grantee <> n.nspowner AND ",
            $which
        )
    };
}

pub(super) const TRUNCATE: Check = Check::refuse(
    "truncate-privilege",
    "the role may TRUNCATE tables",
    "TRUNCATE empties a table at once; no row limit and no DELETE trigger sees it.",
    on_tables!("TRUNCATE"),
);

pub(super) const TRIGGER: Check = Check::refuse(
    "trigger-privilege",
    "the role may attach triggers to tables",
    "A trigger runs its author's code with the rights of whoever writes to the table next.",
    on_tables!("TRIGGER"),
);

pub(super) const REFERENCES: Check = Check::refuse(
    "references-privilege",
    "the role may refer to tables with foreign keys",
    "A foreign key of a stranger keeps the owner from deleting rows.",
    on_tables!("REFERENCES"),
);

pub(super) const MAINTAIN: Check = Check::refuse(
    "maintain-privilege",
    "the role may maintain tables",
    "CLUSTER, REINDEX and LOCK TABLE keep everybody else out of the table.",
    on_tables!("MAINTAIN"),
)
.since(17);

pub(super) const CREATE_IN_SCHEMA: Check = Check::refuse(
    "create-in-schema",
    "the role may create objects in a schema of its search path",
    "A function or table planted there is found before the one that was meant.",
    create_in_schema!("x.grantee = ANY ({roles}) AND n.nspname = ANY ({schemas})"),
);

pub(super) const CREATE_IN_OTHER_SCHEMA: Check = Check::warn(
    "create-in-other-schema",
    "the role may create objects in a schema outside its search path",
    "It owns what it creates there: functions, tables, and triggers on them.",
    create_in_schema!("x.grantee = ANY ({roles}) AND n.nspname <> ALL ({schemas})"),
);

pub(super) const UNTRUSTED_SEARCH_PATH: Check = Check::warn(
    "untrusted-search-path",
    "another role that can log in, and that owns nothing there, may create objects in a schema of the search path",
    "What it plants there, this role may run.",
    create_in_schema!(
        "n.nspname = ANY ({schemas}) AND x.grantee <> ALL ({roles})
         AND EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid = x.grantee AND r.rolcanlogin AND NOT r.rolsuper)
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.relnamespace = n.oid AND c.relowner = x.grantee)"
    ),
);

pub(super) const CREATE_IN_DATABASE: Check = Check::refuse(
    "create-in-database",
    "the role may create schemas in the database",
    "It owns what it creates, and a schema named like the role comes first in the default search path.",
    concat!(
        "SELECT DISTINCT format('%I, granted to %s', b.datname, {grantee}), ARRAY[",
        revoke!("b.datdba", "format('REVOKE CREATE ON DATABASE %I FROM %s CASCADE', b.datname, {grantee})"),
        "] FROM pg_catalog.pg_database AS b, aclexplode(b.datacl) AS x
          WHERE b.oid = {here} AND x.privilege_type = 'CREATE' AND x.grantee = ANY ({roles}) AND x.grantee <> b.datdba"
    ),
);

pub(super) const PUBLIC_CONNECT: Check = Check::warn(
    "public-connect",
    "every role may connect to the database",
    "A role that was made for something else can look around here.",
    "SELECT quote_ident(b.datname), ARRAY[
         format('GRANT CONNECT ON DATABASE %I TO %I', b.datname, pg_get_userbyid({me})),
         format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', b.datname)]
     FROM pg_catalog.pg_database AS b, aclexplode(coalesce(b.datacl, acldefault('d', b.datdba))) AS x
     WHERE b.oid = {here} AND x.privilege_type = 'CONNECT' AND x.grantee = 0",
);

pub(super) const PUBLIC_TEMPORARY: Check = Check::warn(
    "public-temporary",
    "every role may create temporary tables in the database",
    "A temporary table hides the permanent one of the same name, and takes disk space.",
    "SELECT quote_ident(b.datname), ARRAY[format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', b.datname)]
     FROM pg_catalog.pg_database AS b, aclexplode(coalesce(b.datacl, acldefault('d', b.datdba))) AS x
     WHERE b.oid = {here} AND x.privilege_type = 'TEMPORARY' AND x.grantee = 0",
);

pub(super) const DEFAULT_TABLE_PRIVILEGES: Check = Check::warn(
    "default-table-privileges",
    "tables that are made later will come with privileges that an application does not need",
    "What was taken away today comes back with the next table.",
    "SELECT format('%s on tables of %I, granted to %s', x.privilege_type, pg_get_userbyid(d.defaclrole), {grantee}), ARRAY[
         format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s REVOKE %s ON TABLES FROM %s', pg_get_userbyid(d.defaclrole),
             (SELECT format(' IN SCHEMA %I', n.nspname) FROM pg_catalog.pg_namespace AS n WHERE n.oid = d.defaclnamespace),
             x.privilege_type, {grantee})]
     FROM pg_catalog.pg_default_acl AS d, aclexplode(d.defaclacl) AS x
     WHERE d.defaclobjtype = 'r' AND x.privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES', 'MAINTAIN')
       AND x.grantee = ANY ({roles}) AND x.grantee <> d.defaclrole",
);

pub(super) const SYSTEM_CATALOG: Check = Check::refuse(
    "system-catalog-privileges",
    "the role may write to system catalogs, or read the hashes of passwords",
    "The catalogs are the server's own memory: a row changed there changes what everything means.",
    concat!(
        "SELECT DISTINCT format('%s on %s, granted to %s', x.privilege_type, c.oid::regclass, {grantee}), ARRAY[",
        revoke!(
            "c.relowner",
            "format('REVOKE %s ON TABLE pg_catalog.%I FROM %s CASCADE', x.privilege_type, c.relname, {grantee})"
        ),
        "] FROM pg_catalog.pg_class AS c CROSS JOIN LATERAL (SELECT a.* FROM aclexplode(c.relacl) AS a
              UNION ALL SELECT a.* FROM pg_catalog.pg_attribute AS t, aclexplode(t.attacl) AS a WHERE t.attrelid = c.oid) AS x
          WHERE c.relnamespace = 'pg_catalog'::regnamespace AND x.grantee = ANY ({roles}) AND x.grantee <> c.relowner
            AND (x.privilege_type <> 'SELECT' AND NOT (c.relname = 'pg_settings' AND x.privilege_type = 'UPDATE')
                 OR x.privilege_type = 'SELECT' AND c.relname IN ('pg_authid', 'pg_shadow'))"
    ),
);

pub(super) const RESTRICTED_FUNCTION: Check = Check::refuse(
    "restricted-function",
    "the role may call functions that PostgreSQL keeps from ordinary roles",
    "They read files, steer replication or end other sessions.",
    concat!(
        "SELECT DISTINCT format('%s, granted to %s', p.oid::regprocedure, {grantee}), ARRAY[",
        revoke!("p.proowner", "format('REVOKE EXECUTE ON ROUTINE %s FROM %s CASCADE', p.oid::regprocedure, {grantee})"),
        "] FROM pg_catalog.pg_proc AS p
          JOIN pg_catalog.pg_init_privs AS i ON i.classoid = 'pg_catalog.pg_proc'::regclass AND i.objoid = p.oid AND i.privtype = 'i',
          aclexplode(p.proacl) AS x
          WHERE x.grantee = ANY ({roles}) AND x.grantee <> p.proowner
            AND NOT EXISTS (SELECT FROM aclexplode(i.initprivs) AS y WHERE y.grantee IN (0, x.grantee))"
    ),
);

pub(super) const FOREIGN_SERVER: Check = Check::refuse(
    "foreign-server",
    "the role may use foreign servers or their wrappers",
    "It reaches other databases and files from here, outside of any transaction that could be observed.",
    concat!(
        "SELECT DISTINCT format('server %I, granted to %s', s.srvname, {grantee}), ARRAY[",
        revoke!(
            "s.srvowner",
            "format('REVOKE USAGE ON FOREIGN SERVER %I FROM %s CASCADE', s.srvname, {grantee})"
        ),
        "] FROM pg_catalog.pg_foreign_server AS s, aclexplode(s.srvacl) AS x
          WHERE x.grantee = ANY ({roles}) AND x.grantee <> s.srvowner
          UNION ALL
          SELECT DISTINCT format('wrapper %I, granted to %s', w.fdwname, {grantee}), ARRAY[",
        revoke!(
            "w.fdwowner",
            "format('REVOKE USAGE ON FOREIGN DATA WRAPPER %I FROM %s CASCADE', w.fdwname, {grantee})"
        ),
        "] FROM pg_catalog.pg_foreign_data_wrapper AS w, aclexplode(w.fdwacl) AS x
          WHERE x.grantee = ANY ({roles}) AND x.grantee <> w.fdwowner"
    ),
);

pub(super) const USER_MAPPING: Check = Check::refuse(
    "user-mapping",
    "the role can log in to a foreign server",
    "What it changes there stays changed when the transaction here is rolled back.",
    "SELECT format('server %I', u.srvname), ARRAY[format('DROP USER MAPPING IF EXISTS FOR %s SERVER %I',
         CASE u.umuser WHEN 0 THEN 'PUBLIC' ELSE quote_ident(u.usename) END, u.srvname)]
     FROM pg_catalog.pg_user_mappings AS u WHERE u.umuser IN (0, {me})",
);
