//! What `--show-config` shows.

use crate::support::{file, loader, vars};
use ops_secrets::Masker;

#[test]
fn every_setting_tells_its_value_and_its_source() {
    let dir = tempfile::tempdir().unwrap();
    let toml = file(
        dir.path(),
        "ops.toml",
        b"repo = 'postgres://me:p%40ss-one@host/db'\npassword = 'shadowed-one'\n[s3]\nsecret_access_key = 'hunter2'\n",
    );
    let secret = file(dir.path(), "pw", b"winner-two\n");
    let masker = Masker::new();
    let report = loader()
        .masker(masker.clone())
        .toml_file(&toml)
        .env_vars(
            "OPS_",
            vars([("OPS_PASSWORD_FILE", secret.to_str().unwrap()), ("OPS_NAMES", "a,b\tc,winner-two")]),
        )
        .flag("port", "1", "--port")
        .load()
        .unwrap()
        .report;
    let shown: Vec<String> = report
        .entries()
        .iter()
        .map(|entry| {
            format!(
                "{} = {} < {} < {} [{}]",
                entry.key,
                entry.value,
                entry.source,
                entry.shadowed.join(", "),
                entry.variable
            )
            .replace(dir.path().to_str().unwrap(), "DIR")
        })
        .collect();
    let expected = [
        "repo = postgres://me:[redacted]@host/db < DIR/ops.toml:1 < default [OPS_REPO]",
        "password = [redacted] < env OPS_PASSWORD_FILE (DIR/pw) < default, DIR/ops.toml:2 [OPS_PASSWORD]",
        "port = 1 < flag --port < default [OPS_PORT]",
        "ratio = 0.5 < default <  [OPS_RATIO]",
        "on = false < default <  [OPS_ON]",
        "mode = fast < default <  [OPS_MODE]",
        "address = 127.0.0.1 < default <  [OPS_ADDRESS]",
        "names = [\"a\", \"b\\tc\", \"[redacted]\"] < env OPS_NAMES < default [OPS_NAMES]",
        "numbers = [] < default <  [OPS_NUMBERS]",
        "wait = 10s < default <  [OPS_WAIT]",
        "limits = {} < default <  [OPS_LIMITS]",
        "s3.region = us-east-1 < default <  [OPS_S3_REGION]",
        "s3.secret_access_key = [redacted] < DIR/ops.toml:4 < default [OPS_S3_SECRET_ACCESS_KEY]",
        "pin =  < not set <  [OPS_PIN]",
        "tokens =  < not set <  [OPS_TOKENS]",
        "login =  < not set <  [OPS_LOGIN]",
        "servers =  < not set <  [OPS_SERVERS]",
        "tls.key-file =  < not set <  [OPS_TLS_KEY_FILE]",
        "tls.root-cert =  < not set <  [OPS_TLS_ROOT_CERT]",
    ];
    assert_eq!(shown, expected);
    let shadowing: Vec<&str> = report.shadowing().map(|entry| entry.key.as_str()).collect();
    assert_eq!(shadowing, ["password"], "a value of the file is hidden; defaults are there to be hidden");
    // Used, shadowed, and within a connection string, encoded or not.
    for secret in ["winner-two", "shadowed-one", "hunter2", "p%40ss-one", "p@ss-one"] {
        assert_eq!(masker.mask_str(&format!("x {secret} y")), "x [redacted] y");
    }
    let json = serde_json::to_value(&report.entries()[1]).unwrap();
    assert_eq!((&json["key"], &json["value"]), (&"password".into(), &"[redacted]".into()));
}

#[test]
fn an_empty_secret_is_shown_empty() {
    let report = loader().load().unwrap().report;
    assert_eq!((report.entries()[1].value.as_str(), report.entries()[1].source.as_str()), ("", "default"));
}

#[test]
fn secrets_too_short_to_mask_are_told() {
    let report = loader().env_vars("OPS_", vars([("OPS_PASSWORD", "pw")])).load().unwrap().report;
    let warnings: Vec<String> = report.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["secret `password` is too short or too long to be masked in logs"]);
}

#[test]
fn secrets_are_masked_also_where_loading_fails() {
    let masker = Masker::new();
    let variables = vars([("OPS_PASSWORD", "hunter2"), ("OPS_PORT", "x")]);
    loader().masker(masker.clone()).env_vars("OPS_", variables).load().unwrap_err();
    assert_eq!(masker.mask_str("hunter2"), "[redacted]");
}

#[test]
fn only_what_is_secret_in_a_list_is_masked() {
    let masker = Masker::new();
    let servers = "[{host = 'db.example', port = 5432, password = 'hunter2'}]";
    let variables =
        vars([("OPS_SERVERS", servers), ("OPS_LOGIN", "{Password = 'hunter3'}"), ("OPS_PIN", "98765")]);
    let report = loader().masker(masker.clone()).env_vars("OPS_", variables).load().unwrap().report;
    assert_eq!(
        masker.mask_str("db.example:5432 hunter2 hunter3 98765"),
        "db.example:5432 [redacted] [redacted] [redacted]"
    );
    let shown: Vec<&str> = report
        .entries()
        .iter()
        .filter(|entry| entry.source.starts_with("env"))
        .map(|entry| entry.value.as_str())
        .collect();
    assert_eq!(shown, ["[redacted]"; 3]);

    let masker = Masker::new();
    loader().masker(masker.clone()).env_vars("OPS_", vars([("OPS_LOGIN", "Trust")])).load().unwrap();
    assert_eq!(masker.mask_str("Trust"), "Trust", "the name of a variant is no secret");
}
