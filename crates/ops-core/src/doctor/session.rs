//! The doctor's own session: opened as the role, pinned, read-only.
//!
//! Queries name the relations of `pg_catalog` in full. Functions and operators are found through the search path, which is
//! pinned to `pg_catalog` with the temporary schema last, so that nothing of the database can shadow them.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::connection::ConnectionSettings;
use crate::error::{Error, ErrorKind};
use crate::postgres::failure::{connect_failure, failure};

/// How long the server may take to accept the session, where the settings do not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the driver may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// What every later query relies on. The first line must run before the second: it asks for the path of the application.
const PINS: &str = "
    SELECT pg_catalog.set_config('ops_guard.schemas', pg_catalog.current_schemas(false)::pg_catalog.text, false);
    SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false);
    SELECT pg_catalog.set_config('statement_timeout', '15s', false), pg_catalog.set_config('lock_timeout', '2s', false),
           pg_catalog.set_config('standard_conforming_strings', 'on', false),
           pg_catalog.set_config('row_security', 'on', false),
           pg_catalog.set_config('default_transaction_read_only', 'on', false)";

/// The roles that give whoever has them a way past the guard (manual, \"Predefined Roles\").
const PREDEFINED: &str = "ARRAY['pg_write_server_files', 'pg_execute_server_program', 'pg_read_server_files', \
     'pg_signal_backend', 'pg_write_all_data', 'pg_checkpoint', 'pg_maintain', 'pg_create_subscription', \
     'pg_signal_autovacuum_worker']";

/// True for an entry of `pg_shdepend` that makes a role the owner of something that `REASSIGN OWNED` hands over.
const OWNS: &str = "(d.refclassid = 'pg_catalog.pg_authid'::regclass AND d.deptype = 'o' \
     AND d.dbid IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())) \
     AND d.classid NOT IN ('pg_catalog.pg_default_acl'::regclass, 'pg_catalog.pg_user_mapping'::regclass, \
                           'pg_catalog.pg_largeobject'::regclass) \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
                     WHERE d.classid = 'pg_catalog.pg_class'::regclass AND c.oid = d.objid AND n.nspname ~ '^pg_temp_'))";

/// Computes the roles that the role can act as. It stops at mighty ones: those are findings of their own, and when they are
/// taken away, so is all that lies behind them.
const REACH: &str = "
    WITH RECURSIVE mighty AS (
        SELECT r.oid FROM pg_catalog.pg_roles AS r
        WHERE r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication
           OR r.rolname = ANY ({predefined})
           OR EXISTS (SELECT FROM pg_catalog.pg_shdepend AS d WHERE d.refobjid = r.oid AND {owns})
    ), reach AS (
        SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = session_user
        UNION
        SELECT m.roleid FROM pg_catalog.pg_auth_members AS m JOIN reach ON m.member = reach.oid
        WHERE m.roleid NOT IN (SELECT oid FROM mighty) AND {membership}
    ), free_name AS (
        SELECT name FROM generate_series(0, 99) AS i,
            LATERAL (SELECT left(session_user::text, 54) || '_owner' || CASE i WHEN 0 THEN '' ELSE i::text END) AS n (name)
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = name
            AND (r.rolcanlogin OR r.oid IN (SELECT oid FROM reach)
                 OR EXISTS (SELECT FROM pg_catalog.pg_auth_members AS m JOIN reach ON m.member = reach.oid
                            WHERE m.roleid = r.oid)))
        ORDER BY i LIMIT 1
    )
    SELECT set_config('ops_guard.me', (SELECT r.oid::text FROM pg_catalog.pg_roles AS r WHERE r.rolname = session_user), false),
           set_config('ops_guard.roles', (SELECT array_agg(oid)::text FROM (SELECT oid FROM reach UNION SELECT 0) AS r), false),
           set_config('ops_guard.mighty', (SELECT coalesce(array_agg(DISTINCT m.roleid), '{}')::text
               FROM pg_catalog.pg_auth_members AS m JOIN reach ON m.member = reach.oid
               WHERE m.roleid IN (SELECT oid FROM mighty) AND {membership}), false),
           set_config('ops_guard.owner', (SELECT name FROM free_name), false),
           session_user::text, current_database()::text, current_setting('server_version_num')::int4,
           (SELECT r.oid = 10 FROM pg_catalog.pg_roles AS r WHERE r.rolname = session_user)";

/// Who is examined, and where.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) role: String,
    pub(super) database: String,
    /// As `server_version_num` gives it.
    pub(super) version: i32,
    /// Whether it is the superuser that the cluster was made with, of which nothing can be taken away.
    pub(super) is_bootstrap: bool,
}

/// One row of a check's answer.
#[derive(Debug)]
pub(super) struct Row {
    /// The object concerned; none where the row only adds to the fix.
    pub(super) object: Option<String>,
    pub(super) fix: Vec<String>,
}

/// Why a query gave no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// The server said why.
    Refused(String),
    /// The session is gone.
    Lost(Error),
}

/// A session of the role that only reads.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    driver: JoinHandle<()>,
    target: String,
    subject: Subject,
}

impl Session {
    /// Opens the session and finds out who it belongs to.
    pub(super) async fn open(settings: &ConnectionSettings) -> Result<Self, Error> {
        let target = settings.target();
        let mut config = settings.config();
        if config.get_application_name().is_none() {
            config.application_name("ops-guard");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        let (client, connection) =
            config.connect(settings.tls()?).await.map_err(|error| connect_failure(&target, error))?;
        // An error of the line reaches whoever waits for an answer; here it only ends the task.
        let driver = tokio::spawn(async move { drop(connection.await) });
        let fail = |error| failure("prepare the session", &target, error);
        client.batch_execute(PINS).await.map_err(fail)?;
        let row = client.query_one("SELECT current_setting('server_version_num')::int4", &[]).await;
        let version: i32 = row.map_err(fail)?.get(0);
        // Before 16 every membership could be used; since then it says how.
        let membership =
            if version < 160_000 { "true" } else { "(m.inherit_option OR m.set_option OR m.admin_option)" };
        let reach = REACH
            .replace("{predefined}", PREDEFINED)
            .replace("{owns}", OWNS)
            .replace("{membership}", membership);
        let row = client.query_one(&reach, &[]).await.map_err(fail)?;
        let subject =
            Subject { role: row.get(4), database: row.get(5), version: row.get(6), is_bootstrap: row.get(7) };
        Ok(Self { client, driver, target, subject })
    }

    pub(super) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Runs a query of a check: its first column is the object, its second the statements that repair it.
    pub(super) async fn run(&self, query: &str) -> Result<Vec<Row>, Failed> {
        let rows = self.client.query(&expand(query), &[]).await.map_err(|error| self.failed(error))?;
        let read = |row: tokio_postgres::Row| {
            let fix = row.try_get::<_, Option<Vec<String>>>(1)?.unwrap_or_default();
            Ok(Row { object: row.try_get(0)?, fix })
        };
        rows.into_iter().map(read).collect::<Result<_, tokio_postgres::Error>>().map_err(|e| self.failed(e))
    }

    fn failed(&self, error: tokio_postgres::Error) -> Failed {
        let error = failure("examine the role", &self.target, error);
        match (error.kind(), error.server()) {
            (ErrorKind::Unavailable, _) | (_, None) => Failed::Lost(error),
            (_, Some(server)) => Failed::Refused(server.message().to_owned()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let driver = self.driver.abort_handle();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    tokio::time::sleep(GOODBYE).await;
                    driver.abort();
                });
            }
            Err(_) => driver.abort(),
        }
    }
}

/// Puts in what the queries of all checks share.
fn expand(query: &str) -> String {
    query
        .replace("{roles}", "current_setting('ops_guard.roles')::oid[]")
        .replace("{mighty}", "current_setting('ops_guard.mighty')::oid[]")
        .replace("{me}", "current_setting('ops_guard.me')::oid")
        .replace("{owner}", "current_setting('ops_guard.owner')")
        .replace("{schemas}", "current_setting('ops_guard.schemas')::text[]")
        .replace("{here}", "(SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())")
        .replace("{predefined}", PREDEFINED)
        .replace("{owns}", OWNS)
        // `PUBLIC` is no name of a role.
        .replace(
            "{grantee}",
            "CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END",
        )
        .replace(
            "{user_schema}",
            "(n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'ops_guard'))",
        )
}
