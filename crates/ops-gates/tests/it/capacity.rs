//! `kind = "capacity"` with the real pgbench and redis-benchmark. No limit is near any real rate.

use crate::support::{options, run_gate, run_with};
use ops_gates::{CancellationToken, Plan};
use ops_testkit::{Postgres, Redis};
use std::io::{Read as _, Write as _};
use std::process::Command;

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

#[tokio::test]
async fn pgbench_measures_in_a_schema_that_is_gone_afterwards() {
    if !is_installed("pgbench") {
        ops_testkit::skip!("pgbench is not installed");
    }
    let server = Postgres::start().expect("a server");
    server.psql("CREATE ROLE app LOGIN PASSWORD 'hunter2'; CREATE TABLE pgbench_accounts (mine int); GRANT CREATE ON DATABASE postgres TO app").expect("a role");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let script = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        format!("script = \"{}\"", path.display())
    };
    let one = script("one.sql", "SELECT 1;\n");
    let wrong = script("wrong.sql", "SELECT nothing FROM nowhere;\n");
    let url = format!("postgresql://app@127.0.0.1:{}/{}", server.port(), server.database());
    for (keys, outcome, code) in [
        ("scale = 1\nmin_per_second = 0.001", "PASS", "ok"),
        (&format!("{one}\nmin_per_second = 0.001"), "PASS", "ok"),
        (&format!("{one}\nmin_per_second = 1e12"), "FAIL", "too-little"),
        (&format!("{wrong}\nmin_per_second = 0.001"), "ERROR", "tool-failed"),
    ] {
        let toml = format!(
            "name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"capacity\"\ntool = \"pgbench\"\nurl = \"{url}\"\npassword_env = \"DB_PASSWORD\"\nduration = \"1s\"\nruns = 1\n{keys}"
        );
        let plan = Plan::parse_with(&toml, "x.toml", &|_| Some("hunter2".to_owned())).expect("a sound plan");
        let ran = run_with(&plan, options(), CancellationToken::new()).await;
        println!("{keys}: {:?}", ran.record.gates[0].reason);
        ran.expect(outcome, code);
    }
    let left =
        server.psql("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'ops_gates%'").expect("an answer");
    assert_eq!(left.trim(), "0");
    // Somebody's own table of this name was not touched.
    server.psql("SELECT mine FROM pgbench_accounts").expect("the table");
    let closed = ops_testkit::free_port().expect("a free port");
    run_gate(&format!("kind = \"capacity\"\ntool = \"pgbench\"\nurl = \"postgresql://app@127.0.0.1:{closed}/x\"\n{one}\nmin_per_second = 1"))
        .await
        .expect("ERROR", "tool-failed");
}

#[tokio::test]
async fn redis_benchmark_measures_and_leaves_no_key() {
    if !is_installed("redis-benchmark") {
        ops_testkit::skip!("redis-benchmark is not installed");
    }
    let server = ops_testkit::or_skip!(Redis::start());
    let gate = |keys: &str| {
        format!(
            "kind = \"capacity\"\ntool = \"redis-benchmark\"\nurl = \"redis://127.0.0.1:{}\"\nrequests = 1000\nruns = 2\n{keys}",
            server.port()
        )
    };
    // It wants its password, which this tool takes only where everyone can see it.
    run_gate(&gate("min_per_second = 1")).await.expect("ERROR", "tool-failed");
    server.command(&["CONFIG", "SET", "requirepass", ""]).expect("no password");
    for (keys, outcome, code) in [
        ("min_per_second = 0.001", "PASS", "ok"),
        ("min_per_second = 0.001\nwrite = true", "PASS", "ok"),
        ("min_per_second = 1e12", "FAIL", "too-little"),
    ] {
        run_gate(&gate(keys)).await.expect(outcome, code);
    }
    // Without its password the server refuses the one that the harness sends.
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port())).expect("a server");
    stream.write_all(b"DBSIZE\r\nQUIT\r\n").expect("a question");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer.lines().next(), Some(":0"));
    let closed = ops_testkit::free_port().expect("a free port");
    run_gate(&format!("kind = \"capacity\"\ntool = \"redis-benchmark\"\nurl = \"redis://127.0.0.1:{closed}\"\nmin_per_second = 1"))
        .await
        .expect("ERROR", "connect");
}

#[test]
fn a_measurement_that_would_touch_others_tables_cannot_be_written() {
    let gate = |keys: &str| {
        let plan =
            format!("name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"capacity\"\nmin_per_second = 1\n{keys}");
        Plan::parse(&plan, "x.toml").err().map(|error| error.problems()[0].message.clone())
    };
    for (keys, part) in [
        ("tool = \"pgbench\"\nurl = \"postgresql://db/x\"", "either `script`"),
        ("tool = \"pgbench\"\nurl = \"postgresql://app:secret@db/x\"\nscale = 1", "holds a password"),
        ("tool = \"redis-benchmark\"\nurl = \"redis://db\"\nscale = 1", "for pgbench"),
        ("tool = \"pgbench\"\nurl = \"postgresql://db/x\"\nscale = 1\nruns = 0", "at least 1"),
    ] {
        assert!(gate(keys).is_some_and(|message| message.contains(part)), "{keys}: {:?}", gate(keys));
    }
}
