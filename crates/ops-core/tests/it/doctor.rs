//! The doctor against real servers: every finding is provoked, found, repaired by its own script, and gone.

use std::collections::BTreeSet;
use std::process::Stdio;

use ops_core::ErrorKind;
use ops_core::connection::ConnectionSettings;
use ops_core::doctor::{self, Report, Severity};
use ops_testkit::Postgres;

/// How a finding ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The script repairs it.
    Script,
    /// A person must decide; the script says so.
    Person,
}
use End::{Person, Script};

/// A role of its own in a database of its own; both names need quotes everywhere.
struct Case<'a> {
    postgres: &'a Postgres,
    number: usize,
}

impl Case<'_> {
    fn new(postgres: &Postgres, number: usize) -> Case<'_> {
        let case = Case { postgres, number };
        postgres.psql(&case.expand("CREATE ROLE {app} LOGIN; CREATE DATABASE {db}")).unwrap();
        case
    }

    fn expand(&self, sql: &str) -> String {
        let number = self.number;
        sql.replace("{app}", &format!("\"App o'{number}\""))
            .replace("{db}", &format!("\"Shop {number}\""))
            .replace("{n}", &number.to_string())
    }

    /// Runs a script as the superuser, statement by statement; every one must succeed.
    fn psql(&self, sql: &str) -> String {
        let file = self.postgres.dir().join(format!("script-{}.sql", self.number));
        std::fs::write(&file, sql).unwrap();
        let output = self
            .postgres
            .command("psql")
            .env("PGDATABASE", format!("Shop {}", self.number))
            .args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "case {}: {said}\n{sql}", self.number);
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    fn settings(&self, user: &str) -> ConnectionSettings {
        let text = format!(
            "host={} port={} user='{user}' dbname='Shop {}'",
            self.postgres.socket_dir().display(),
            self.postgres.port(),
            self.number
        );
        ConnectionSettings::parse(&text).unwrap()
    }

    async fn examine(&self) -> Report {
        doctor::examine(&self.settings(&format!("App o\\'{}", self.number))).await.unwrap()
    }
}

fn server() -> Postgres {
    Postgres::builder().setting("max_prepared_transactions", "5").start().unwrap()
}

fn ids(report: &Report) -> Vec<&'static str> {
    report.findings.iter().map(|finding| finding.id).collect()
}

/// The identifier, the end, the first major version, and what a careless administrator did. The same identifier may come twice.
const CASES: &[(&str, End, u32, &str)] = &[
    ("superuser", Script, 15, "ALTER ROLE {app} SUPERUSER; CREATE TABLE t (id int PRIMARY KEY)"),
    ("bypass-rls", Script, 15, "ALTER ROLE {app} BYPASSRLS"),
    ("create-role", Script, 15, "ALTER ROLE {app} CREATEROLE"),
    ("create-database", Script, 15, "ALTER ROLE {app} CREATEDB"),
    ("replication", Script, 15, "ALTER ROLE {app} REPLICATION"),
    (
        "owner",
        Script,
        15,
        "CREATE SCHEMA \"My Shop\" AUTHORIZATION {app}; SET ROLE {app}; \
         CREATE TABLE \"My Shop\".\"Orders\" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n serial, v text); \
         CREATE VIEW \"My Shop\".v AS SELECT 1 AS a; CREATE TYPE \"My Shop\".mood AS ENUM ('a'); \
         CREATE FUNCTION \"My Shop\".f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
    ),
    ("owner", Script, 15, "ALTER DATABASE {db} OWNER TO {app}"),
    (
        "owner",
        Script,
        15,
        "ALTER ROLE {app} SUPERUSER; CREATE ROLE \"App o'{n}_owner\" LOGIN; CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO {app}",
    ),
    ("predefined-role", Script, 15, "GRANT pg_write_server_files TO {app} WITH ADMIN OPTION"),
    (
        "predefined-role",
        Script,
        15,
        "CREATE ROLE team{n}; GRANT team{n} TO {app}; GRANT pg_write_all_data TO team{n}",
    ),
    ("predefined-role", Script, 17, "GRANT pg_maintain TO {app} WITH INHERIT FALSE"),
    (
        "predefined-role",
        Script,
        16,
        "CREATE ROLE other{n}; GRANT pg_signal_backend TO other{n} WITH ADMIN OPTION; \
         SET ROLE other{n}; GRANT pg_signal_backend TO {app} WITH SET FALSE, INHERIT FALSE, ADMIN TRUE",
    ),
    (
        "privileged-membership",
        Script,
        15,
        "CREATE ROLE boss{n} SUPERUSER; CREATE ROLE a{n} NOINHERIT; GRANT boss{n} TO a{n}; GRANT a{n} TO {app}",
    ),
    (
        "owner-membership",
        Script,
        15,
        "CREATE ROLE owner{n}; GRANT owner{n} TO {app}; CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO owner{n}; \
         CREATE TABLE bag (id int NOT NULL UNIQUE); ALTER TABLE bag DROP CONSTRAINT bag_id_key; CREATE UNIQUE INDEX bag_id ON bag (id); \
         ALTER TABLE bag OWNER TO owner{n}",
    ),
    (
        "weakening-setting",
        Script,
        15,
        "ALTER ROLE {app} SET session_replication_role = replica; ALTER DATABASE {db} SET row_security = off; \
         ALTER ROLE {app} IN DATABASE {db} SET default_transaction_read_only = off",
    ),
    ("weakening-setting", Script, 17, "ALTER DATABASE {db} SET event_triggers = off"),
    ("parameter-privileges", Script, 15, "GRANT SET ON PARAMETER session_replication_role TO {app}"),
    (
        "parameter-privileges",
        Script,
        15,
        "GRANT SET, ALTER SYSTEM ON PARAMETER plpgsql.extra_errors TO {app}",
    ),
    ("system-catalog-privileges", Script, 15, "GRANT UPDATE, SELECT ON pg_catalog.pg_authid TO {app}"),
    (
        "system-catalog-privileges",
        Script,
        15,
        "GRANT UPDATE (lanpltrusted) ON pg_catalog.pg_language TO {app}",
    ),
    ("restricted-function", Script, 15, "GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO {app}"),
    ("create-in-database", Script, 15, "GRANT CREATE ON DATABASE {db} TO {app}"),
    ("create-in-schema", Script, 15, "GRANT CREATE ON SCHEMA public TO PUBLIC"),
    (
        "create-in-schema",
        Script,
        15,
        "CREATE SCHEMA api; GRANT USAGE, CREATE ON SCHEMA api TO {app}; ALTER ROLE {app} SET search_path = api, public",
    ),
    ("truncate-privilege", Script, 15, "CREATE TABLE t (id int PRIMARY KEY); GRANT ALL ON t TO {app}"),
    (
        "truncate-privilege",
        Script,
        15,
        "CREATE ROLE lead{n}; CREATE TABLE t (id int PRIMARY KEY); GRANT TRUNCATE ON t TO lead{n} WITH GRANT OPTION; \
         SET ROLE lead{n}; GRANT TRUNCATE ON t TO {app} WITH GRANT OPTION; SET SESSION AUTHORIZATION {app}; \
         GRANT TRUNCATE ON public.t TO PUBLIC",
    ),
    ("trigger-privilege", Script, 15, "CREATE TABLE t (id int PRIMARY KEY); GRANT TRIGGER ON t TO PUBLIC"),
    (
        "references-privilege",
        Script,
        15,
        "CREATE TABLE t (id int PRIMARY KEY); GRANT REFERENCES (id) ON t TO {app}",
    ),
    ("maintain-privilege", Script, 17, "CREATE TABLE t (id int PRIMARY KEY); GRANT MAINTAIN ON t TO {app}"),
    (
        "security-definer-search-path",
        Script,
        15,
        "CREATE FUNCTION wipe(a int, OUT b int) LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN b := a; END'; \
         REVOKE EXECUTE ON FUNCTION wipe FROM PUBLIC; GRANT EXECUTE ON FUNCTION wipe TO {app}",
    ),
    (
        "security-definer-public",
        Script,
        15,
        "CREATE PROCEDURE wipe(a int) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'BEGIN END'",
    ),
    (
        "security-definer-granted",
        Script,
        15,
        "CREATE FUNCTION wipe() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS 'BEGIN END'; \
         REVOKE EXECUTE ON FUNCTION wipe FROM PUBLIC; GRANT EXECUTE ON FUNCTION wipe TO {app}",
    ),
    ("trusted-native-language", Script, 15, "UPDATE pg_language SET lanpltrusted = true WHERE lanname = 'c'"),
    (
        "untrusted-function",
        Script,
        15,
        "CREATE FUNCTION native(internal) RETURNS internal LANGUAGE internal AS 'int4in'; \
         CREATE FUNCTION twin(int, int) RETURNS int LANGUAGE internal AS 'int4pl'",
    ),
    ("dangerous-extension", Script, 15, "CREATE EXTENSION tablefunc"),
    (
        "foreign-server",
        Script,
        15,
        "CREATE FOREIGN DATA WRAPPER w{n}; CREATE SERVER s FOREIGN DATA WRAPPER w{n}; GRANT USAGE ON FOREIGN SERVER s TO {app}; \
         GRANT USAGE ON FOREIGN DATA WRAPPER w{n} TO PUBLIC",
    ),
    (
        "user-mapping",
        Script,
        15,
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE USER MAPPING FOR PUBLIC SERVER s; \
         CREATE USER MAPPING FOR {app} SERVER s",
    ),
    ("create-in-other-schema", Script, 15, "CREATE SCHEMA play; GRANT CREATE ON SCHEMA play TO {app}"),
    (
        "untrusted-search-path",
        Script,
        15,
        "CREATE ROLE guest{n} LOGIN; GRANT CREATE ON SCHEMA public TO guest{n}",
    ),
    (
        "default-table-privileges",
        Script,
        15,
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {app}; ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT TRUNCATE ON TABLES TO PUBLIC",
    ),
    ("public-connect", Script, 15, ""),
    ("public-temporary", Script, 15, ""),
    ("public-execute-default", Script, 15, "CREATE ROLE owner{n}; CREATE SCHEMA s AUTHORIZATION owner{n}"),
    ("no-event-trigger", Script, 15, ""),
    ("no-statement-timeout", Script, 15, "ALTER ROLE {app} IN DATABASE {db} SET statement_timeout = 0"),
    ("no-lock-timeout", Script, 15, ""),
    ("no-idle-in-transaction-timeout", Script, 15, ""),
    (
        "password-not-scram",
        Person,
        15,
        "SET password_encryption = md5; ALTER ROLE {app} PASSWORD 'x'; GRANT SELECT ON pg_catalog.pg_authid TO {app}",
    ),
    ("two-phase-enabled", Person, 15, ""),
    (
        "prepared-transactions",
        Person,
        15,
        "CREATE TABLE t (id int PRIMARY KEY); BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'it''s {n}'",
    ),
    (
        "invalid-index",
        Script,
        15,
        "CREATE TABLE t (id int PRIMARY KEY, \"A\" int); CREATE INDEX \"I\" ON t (\"A\"); \
         UPDATE pg_index SET indisvalid = false WHERE indexrelid = '\"I\"'::regclass",
    ),
    (
        "no-primary-key",
        Script,
        15,
        "CREATE TABLE \"T\" (id int NOT NULL); CREATE UNIQUE INDEX \"U\" ON \"T\" (id); GRANT DELETE ON \"T\" TO {app}",
    ),
    ("no-primary-key", Person, 15, "CREATE TABLE t (id int); GRANT DELETE ON t TO {app}"),
    (
        "sequence-near-end",
        Script,
        15,
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY); CREATE SEQUENCE lone MAXVALUE 10; \
         SELECT setval('lone', 9), setval('t_id_seq', 2147483000); GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {app}",
    ),
    (
        "sequence-behind",
        Script,
        15,
        "CREATE TABLE \"T\" (id serial PRIMARY KEY); INSERT INTO \"T\" VALUES (1), (2), (7); \
         GRANT SELECT ON \"T\", \"T_id_seq\" TO {app}",
    ),
];

/// What no disposable server on one machine can be made to show.
const UNTESTED: &[&str] = &["no-tls", "server-too-new", "bootstrap-superuser"];

#[tokio::test(flavor = "multi_thread")]
async fn every_finding_is_provoked_found_and_repaired_by_its_script() {
    let mut postgres = server();
    let major = postgres.major();
    let cases: Vec<_> = CASES.iter().filter(|(_, _, since, _)| major >= *since).collect();
    for (number, (id, end, _, setup)) in cases.iter().enumerate() {
        let case = Case::new(&postgres, number);
        case.psql(&case.expand(setup));
        let before = case.examine().await;
        let name = format!("case {number} {id}");
        let found = before.findings.iter().find(|finding| finding.id == *id);
        let found = found.unwrap_or_else(|| panic!("{name}: {before:#?}"));
        assert!(!found.objects.is_empty() && !found.fix.is_empty(), "{name}: {found:?}");
        assert_eq!(found.needs_a_person(), *end == Person, "{name}: {found:?}");
        let essential = before.unjudged.iter().find(|unjudged| unjudged.essential);
        assert!(essential.is_none(), "{name}: {essential:?}");

        let script = before.script();
        case.psql(&script);
        case.psql(&script);
        let after = case.examine().await;
        assert!(!after.refuses(), "{name}: {after:#?}\n{script}");
        for left in &after.findings {
            assert!(left.needs_a_person(), "{name}: {left:#?}\n{script}");
            assert_eq!(before.findings.iter().filter(|finding| finding.id == left.id).count(), 1, "{name}");
        }
    }
    let tested: BTreeSet<&str> = CASES.iter().map(|(id, ..)| *id).chain(UNTESTED.iter().copied()).collect();
    assert_eq!(tested, doctor::checks().map(|(id, ..)| id).collect(), "each check has a case");

    // What only a restart ends, and what only a person ends.
    postgres.psql("SELECT 'ROLLBACK PREPARED ' || quote_literal(gid) FROM pg_prepared_xacts").unwrap();
    let prepared = CASES
        .iter()
        .filter(|(.., since, _)| major >= *since)
        .position(|(id, ..)| *id == "prepared-transactions");
    let case = Case { postgres: &postgres, number: prepared.unwrap() };
    case.psql(&case.expand("ROLLBACK PREPARED 'it''s {n}'"));
    let number = case.number;
    postgres.restart().unwrap();
    let after = Case { postgres: &postgres, number }.examine().await;
    assert_eq!(ids(&after), [""; 0]);
}

#[test]
fn the_documentation_names_every_check() {
    let page = include_str!("../../../../docs/doctor.md");
    for (id, ..) in doctor::checks() {
        assert!(page.contains(&format!("`{id}`")), "{id}");
    }
}

#[tokio::test]
async fn a_well_made_role_is_refused_nothing_and_may_go_on_working() {
    let postgres = server();
    let case = Case::new(&postgres, 0);
    case.psql(&case.expand(
        "SET ROLE {app}; RESET ROLE; GRANT CREATE ON SCHEMA public TO {app}; SET ROLE {app}; \
         CREATE TABLE ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, amount int); \
         CREATE TABLE note (id serial PRIMARY KEY, body text); CREATE VIEW rich AS SELECT * FROM ledger WHERE amount > 9",
    ));
    let before = case.examine().await;
    assert!(before.refuses() && !before.is_incomplete());
    assert!(before.findings.is_sorted_by_key(|finding| finding.severity), "the worst first");
    assert_eq!((before.role.as_str(), before.database.as_str()), ("App o'0", "Shop 0"));
    case.psql(&before.script());
    // Its work goes on; dropping does not.
    case.psql(&case.expand(
        "SET ROLE {app}; INSERT INTO ledger (amount) VALUES (10); INSERT INTO note (body) VALUES ('a'); UPDATE rich SET amount = 11; \
         SELECT count(*) FROM rich; DELETE FROM note; DELETE FROM ledger",
    ));
    let settings = case.settings("App o\\'0");
    let (client, connection) = settings.config().connect(settings.tls().unwrap()).await.unwrap();
    tokio::spawn(connection);
    for (sql, state) in [
        ("DROP TABLE note", "42501"),
        ("TRUNCATE ledger", "42501"),
        ("CREATE TABLE more (id int)", "42501"),
        ("ALTER TABLE ledger DISABLE TRIGGER ALL", "42501"),
        ("CREATE TEMP TABLE t (id int)", "42501"),
    ] {
        let error = client.execute(sql, &[]).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), state, "{sql}: {error:?}");
    }
}

#[tokio::test]
async fn the_event_trigger_of_the_script_refuses_a_drop_in_any_disguise() {
    let postgres = server();
    let case = Case::new(&postgres, 0);
    case.psql(&case.expand("CREATE TABLE t (id int PRIMARY KEY)"));
    case.psql(&case.examine().await.script());
    // Ownership that comes back later is exactly what it is for.
    case.psql(&case.expand("ALTER TABLE t OWNER TO {app}; GRANT TEMPORARY ON DATABASE {db} TO {app}"));
    let settings = case.settings("App o\\'0");
    let (client, connection) = settings.config().connect(settings.tls().unwrap()).await.unwrap();
    tokio::spawn(connection);
    for sql in
        ["DROP TABLE t", "ALTER TABLE t DROP COLUMN id", "DO $$ BEGIN EXECUTE 'DROP TABLE ' || 't'; END $$"]
    {
        let error = client.batch_execute(sql).await.unwrap_err();
        assert_eq!(error.as_db_error().unwrap().message(), "this role may not drop objects", "{sql}");
    }
    client.batch_execute("CREATE TEMP TABLE mine (id int); DROP TABLE mine").await.unwrap();
    case.psql("DROP TABLE t");
}

#[tokio::test]
async fn what_cannot_be_seen_is_said() {
    let postgres = server();
    let case = Case::new(&postgres, 0);
    case.psql(
        "CREATE SCHEMA hidden; CREATE TABLE hidden.t (id serial PRIMARY KEY); CREATE TABLE public.u (id serial); \
         REVOKE SELECT ON pg_catalog.pg_db_role_setting FROM PUBLIC",
    );
    let report = case.examine().await;
    let unjudged: Vec<_> = report
        .unjudged
        .iter()
        .map(|unjudged| (unjudged.id, unjudged.essential, unjudged.reason.as_str()))
        .collect();
    assert_eq!(
        unjudged,
        [
            ("weakening-setting", true, "permission denied for table pg_db_role_setting"),
            ("password-not-scram", false, "permission denied for table pg_authid"),
            ("sequence-near-end", false, "not readable: hidden.t_id_seq, public.u_id_seq"),
            ("sequence-behind", false, "not readable, or without an index: id of hidden.t, id of public.u"),
        ]
    );
    assert!(report.is_incomplete() && !report.refuses());
}

#[tokio::test]
async fn the_first_superuser_is_told_to_make_a_role() {
    let postgres = server();
    let report = doctor::examine(&ConnectionSettings::parse(&postgres.url()).unwrap()).await.unwrap();
    assert_eq!(ids(&report), ["bootstrap-superuser"]);
    assert!(report.refuses() && report.findings[0].needs_a_person() && report.unjudged.is_empty());
}

#[tokio::test]
async fn objects_of_the_database_cannot_deceive_the_doctor() {
    let postgres = server();
    let case = Case::new(&postgres, 0);
    // A table, a function and an operator that would answer instead of the catalog's.
    case.psql(&case.expand(
        "CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO PUBLIC; CREATE TABLE trap.pg_roles (oid oid, rolname name, rolsuper bool); \
         CREATE FUNCTION trap.current_setting(text) RETURNS text LANGUAGE sql AS $$SELECT '{0}'$$; \
         CREATE FUNCTION trap.never(oid, oid) RETURNS bool LANGUAGE sql AS 'SELECT false'; \
         CREATE OPERATOR trap.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = trap.never); \
         GRANT CREATE ON SCHEMA public TO {app}; ALTER ROLE {app} SET search_path = trap, pg_catalog, public",
    ));
    let report = case.examine().await;
    assert!(ids(&report).contains(&"create-in-schema"), "{report:#?}");
    assert_eq!(
        report.findings.iter().filter(|finding| finding.severity == Severity::Refuse).count(),
        1,
        "{report:#?}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error() {
    let nobody = ConnectionSettings::parse("postgres://u@127.0.0.1:1/d").unwrap();
    assert_eq!(doctor::examine(&nobody).await.unwrap_err().kind(), ErrorKind::Unavailable);
}
