//! Profiles, `.env` files, mounted folders and systemd credentials: which wins, what is refused, what is told.

use crate::support::{Settings, chmod, file, loader, vars};
use ops_secrets::{Error, ErrorKind, Loader, Profile, Warning};
use std::fs;
use std::path::Path;

fn check_refused(loader: Loader<Settings>, dir: &Path, kind: ErrorKind, expected: &str) {
    let error: Error = loader.load().unwrap_err();
    let text = error.to_string().replace(dir.to_str().unwrap(), "DIR");
    assert!(text.contains(expected), "{text}");
    assert_eq!(error.kind(), kind, "{text}");
}

fn warnings(loader: Loader<Settings>, dir: &Path) -> Vec<String> {
    let report = loader.load().unwrap().report;
    report.warnings().iter().map(|one| one.to_string().replace(dir.to_str().unwrap(), "DIR")).collect()
}

/// Gives a loader one more source.
type Step<'a> = &'a dyn Fn(Loader<Settings>) -> Loader<Settings>;

#[test]
fn each_source_lies_over_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let toml = file(dir.path(), "ops.toml", b"password = 'from-toml'");
    file(dir.path(), "ops.local.toml", b"password = 'from-profile'");
    let dotenv = file(dir.path(), ".env", b"OPS_PASSWORD=from-dotenv\nOTHER=1\n");
    let folder = |name: &str, content: &str| {
        let folder = dir.path().join(name);
        fs::create_dir(&folder).unwrap();
        file(&folder, "password", content.as_bytes());
        folder
    };
    let (docker, more, systemd) =
        (folder("docker", "from-docker"), folder("more", "from-more"), folder("systemd", "from-systemd"));
    let steps: [(&str, Step<'_>); 8] = [
        ("from-toml", &|loader| loader.toml_file(&toml)),
        ("from-profile", &|loader| loader.profile(Profile::Dev)),
        ("from-dotenv", &|loader| loader.env_vars("OPS_", []).dotenv_file(&dotenv)),
        ("from-docker", &|loader| loader.secrets_dir(&docker)),
        ("from-more", &|loader| loader.secrets_dir(&more)),
        ("from-systemd", &|loader| loader.systemd_credentials(&systemd)),
        ("from-env", &|loader| loader.env_vars("OPS_", vars([("OPS_PASSWORD", "from-env")]))),
        ("from-flag", &|loader| loader.flag("password", "from-flag", "--password")),
    ];
    for count in 1..=steps.len() {
        let loaded = steps[..count].iter().fold(loader(), |loader, (_, step)| step(loader)).load().unwrap();
        assert_eq!(loaded.settings.password.expose_secret(), steps[count - 1].0);
        let entry = &loaded.report.entries()[1];
        assert_eq!((entry.key.as_str(), entry.shadowed.len()), ("password", count), "{entry:?}");
        if count == steps.len() {
            let shadowed = entry.shadowed.join(", ").replace(dir.path().to_str().unwrap(), "DIR");
            assert_eq!(
                shadowed,
                "default, DIR/ops.toml:1, DIR/ops.local.toml:1, DIR/.env:1 OPS_PASSWORD, DIR/docker/password, \
                 DIR/more/password, credential password, env OPS_PASSWORD"
            );
        }
    }
}

#[test]
fn a_profile_has_one_file_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let toml = file(dir.path(), "ops.toml", b"port = 1");
    let port = |profile| loader().toml_file(&toml).profile(profile).load().map(|loaded| loaded.settings.port);
    assert_eq!(port(Profile::Prod).unwrap(), 1, "no file of the profile");
    file(dir.path(), "ops.production.toml", b"port = 2");
    assert_eq!((port(Profile::Prod).unwrap(), port(Profile::Stage).unwrap()), (2, 1));
    file(dir.path(), "ops.prod.toml", b"port = 3");
    let both = "DIR/ops.prod.toml and DIR/ops.production.toml are both files of profile prod; remove one";
    check_refused(loader().toml_file(&toml).profile(Profile::Prod), dir.path(), ErrorKind::Conflict, both);
    file(dir.path(), "ops.stage.toml", b"prt = 3");
    check_refused(
        loader().toml_file(&toml).profile(Profile::Stage),
        dir.path(),
        ErrorKind::UnknownSetting,
        "`prt` from DIR/ops.stage.toml:1 is no setting; did you mean `port`?",
    );
}

#[test]
fn a_dotenv_file_is_read_strictly() {
    let dir = tempfile::tempdir().unwrap();
    let with = |content: &[u8]| loader().env_vars("OPS_", []).dotenv_file(&file(dir.path(), ".env", content));
    let loaded =
        with(b"# a\nOPS_PASSWORD='hun$ter2 #1'\nexport OPS_PORT=1\nOPS_PIN=\n\nPORT=x\n").load().unwrap();
    assert_eq!(loaded.settings.password.expose_secret(), "hun$ter2 #1");
    assert_eq!((loaded.settings.port, loaded.settings.pin.is_none()), (1, true));
    for (content, kind, expected) in [
        (&b"\nOPS_PASSWORD=hun$ter2"[..], ErrorKind::Syntax, "DIR/.env:2 cannot be read: other tools expand"),
        (
            b"OPS_PASSWORD=a\nOPS_PASSWORD=b",
            ErrorKind::Syntax,
            "DIR/.env:2 cannot be read: the name was given",
        ),
        (b"OTHER PROGRAM\n", ErrorKind::Syntax, "DIR/.env:1 cannot be read: it is no `NAME=value`"),
        (
            b"OPS_PASSWORD=''",
            ErrorKind::EmptySecret,
            "`password` from DIR/.env:1 OPS_PASSWORD: the secret is empty",
        ),
        (b"OPS_PORT=x", ErrorKind::InvalidValue, "`port` from DIR/.env:1 OPS_PORT: expected an integer"),
        (b"OPS_REPO=a\nOPS_REPO_FILE=b", ErrorKind::Conflict, "OPS_REPO and OPS_REPO_FILE are both set"),
        (
            b"OPS_PASSWORD_FILE=/no/such",
            ErrorKind::Unreadable,
            "`password` from DIR/.env:1 OPS_PASSWORD_FILE: the file",
        ),
        (b"\xffOPS_PORT=1", ErrorKind::Syntax, "DIR/.env is not UTF-8"),
    ] {
        check_refused(with(content), dir.path(), kind, expected);
    }
    check_refused(
        with(b"OPS_PORT=1").profile(Profile::Prod),
        dir.path(),
        ErrorKind::Conflict,
        "DIR/.env is not read: `.env` files belong to profile dev, not prod",
    );
    check_refused(
        loader().dotenv_file(&dir.path().join("none")),
        dir.path(),
        ErrorKind::Unreadable,
        "DIR/none cannot be read",
    );
    assert_eq!(
        warnings(with(b"OPS_PASWORD=x\nOPS_XYZ=x\nPASSWORD=x"), dir.path()),
        [
            "DIR/.env:1 OPS_PASWORD belongs to no setting; did you mean OPS_PASSWORD?",
            "DIR/.env:2 OPS_XYZ belongs to no setting",
        ]
    );
}

#[test]
fn a_mounted_folder_has_one_file_a_setting() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("secrets");
    fs::create_dir(&folder).unwrap();
    let with = || loader().env_vars("OPS_", []).secrets_dir(&folder);
    for name in
        ["s3_secret_access_key", "s3.secret_access_key", "S3-SECRET-ACCESS-KEY", "OPS_S3_SECRET_ACCESS_KEY"]
    {
        let path = file(&folder, name, b"hunter2\n");
        let loaded = with().load().unwrap();
        assert_eq!(loaded.settings.s3.secret_access_key.expose_secret(), "hunter2", "{name}");
        let entry = loaded.report.entries().iter().find(|entry| entry.key == "s3.secret_access_key").unwrap();
        assert_eq!(entry.note.as_deref(), Some("one line end at the end of its file was taken off"));
        fs::remove_file(path).unwrap();
    }
    file(&folder, "port", b"1");
    file(&folder, "OPS_PORT", b"2");
    let both = "`port`: DIR/secrets/OPS_PORT and DIR/secrets/port both give it; remove one";
    check_refused(with(), dir.path(), ErrorKind::Conflict, both);
    fs::remove_file(folder.join("OPS_PORT")).unwrap();
    for (content, kind, expected) in [
        (&b""[..], ErrorKind::EmptySecret, "`password` from DIR/secrets/password: the file is empty"),
        (b"\r\n", ErrorKind::EmptySecret, "the file is empty"),
        (b"\xff", ErrorKind::Unreadable, "`password` from DIR/secrets/password: the file is not UTF-8"),
        (&[b'x'; 70_000], ErrorKind::Unreadable, "the file has more than 65536 bytes"),
    ] {
        file(&folder, "password", content);
        check_refused(with(), dir.path(), kind, expected);
    }
    fs::remove_file(folder.join("password")).unwrap();
    fs::create_dir(folder.join("password")).unwrap();
    check_refused(with(), dir.path(), ErrorKind::Unreadable, "the file is not a regular file");
    fs::remove_dir(folder.join("password")).unwrap();
    file(&folder, "pasword", b"x");
    file(&folder, "somebody_elses", b"x");
    file(&folder, ".hidden", b"x");
    assert_eq!(
        warnings(with(), dir.path()),
        ["DIR/secrets/pasword belongs to no setting; did you mean password?"]
    );
    check_refused(
        loader().secrets_dir(&dir.path().join("none")),
        dir.path(),
        ErrorKind::Unreadable,
        "folder DIR/none cannot be read",
    );
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("password");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let expected = "is not a regular file";
    check_refused(loader().secrets_dir(dir.path()), dir.path(), ErrorKind::Unreadable, expected);
    let by_name = loader().env_vars("OPS_", [("OPS_PASSWORD_FILE".into(), pipe.into())]);
    check_refused(by_name, dir.path(), ErrorKind::Unreadable, expected);
}

/// A folder as the kubelet writes it: files are links through `..data`, which names the folder of a version.
#[cfg(unix)]
fn kubernetes(folder: &Path, version: usize) {
    use std::os::unix::fs::symlink;
    let data = folder.join(format!("..2026_11_21_{version}"));
    fs::create_dir(&data).unwrap();
    for name in ["password", "repo"] {
        fs::write(data.join(name), format!("version-{version}")).unwrap();
        let _ = symlink(format!("..data/{name}"), folder.join(name));
    }
    symlink(data.file_name().unwrap(), folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    if let Some(old) = version.checked_sub(1) {
        let _ = fs::remove_dir_all(folder.join(format!("..2026_11_21_{old}")));
    }
}

#[cfg(unix)]
#[test]
fn all_files_of_a_kubernetes_volume_are_of_one_version() {
    let dir = tempfile::tempdir().unwrap();
    kubernetes(dir.path(), 0);
    // Its files can be read by all, by the decision of the engine.
    assert_eq!(warnings(loader().secrets_dir(dir.path()), dir.path()), Vec::<String>::new());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for version in 1..=300 {
                kubernetes(dir.path(), version);
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut loads = 0;
        while !done.load(std::sync::atomic::Ordering::Acquire) || loads == 0 {
            // A folder that is turned again and again while it is read may fail, but is never mixed.
            if let Ok(loaded) = loader().secrets_dir(dir.path()).load() {
                assert_eq!(loaded.settings.repo, *loaded.settings.password.expose_secret());
                loads += 1;
            }
        }
    });
    let last = loader().secrets_dir(dir.path()).load().unwrap();
    assert_eq!(last.settings.repo, "version-300");
}

#[cfg(unix)]
#[test]
fn files_of_others_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let secret = file(dir.path(), "password", b"hunter2");
    let by_name = || loader().env_vars("OPS_", [("OPS_PASSWORD_FILE".into(), secret.clone().into())]);
    let owners = |loader: Loader<Settings>| -> usize {
        let report = loader.load().unwrap().report;
        report
            .warnings()
            .iter()
            .filter(|one| matches!(one, Warning::ForeignOwner { owner: 12345, .. }))
            .count()
    };
    assert_eq!((owners(by_name()), owners(loader().secrets_dir(dir.path()))), (0, 0));
    if std::os::unix::fs::chown(&secret, Some(12345), None).is_err() {
        ops_testkit::skip!("only root can give a file away");
    }
    assert_eq!((owners(by_name()), owners(loader().secrets_dir(dir.path()))), (1, 1));
    assert_eq!(owners(loader().systemd_credentials(dir.path())), 0, "systemd decides");
    std::os::unix::fs::chown(&secret, Some(0), None).unwrap();
    chmod(&secret, 0o644);
    let open = warnings(loader().secrets_dir(dir.path()), dir.path());
    assert_eq!(
        open,
        ["DIR/password holds a secret and can be read by others (mode 644); chmod 600 closes it"]
    );
}

#[test]
fn a_secret_that_is_set_to_nothing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let toml = file(dir.path(), "ops.toml", b"password = ''");
    check_refused(
        loader().toml_file(&toml),
        dir.path(),
        ErrorKind::EmptySecret,
        "`password` from DIR/ops.toml:1: the secret is empty",
    );
    let flag = loader().flag("password", "", "--password");
    check_refused(
        flag,
        dir.path(),
        ErrorKind::EmptySecret,
        "`password` from flag --password: the secret is empty",
    );
    // A higher layer that gives one mends it.
    let mended = loader().toml_file(&toml).env_vars("OPS_", vars([("OPS_PASSWORD", "hunter2")]));
    assert_eq!(mended.load().unwrap().settings.password.expose_secret(), "hunter2");
}
