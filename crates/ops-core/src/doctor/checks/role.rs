//! What the role is, and which mighty roles it is a member of.

use super::Check;

/// An attribute of the role, and what takes it away.
macro_rules! attribute {
    ($column:literal, $no:literal) => {
        concat!(
            "SELECT quote_ident(r.rolname), ARRAY[format('ALTER ROLE %I ",
            $no,
            "', r.rolname)] FROM pg_catalog.pg_roles AS r WHERE r.oid = {me} AND r.",
            $column
        )
    };
}

/// The memberships in mighty roles of one sort, and the statements that end them. Since 16 each grantor's grant is one of its own.
macro_rules! membership {
    ($sort:expr) => {
        concat!(
            "SELECT format('%I, as a member of %I', pg_get_userbyid(m.member), r.rolname), ARRAY[
                 format('REVOKE %I FROM %I', r.rolname, pg_get_userbyid(m.member))
                 || CASE WHEN current_setting('server_version_num')::int4 >= 160000
                         THEN format(' GRANTED BY %I CASCADE', pg_get_userbyid(m.grantor)) ELSE '' END]
              FROM pg_catalog.pg_auth_members AS m JOIN pg_catalog.pg_roles AS r ON r.oid = m.roleid
              WHERE m.member = ANY ({roles}) AND m.roleid = ANY ({mighty}) AND ",
            $sort
        )
    };
}
pub(super) use membership;

/// True for a role that has more than objects.
macro_rules! has_attributes {
    () => {
        "(r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication)"
    };
}
pub(super) use has_attributes;

pub(super) const BOOTSTRAP: Check = Check {
    bootstrap: true,
    ..Check::refuse(
        "bootstrap-superuser",
        "the role is the superuser that the cluster was made with",
        "Nothing can be taken away from it, so the application needs a role of its own.",
        "SELECT quote_ident(r.rolname), ARRAY[
             '-- make a role for the application, connect as it, and examine that one: '
             || 'CREATE ROLE app LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app;',
             '-- then set its password with \\password app in psql']
         FROM pg_catalog.pg_roles AS r WHERE r.oid = {me}",
    )
};

pub(super) const SUPERUSER: Check = Check::refuse(
    "superuser",
    "the role is a superuser",
    "No privilege and no setting binds a superuser, and it can run programs on the server's machine.",
    attribute!("rolsuper", "NOSUPERUSER"),
);

pub(super) const BYPASS_RLS: Check = Check::refuse(
    "bypass-rls",
    "the role has BYPASSRLS",
    "Row security does not apply to it.",
    attribute!("rolbypassrls", "NOBYPASSRLS"),
);

pub(super) const CREATE_ROLE: Check = Check::refuse(
    "create-role",
    "the role has CREATEROLE",
    "It can give itself and others more rights.",
    attribute!("rolcreaterole", "NOCREATEROLE"),
);

pub(super) const CREATE_DATABASE: Check = Check::refuse(
    "create-database",
    "the role has CREATEDB",
    "It can fill the disk with copies, and owns what it creates.",
    attribute!("rolcreatedb", "NOCREATEDB"),
);

pub(super) const REPLICATION: Check = Check::refuse(
    "replication",
    "the role has REPLICATION",
    "It can read every byte of the cluster, and hold back its WAL until the disk is full.",
    attribute!("rolreplication", "NOREPLICATION"),
);

pub(super) const PREDEFINED_ROLE: Check = Check::refuse(
    "predefined-role",
    "the role is a member of a predefined role that reaches too far",
    "Such a role reads or writes files, runs programs, ends other sessions, or writes to every table.",
    membership!("r.rolname = ANY ({predefined})"),
);

pub(super) const PRIVILEGED_MEMBERSHIP: Check = Check::refuse(
    "privileged-membership",
    "the role is a member of a role with SUPERUSER, BYPASSRLS, CREATEROLE, CREATEDB or REPLICATION",
    "SET ROLE is all it takes to become that role.",
    membership!(has_attributes!()),
);
