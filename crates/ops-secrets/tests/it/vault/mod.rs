//! The client of Vault and OpenBao against a real OpenBao server.

mod entries;
mod leases;
mod login;
#[cfg(feature = "rotate")]
mod provider;
#[cfg(feature = "rotate")]
mod rotation;

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

/// Mounts KV version 2, and waits until it serves: for a moment after that it refuses everything.
fn kv2(bao: &OpenBao, mount: &str) {
    let made = serde_json::json!({ "type": "kv", "options": { "version": "2" } });
    request(bao, "POST", &format!("sys/mounts/{mount}"), &made);
    for _ in 0..300 {
        // There is nothing in it, which is told by 404.
        match bao.request("GET", &format!("{mount}/metadata?list=true"), "") {
            Err(error) if !error.to_string().contains(" 404 ") => {}
            _ => return,
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{mount} does not serve");
}
