//! Which layer wins, and that values arrive as they were written.

use crate::support::{Mode, Settings, chmod, file, loader, vars};
use ops_secrets::{ErrorKind, Loader, Secret, Warning};
use serde::Deserialize;
use std::ffi::OsString;
use std::path::Path;

#[test]
fn higher_layers_win() {
    let dir = tempfile::tempdir().unwrap();
    let toml = file(dir.path(), "ops.toml", b"repo = 'toml'\nport = 1\nmode = 'slow'\n[s3]\nregion = 'toml'");
    let secret = file(dir.path(), "repo", b"file");
    let check = |toml_too: bool, variables: Vec<(OsString, OsString)>, flag: Option<&str>, expected: &str| {
        let mut loader = loader().env_vars("OPS_", variables);
        if toml_too {
            loader = loader.toml_file(&toml);
        }
        if let Some(flag) = flag {
            loader = loader.flag("repo", flag, "--repo");
        }
        let loaded = loader.load().unwrap();
        assert_eq!(loaded.settings.repo, expected);
        assert_eq!(loaded.settings.mode, if toml_too { Mode::Slow } else { Mode::Fast });
        assert_eq!(loaded.settings.s3.region, if toml_too { "toml" } else { "us-east-1" });
    };
    let env = || vars([("OPS_REPO", "env"), ("REPO", "other"), ("OTHER_REPO", "other")]);
    let env_file = || vars([("OPS_REPO_FILE", secret.to_str().unwrap())]);
    check(false, vec![], None, "/var/backups");
    check(true, vec![], None, "toml");
    check(true, env(), None, "env");
    check(true, env_file(), None, "file");
    check(true, env(), Some("flag"), "flag");
    check(false, vec![], Some("flag"), "flag");
    check(true, vars([("OPS_REPO", ""), ("OPS_REPO_FILE", "")]), None, "toml");
}

/// What other stacks strip, convert or refuse.
const NASTY: [&str; 16] = [
    "12345678",
    "00123",
    "1e10",
    "true",
    "null",
    "[abc]",
    "{a=b}",
    "a,b",
    "\"quoted\"",
    "'quoted'",
    "  spaces around  ",
    "p%40ss \"double\" 'single' \\back\\ #hash $HOME `x`\nand a second line",
    "ends with a newline\n\n",
    "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----",
    "pässwörd €",
    "=",
];

#[test]
fn secrets_arrive_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    for nasty in NASTY {
        let escaped: String = nasty.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
        let toml = file(dir.path(), "ops.toml", format!("password = \"{escaped}\"").as_bytes());
        let secret = file(dir.path(), "secret", format!("{nasty}\n").as_bytes());
        let loaders = [
            loader().toml_file(&toml),
            loader().env_vars("OPS_", vars([("OPS_PASSWORD", nasty)])),
            loader().env_vars("OPS_", vars([("OPS_PASSWORD_FILE", secret.to_str().unwrap())])),
            loader().flag("password", nasty, "--password"),
        ];
        for (index, loader) in loaders.into_iter().enumerate() {
            let loaded = loader.load().unwrap();
            assert_eq!(loaded.settings.password.expose_secret(), nasty, "layer {index}");
        }
    }
}

#[test]
fn one_line_end_is_taken_from_files() {
    let dir = tempfile::tempdir().unwrap();
    for (content, expected) in [
        ("pass", "pass"),
        ("pass\n", "pass"),
        ("pass\r\n", "pass"),
        ("pass\n\n", "pass\n"),
        ("pass\r", "pass\r"),
        (" pass ", " pass "),
    ] {
        let path = file(dir.path(), "secret", content.as_bytes());
        let loaded =
            loader().env_vars("OPS_", vars([("OPS_PASSWORD_FILE", path.to_str().unwrap())])).load().unwrap();
        assert_eq!(loaded.settings.password.expose_secret(), expected, "{content:?}");
        let odd = loaded.report.warnings().iter().any(|warning| matches!(warning, Warning::OddSecret { .. }));
        assert_eq!(odd, expected.trim() != expected, "{content:?}");
    }
}

#[test]
fn the_type_decides_how_a_variable_is_read() {
    let loaded = loader()
        .env_vars(
            "OPS_",
            vars([
                ("OPS_REPO", "8080"),
                ("OPS_PORT", "8080"),
                ("OPS_RATIO", "1"),
                ("OPS_ON", "true"),
                ("OPS_MODE", "slow"),
                ("OPS_ADDRESS", "::1"),
                ("OPS_NAMES", "1, two,three"),
                ("OPS_NUMBERS", "[1, 2]"),
                ("OPS_WAIT", "90s"),
                ("OPS_LIMITS", "{a = 1}"),
                ("OPS_PIN", "1234"),
                ("OPS_TOKENS", "tok-one,tok-two"),
                ("OPS_LOGIN", "{Password = 'pw'}"),
                ("OPS_SERVERS", "[{host = 'h', port = 1, password = 'x'}]"),
                ("OPS_TLS_ROOT_CERT", "ca.pem"),
                ("OPS_S3_REGION", "eu"),
            ]),
        )
        .load()
        .unwrap();
    let settings = loaded.settings;
    assert_eq!(
        (settings.repo.as_str(), settings.port, settings.ratio, settings.on),
        ("8080", 8080, 1.0, true)
    );
    assert_eq!((settings.mode, settings.address.to_string()), (Mode::Slow, "::1".into()));
    assert_eq!((settings.names.join("|"), settings.numbers), ("1|two|three".into(), vec![1, 2]));
    assert_eq!((settings.wait.0, settings.limits["a"]), (90, 1));
    assert_eq!(settings.pin.map(|pin| *pin.expose_secret()), Some(1234));
    assert_eq!(
        settings.tokens.iter().map(|token| token.expose_secret().as_str()).collect::<Vec<_>>(),
        ["tok-one", "tok-two"]
    );
    let Some(crate::support::Login::Password(login)) = settings.login else { panic!("no login") };
    assert_eq!(login.expose_secret(), "pw");
    let server = &settings.servers[0];
    assert_eq!((server.host.as_str(), server.port, server.password.expose_secret().as_str()), ("h", 1, "x"));
    assert_eq!(settings.tls.map(|tls| tls.root_cert), Some("ca.pem".into()));
    assert_eq!(settings.s3.region, "eu");
    assert!(
        loaded.report.warnings().iter().all(|warning| matches!(warning, Warning::Unmaskable { .. })),
        "{:?}",
        loaded.report.warnings()
    );
}

#[test]
fn a_key_that_ends_in_file_keeps_its_variable() {
    let loaded = loader().env_vars("OPS_", vars([("OPS_TLS_KEY_FILE", "/no/such/key.pem")])).load().unwrap();
    assert_eq!(loaded.settings.tls.unwrap().key_file, "/no/such/key.pem");
}

#[test]
fn tables_and_lists_come_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let toml = "limits = {b = 2}\n[[servers]]\nhost = 'a'\nport = 1\npassword = 'first'\n[[servers]]\nhost = 'b'\nport = 2\npassword = 'second'\n[tls]\n";
    let path = file(dir.path(), "ops.toml", toml.as_bytes());
    let loaded =
        loader().toml_file(&path).env_vars("OPS_", vars([("OPS_LIMITS", "{a = 1}")])).load().unwrap();
    assert_eq!(loaded.settings.servers[1].password.expose_secret(), "second");
    assert_eq!(loaded.settings.limits, [("a".into(), 1), ("b".into(), 2)].into());
    assert!(loaded.settings.tls.is_some(), "an empty table is there");
    assert!(loader().load().unwrap().settings.tls.is_none());
}

/// Checks how a load fails; `DIR` in the expected text stands for the folder.
fn check_refused(loader: Loader<Settings>, dir: &Path, kind: ErrorKind, expected: &str) {
    let error = loader.load().expect_err(expected);
    let text = error.to_string().replace(dir.to_str().unwrap(), "DIR");
    assert!(text.contains(expected), "{text}\nexpected: {expected}");
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.starts_with("cannot load settings: ") && !text.contains('\n'), "{text}");
}

#[test]
fn what_cannot_be_used_in_a_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let table: [(&[u8], ErrorKind, &str); 15] = [
        (
            b"port = 'x'",
            ErrorKind::InvalidValue,
            "`port` from DIR/ops.toml:1: expected an integer, found text",
        ),
        (
            b"\n\nport = 70000",
            ErrorKind::InvalidValue,
            "`port` from DIR/ops.toml:3: an integer is out of range or not allowed",
        ),
        (
            b"password = 1234",
            ErrorKind::InvalidValue,
            "`password` from DIR/ops.toml:1: expected text, found an integer",
        ),
        (
            b"mode = 'x'",
            ErrorKind::InvalidValue,
            "`mode` from DIR/ops.toml:1: expected one of `fast`, `slow`",
        ),
        (b"s3 = 1", ErrorKind::InvalidValue, "`s3` from DIR/ops.toml:1: expected a table, found an integer"),
        (
            b"numbers = [1, 'x']",
            ErrorKind::InvalidValue,
            "`numbers` from DIR/ops.toml:1: within it, text stands where something else is expected",
        ),
        (
            b"[[servers]]\nhost='h'",
            ErrorKind::InvalidValue,
            "`servers` from DIR/ops.toml:1: within it, a field is missing",
        ),
        (
            b"wait = 'x'",
            ErrorKind::InvalidValue,
            "`wait` from DIR/ops.toml:1: the value is refused by the setting's type",
        ),
        (
            b"[s3]\nregoin = 'x'",
            ErrorKind::UnknownSetting,
            "`s3.regoin` from DIR/ops.toml:2 is no setting; did you mean `s3.region`?",
        ),
        (b"xyzzy = 'x'", ErrorKind::UnknownSetting, "`xyzzy` from DIR/ops.toml:1 is no setting"),
        (b"port = 1\nport = 2", ErrorKind::Syntax, "DIR/ops.toml:2:1 is not well-formed TOML"),
        (b"port = 1\npassword = \"open", ErrorKind::Syntax, "DIR/ops.toml:2:"),
        (b"\xff", ErrorKind::Syntax, "DIR/ops.toml is not UTF-8"),
        (
            b"port = 99999999999999999999999999999999999999999",
            ErrorKind::InvalidValue,
            "`port` from DIR/ops.toml:1: this is not an integer, or out of range",
        ),
        (
            b"port = -1",
            ErrorKind::InvalidValue,
            "`port` from DIR/ops.toml:1: an integer is out of range or not allowed",
        ),
    ];
    for (content, kind, expected) in table {
        check_refused(loader().toml_file(&file(dir.path(), "ops.toml", content)), dir.path(), kind, expected);
    }
    let none = loader().toml_file(&dir.path().join("none.toml"));
    check_refused(none, dir.path(), ErrorKind::Unreadable, "DIR/none.toml cannot be read");
}

#[test]
fn what_cannot_be_used_in_a_variable_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let table = [
        ("OPS_PORT", "x", "`port` from env OPS_PORT: expected an integer"),
        ("OPS_ON", "yes", "`on` from env OPS_ON: expected `true` or `false`"),
        ("OPS_MODE", "x", "`mode` from env OPS_MODE: expected one of `fast`, `slow`"),
        (
            "OPS_NUMBERS",
            "[1",
            "`numbers` from env OPS_NUMBERS: expected a list: is not a well-formed TOML value",
        ),
    ];
    for (name, value, expected) in table {
        let loader = loader().env_vars("OPS_", [(name.into(), value.into())]);
        check_refused(loader, dir.path(), ErrorKind::InvalidValue, expected);
    }
    let table: [(&[u8], ErrorKind, &str); 4] = [
        (
            b"",
            ErrorKind::EmptySecret,
            "`password` from env OPS_PASSWORD_FILE (DIR/secret): the file is empty",
        ),
        (b"\n", ErrorKind::EmptySecret, "the file is empty"),
        (b"\xff", ErrorKind::Unreadable, "the file that it names is not UTF-8"),
        (&[b'x'; 70_000], ErrorKind::Unreadable, "the file that it names has more than 65536 bytes"),
    ];
    let by_path = |path: &Path| loader().env_vars("OPS_", [("OPS_PASSWORD_FILE".into(), path.into())]);
    for (content, kind, expected) in table {
        check_refused(by_path(&file(dir.path(), "secret", content)), dir.path(), kind, expected);
    }
    let nowhere =
        "`password` from env OPS_PASSWORD_FILE: the file that it names cannot be read (entity not found)";
    check_refused(by_path(&dir.path().join("none")), dir.path(), ErrorKind::Unreadable, nowhere);
    check_refused(
        by_path(dir.path()),
        dir.path(),
        ErrorKind::Unreadable,
        "the file that it names is not a regular file",
    );
}

#[test]
fn what_the_program_says_wrong_is_named() {
    let wrong = ErrorKind::InvalidDefinition;
    let table = [
        (
            loader().flag("port", "x", "--port"),
            ErrorKind::InvalidValue,
            "`port` from flag --port: expected an integer",
        ),
        (loader().flag("prt", "1", "--port"), wrong, "`prt` from flag --port: there is no such setting"),
        (Loader::new(), ErrorKind::Missing, "`repo` is not set in any source"),
        (Loader::new().defaults_toml("="), wrong, "the program's defaults:1:1 is not well-formed TOML"),
    ];
    for (loader, kind, expected) in table {
        check_refused(loader, Path::new("/no/dir"), kind, expected);
    }
}

#[test]
fn a_variable_and_its_file_variant_conflict() {
    let error = loader()
        .env_vars("OPS_", vars([("OPS_PASSWORD", "pass"), ("OPS_PASSWORD_FILE", "/x")]))
        .load()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        error.to_string(),
        "cannot load settings: `password`: OPS_PASSWORD and OPS_PASSWORD_FILE are both set; unset one"
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let toml = file(dir.path(), "ops.toml", b"prot = 1\ns3 = 2");
    let error = loader()
        .toml_file(&toml)
        .env_vars("OPS_", vars([("OPS_ON", "x")]))
        .flag("port", "x", "--port")
        .load()
        .unwrap_err();
    assert_eq!(error.problems().len(), 4, "{error}");
}

#[derive(Debug, Deserialize)]
struct OnlyLog {
    log: Log,
}

#[derive(Debug, Deserialize)]
struct Log {
    level: String,
}

#[test]
fn tables_and_variables_of_other_programs_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let toml = file(dir.path(), "ops.toml", b"[backup]\nanything = 1\n[log]\nlevel = 'debug'");
    let variables = vars([
        ("OPS_BACKUP_REPO", "x"),
        ("OPS_LOG", "x"),
        ("OPS_TOOLS_DIR", "x"),
        ("OPS_TEST_A", "x"),
        ("OPS_PG_A", "x"),
        ("OPS_BENCH_A", "x"),
        ("OPS_LOG_LEVLE", "x"),
    ]);
    let load = |foreign: Vec<&str>| {
        let loader = Loader::<OnlyLog>::new().defaults_toml("[log]\nlevel = 'info'").foreign_tables(foreign);
        loader.toml_file(&toml).env_vars("OPS_", variables.clone()).load()
    };
    let loaded = load(vec!["backup", "gate"]).unwrap();
    assert_eq!(loaded.settings.log.level, "debug");
    let warnings: Vec<String> = loaded.report.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        ["environment variable OPS_LOG_LEVLE belongs to no setting; did you mean OPS_LOG_LEVEL?"]
    );
    let error = load(vec!["backups"]).unwrap_err();
    assert!(error.to_string().ends_with("ops.toml:1 is no setting; did you mean `backups`?"), "{error}");
    // A table of others below one of ours.
    let toml = file(dir.path(), "shared.toml", b"[log.files]\nfolder = 'x'");
    let load = |foreign: &str| {
        let loader =
            Loader::<OnlyLog>::new().defaults_toml("[log]\nlevel = 'info'").foreign_tables([foreign]);
        loader.toml_file(&toml).env_vars("OPS_", vars([("OPS_LOG_FILES_FOLDER", "x")])).load()
    };
    assert!(load("log.files").unwrap().report.warnings().is_empty());
    let error = load("log.file").unwrap_err();
    assert!(error.to_string().ends_with("is no setting; did you mean `log.file`?"), "{error}");
}

#[test]
fn open_files_with_secrets_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let secret = file(dir.path(), "secret", b"hunter2");
    let toml = file(dir.path(), "ops.toml", b"password = 'hunter2'");
    let plain = file(dir.path(), "plain.toml", b"repo = 'x'");
    let by_file = |name: &str| loader().env_vars("OPS_", [(name.into(), secret.clone().into())]);
    let count = |loader: Loader<Settings>| {
        let loaded = loader.load().unwrap();
        loaded.report.warnings().iter().filter(|warning| matches!(warning, Warning::OpenFile { .. })).count()
    };
    for (mode, expected) in [(0o600, 0), (0o400, 0), (0o640, 1), (0o644, 1)] {
        for path in [&secret, &toml, &plain] {
            chmod(path, mode);
        }
        assert_eq!(count(by_file("OPS_PASSWORD_FILE")), expected, "{mode:o}");
        assert_eq!(count(loader().toml_file(&toml)), expected, "{mode:o}");
        assert_eq!(count(by_file("OPS_REPO_FILE")), 0, "not a secret");
        assert_eq!(count(loader().toml_file(&plain)), 0, "holds no secret");
    }
}

#[test]
fn an_empty_default_means_that_no_secret_was_given() {
    let loaded = loader().load().unwrap();
    assert!(loaded.settings.password.is_empty() && loaded.settings.s3.secret_access_key.is_empty());
    assert!(Secret::default().is_empty());
}
