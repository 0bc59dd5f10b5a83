//! Settings of the role, the database and the session, and the server's own.

use super::{Check, revoke};

/// A time limit that is not set. The statement is the most specific one there is, so that no other setting hides it.
macro_rules! no_limit {
    ($name:literal, $value:literal) => {
        concat!(
            "SELECT s.name, ARRAY[format('ALTER ROLE %I IN DATABASE %I SET ",
            $name,
            " = %L', session_user, current_database(), '",
            $value,
            "')] FROM pg_catalog.pg_settings AS s WHERE s.name = '",
            $name,
            "' AND s.reset_val = '0'"
        )
    };
}

pub(super) const WEAKENING: Check = Check::refuse(
    "weakening-setting",
    "a setting of the role or the database weakens every session",
    "It holds from the first statement on, and no statement shows it.",
    "SELECT format('%s = %s', s.name, s.value), ARRAY[
         CASE WHEN c.setrole = 0 AND c.setdatabase = 0 THEN 'ALTER ROLE ALL'
              WHEN c.setrole = 0 THEN format('ALTER DATABASE %I', current_database())
              WHEN c.setdatabase = 0 THEN format('ALTER ROLE %I', pg_get_userbyid(c.setrole))
              ELSE format('ALTER ROLE %I IN DATABASE %I', pg_get_userbyid(c.setrole), current_database()) END
         || ' RESET ' || (SELECT string_agg(quote_ident(part), '.') FROM unnest(string_to_array(s.name, '.')) AS part)]
     FROM pg_catalog.pg_db_role_setting AS c, unnest(c.setconfig) AS e (entry),
         LATERAL (SELECT split_part(e.entry, '=', 1), substr(e.entry, strpos(e.entry, '=') + 1),
                         lower(substr(e.entry, strpos(e.entry, '=') + 1)) IN ('on', 'true', 'yes', '1', 't', 'y')) AS s (name, value, is_on)
     WHERE c.setrole IN (0, {me}) AND c.setdatabase IN (0, {here})
       AND CASE lower(s.name)
             WHEN 'session_replication_role' THEN lower(s.value) <> 'origin'
             WHEN 'row_security' THEN NOT s.is_on
             WHEN 'default_transaction_read_only' THEN NOT s.is_on
             WHEN 'standard_conforming_strings' THEN NOT s.is_on
             WHEN 'event_triggers' THEN NOT s.is_on
             WHEN 'backslash_quote' THEN lower(s.value) <> 'safe_encoding'
             WHEN 'client_encoding' THEN lower(s.value) NOT IN ('utf8', 'unicode')
             WHEN 'role' THEN lower(s.value) <> 'none'
             WHEN 'allow_system_table_mods' THEN s.is_on
             WHEN 'ignore_system_indexes' THEN s.is_on
             WHEN 'zero_damaged_pages' THEN s.is_on
             WHEN 'ignore_checksum_failure' THEN s.is_on
             WHEN 'track_counts' THEN NOT s.is_on
             WHEN 'session_preload_libraries' THEN s.value <> ''
             WHEN 'local_preload_libraries' THEN s.value <> ''
             ELSE false END",
);

pub(super) const PARAMETER: Check = Check::refuse(
    "parameter-privileges",
    "the role may set parameters that are a superuser's",
    "Among them is session_replication_role, which switches triggers and foreign keys off.",
    concat!(
        "SELECT DISTINCT format('%s on %s, granted to %s', x.privilege_type, a.parname, {grantee}), ARRAY[",
        revoke!(
            "10",
            "format('REVOKE %s ON PARAMETER %s FROM %s CASCADE', x.privilege_type,
                 (SELECT string_agg(quote_ident(part), '.') FROM unnest(string_to_array(a.parname, '.')) AS part), {grantee})"
        ),
        "] FROM pg_catalog.pg_parameter_acl AS a, aclexplode(a.paracl) AS x WHERE x.grantee = ANY ({roles}) AND x.grantee <> 10"
    ),
)
.since(15);

pub(super) const NO_STATEMENT_TIMEOUT: Check = Check::warn(
    "no-statement-timeout",
    "no statement_timeout is set",
    "A statement that runs away keeps its locks and the server busy until somebody notices.",
    no_limit!("statement_timeout", "30s"),
);

pub(super) const NO_LOCK_TIMEOUT: Check = Check::warn(
    "no-lock-timeout",
    "no lock_timeout is set",
    "A statement that waits for a lock makes everybody behind it wait as well.",
    no_limit!("lock_timeout", "5s"),
);

pub(super) const NO_IDLE_TIMEOUT: Check = Check::warn(
    "no-idle-in-transaction-timeout",
    "no idle_in_transaction_session_timeout is set",
    "A transaction that is left open keeps its locks, and keeps VACUUM from cleaning up.",
    no_limit!("idle_in_transaction_session_timeout", "60s"),
);

pub(super) const PASSWORD_NOT_SCRAM: Check = Check::warn(
    "password-not-scram",
    "the password is not stored as a SCRAM secret",
    "An MD5 hash is as good as the password itself to whoever reads it.",
    "SELECT quote_ident(a.rolname), ARRAY[
         'ALTER SYSTEM SET password_encryption = ''scram-sha-256''', 'SELECT pg_catalog.pg_reload_conf()',
         format('-- set the password again, in psql: \\password %I', a.rolname)]
     FROM pg_catalog.pg_authid AS a WHERE a.oid = {me} AND a.rolpassword LIKE 'md5%'",
);

pub(super) const NO_TLS: Check = Check::warn(
    "no-tls",
    "the session comes over the network without TLS",
    "Whoever is on the way reads and changes what it carries.",
    "SELECT host(inet_client_addr()), ARRAY[
         '-- write hostssl instead of host in pg_hba.conf, and connect with sslmode=verify-full']
     FROM pg_catalog.pg_stat_ssl AS s
     WHERE s.pid = pg_backend_pid() AND NOT s.ssl AND inet_client_addr() IS NOT NULL
       AND NOT inet_client_addr() <<= '127.0.0.0/8' AND inet_client_addr() <> '::1'",
);

pub(super) const SERVER_TOO_NEW: Check = Check::warn(
    "server-too-new",
    "the server is newer than the grammar of the guard, which is that of PostgreSQL 18",
    "Statements that only this server knows are refused as unreadable.",
    "SELECT current_setting('server_version'), ARRAY['-- use a newer version of the guard']
     WHERE current_setting('server_version_num')::int4 >= 190000",
);

pub(super) const TWO_PHASE_ENABLED: Check = Check::warn(
    "two-phase-enabled",
    "max_prepared_transactions is not zero",
    "PREPARE TRANSACTION leaves locks behind that outlive the session.",
    "SELECT s.setting, ARRAY['ALTER SYSTEM SET max_prepared_transactions = 0', '-- restart the server']
     FROM pg_catalog.pg_settings AS s WHERE s.name = 'max_prepared_transactions' AND s.setting <> '0'",
);
