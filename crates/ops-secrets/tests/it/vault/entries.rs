//! Entries of both versions of KV, and references to them.

use super::{kv2, policy, request, root, with};
use crate::support::{Settings, everything_printable, loader, vars};
use ops_secrets::vault::{Auth, Expected, Vault, VaultError, VaultErrorKind, VaultOptions, VersionState};
use ops_secrets::{Error, ErrorKind, Loaded, Masker, References, Secret};
use ops_testkit::OpenBao;
use serde_json::{Map, Value, json};
use std::process::Command;
use std::sync::Arc;

fn fields(password: &str) -> Map<String, Value> {
    let Value::Object(fields) = json!({ "username": "me", "password": password, "port": 5432 }) else {
        panic!("an object")
    };
    fields
}

fn mounts(bao: &OpenBao) {
    kv2(bao, "kv");
    request(bao, "POST", "sys/mounts/team/old", &json!({ "type": "kv", "options": { "version": "1" } }));
}

#[track_caller]
fn refused<T>(result: Result<T, VaultError>, kind: VaultErrorKind, expected: &str) {
    let error = result.err().unwrap();
    assert!(!format!("{error} {error:?}").contains("hunter"), "{error}");
    assert_eq!((error.kind(), error.to_string().as_str()), (kind, expected));
}

#[tokio::test]
async fn entries_are_read_written_and_listed() {
    let bao = ops_testkit::or_skip!(OpenBao::start());
    mounts(&bao);
    let vault = root(&bao);
    let put = |password: &'static str, expected| {
        let vault = vault.clone();
        async move { vault.put("kv/shop/db", &fields(password), expected).await }
    };
    assert_eq!(put("hunter1", Expected::Nothing).await, Ok(Some(1)));
    assert_eq!(put("hunter2", Expected::Version(1)).await, Ok(Some(2)));
    assert_eq!(put("hunter3", Expected::Anything).await, Ok(Some(3)));
    let conflict = "kv/shop/db: it is not at the version that was expected: somebody else wrote it";
    for expected in [Expected::Nothing, Expected::Version(2), Expected::Version(4)] {
        refused(put("hunter4", expected).await, VaultErrorKind::Conflict, conflict);
    }
    let entry = vault.read("kv/shop/db", None).await.unwrap();
    assert_eq!((entry.version(), entry.expose_text("password")), (Some(3), Some("hunter3")));
    assert_eq!(format!("{entry:?}"), "Entry { version: Some(3), lease: None, .. }");
    let entry = vault.read("kv/shop/db", Some(1)).await.unwrap();
    assert_eq!((entry.version(), entry.expose_text("password")), (Some(1), Some("hunter1")));

    // Deleted and destroyed are answered with 404 as what never was; the metadata tells.
    request(&bao, "POST", "kv/delete/shop/db", &json!({ "versions": [1] }));
    request(&bao, "PUT", "kv/destroy/shop/db", &json!({ "versions": [2] }));
    for (path, version, kind, expected) in [
        (
            "kv/shop/db",
            Some(1),
            VaultErrorKind::Deleted,
            "kv/shop/db: this version was deleted; `undelete` brings it back",
        ),
        (
            "kv/shop/db",
            Some(2),
            VaultErrorKind::Destroyed,
            "kv/shop/db: this version was destroyed; it is gone for good",
        ),
        ("kv/shop/db", Some(9), VaultErrorKind::NotFound, "kv/shop/db: there is nothing at this path"),
        ("kv/shop", None, VaultErrorKind::NotFound, "kv/shop: there is nothing at this path"),
        // The path of the API in the place of that of people.
        ("kv/data/shop/db", None, VaultErrorKind::NotFound, "kv/data/shop/db: there is nothing at this path"),
        ("team/old/x", None, VaultErrorKind::NotFound, "team/old/x: there is nothing at this path"),
        (
            "team/old/x",
            Some(1),
            VaultErrorKind::NotFound,
            "team/old/x: versions can be asked for where the mount is KV version 2 alone",
        ),
    ] {
        refused(vault.read(path, version).await, kind, expected);
    }
    let versions = vault.versions("kv/shop/db").await.unwrap();
    assert_eq!(versions.current, 3);
    let states: Vec<_> = versions.states.into_iter().collect();
    assert_eq!(states, [(1, VersionState::Deleted), (2, VersionState::Destroyed), (3, VersionState::Live)]);

    // Version 1 keeps no versions, and cannot compare.
    assert_eq!(vault.put("team/old/db", &fields("hunter5"), Expected::Anything).await, Ok(None));
    let entry = vault.read("team/old/db", None).await.unwrap();
    assert_eq!(
        (entry.version(), entry.lease(), entry.expose_text("password")),
        (None, None, Some("hunter5"))
    );
    refused(
        vault.put("team/old/db", &fields("hunter6"), Expected::Version(1)).await,
        VaultErrorKind::Conflict,
        "team/old/db: what stands there now cannot be checked: the mount is not KV version 2",
    );
    refused(
        vault.versions("team/old/db").await,
        VaultErrorKind::NotFound,
        "team/old/db: it has no versions: the mount is not KV version 2",
    );

    vault.put("kv/a b/ü?#%", &fields("hunter7"), Expected::Nothing).await.unwrap();
    assert_eq!(vault.read("kv/a b/ü?#%", None).await.map(|_| ()).map_err(|error| error.kind()), Ok(()));
    assert_eq!(vault.list("kv").await.unwrap(), ["a b/", "shop/"]);
    assert_eq!(vault.list("kv/shop/").await.unwrap(), ["db"]);
    assert_eq!(vault.list("team/old").await.unwrap(), ["db"]);
    assert_eq!(vault.list("kv/none").await.unwrap(), [""; 0]);
}

async fn load(text: &str, vault: &Vault, masker: &Masker) -> Result<Loaded<Settings>, Error> {
    let references = References::new().fetcher(Arc::new(vault.clone()));
    let loader = loader().env_vars("OPS_", vars([("OPS_PASSWORD", text), ("OPS_TOKENS", text)]));
    // A service may load on any thread of its runtime.
    let loading = loader.references(references).masker(masker.clone()).load_async();
    tokio::spawn(loading).await.unwrap()
}

#[tokio::test]
async fn references_lead_to_entries_and_never_show_them() {
    let mut bao = ops_testkit::or_skip!(OpenBao::start());
    mounts(&bao);
    policy(&bao, "shop", r#"path "kv/data/shop/*" { capabilities = ["read"] }"#);
    let made = json!({ "policies": ["shop"] });
    let token = request(&bao, "POST", "auth/token/create", &made)["auth"]["client_token"].clone();
    let vault = with(&bao, Auth::Token(Secret::from(token.as_str().unwrap())));
    let all = root(&bao);
    all.put("kv/shop/db", &fields("hunter2-of-bao"), Expected::Nothing).await.unwrap();
    all.put("kv/shop/on", &fields("vault://kv/shop/db#password"), Expected::Nothing).await.unwrap();
    all.put("kv/other/db", &fields("hunter2-of-bao"), Expected::Nothing).await.unwrap();

    for text in ["vault://kv/shop/db#password", "openbao://kv/shop/db?version=1#password"] {
        let masker = Masker::new();
        let loaded = load(text, &vault, &masker).await.unwrap();
        assert_eq!(loaded.settings.password.expose_secret(), "hunter2-of-bao");
        assert_eq!(loaded.settings.tokens[0].expose_secret(), "hunter2-of-bao");
        let entry = &loaded.report.entries()[1];
        assert_eq!(entry.source, format!("env OPS_PASSWORD -> {text} (version 1)"));
        assert_eq!(masker.mask_str("x hunter2-of-bao"), "x [redacted]");
        assert!(!everything_printable(&Ok(loaded)).contains("hunter2"));
    }
    let check = async |text: &str, kind: ErrorKind, expected: &str| {
        let result = load(text, &vault, &Masker::new()).await;
        let printed = everything_printable(&result);
        assert!(!printed.contains("hunter2") && !printed.contains(token.as_str().unwrap()), "{printed}");
        let error = result.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!((error.kind(), error.problems().len()), (kind, 2), "{error}");
    };
    for (text, kind, expected) in [
        (
            "vault://kv/shop/db#pasword",
            ErrorKind::MissingField,
            "`password` from env OPS_PASSWORD -> vault://kv/shop/db#pasword: it has no field `pasword`; did you mean `password`?",
        ),
        ("vault://kv/shop/db#port", ErrorKind::InvalidValue, "the field is a number, expected text"),
        ("vault://kv/shop/none#x", ErrorKind::NotFound, "there is nothing at this path"),
        ("vault://kv/shop/db?version=7#password", ErrorKind::NotFound, "there is nothing at this path"),
        ("vault://kv/other/db#password", ErrorKind::Forbidden, "its policy does not allow the path"),
        (
            "vault://secret/db#password",
            ErrorKind::Forbidden,
            "there is no such mount, or the token's policy allows nothing in it",
        ),
        (
            "vault://kv/shop/on#password",
            ErrorKind::InvalidReference,
            "followed from env:// and file:// alone",
        ),
    ] {
        check(text, kind, expected).await;
    }
    // Without a server in reach of `load`, the reference is told and not used.
    let references = References::new().fetcher(Arc::new(vault.clone()));
    let sync =
        loader().flag("password", "vault://kv/shop/db#password", "--password").references(references).load();
    assert_eq!(sync.unwrap_err().kind(), ErrorKind::UnresolvedReference);

    let text = "vault://kv/shop/db#password";
    bao.seal().unwrap();
    check(text, ErrorKind::Sealed, "the server is sealed").await;
    bao.unseal().unwrap();
    assert!(load(text, &vault, &Masker::new()).await.is_ok(), "unsealed again");
    bao.kill();
    check(text, ErrorKind::Unreachable, " the server").await;
    bao.restart().unwrap();
    assert!(
        load(text, &vault, &Masker::new()).await.is_ok(),
        "the same client, after a restart of the server"
    );
}

#[tokio::test]
async fn namespaces_keep_entries_apart() {
    let bao = ops_testkit::or_skip!(OpenBao::start());
    request(&bao, "POST", "sys/namespaces/team", &Value::Null);
    let mut options = VaultOptions::new(&bao.url(), Auth::Token(Secret::from(bao.root_token())));
    options.namespace = Some("team".into());
    let team = Vault::new(options).unwrap();
    request(&bao, "POST", "team/sys/mounts/kv", &json!({ "type": "kv", "options": { "version": "2" } }));
    // For a moment after that the mount refuses everything.
    while team.list("kv").await.is_err_and(|error| error.kind() == VaultErrorKind::Unreachable) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    team.put("kv/db", &fields("hunter2"), Expected::Nothing).await.unwrap();
    assert_eq!(team.read("kv/db", None).await.unwrap().expose_text("password"), Some("hunter2"));
    assert!(root(&bao).read("kv/db", None).await.is_err(), "another namespace");
    assert_eq!(root(&bao).read("team/kv/db", None).await.unwrap().version(), Some(1), "by its whole path");
}

#[test]
fn a_token_is_not_sent_in_the_clear_to_other_machines() {
    let check = |address: &str, plain: bool| {
        let mut options = VaultOptions::new(address, Auth::Token(Secret::from("hunter2")));
        options.allow_plain_http = plain;
        Vault::new(options)
            .map(|vault| assert_eq!(format!("{vault:?}"), "Vault { auth: Token([redacted]), .. }"))
    };
    for address in ["https://vault.example:8200", "http://127.0.0.1:1", "http://localhost", "http://[::1]:1"]
    {
        assert_eq!(check(address, false), Ok(()), "{address}");
    }
    assert_eq!(check("http://vault.example", true), Ok(()));
    for (address, expected) in [
        (
            "http://vault.example",
            "the address: it is `http` to another machine, where a token would be sent in the clear",
        ),
        (
            "https://me:hunter2@vault.example",
            "the address: it holds a user or a password; the server takes neither",
        ),
        ("hunter2", "the address: it is no URL"),
        ("ftp://vault.example", "the address: it is neither `https` nor `http`"),
    ] {
        refused(check(address, false), VaultErrorKind::Options, expected);
    }
}

#[tokio::test]
async fn a_certificate_is_trusted_by_the_given_authority_alone() {
    let dir = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let made =
            Command::new("openssl").args(arguments.split(' ')).current_dir(dir.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    std::fs::write(dir.path().join("leaf.ext"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem");
    openssl("req -new -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out leaf.csr");
    openssl(
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile leaf.ext -out cert.pem",
    );
    let bao = ops_testkit::or_skip!(OpenBao::start_with_tls(
        &dir.path().join("cert.pem"),
        &dir.path().join("key.pem")
    ));
    let mut options = VaultOptions::new(&bao.url(), Auth::Token(Secret::from(bao.root_token())));
    let untrusted = Vault::new(options.clone()).unwrap().list("cubbyhole").await;
    let why = "cubbyhole/: the server cannot be reached, or its certificate is not trusted";
    refused(untrusted, VaultErrorKind::Unreachable, why);
    options.ca_file = Some(dir.path().join("ca.pem"));
    assert_eq!(Vault::new(options.clone()).unwrap().list("cubbyhole").await, Ok(Vec::new()));
    options.ca_file = Some(dir.path().join("key.pem"));
    assert_eq!(Vault::new(options).err().map(|error| error.kind()), Some(VaultErrorKind::Options));
}
