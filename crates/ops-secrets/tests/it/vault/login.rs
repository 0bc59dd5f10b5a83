//! AppRole, Kubernetes, tokens: logging in, staying so, and logging in again.

use super::{kv2, policy, request, with};
use crate::support::file;
use ops_secrets::Secret;
use ops_secrets::vault::{Auth, SecretId, Vault, VaultErrorKind};
use ops_testkit::OpenBao;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

fn shop(bao: &OpenBao) {
    kv2(bao, "kv");
    request(bao, "POST", "kv/data/shop/db", &json!({ "data": { "password": "hunter2" } }));
    policy(bao, "shop", r#"path "kv/data/shop/*" { capabilities = ["read"] }"#);
}

async fn password(vault: &Vault) -> Result<String, VaultErrorKind> {
    let entry = vault.read("kv/shop/db", None).await.map_err(|error| {
        let printed = format!("{error} {error:?}");
        assert!(!printed.contains("hunter2"), "{printed}");
        error.kind()
    })?;
    Ok(entry.expose_text("password").unwrap_or_default().to_owned())
}

fn app_role(bao: &OpenBao, role: &Value) -> (String, impl Fn() -> String) {
    request(bao, "POST", "sys/auth/approle", &json!({ "type": "approle" }));
    request(bao, "POST", "auth/approle/role/shop", role);
    let id = request(bao, "GET", "auth/approle/role/shop/role-id", &Value::Null)["data"]["role_id"].clone();
    let secret = || {
        let made = request(bao, "POST", "auth/approle/role/shop/secret-id", &json!({}));
        made["data"]["secret_id"].as_str().unwrap().to_owned()
    };
    (id.as_str().unwrap().to_owned(), secret)
}

#[tokio::test]
async fn an_app_role_logs_in_once_for_many_and_again_when_it_must() {
    let bao = ops_testkit::or_skip!(OpenBao::start());
    shop(&bao);
    // Each secret id is good for one login.
    let role = json!({ "token_policies": ["shop"], "token_ttl": "1h", "secret_id_num_uses": 1 });
    let (role_id, secret_id) = app_role(&bao, &role);
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "secret-id", secret_id().as_bytes());
    let vault = with(&bao, Auth::app_role(&role_id, SecretId::File(path.clone())));

    // Several requests at the same time, one secret id: only one of them may log in.
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let vault = vault.clone();
        tasks.spawn(async move { password(&vault).await });
    }
    while let Some(read) = tasks.join_next().await {
        assert_eq!(read.unwrap().as_deref(), Ok("hunter2"));
    }
    // The token is revoked behind its back: a login with the used secret id is refused, with a new file it is not.
    revoke_all(&bao);
    assert_eq!(password(&vault).await, Err(VaultErrorKind::Login));
    file(dir.path(), "secret-id", secret_id().as_bytes());
    assert_eq!(password(&vault).await.as_deref(), Ok("hunter2"));

    // And given up by itself.
    vault.log_out().await.unwrap();
    assert_eq!(password(&vault).await, Err(VaultErrorKind::Login));
    for (auth, kind) in [
        (Auth::app_role("none", SecretId::Value(Secret::from("hunter2"))), VaultErrorKind::Login),
        (Auth::app_role(&role_id, SecretId::Value(Secret::from("hunter2"))), VaultErrorKind::Login),
        (Auth::app_role(&role_id, SecretId::File(dir.path().join("none"))), VaultErrorKind::Options),
        (Auth::Token(Secret::from("hunter2")), VaultErrorKind::Forbidden),
        (Auth::Token(Secret::from("hunter2\n")), VaultErrorKind::Options),
        (Auth::TokenFile(file(dir.path(), "empty", b"\n")), VaultErrorKind::Options),
    ] {
        assert_eq!(password(&with(&bao, auth.clone())).await, Err(kind), "{auth:?}");
    }
}

fn revoke_all(bao: &OpenBao) {
    request(bao, "POST", "sys/leases/revoke-prefix/auth/approle", &Value::Null);
}

#[tokio::test]
async fn a_short_token_is_renewed_and_then_replaced() {
    let bao = ops_testkit::or_skip!(OpenBao::start());
    shop(&bao);
    let role = json!({ "token_policies": ["shop"], "token_ttl": "2s", "token_max_ttl": "4s" });
    let (role_id, secret_id) = app_role(&bao, &role);
    let vault = with(&bao, Auth::app_role(&role_id, SecretId::Value(Secret::from(secret_id().as_str()))));
    // Far longer than any one token may live.
    for _ in 0..40 {
        assert_eq!(password(&vault).await.as_deref(), Ok("hunter2"));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // A token that was given is used to its end, and not longer.
    let made = json!({ "policies": ["shop"], "ttl": "2s", "explicit_max_ttl": "3s" });
    let made = request(&bao, "POST", "auth/token/create", &made);
    let token = made["auth"]["client_token"].as_str().unwrap();
    let vault = with(&bao, Auth::Token(Secret::from(token)));
    assert_eq!(password(&vault).await.as_deref(), Ok("hunter2"));
    let mut last = Ok(String::new());
    for _ in 0..100 {
        last = password(&vault).await;
        if last.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(last, Err(VaultErrorKind::Forbidden));
    assert_eq!(vault.token_remaining().await.map_err(|error| error.kind()), Err(VaultErrorKind::Forbidden));
}

#[tokio::test]
async fn a_token_that_may_not_look_at_itself_is_good_all_the_same() {
    let bao = ops_testkit::or_skip!(OpenBao::start());
    shop(&bao);
    let made = json!({ "policies": ["shop"], "no_default_policy": true });
    let made = request(&bao, "POST", "auth/token/create", &made);
    let vault = with(&bao, Auth::Token(Secret::from(made["auth"]["client_token"].as_str().unwrap())));
    assert_eq!(password(&vault).await.as_deref(), Ok("hunter2"));
}

/// Answers every review of a token: it is that of the service account `api` in the namespace `shop`.
fn token_reviewer() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 65536];
            // A small request comes in one or two pieces; its body ends with a brace.
            let mut length = 0;
            while !String::from_utf8_lossy(&bytes[..length]).trim_end().ends_with('}') {
                length += stream.read(&mut bytes[length..]).unwrap();
            }
            let body = json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
                "status": { "authenticated": true, "user": {
                    "username": "system:serviceaccount:shop:api", "uid": "uid-1",
                    "groups": ["system:serviceaccounts", "system:serviceaccounts:shop"],
                } },
            })
            .to_string();
            let head = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nConnection: close\r\n";
            write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    address
}

fn base64url(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            out.push(char::from(LETTERS[(bits >> (18 - 6 * place) & 63) as usize]));
        }
    }
    out
}

#[tokio::test]
async fn kubernetes_auth_with_a_stand_in_for_the_token_reviewer() {
    let bao = ops_testkit::or_skip!(OpenBao::start());
    shop(&bao);
    request(&bao, "POST", "sys/auth/kubernetes", &json!({ "type": "kubernetes" }));
    let dir = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority"])
        .args(["-keyout", "key.pem", "-out", "ca.pem"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(made.status.success());
    let claims = |name: &str| {
        json!({
            "iss": "kubernetes/serviceaccount", "sub": format!("system:serviceaccount:shop:{name}"),
            "kubernetes.io/serviceaccount/namespace": "shop",
            "kubernetes.io/serviceaccount/service-account.name": name,
            "kubernetes.io/serviceaccount/service-account.uid": "uid-1",
            "kubernetes.io/serviceaccount/secret.name": "api-token",
        })
    };
    let jwt = |name: &str| {
        let head = json!({ "alg": "RS256", "typ": "JWT" }).to_string();
        format!(
            "{}.{}.{}",
            base64url(&head),
            base64url(&claims(name).to_string()),
            base64url("not a signature")
        )
    };
    request(
        &bao,
        "POST",
        "auth/kubernetes/config",
        &json!({
            "kubernetes_host": token_reviewer(), "disable_local_ca_jwt": true, "token_reviewer_jwt": jwt("reviewer"),
            "kubernetes_ca_cert": std::fs::read_to_string(dir.path().join("ca.pem")).unwrap(),
        }),
    );
    let role = json!({
        "bound_service_account_names": ["api"], "bound_service_account_namespaces": ["shop"],
        "token_policies": ["shop"], "token_ttl": "1h",
    });
    request(&bao, "POST", "auth/kubernetes/role/shop", &role);
    let token_file = file(dir.path(), "token", jwt("api").as_bytes());
    let auth = |role: &str| Auth::Kubernetes {
        mount: "kubernetes".into(),
        role: role.into(),
        token_file: token_file.clone(),
    };
    let vault = with(&bao, auth("shop"));
    assert_eq!(password(&vault).await.as_deref(), Ok("hunter2"));
    assert_eq!(password(&with(&bao, auth("none"))).await, Err(VaultErrorKind::Login));
    // The kubelet replaces the token; another account is another answer.
    file(dir.path(), "token", jwt("somebody").as_bytes());
    assert_eq!(password(&with(&bao, auth("shop"))).await, Err(VaultErrorKind::Login));
    assert_eq!(password(&vault).await.as_deref(), Ok("hunter2"), "logged in already");
}
