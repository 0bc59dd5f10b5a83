//! The client of Vault and OpenBao against a real OpenBao server.

mod entries;
mod leases;
mod login;
#[cfg(feature = "rotate")]
mod provider;

use ops_secrets::Secret;
use ops_secrets::vault::{Auth, Vault, VaultOptions};
use ops_testkit::OpenBao;

fn root(bao: &OpenBao) -> Vault {
    with(bao, Auth::Token(Secret::from(bao.root_token())))
}

fn with(bao: &OpenBao, auth: Auth) -> Vault {
    Vault::new(VaultOptions::new(&bao.url(), auth)).unwrap()
}

/// A JSON body without the pain of braces.
fn request(bao: &OpenBao, method: &str, path: &str, body: &serde_json::Value) -> serde_json::Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = bao.request(method, path, &body).unwrap();
    serde_json::from_str(&answer).unwrap_or_default()
}

fn policy(bao: &OpenBao, name: &str, rules: &str) {
    request(bao, "PUT", &format!("sys/policies/acl/{name}"), &serde_json::json!({ "policy": rules }));
}
