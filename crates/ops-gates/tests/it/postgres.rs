//! `kind = "postgres"` against a real server.

use crate::support::{options, run_with};
use ops_gates::{CancellationToken, Plan};
use ops_testkit::{Mode, Postgres, TestUser};

const PASSWORD: &str = "p%4 '\"\\\nq";

fn server() -> Postgres {
    let server = Postgres::start().expect("a server");
    let password = PASSWORD.replace('\'', "''");
    server
        .psql(&format!(
            "CREATE TABLE ledger (amount int); INSERT INTO ledger VALUES (40), (2);
             CREATE ROLE app LOGIN SUPERUSER PASSWORD E'{}';
             CREATE FUNCTION hidden_delete() RETURNS bigint LANGUAGE sql AS 'WITH d AS (DELETE FROM ledger RETURNING 1) SELECT count(*) FROM d';",
            password.replace('\\', "\\\\")
        ))
        .expect("a table");
    server
}

fn variable(name: &str) -> Option<String> {
    (name == "DB_PASSWORD").then(|| PASSWORD.to_owned())
}

async fn check(url: &str, keys: &str, outcome: &str, code: &str) {
    let toml = format!("name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"postgres\"\nurl = \"{url}\"\n{keys}\n");
    let plan = Plan::parse_with(&toml, "x.toml", &variable).unwrap_or_else(|error| panic!("{keys}: {error}"));
    let ran = run_with(&plan, options(), CancellationToken::new()).await;
    ran.expect(outcome, code);
    // A password of this shape could only be written escaped; its middle stays what it is.
    assert!(!ran.read("verdict.json").contains("p%4"), "{keys}");
}

#[tokio::test]
async fn the_answer_decides_and_nothing_is_written() {
    let mut server = server();
    let url = format!("postgresql://app@127.0.0.1:{}/postgres", server.port());
    let password = "password_env = \"DB_PASSWORD\"\n";
    for (keys, outcome, code) in [
        ("query = \"SELECT sum(amount) FROM ledger\"\nexpect = \"42\"", "PASS", "ok"),
        ("query = \"SELECT sum(amount) FROM ledger\"\nexpect = \"43\"", "FAIL", "value"),
        ("query = \"SELECT true\"\nexpect = \"t\"", "PASS", "ok"),
        ("query = \"SELECT now() > '2000-01-01', 1\"\nexpect = \"t\"", "ERROR", "columns"),
        ("query = \"SELECT max(amount) FROM ledger WHERE amount > 99\"\nexpect = \"0\"", "FAIL", "value"),
        ("query = \"SELECT amount FROM ledger WHERE amount > 99\"\nexpect = \"0\"", "ERROR", "no-rows"),
        ("query = \"SELECT amount FROM ledger\"\nexpect = \"40\"", "ERROR", "rows"),
        ("query = \"SELECT 1 FROM ledger\"\nmin_rows = 2", "PASS", "ok"),
        ("query = \"SELECT 1 FROM ledger\"\nmin_rows = 3", "FAIL", "min-rows"),
        ("query = \"SELECT generate_series(1, 1000000000)\"\nmin_rows = 5", "PASS", "ok"),
        ("query = \"SELEKT\"\nmin_rows = 1", "ERROR", "query"),
        ("query = \"SELECT pg_sleep(60)\"\nmin_rows = 1\ntimeout = \"300ms\"", "ERROR", "timeout"),
        ("connect_only = true", "PASS", "ok"),
        // Whatever tries to write is refused by the server, and several statements by the protocol.
        ("query = \"DELETE FROM ledger RETURNING 1\"\nmin_rows = 1", "ERROR", "query"),
        ("query = \"SELECT hidden_delete()\"\nmin_rows = 1", "ERROR", "query"),
        ("query = \"COMMIT; DELETE FROM ledger; SELECT 1\"\nmin_rows = 1", "ERROR", "query"),
        ("query = \"COMMIT\"\nmin_rows = 1", "ERROR", "no-rows"),
    ] {
        check(&url, &format!("{password}{keys}"), outcome, code).await;
    }
    assert_eq!(server.psql("SELECT sum(amount) FROM ledger").expect("an answer").trim(), "42");
    check(&url, "connect_only = true", "ERROR", "connect").await;
    check(&url.replace("app@", "other@"), &format!("{password}connect_only = true"), "ERROR", "refused")
        .await;
    check(
        &url.replace("/postgres", "/absent"),
        &format!("{password}connect_only = true"),
        "ERROR",
        "refused",
    )
    .await;
    check("postgresql://[", "connect_only = true", "ERROR", "settings").await;
    server.stop(Mode::Immediate).expect("a stop");
    check(&url, &format!("{password}connect_only = true"), "ERROR", "connect").await;
}

#[tokio::test]
async fn the_state_of_a_server_decides() {
    let mut server = server();
    server
        .psql(
            "CREATE ROLE reader LOGIN; CREATE ROLE keeper LOGIN; CREATE ROLE heir LOGIN; CREATE ROLE truncator LOGIN;
             GRANT SELECT, INSERT, UPDATE, DELETE ON ledger TO reader; GRANT TRUNCATE ON ledger TO truncator;
             CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher;
             CREATE TABLE kept (a int); ALTER TABLE kept OWNER TO keeper; GRANT keeper TO heir;
             CREATE TABLE migrations (version bigint, success boolean);
             INSERT INTO migrations VALUES (9, true), (10, true); GRANT SELECT ON migrations TO reader;
             CREATE TABLE broken AS TABLE migrations; UPDATE broken SET success = false WHERE version = 9;
             GRANT SELECT ON broken TO reader; CREATE TABLE none (version text); GRANT SELECT ON none TO reader;
             CREATE DATABASE bare;",
        )
        .expect("roles and tables");
    std::fs::write(
        server.data_dir().join("pg_hba.conf"),
        "host all all 127.0.0.1/32 trust\nlocal all all trust\n",
    )
    .expect("a file");
    server.psql("SELECT pg_reload_conf()").expect("a reload");
    server.restart().expect("a restart");
    let url = |role: &str| format!("postgresql://{role}@127.0.0.1:{}/postgres", server.port());
    let migrations = |keys: &str| format!("migrations = {{ {keys} }}");
    for (role, keys, outcome, code) in [
        ("reader", "in_recovery = false".to_owned(), "PASS", "ok"),
        ("reader", "in_recovery = true".to_owned(), "FAIL", "recovery"),
        ("reader", "cannot_drop = true".to_owned(), "PASS", "ok"),
        ("app", "cannot_drop = true".to_owned(), "FAIL", "role-can-destroy"),
        ("keeper", "cannot_drop = true".to_owned(), "FAIL", "role-can-destroy"),
        ("heir", "cannot_drop = true".to_owned(), "FAIL", "role-can-destroy"),
        ("truncator", "cannot_drop = true".to_owned(), "FAIL", "role-can-destroy"),
        (
            "reader",
            migrations("table = \"migrations\", version = \"10\", success_column = \"success\""),
            "PASS",
            "ok",
        ),
        ("reader", migrations("table = \"public.migrations\", version = \"10\""), "PASS", "ok"),
        ("reader", migrations("table = \"migrations\", version = \"9\""), "FAIL", "migration"),
        (
            "reader",
            migrations("table = \"broken\", version = \"10\", success_column = \"success\""),
            "FAIL",
            "migration-failed",
        ),
        ("reader", migrations("table = \"none\", version = \"10\""), "FAIL", "migrations-none"),
        ("reader", migrations("table = \"absent\", version = \"10\""), "ERROR", "query"),
        ("reader", "extensions = [\"plpgsql\"]".to_owned(), "PASS", "ok"),
        ("reader", "extensions = [\"plpgsql\", \"it's\"]".to_owned(), "FAIL", "extension-missing"),
        ("reader", "max_lock_wait = \"1s\"".to_owned(), "PASS", "ok"),
        // Who is not shown the sessions of others has seen nothing.
        ("reader", "max_transaction_age = \"1h\"".to_owned(), "ERROR", "privilege"),
        ("watcher", "max_transaction_age = \"1h\"".to_owned(), "PASS", "ok"),
        // No standby is not a standby without lag.
        ("watcher", "max_lag_bytes = 1000000".to_owned(), "FAIL", "standbys"),
        ("reader", "query = \"SELECT 1\"\nexpect = \"1\"\nin_recovery = false".to_owned(), "PASS", "ok"),
        ("reader", "query = \"SELECT 1\"\nexpect = \"2\"\nin_recovery = false".to_owned(), "FAIL", "value"),
    ] {
        check(&url(role), &keys, outcome, code).await;
    }
    check(&url("reader").replace("/postgres", "/bare"), "cannot_drop = true", "ERROR", "no-tables").await;

    // A session waits for another's lock, within a transaction that grows old.
    let session = |sql: &str| {
        let mut psql = server.command("psql");
        psql.args(["-XqAt", "-c", sql]).stdout(std::process::Stdio::null()).spawn().expect("psql")
    };
    let mut holder = session("BEGIN; LOCK TABLE ledger; SELECT pg_sleep(60)");
    let held = "SELECT count(*) FROM pg_locks WHERE granted AND relation = 'ledger'::regclass";
    while server.psql(held).expect("locks") == "0" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let mut waiter = session("SELECT count(*) FROM ledger");
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND waitstart < clock_timestamp() - interval '50 ms'";
    while server.psql(waits).expect("locks") == "0" {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    check(&url("reader"), "max_lock_wait = \"20ms\"", "FAIL", "lock-wait").await;
    check(&url("reader"), "max_lock_wait = \"1h\"", "PASS", "ok").await;
    check(&url("watcher"), "max_transaction_age = \"20ms\"", "FAIL", "transaction-age").await;
    server.stop(Mode::Immediate).expect("a stop");
    for child in [&mut holder, &mut waiter] {
        let _ = child.wait();
    }
}

#[tokio::test]
async fn replication_is_judged_on_both_sides() {
    let primary = Postgres::start().expect("a server");
    primary.psql("CREATE TABLE t (a int); CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher; CREATE ROLE reader LOGIN").expect("a table");
    let hba = "host all all 127.0.0.1/32 trust\nlocal all all trust\nlocal replication all trust\n";
    std::fs::write(primary.data_dir().join("pg_hba.conf"), hba).expect("a file");
    primary.psql("SELECT pg_reload_conf()").expect("a reload");
    let copy = primary.dir().join("standby");
    let mut base = primary.command("pg_basebackup");
    let done = base.args(["-X", "stream", "-c", "fast", "-D"]).arg(&copy).output().expect("pg_basebackup");
    assert!(done.status.success(), "{done:?}");
    std::fs::write(copy.join("standby.signal"), "").expect("a file");
    TestUser::find().expect("a user").own_tree(&copy).expect("the server's own folder");
    let from =
        format!("host={} port={} user={}", primary.socket_dir().display(), primary.port(), primary.user());
    let standby = Postgres::from_data_dir(&copy).setting("primary_conninfo", from).remove_on_drop(true);
    let mut standby = standby.start().expect("a standby");
    let wait = |server: &Postgres, sql: &str| {
        let started = std::time::Instant::now();
        while server.psql(sql).expect("an answer") != "t" {
            assert!(started.elapsed().as_secs() < 60, "{sql}: {}", server.log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    wait(&standby, "SELECT count(*) = 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'");
    let caught_up = "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn = pg_current_wal_lsn()";
    wait(&primary, caught_up);
    let url =
        |server: &Postgres, role: &str| format!("postgresql://{role}@127.0.0.1:{}/postgres", server.port());
    let (here, there) = (url(&primary, "watcher"), url(&standby, "watcher"));
    let limits = "max_lag_bytes = 1000000\nmax_lag_seconds = 60";
    check(&here, &format!("{limits}\nin_recovery = false"), "PASS", "ok").await;
    check(&there, &format!("{limits}\nin_recovery = true"), "PASS", "ok").await;
    check(&here, "min_standbys = 2", "FAIL", "standbys").await;
    check(&there, "min_standbys = 1", "FAIL", "recovery").await;
    for server in [&primary, &standby] {
        check(&url(server, "reader"), limits, "ERROR", "privilege").await;
    }
    // WAL that arrives and is not replayed. Only a standby that has replayed a transaction knows for how long.
    primary.psql("INSERT INTO t VALUES (0)").expect("a row");
    wait(&standby, "SELECT count(*) = 1 FROM t");
    standby.psql("SELECT pg_wal_replay_pause()").expect("a pause");
    primary.psql("INSERT INTO t SELECT generate_series(1, 20000)").expect("rows");
    wait(&standby, "SELECT latest_end_lsn > pg_last_wal_replay_lsn() + 1000000 FROM pg_stat_wal_receiver");
    check(&there, "max_lag_bytes = 1000000", "FAIL", "lag").await;
    check(&there, "max_lag_seconds = 0.001", "FAIL", "lag").await;
    wait(&primary, "SELECT pg_current_wal_lsn() > replay_lsn + 1000000 FROM pg_stat_replication");
    check(&here, "max_lag_bytes = 1000000", "FAIL", "lag").await;
    standby.stop(Mode::Immediate).expect("a stop");
    wait(&primary, "SELECT count(*) = 0 FROM pg_stat_replication");
    check(&here, limits, "FAIL", "standbys").await;
}
