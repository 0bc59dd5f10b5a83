//! The guarded client against a real server: good statements pass, bad ones never arrive.

use std::time::Duration;

use ops_core::connection::ConnectionSettings;
use ops_core::guard::Policy;
use ops_core::postgres::{GuardedClient, Manager, SessionLimits};
use ops_core::{Error, ErrorKind};
use ops_testkit::Postgres;

fn settings(postgres: &Postgres) -> ConnectionSettings {
    ConnectionSettings::parse(&postgres.url())
        .unwrap()
        .with_application("test", Some("4bf92f3577b34da6a3ce929d0e0e4736"))
}

fn ledger() -> Postgres {
    let postgres = Postgres::start().unwrap();
    postgres
        .psql("CREATE TABLE ledger (id int PRIMARY KEY, amount int NOT NULL); INSERT INTO ledger SELECT i, i FROM generate_series(1, 100) AS i")
        .unwrap();
    postgres
}

fn rule(error: &Error) -> &str {
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    error.denial().unwrap().denied().next().unwrap().rule.as_deref().unwrap()
}

#[tokio::test]
async fn good_statements_pass_and_bad_ones_never_arrive() {
    let postgres = ledger();
    let mut client = GuardedClient::connect(&settings(&postgres), Policy::app()).await.unwrap();
    let row = client.query_one("SELECT count(*), sum(amount) FROM ledger", &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (100, 5050));
    assert_eq!(client.execute("INSERT INTO ledger VALUES ($1, $2)", &[&101, &5]).await.unwrap(), 1);
    assert_eq!(client.execute("UPDATE ledger SET amount = 6 WHERE id = $1", &[&101]).await.unwrap(), 1);
    assert_eq!(client.execute("DELETE FROM ledger WHERE id = $1", &[&101]).await.unwrap(), 1);
    assert!(client.query_opt("SELECT 1 FROM ledger WHERE id = $1", &[&101]).await.unwrap().is_none());
    assert!(client.query(" -- nothing", &[]).await.unwrap().is_empty());

    let refused = [
        ("delete-all", "DELETE FROM ledger"),
        ("data-drop", "DROP TABLE ledger"),
        ("delete-all", "WITH d AS (DELETE FROM ledger RETURNING *) SELECT count(*) FROM d"),
        ("multiple-statements", "SELECT 1; SELECT 2"),
        ("data-drop", "DROP TABLE ledger; SELECT 1"),
        ("delete-all", "DO $$ BEGIN DELETE FROM ledger; END $$"),
        ("truncate", "TRUNCATE ledger"),
        ("delete-all", "EXPLAIN ANALYZE DELETE FROM ledger"),
        ("transaction-control", "COMMIT"),
        ("session-escape", "SET session_replication_role = replica"),
        ("unparsable", "SELECT 1\0; DROP TABLE ledger"),
    ];
    for (expected, sql) in refused {
        assert_eq!(rule(&client.execute(sql, &[]).await.unwrap_err()), expected, "{sql}");
        assert_eq!(rule(&client.query(sql, &[]).await.unwrap_err()), expected, "{sql}");
        assert_eq!(rule(&client.query_one(sql, &[]).await.unwrap_err()), expected, "{sql}");
        assert_eq!(rule(&client.query_opt(sql, &[]).await.unwrap_err()), expected, "{sql}");
        assert_eq!(rule(&client.prepare(sql).await.unwrap_err()), expected, "{sql}");
        let transaction = client.transaction().await.unwrap();
        assert_eq!(rule(&transaction.execute(sql, &[]).await.unwrap_err()), expected, "{sql}");
        assert_eq!(rule(&transaction.query(sql, &[]).await.unwrap_err()), expected, "{sql}");
        assert_eq!(rule(&transaction.prepare(sql).await.unwrap_err()), expected, "{sql}");
        transaction.commit().await.unwrap();
    }
    assert_eq!(postgres.psql("SELECT count(*), sum(amount) FROM ledger").unwrap(), "100|5050");
    let name = postgres
        .psql("SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'test/%'")
        .unwrap();
    assert_eq!(name, "test/4bf92f3577b34da6a3ce929d0e0e4736");
}

#[tokio::test]
async fn transactions_and_prepared_statements_work() {
    let postgres = ledger();
    let mut client = GuardedClient::connect(&settings(&postgres), Policy::app()).await.unwrap();
    let statement = client.prepare("UPDATE ledger SET amount = amount + $1 WHERE id = $2").await.unwrap();
    assert_eq!((statement.params().len(), statement.columns().len()), (2, 0));

    let transaction = client.transaction().await.unwrap();
    transaction.execute(&statement, &[&1, &1]).await.unwrap();
    transaction.commit().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.execute(&statement, &[&1, &2]).await.unwrap();
    transaction.rollback().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.execute(&statement, &[&1, &3]).await.unwrap();
    drop(transaction);
    let sum = client.query_one("SELECT sum(amount) FROM ledger WHERE id <= 3", &[]).await.unwrap();
    assert_eq!(sum.get::<_, i64>(0), 7);

    // What one policy let pass, another judges again.
    let reader = GuardedClient::connect(&settings(&postgres), Policy::read_only()).await.unwrap();
    assert_eq!(rule(&reader.execute(&statement, &[&1, &1]).await.unwrap_err()), "update");
}

#[tokio::test]
async fn errors_keep_the_servers_words_and_nothing_secret() {
    let postgres = ledger();
    let client = GuardedClient::connect(&settings(&postgres), Policy::app()).await.unwrap();
    let error = client.execute("INSERT INTO ledger VALUES (1, 987654)", &[]).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Server, Some("23505")));
    let server = error.server().unwrap();
    assert_eq!(server.severity(), "ERROR");
    assert!(server.message().contains("ledger_pkey"));
    assert!(!format!("{error:?}{error}{server}").contains("987654"));

    let few = client.execute("SELECT $1::int", &[]).await.unwrap_err();
    assert_eq!(few.kind(), ErrorKind::InvalidParameter);
    let many = client.query_one("SELECT * FROM ledger", &[]).await.unwrap_err();
    assert_eq!(many.kind(), ErrorKind::UnexpectedRows);
    assert_eq!(
        client.query_one("SELECT 1 WHERE false", &[]).await.unwrap_err().kind(),
        ErrorKind::UnexpectedRows
    );
    let unknown = client.execute("SELECT 1 FROM t WHERE 'hunter2' = SELCT", &[]).await.unwrap_err();
    assert!(!format!("{unknown}").contains("hunter2"));

    let wrong = settings(&postgres).with_password("it's 100% \"wrong\"\n".into());
    let error = GuardedClient::connect(&wrong, Policy::app()).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Server, Some("28P01")));
    assert!(!format!("{error:?}").contains("wrong"));
    let nobody = ConnectionSettings::parse("postgres://u@127.0.0.1:1/d").unwrap();
    assert_eq!(
        GuardedClient::connect(&nobody, Policy::app()).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

#[tokio::test]
async fn a_password_may_hold_any_character() {
    let postgres = ledger();
    let password = "a'b\"c%41\\ \nä $1";
    postgres.psql("CREATE ROLE odd LOGIN PASSWORD E'a\\'b\"c%41\\\\ \\nä $1'").unwrap();
    let dsn = format!("host=127.0.0.1 port={} user=odd dbname=postgres", postgres.port());
    let settings = ConnectionSettings::parse(&dsn).unwrap().with_password(password.into());
    let client = GuardedClient::connect(&settings, Policy::read_only()).await.unwrap();
    assert_eq!(client.query_one("SELECT current_user::text", &[]).await.unwrap().get::<_, &str>(0), "odd");
}

#[tokio::test]
async fn limits_are_set_and_a_read_only_session_cannot_write() {
    let postgres = ledger();
    let limits = SessionLimits { statement: Duration::from_millis(200), ..SessionLimits::default() };
    let client =
        GuardedClient::connect_with_limits(&settings(&postgres), Policy::read_only(), &limits).await.unwrap();
    let slow = client.query("SELECT pg_sleep(30)", &[]).await.unwrap_err();
    assert_eq!(slow.sqlstate(), Some("57014"));
    for (setting, expected) in [
        ("statement_timeout", "200ms"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("default_transaction_read_only", "on"),
        ("standard_conforming_strings", "on"),
        ("client_encoding", "UTF8"),
    ] {
        let row = client.query_one("SELECT current_setting($1)", &[&setting]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), expected, "{setting}");
    }
    // A function in attribute notation cannot be seen in the text; the server's read-only mode stops it.
    postgres.psql("CREATE FUNCTION wipe(ledger) RETURNS int LANGUAGE plpgsql AS 'BEGIN DELETE FROM ledger; RETURN 1; END'").unwrap();
    let error = client.query("SELECT l.wipe FROM ledger AS l", &[]).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("25006"));
    assert_eq!(postgres.psql("SELECT count(*) FROM ledger").unwrap(), "100");
}

#[tokio::test]
async fn a_pool_hands_out_clean_sessions_and_drops_spoiled_ones() {
    let postgres = ledger();
    let policy = Policy::migration().allow_function("spoil");
    let pool = Manager::new(settings(&postgres), policy, &SessionLimits::default()).pool(1);
    let backend = async || {
        let client = pool.get().await.unwrap();
        client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get::<_, i32>(0)
    };
    let first = backend().await;
    {
        let client = pool.get().await.unwrap();
        client.execute("SET search_path = nowhere", &[]).await.unwrap();
        client.execute("SELECT pg_advisory_lock(7)", &[]).await.unwrap();
        client.execute("CREATE TEMP TABLE ledger (id int)", &[]).await.unwrap();
        assert!(client.query("SELECT amount FROM pg_temp.ledger", &[]).await.is_err());
    }
    {
        let client = pool.get().await.unwrap();
        let row = client
            .query_one("SELECT current_setting('search_path'), count(amount) FROM ledger", &[])
            .await
            .unwrap();
        assert_eq!((row.get::<_, &str>(0), row.get::<_, i64>(1)), ("\"$user\", public", 100));
        assert_eq!(postgres.psql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").unwrap(), "0");
    }
    assert_eq!(backend().await, first, "one session was reused");

    // The database's own default makes every new and restored session one that skips triggers and foreign keys.
    postgres.psql("ALTER DATABASE postgres SET session_replication_role = replica").unwrap();
    postgres.psql(&format!("SELECT pg_terminate_backend({first})")).unwrap();
    let refused = pool.get().await.unwrap_err();
    let deadpool::managed::PoolError::Backend(error) = refused else { panic!("{refused}") };
    assert_eq!(error.kind(), ErrorKind::SessionChanged);
    postgres.psql("ALTER DATABASE postgres RESET session_replication_role").unwrap();
    let second = backend().await;
    assert_ne!(second, first);
    let open = || {
        postgres.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'test/%'").unwrap()
    };
    assert_eq!(open(), "1");

    // A session that is dropped says goodbye.
    drop(pool);
    for _ in 0..100 {
        if open() == "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the session is still open");
}

#[tokio::test]
async fn a_session_left_inside_a_transaction_does_not_come_back() {
    let postgres = ledger();
    // A function body that the text does not show may leave nothing open, but a client of another kind may: a
    // transaction that is forgotten, not dropped.
    let pool = Manager::new(settings(&postgres), Policy::app(), &SessionLimits::default()).pool(1);
    let first = {
        let mut client = pool.get().await.unwrap();
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get::<_, i32>(0);
        let transaction = client.transaction().await.unwrap();
        transaction.execute("UPDATE ledger SET amount = 0 WHERE id = 1", &[]).await.unwrap();
        std::mem::forget(transaction);
        pid
    };
    let client = pool.get().await.unwrap();
    let second = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get::<_, i32>(0);
    assert_ne!(first, second);
    let amount = client.query_one("SELECT amount FROM ledger WHERE id = 1", &[]).await.unwrap();
    assert_eq!(amount.get::<_, i32>(0), 1);
}
