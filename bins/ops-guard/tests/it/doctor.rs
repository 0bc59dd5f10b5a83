//! `doctor` and `explain` against a real server.

use std::process::{Command, Output, Stdio};

use ops_testkit::Postgres;

/// Runs the command without any setting of the machine but those given.
pub(crate) fn run(args: &[&str], settings: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_ops-guard"))
        .args(args)
        .args(["--log-format", "human"])
        .current_dir(folder.path())
        .env_clear()
        .env("COLUMNS", "100")
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub(crate) fn shown(output: &Output, postgres: &Postgres) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let all = format!(
        "exit {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr)
    );
    // Since 16 a membership has a grantor; the hash of a policy changes with its presets.
    let all = all.replace(&format!("PostgreSQL {}", postgres.major()), "PostgreSQL N");
    let all = all.replace(" GRANTED BY postgres CASCADE", "");
    all.replace(ops_core::guard::Policy::app().hash(), "[hash]")
}

fn shop() -> Postgres {
    let postgres = Postgres::start().unwrap();
    postgres
        .psql(
            "CREATE ROLE shop_app LOGIN CREATEDB PASSWORD 'hunter2 %'; CREATE DATABASE shop; GRANT pg_read_server_files TO shop_app;
             ALTER ROLE shop_app SET statement_timeout = '30s'; ALTER ROLE shop_app SET lock_timeout = '5s'",
        )
        .unwrap();
    postgres
}

fn url(postgres: &Postgres, database: &str, password: &str) -> String {
    format!("postgresql://shop_app{password}@127.0.0.1:{}/{database}", postgres.port())
}

#[test]
fn doctor_tells_people_and_machines_and_its_script_ends_it() {
    let postgres = shop();
    let server = url(&postgres, "shop", "");
    let password = [("PGPASSWORD", "hunter2 %")];
    let found = run(&["doctor", "--url", &server], &password);
    insta::assert_snapshot!("doctor_text", shown(&found, &postgres));

    let json = run(&["doctor", "--url", &server, "--format", "json"], &password);
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json.status.code(), Some(20));
    assert_eq!(report["schema"], "ops-guard/doctor/v1");
    assert_eq!((&report["refused"], &report["incomplete"]), (&true.into(), &false.into()));
    assert_eq!(report["findings"][0]["id"], "create-database");

    let script = run(&["doctor", "--url", &server, "--script"], &password);
    assert_eq!(script.status.code(), Some(20));
    assert_eq!(report["script"].as_str().unwrap(), String::from_utf8_lossy(&script.stdout));
    let file = postgres.dir().join("fix.sql");
    std::fs::write(&file, &script.stdout).unwrap();
    let fixed = postgres
        .command("psql")
        .env("PGDATABASE", "shop")
        .args(["-X", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(fixed.status.success(), "{}", String::from_utf8_lossy(&fixed.stderr));
    let clean = run(&["doctor"], &[("OPS_GUARD_URL", &server), ("OPS_GUARD_PASSWORD", "hunter2 %")]);
    insta::assert_snapshot!("doctor_clean", shown(&clean, &postgres));
}

#[test]
fn what_doctor_cannot_do_is_said_without_the_password() {
    let postgres = shop();
    postgres.psql("REVOKE SELECT ON pg_catalog.pg_db_role_setting FROM PUBLIC; REVOKE pg_read_server_files FROM shop_app; ALTER ROLE shop_app NOCREATEDB").unwrap();
    let blind = run(
        &["doctor", "--url", &url(&postgres, "postgres", ""), "--format", "json"],
        &[("PGPASSWORD", "hunter2 %")],
    );
    assert_eq!(blind.status.code(), Some(21), "{}", String::from_utf8_lossy(&blind.stdout));
    let cases = [
        ("no server", vec!["doctor"], 78, "no server is named"),
        (
            "no answer",
            vec!["doctor", "--url", "postgresql://u:hunter2@127.0.0.1:1/d"],
            69,
            "cannot open a session",
        ),
        ("no url", vec!["doctor", "--url", "postgresql://u:hunter2@"], 78, ""),
    ];
    for (name, args, code, message) in cases {
        let failed = run(&args, &[]);
        let text = shown(&failed, &postgres);
        assert_eq!(failed.status.code(), Some(code), "{name}: {text}");
        assert!(text.contains(message) && !text.contains("hunter2"), "{name}: {text}");
    }
    let wrong = run(&["doctor", "--url", &url(&postgres, "shop", ":hunter3")], &[]);
    let text = shown(&wrong, &postgres);
    assert!(wrong.status.code() == Some(69) && text.contains("OPS_GUARD_PASSWORD_FILE"), "{text}");
    assert!(!text.contains("hunter"), "{text}");
    let settings = run(&["--show-config"], &[("OPS_GUARD_URL", "postgresql://u:hunter2@h/d")]);
    assert!(!shown(&settings, &postgres).contains("hunter2"));
}

#[test]
fn explain_shows_the_tree_of_effects() {
    let postgres = Postgres::start().unwrap();
    let sql = "SELECT 1; DELETE FROM ledger\n WHERE id = 1; DROP TABLE ledger";
    insta::assert_snapshot!("explain_text", shown(&run(&["explain", "-c", sql], &[]), &postgres));
    insta::assert_snapshot!(
        "explain_json",
        shown(&run(&["explain", "--format", "json", "-c", "DELETE FROM ledger"], &[]), &postgres)
    );
    insta::assert_snapshot!("explain_nothing", shown(&run(&["explain", "-c", "-- no"], &[]), &postgres));
    assert_eq!(run(&["explain"], &[]).status.code(), Some(64), "a text is needed");
    assert_eq!(run(&["explain", "-c", "SELECT 1", "-"], &[]).status.code(), Some(64), "and only one");
    assert_eq!(run(&["explain", "-"], &[]).status.code(), Some(22), "standard input is empty");
}

#[test]
fn explain_tells_how_far_a_statement_would_reach() {
    let postgres = Postgres::start().unwrap();
    postgres
        .psql(
            "CREATE TABLE customer (id int PRIMARY KEY); CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customer ON DELETE CASCADE);
             CREATE TABLE line (id int PRIMARY KEY, orders int REFERENCES orders ON DELETE SET NULL);
             INSERT INTO customer SELECT generate_series(1, 1000); INSERT INTO orders SELECT i, i FROM generate_series(1, 1000) AS i; ANALYZE",
        )
        .unwrap();
    let server = postgres.socket_url();
    let explained = run(
        &[
            "explain",
            "--format",
            "json",
            "--url",
            &server,
            "-c",
            "DELETE FROM customer; SELECT 1; DELETE FROM absent; UPDATE orders SET id = $1 WHERE id = $2",
        ],
        &[],
    );
    let lines: Vec<serde_json::Value> = String::from_utf8_lossy(&explained.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 4, "{}", String::from_utf8_lossy(&explained.stderr));
    assert_eq!(lines[0]["catalog"], true);
    let reach = &lines[0]["reach"];
    assert_eq!(reach["estimated_rows"], 1000, "the child of ModifyTable, whose own estimate is zero");
    let keys: Vec<_> = reach["foreign_keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| (key["table"].as_str().unwrap(), key["removed"].as_bool().unwrap()))
        .collect();
    assert_eq!(keys, [("\"public\".\"orders\"", true), ("\"public\".\"line\"", false)]);
    assert_eq!(lines[1]["reach"], serde_json::Value::Null);
    assert!(lines[2]["reach"]["not_estimated"].as_str().unwrap().contains("absent"));
    assert_eq!(
        lines[3]["reach"]["estimated_rows"],
        if postgres.major() < 16 { serde_json::Value::Null } else { 1.into() }
    );
    assert_eq!(postgres.psql("SELECT count(*) FROM customer").unwrap(), "1000");
    let text = shown(&run(&["explain", "--url", &server, "-c", "DELETE FROM customer"], &[]), &postgres);
    assert!(
        text.contains("reach: about 1000 rows") && text.contains("removes rows of \"public\".\"orders\""),
        "{text}"
    );
    assert!(text.contains("through foreign key orders_customer_fkey"), "{text}");
}
