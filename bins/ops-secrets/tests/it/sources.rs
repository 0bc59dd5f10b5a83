//! References of the command line and of settings, and where they lead: a real OpenBao, a real PostgreSQL, age.

use crate::openbao::start;
use crate::{command, text};
use ops_testkit::{OpenBao, Postgres};
use std::process::Command;

fn with(bao: &OpenBao, args: &[&str]) -> Command {
    let mut command = command(args);
    command.env("BAO_ADDR", bao.url()).env("BAO_TOKEN", bao.root_token());
    command
}

#[test]
fn a_command_gets_what_a_reference_leads_to_and_no_token() {
    let bao = ops_testkit::or_skip!(start());
    let script = "printf %s \"$DB\" | wc -c; echo \"$DB\"; echo \"${BAO_TOKEN-no token} ${TOKEN-no other}\"";
    let words = ["exec", "--secret", "DB=openbao://kv/shop/db#password", "--", "sh", "-c", script];
    let done = with(&bao, &words).output().unwrap();
    let said = text(&done);
    assert_eq!(String::from_utf8_lossy(&done.stdout), "14\n[redacted]\nno token no other\n", "{said}");
    assert!(said.contains("the command does not get BAO_TOKEN, TOKEN; --env NAME passes one on"), "{said}");
    // What is allowed is passed on, and masked.
    let allowed = ["exec", "--env", "BAO_TOKEN", "--", "sh", "-c", "echo $BAO_TOKEN"];
    let done = with(&bao, &allowed).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout), "[redacted]\n");
    // The same for what may stand nowhere in a tree.
    let tree = tempfile::tempdir().unwrap();
    std::fs::write(tree.path().join("notes"), "see old-password-0\n").unwrap();
    let tree = tree.path().to_str().unwrap();
    let known = ["scan", "--known-secret", "shop=vault://kv/shop/db#password", tree];
    let done = with(&bao, &known).output().unwrap();
    let said = text(&done);
    assert!(done.status.code() == Some(20) && said.contains("known"), "{said}");
    assert!(!said.contains("old-password-0"));
    assert_eq!(with(&bao, &["scan", tree]).output().unwrap().status.code(), Some(0));
}

#[test]
fn what_leads_nowhere_says_why() {
    let mut bao = ops_testkit::or_skip!(start());
    let run = |bao: &OpenBao, reference: &str| {
        let word = format!("DB={reference}");
        text(&with(bao, &["exec", "--secret", &word, "--", "true"]).output().unwrap())
    };
    for (reference, expected) in [
        ("openbao://kv/shop/db#pasword", "it has no field `pasword`; did you mean `password`?"),
        ("openbao://kv/none#x", "`DB` from flag --secret -> openbao://kv/none#x: "),
        ("hunter2-long-enough", "`DB` from flag --secret is no reference"),
        ("exec://echo x", "this program does not run commands for its settings"),
        ("aws-sm://shop#x", "no region is known: set AWS_REGION"),
        ("age://x", "this program was not given an age identity"),
    ] {
        let said = run(&bao, reference);
        assert!(said.starts_with("exit 65") && said.contains(expected), "{reference}: {said}");
        assert!(!said.contains("hunter2"), "{reference}: {said}");
    }
    bao.kill();
    let said = run(&bao, "openbao://kv/shop/db#password");
    assert!(said.starts_with("exit 69"), "{said}");

    // A variable that another tool left behind keeps nobody from work that needs no server.
    let left =
        command(&["exec", "--", "true"]).env("VAULT_ADDR", "http://vault.example:8200").output().unwrap();
    assert_eq!(left.status.code(), Some(0), "{}", text(&left));
    let words = ["exec", "--secret", "DB=vault://kv/a#b", "--", "true"];
    insta::assert_snapshot!("secret_no_server", text(&command(&words).output().unwrap()));
    let no_login = command(&words).env("VAULT_ADDR", "https://vault.example:8200").output().unwrap();
    insta::assert_snapshot!("secret_no_login", text(&no_login));
    let setting =
        command(&["exec", "--", "true"]).env("OPS_SECRETS_POSTGRES_PASSWORD", "vault://kv/a#b").output();
    insta::assert_snapshot!("setting_no_server", text(&setting.unwrap()));
}

#[test]
fn leased_credentials_live_as_long_as_the_command() {
    let bao = ops_testkit::or_skip!(start());
    let postgres = ops_testkit::or_skip!(Postgres::start());
    let ask = |path: &str, body: serde_json::Value| bao.request("POST", path, &body.to_string()).unwrap();
    ask("sys/mounts/database", serde_json::json!({ "type": "database" }));
    let url = format!(
        "postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/postgres?sslmode=disable",
        postgres.port()
    );
    let config = serde_json::json!({
        "plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "username": postgres.user(),
        "connection_url": url, "password": postgres.password(),
    });
    ask("database/config/shop", config);
    let create = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'";
    let role = |ttl: &str, max: &str| {
        let role = serde_json::json!({ "db_name": "shop", "creation_statements": [create], "default_ttl": ttl, "max_ttl": max });
        ask("database/roles/shop", role);
    };
    let psql = postgres.command("psql");
    let leased = |script: &str| {
        let mut leased = with(&bao, &["exec", "--env", "PATH"]);
        for (name, field) in [("PGUSER", "username"), ("PGPASSWORD", "password")] {
            leased.args(["--secret", &format!("{name}=openbao://database/creds/shop#{field}")]);
        }
        leased.args(["--", "sh", "-c", script, psql.get_program().to_str().unwrap()]);
        leased
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", postgres.port().to_string())
            .env("PGDATABASE", "postgres");
        leased.output().unwrap()
    };
    let made = || postgres.psql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'").unwrap();
    role("4s", "1h");
    let ask_twice = "set -e; \"$0\" -XqAtc 'SELECT 1'; sleep 7; \"$0\" -XqAtc 'SELECT 2'";
    let done = leased(ask_twice);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    assert_eq!(String::from_utf8_lossy(&done.stdout), "1\n2\n");
    assert_eq!(made(), "0", "the lease is given back");
    // Beyond its longest life nothing helps, and that is said in time.
    role("2s", "4s");
    let ended = leased(ask_twice);
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "1\n", "{}", text(&ended));
    assert!(
        text(&ended).contains("what was leased at database/creds/shop cannot be renewed"),
        "{}",
        text(&ended)
    );
}

#[test]
fn settings_are_opened_by_age() {
    let age = |name: &str| Command::new(name).arg("--version").output().is_ok();
    if !age("age") || !age("age-keygen") {
        ops_testkit::skip!("age is not installed")
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let run = |command: &mut Command| assert!(command.output().unwrap().status.success());
    run(Command::new("age-keygen").arg("-o").arg(path("key")));
    let key = std::fs::read_to_string(path("key")).unwrap();
    let public = key.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    std::fs::write(path("plain"), "hunter2-long\n").unwrap();
    run(Command::new("age").args(["-r", public, "-o"]).arg(path("db.age")).arg(path("plain")));
    // The reference starts from the folder of the settings file.
    std::fs::write(path("ops.toml"), "[secrets.postgres]\npassword = 'age://db.age'\n").unwrap();
    let config = path("ops.toml").display().to_string();
    let mut exec = command(&["--config", &config, "exec", "--", "echo", "it is hunter2-long"]);
    let exec = exec.env("OPS_SECRETS_AGE_IDENTITY", path("key"));
    let done = exec.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout), "it is [redacted]\n", "{}", text(&done));
}
