//! `exec` against a real server.

use ops_testkit::Postgres;

use crate::doctor::{run, shown};

fn shop() -> Postgres {
    let postgres = Postgres::start().unwrap();
    postgres
        .psql(
            "CREATE ROLE shop_app LOGIN PASSWORD 'x'; CREATE SCHEMA keep; GRANT USAGE, CREATE ON SCHEMA keep TO shop_app;
             CREATE TABLE customers (id int PRIMARY KEY, name text);
             CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers ON DELETE CASCADE);
             INSERT INTO customers SELECT i, 'c' || i FROM generate_series(1, 10) AS i;
             INSERT INTO orders SELECT i, 1 + i % 10 FROM generate_series(1, 50) AS i;
             GRANT SELECT, INSERT, UPDATE, DELETE ON customers, orders TO shop_app",
        )
        .unwrap();
    postgres
}

const ROWS: &str = "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM orders)";

#[test]
fn statements_run_are_previewed_kept_and_refused() {
    let postgres = shop();
    let url = format!("postgresql://shop_app:x@127.0.0.1:{}/postgres", postgres.port());
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("shop.toml");
    std::fs::write(
        &policy,
        "version = 1\nname = \"shop\"\nbase = \"app\"\n[[rule]]\neffect = [\"delete\"]\ndecision = \"limit\"\nrows = 5\n",
    )
    .unwrap();
    let shop = policy.to_str().unwrap();
    // (name, arguments, the rows that are there afterwards)
    let table: [(&str, &[&str], &str); 8] = [
        (
            "exec_rows",
            &["-c", "SELECT id, name, NULL AS nothing FROM customers WHERE id < 3 ORDER BY id"],
            "10|50",
        ),
        ("exec_refused", &["-c", "SELECT 1;\n  DELETE FROM orders"], "10|50"),
        ("exec_preview", &["--preview", "-c", "DELETE FROM customers WHERE id = 2"], "10|50"),
        ("exec_preview_refused", &["--preview", "-c", "DELETE FROM customers"], "10|50"),
        ("exec_rolled_back", &["--policy", shop, "-c", "DELETE FROM customers WHERE id = 2"], "10|50"),
        (
            "exec_json",
            &["--policy", shop, "--format", "json", "-c", "DELETE FROM customers WHERE id = 2"],
            "10|50",
        ),
        (
            "exec_together",
            &["-c", "UPDATE orders SET id = id WHERE id = 1; INSERT INTO orders VALUES (1)"],
            "10|50",
        ),
        ("exec_undo", &["--undo", "keep.t1", "-c", "DELETE FROM customers WHERE id = 2"], "9|45"),
    ];
    for (name, args, rows) in table {
        let output = run(&[&["exec", "--url", &url, "--log-level", "error"], args].concat(), &[]);
        let text = shown(&output, &postgres).replace(&postgres.port().to_string(), "PORT");
        insta::with_settings!({filters => vec![(r"[0-9a-f]{64}", "[hash]"), (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "[time]")]}, {
            insta::assert_snapshot!(name, text);
        });
        assert_eq!(postgres.psql(ROWS).unwrap(), rows, "{name}");
    }
    // What undo printed puts everything back.
    let undone =
        run(&["exec", "--url", &url, "--undo", "keep.t2", "-c", "DELETE FROM customers WHERE id = 3"], &[]);
    let printed = String::from_utf8(undone.stdout).unwrap();
    assert_eq!(postgres.psql(ROWS).unwrap(), "8|40");
    postgres.psql(&printed[printed.find("BEGIN;").unwrap()..printed.find("-- removes").unwrap()]).unwrap();
    assert_eq!(postgres.psql(ROWS).unwrap(), "9|45");
}

#[test]
fn an_approved_statement_runs_once() {
    let postgres = shop();
    let url = format!("postgresql://shop_app:x@127.0.0.1:{}/postgres", postgres.port());
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, public, approval, log) =
        (path("k.pem"), path("alice.pem"), path("ok.json"), path("audit.jsonl"));
    std::fs::write(path("approvers.toml"), format!("[approvers]\nalice = \"{public}\"\n")).unwrap();
    let rule = "[[rule]]\nname = \"ask-first\"\neffect = [\"delete-all\"]\ndecision = \"approve\"\n";
    std::fs::write(path("shop.toml"), format!("version = 1\nname = \"shop\"\nbase = \"app\"\n{rule}"))
        .unwrap();
    let code = |args: &[&str]| {
        let output = run(args, &[]);
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(code(&["keygen", "--out", &key, "--public", &public]).0, 0);
    let sql = "DELETE FROM orders";
    let policy = path("shop.toml");
    let signed = code(&[
        "approve",
        "-c",
        sql,
        "--policy",
        &policy,
        "--for",
        "shop_app",
        "--reason",
        "test",
        "--ticket",
        "T-1",
        "--expires-in",
        "5m",
        "--key",
        &key,
        "--approver",
        "alice",
        "--out",
        &approval,
        "--yes",
    ]);
    assert_eq!(signed.0, 0, "{}", signed.1);
    let approvers = path("approvers.toml");
    let plain = ["exec", "--url", &url, "--policy", &policy, "-c", sql];
    let approved =
        [&plain[..], &["--approval", &approval, "--approvers", &approvers, "--audit", &log]].concat();
    for (args, exit, rows) in [(&plain[..], 20, "10|50"), (&approved, 0, "10|0"), (&approved, 20, "10|0")] {
        let (found, errors) = code(args);
        assert_eq!((found, postgres.psql(ROWS).unwrap().as_str()), (exit, rows), "{args:?}: {errors}");
    }
    assert_eq!(code(&["audit", "verify", &log]).0, 0);
}
