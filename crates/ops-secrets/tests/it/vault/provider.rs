//! OpenBao as a source of secrets that change: the contract of providers, and a watch over leased credentials.

use super::leases::{database, log_in, role};
use super::{kv2, request, root};
use crate::rotate::contract;
use ops_secrets::rotate::{Group, Options, Provider as _};
use ops_secrets::vault::VaultProvider;
use ops_testkit::{OpenBao, Postgres};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn entries_and_leases_keep_the_contract_of_providers() {
    let mut bao = ops_testkit::or_skip!(OpenBao::start());
    let postgres = ops_testkit::or_skip!(Postgres::start());
    database(&bao, &postgres);
    role(&bao, "long", "1h", "2h");
    kv2(&bao, "kv");
    request(&bao, "POST", "sys/mounts/old", &json!({ "type": "kv", "options": { "version": "1" } }));
    let write = |value: &str| {
        request(&bao, "POST", "kv/data/db", &json!({ "data": { "password": value } }));
        request(&bao, "POST", "old/db", &json!({ "password": value }));
    };
    write("first-password");
    for path in ["kv/db", "old/db"] {
        let provider = VaultProvider::new(root(&bao), path);
        contract::check(&provider, Some(&mut || write(&format!("other-password-of-{path}")))).await;
    }
    let provider = VaultProvider::new(root(&bao), "database/creds/long");
    contract::check(&provider, None).await;
    bao.kill();
    let error = provider.fetch().await.unwrap_err();
    assert_eq!(error.code(), "unavailable", "{error}");
}

/// Credentials that live for 3 s, and with renewals for 6 s, over 15 s: at every moment somebody can log in.
#[tokio::test]
async fn a_watch_keeps_leased_credentials_that_work() {
    let bao = ops_testkit::or_skip!(OpenBao::start());
    let postgres = ops_testkit::or_skip!(Postgres::start());
    database(&bao, &postgres);
    role(&bao, "short", "3s", "6s");
    let provider = VaultProvider::new(root(&bao), "database/creds/short");
    let (live, watch) =
        Group::new(Options::default(), || 0.5).member("database", provider).start().await.unwrap();
    let task = tokio::spawn(watch.run(std::future::pending()));
    let mut users = std::collections::BTreeSet::new();
    for _ in 0..75 {
        let now = live.current().unwrap();
        let get = |field: &str| now.get("database", field).unwrap().expose_secret().clone();
        let (user, password) = (get("username"), get("password"));
        // It may have been swapped between the look at it and the login; then the new one counts.
        if !log_in(&postgres, &user, &password) {
            let newer = live.current().unwrap();
            let get = |field: &str| newer.get("database", field).unwrap().expose_secret().clone();
            assert_ne!(get("username"), user, "the current credentials do not work");
        }
        users.insert(user);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(users.len() >= 2, "{} users in 15 s, of whom none lives longer than 6 s", users.len());
    task.abort();
}
