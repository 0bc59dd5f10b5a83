//! What the role owns, itself or through a membership. Ownership cannot be limited: an owner can always drop.

use super::Check;
use super::role::{has_attributes, membership};

/// Gives the role what it needs to go on working with tables that it no longer owns: rows for the query of a finding, of
/// which the object is null. The owners are an array of oids.
macro_rules! keep_working {
    ($owners:literal) => {
        concat!(
            "SELECT NULL, ARRAY[format('GRANT CONNECT ON DATABASE %I TO %I', b.datname, pg_get_userbyid({me}))]
             FROM pg_catalog.pg_database AS b WHERE b.oid = {here} AND b.datdba = ANY (", $owners, ")
             UNION ALL
             SELECT NULL, ARRAY[
                 format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, pg_get_userbyid({me})),
                 format('GRANT %s ON %s %I.%I TO %I',
                     CASE WHEN c.relkind = 'S' THEN 'USAGE, SELECT' WHEN c.relkind = 'm' THEN 'SELECT'
                          ELSE 'SELECT, INSERT, UPDATE, DELETE' END,
                     CASE WHEN c.relkind = 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                     n.nspname, c.relname, pg_get_userbyid({me}))]
             FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {user_schema} AND c.relowner = ANY (", $owners, ")
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                               WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')"
        )
    };
}

pub(super) const OWNER: Check = Check::refuse(
    "owner",
    "the role owns objects",
    "An owner can always drop what it owns, whatever privileges it has; no GRANT and no REVOKE changes that.",
    concat!(
        "SELECT pg_describe_object(d.classid, d.objid, 0), ARRAY[
             format('DO $guard$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %L) '
                    'THEN CREATE ROLE %I NOLOGIN; END IF; END $guard$', {owner}, {owner}),
             format('ALTER DEFAULT PRIVILEGES FOR ROLE %I REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC', {owner}),
             format('REASSIGN OWNED BY %I TO %I', pg_get_userbyid({me}), {owner})]
         FROM pg_catalog.pg_shdepend AS d
         WHERE d.refobjid = {me} AND {owns} AND pg_describe_object(d.classid, d.objid, 0) IS NOT NULL
         UNION ALL ",
        keep_working!("ARRAY[{me}]")
    ),
);

pub(super) const OWNER_MEMBERSHIP: Check = Check::refuse(
    "owner-membership",
    "the role is a member of a role that owns objects",
    "A member of the owner can drop like the owner.",
    concat!(
        "WITH owners AS (SELECT coalesce(array_agg(r.oid), '{}') AS oids FROM pg_catalog.pg_roles AS r
             WHERE r.oid = ANY ({mighty}) AND r.rolname <> ALL ({predefined}) AND NOT ",
        has_attributes!(),
        ")",
        membership!("r.oid = ANY ((SELECT oids FROM owners)::oid[])"),
        " UNION ALL ",
        keep_working!("(SELECT oids FROM owners)::oid[]")
    ),
);
