//! Credentials of a real PostgreSQL, made by OpenBao: issued, renewed to their end, revoked.

use super::{policy, request, root, with};
use ops_secrets::vault::{Auth, Credentials, SecretId, Vault, VaultErrorKind};
use ops_secrets::{ErrorKind, Loader, Masker, References, Secret};
use ops_testkit::{OpenBao, Postgres};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// A role whose credentials live for `ttl`, and with renewals for `max`.
pub(super) fn role(bao: &OpenBao, name: &str, ttl: &str, max: &str) {
    let create = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'";
    let role =
        json!({ "db_name": "shop", "creation_statements": [create], "default_ttl": ttl, "max_ttl": max });
    request(bao, "POST", &format!("database/roles/{name}"), &role);
}

pub(super) fn database(bao: &OpenBao, postgres: &Postgres) {
    request(bao, "POST", "sys/mounts/database", &json!({ "type": "database" }));
    let url = "postgresql://{{username}}:{{password}}@127.0.0.1:PORT/postgres?sslmode=disable";
    let config = json!({
        "plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "username": postgres.user(),
        "connection_url": url.replace("PORT", &postgres.port().to_string()), "password": postgres.password(),
    });
    request(bao, "POST", "database/config/shop", &config);
}

/// Whether PostgreSQL lets them in.
pub(super) fn log_in(postgres: &Postgres, username: &str, password: &str) -> bool {
    let mut psql = postgres.command("psql");
    psql.env("PGHOST", "127.0.0.1")
        .env("PGUSER", username)
        .env("PGPASSWORD", password)
        .env("PGDATABASE", "postgres");
    let done = psql.args(["-XqAt", "-c", "SELECT current_user"]).output().unwrap();
    done.status.success() && String::from_utf8_lossy(&done.stdout).trim() == username
}

fn lets_in(postgres: &Postgres, credentials: &Credentials) -> bool {
    log_in(postgres, &credentials.username, credentials.password.expose_secret())
}

async fn until(mut is: impl FnMut() -> bool) {
    for _ in 0..300 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it did not come to be within 30 s");
}

#[tokio::test]
async fn credentials_are_issued_renewed_and_revoked() {
    let mut bao = ops_testkit::or_skip!(OpenBao::start());
    let postgres = ops_testkit::or_skip!(Postgres::start());
    database(&bao, &postgres);
    role(&bao, "long", "1h", "2h");
    role(&bao, "short", "3s", "5s");
    let vault = root(&bao);

    let long = vault.credentials("database/creds/long").await.unwrap();
    assert!(lets_in(&postgres, &long));
    assert_eq!((long.lease.granted(), long.lease.renewable()), (Duration::from_secs(3600), true));
    let printed = format!("{long:?}");
    assert!(!printed.contains(long.password.expose_secret()), "{printed}");
    let renewed = vault.renew(&long.lease).await.unwrap();
    assert!(renewed.renewable() && renewed.remaining() > Duration::from_secs(3590), "{renewed:?}");

    // A restart keeps leases; the same client goes on.
    bao.kill();
    assert_eq!(vault.renew(&long.lease).await.unwrap_err().kind(), VaultErrorKind::Unreachable);
    assert!(lets_in(&postgres, &long), "PostgreSQL does not ask OpenBao");
    bao.restart().unwrap();
    assert!(vault.renew(&long.lease).await.unwrap().renewable());
    bao.seal().unwrap();
    assert_eq!(vault.credentials("database/creds/long").await.unwrap_err().kind(), VaultErrorKind::Sealed);
    bao.unseal().unwrap();

    vault.revoke(&long.lease).await.unwrap();
    assert!(!lets_in(&postgres, &long), "revoked before the answer");
    assert_eq!(vault.renew(&long.lease).await.unwrap_err().kind(), VaultErrorKind::LeaseEnded);
    vault.revoke(&long.lease).await.unwrap();

    // Near its longest life a renewal is still answered with 200, but with less and less time.
    let short = vault.credentials("database/creds/short").await.unwrap();
    let mut lease = short.lease.clone();
    assert!(lease.renewable());
    while lease.renewable() {
        tokio::time::sleep(Duration::from_millis(400)).await;
        lease = vault.renew(&lease).await.unwrap();
        assert_eq!(lease.granted(), Duration::from_secs(3), "what is asked for does not shrink");
    }
    assert!(lease.remaining() < Duration::from_secs(3), "{lease:?}");
    assert!(lets_in(&postgres, &short), "time to issue new ones before the old ones end");
    until(|| !lets_in(&postgres, &short)).await;
    assert_eq!(lease.remaining(), Duration::ZERO);
    assert_eq!(vault.renew(&lease).await.unwrap_err().kind(), VaultErrorKind::LeaseEnded);

    for (path, kind) in [
        ("database/creds/none", VaultErrorKind::UnexpectedAnswer),
        ("database/roles/long", VaultErrorKind::UnexpectedAnswer),
        ("nothing/creds/long", VaultErrorKind::Forbidden),
    ] {
        assert_eq!(vault.credentials(path).await.unwrap_err().kind(), kind, "{path}");
    }
}

#[tokio::test]
async fn a_lease_ends_with_the_token_that_took_it() {
    let bao = ops_testkit::or_skip!(OpenBao::start());
    let postgres = ops_testkit::or_skip!(Postgres::start());
    database(&bao, &postgres);
    role(&bao, "long", "1h", "2h");
    policy(
        &bao,
        "shop",
        "path \"database/creds/*\" { capabilities = [\"read\"] }\npath \"sys/leases/*\" { capabilities = [\"update\"] }",
    );
    request(&bao, "POST", "sys/auth/approle", &json!({ "type": "approle" }));
    let bounds = json!({ "token_policies": ["shop"], "token_ttl": "4s", "token_max_ttl": "4s" });
    request(&bao, "POST", "auth/approle/role/shop", &bounds);
    let id = request(&bao, "GET", "auth/approle/role/shop/role-id", &Value::Null);
    let secret = request(&bao, "POST", "auth/approle/role/shop/secret-id", &json!({}));
    let secret_id = SecretId::Value(Secret::from(secret["data"]["secret_id"].as_str().unwrap()));
    let vault = with(&bao, Auth::app_role(id["data"]["role_id"].as_str().unwrap(), secret_id));

    let first = vault.credentials("database/creds/long").await.unwrap();
    assert_eq!(first.lease.granted(), Duration::from_secs(3600));
    assert!(first.lease.remaining() <= Duration::from_secs(4), "{:?}", first.lease.remaining());
    // By then the client has another token. The lease can be renewed, but does not outlive the first one.
    tokio::time::sleep(Duration::from_millis(3200)).await;
    let renewed = vault.renew(&first.lease).await.unwrap();
    assert!(!renewed.renewable() && renewed.remaining() <= Duration::from_secs(1), "{renewed:?}");
    let second = vault.credentials("database/creds/long").await.unwrap();
    assert!(lets_in(&postgres, &first) || renewed.remaining().is_zero());
    until(|| !lets_in(&postgres, &first)).await;
    assert!(second.lease.remaining() > Duration::ZERO || !lets_in(&postgres, &second));
}

#[derive(Debug, serde::Deserialize)]
struct Login {
    user: Secret,
    password: Secret,
}

#[tokio::test]
async fn a_user_and_a_password_of_references_belong_together() {
    let bao = ops_testkit::or_skip!(OpenBao::start());
    let postgres = ops_testkit::or_skip!(Postgres::start());
    database(&bao, &postgres);
    role(&bao, "long", "1h", "2h");
    let vault: Vault = root(&bao);
    let loaded = Loader::<Login>::new()
        .defaults_toml("user = 'vault://database/creds/long#username'\npassword = 'vault://database/creds/long#password'")
        .references(References::new().fetcher(Arc::new(vault)))
        .load_async()
        .await
        .unwrap();
    let Login { user, password } = &loaded.settings;
    assert!(log_in(&postgres, user.expose_secret(), password.expose_secret()));
    assert_eq!(
        loaded.report.entries()[1].source,
        "default -> vault://database/creds/long#password (leased for 3600 s)"
    );
}

#[tokio::test]
async fn what_references_lease_is_kept_as_long_as_somebody_asks_for_it() {
    let bao = ops_testkit::or_skip!(OpenBao::start());
    let postgres = ops_testkit::or_skip!(Postgres::start());
    database(&bao, &postgres);
    role(&bao, "kept", "4s", "1h");
    let vault: Vault = root(&bao);
    let named = ["username", "password"]
        .map(|field| (field.to_owned(), format!("openbao://database/creds/kept#{field}")));
    let references = References::new().fetcher(Arc::new(vault.clone()));
    let masker = Masker::new();
    let found = references.secrets(&named, "the test", &masker).await.unwrap();
    let of = |name: &str| found.iter().find(|(other, _)| other == name).unwrap().1.expose_secret().clone();
    let (username, password) = (of("username"), of("password"));
    assert_eq!(masker.mask_str(&format!("it is {password}")), "it is [redacted]");
    let kept = vault.clone();
    let keeper = tokio::spawn(async move { kept.keep_leases().await });
    // PostgreSQL looks at the day that OpenBao wrote into the role.
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert!(log_in(&postgres, &username, &password), "renewed beyond its first end");
    keeper.abort();
    let _ = keeper.await;
    vault.give_back_leases().await;
    assert!(!log_in(&postgres, &username, &password), "given back");

    let text = |name: &str| vec![("x".to_owned(), name.to_owned())];
    let refused =
        references.secrets(&text("hunter2-is-no-reference"), "the test", &masker).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidReference);
    assert!(!refused.to_string().contains("hunter2"), "{refused}");
}
