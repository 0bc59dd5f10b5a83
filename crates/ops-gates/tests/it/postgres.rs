//! `kind = "postgres"` against a real server.

use crate::support::{options, run_with};
use ops_gates::{CancellationToken, Plan};
use ops_testkit::{Mode, Postgres};

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
