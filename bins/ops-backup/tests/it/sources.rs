//! Settings that say where a secret stands: on a real OpenBao, in front of a real PostgreSQL.

use crate::cluster::Place;
use crate::shown;
use ops_testkit::{Mode, OpenBao, Postgres};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

fn ask(bao: &OpenBao, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    serde_json::from_str(&bao.request(method, path, &body).unwrap()).unwrap_or_default()
}

/// A server that has the database's password, and an AppRole that may read it.
fn keeper(postgres: &Postgres) -> Result<(OpenBao, String, String), ops_testkit::Error> {
    let bao = OpenBao::start()?;
    ask(&bao, "POST", "sys/mounts/kv", &json!({ "type": "kv", "options": { "version": "2" } }));
    let entry = json!({ "data": { "password": postgres.password(), "url": postgres.url() } }).to_string();
    // For a moment after it was made the mount refuses everything.
    for _ in 0..300 {
        if bao.request("POST", "kv/data/shop/db", &entry).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let rule = r#"path "kv/data/shop/db" { capabilities = ["read"] }"#;
    ask(&bao, "PUT", "sys/policies/acl/backup", &json!({ "policy": rule }));
    ask(&bao, "POST", "sys/auth/approle", &json!({ "type": "approle" }));
    ask(&bao, "POST", "auth/approle/role/backup", &json!({ "token_policies": ["backup"] }));
    let role = ask(&bao, "GET", "auth/approle/role/backup/role-id", &Value::Null);
    let secret = ask(&bao, "POST", "auth/approle/role/backup/secret-id", &json!({}));
    let [role, secret] =
        [&role["data"]["role_id"], &secret["data"]["secret_id"]].map(|id| id.as_str().unwrap().to_owned());
    Ok((bao, role, secret))
}

#[test]
fn the_password_of_the_database_stands_in_openbao() {
    let place = Place::new();
    let mut server = place.server();
    let (mut bao, role, secret) = ops_testkit::or_skip!(keeper(&server));
    let file = place.folder.path().join("secret-id");
    std::fs::write(&file, &secret).unwrap();
    let settings = format!(
        "[backup]\npostgres = \"postgresql://{}@127.0.0.1:{}/{}\"\npassword = \"openbao://kv/shop/db#password\"\n[secrets.openbao]\naddress = \"{}\"\nrole_id = \"{role}\"\nsecret_id = \"file://secret-id\"\n",
        server.user(),
        server.port(),
        server.database(),
        bao.url(),
    );
    let config = place.folder.path().join("ops.toml");
    std::fs::write(&config, &settings).unwrap();
    for path in [&file, &config] {
        ops_testkit::TestUser::find().unwrap().own(path).unwrap();
    }
    let tokens = |bao: &OpenBao| {
        ask(bao, "GET", "auth/token/accessors?list=true", &Value::Null)["data"]["keys"].clone()
    };
    let before = tokens(&bao);
    let taken = place.json(&["backup"]);
    assert_eq!(taken["backup"]["bad_pages"], 0);
    assert_eq!(tokens(&bao), before, "a login of ours leaves no token");
    let whole = ["--postgres", "openbao://kv/shop/db#url", "backup"];
    assert_eq!(place.json(&whole)["backup"]["base"], taken["backup"]["id"]);

    let url = bao.url();
    let run = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = place.command(args);
        let done = command.envs(variables.iter().copied()).output().unwrap();
        let said = shown(&done, place.folder.path()).replace(&url, "SERVER").replace(&role, "ROLE");
        assert!(!said.contains(&secret) && !said.contains(server.password().unwrap()), "{said}");
        said
    };
    let config = run(&["--show-config"], &[]);
    let line = config.lines().find(|line| line.starts_with("backup.password ")).unwrap();
    assert!(
        line.contains("[redacted]") && line.ends_with("-> openbao://kv/shop/db#password (version 1)"),
        "{line}"
    );
    let wrong = run(&["backup"], &[("OPS_SECRETS_OPENBAO_SECRET_ID", "hunter2-no-such-id")]);
    assert!(wrong.starts_with("exit 78") && wrong.contains("refuses to log in"), "{wrong}");
    assert!(!wrong.contains("hunter2"), "{wrong}");
    let data = server.data_dir().display().to_string();
    let mut serve = place.command(&["wal", "serve", "--data-directory", &data]);
    let mut service = serve.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(service.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("serving WAL")));
    // PostgreSQL must not take a server that is away for the end of the WAL.
    bao.kill();
    // The service has all that it needs: who asks it needs no secret, and no other setting to be right.
    let switched = server.psql("SELECT pg_walfile_name(pg_switch_wal())").unwrap();
    let segment = format!("{data}/pg_wal/{switched}");
    for variables in [&[][..], &[("OPS_BACKUP_WORKERS", "several")]] {
        let push = run(&["wal", "push", &segment], variables);
        assert!(push.starts_with("exit 0") && push.contains("by_service=true"), "{push}");
    }
    service.kill().unwrap();
    service.wait().unwrap();
    let push = run(&["wal", "push", &segment], &[]);
    assert!(push.starts_with("exit 69"), "{push}");
    let away = run(&["backup"], &[]);
    assert!(away.starts_with("exit 69"), "{away}");
    let fetch = run(&["wal", "fetch", "000000010000000000000001", "wal"], &[]);
    assert!(fetch.starts_with("exit 126"), "{fetch}");
    // As it would be called by the archiver, which needs no password: without the setting.
    server.stop(Mode::Immediate).unwrap();
}
