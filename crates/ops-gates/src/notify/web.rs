//! Webhooks: Slack's messages, and our own JSON with a signature.
//!
//! Our own carries `X-Ops-Timestamp` (seconds) and `X-Ops-Signature: sha256=<hex>`, the HMAC-SHA256 of the time, a dot and
//! the body, so that a receiver can refuse what others send and what was recorded earlier.

use super::{Failed, Message};
use crate::value::Span;
use aws_lc_rs::hmac;
use jiff::Timestamp;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;

/// A webhook that takes our own JSON.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Its address, which may hold a token.
    pub url: SecretString,
    /// Signs the body; without it anybody can send the same.
    #[serde(default)]
    pub secret: Option<SecretString>,
    /// How long to wait for the answer; at most 10 s.
    #[serde(default)]
    pub timeout: Option<Span>,
}

pub(super) async fn slack(url: &SecretString, message: &Message) -> Result<(), Failed> {
    // Slack reads `<…>` as links and mentions; what a gate says must not call the whole channel.
    let text = message.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let body = json!({ "text": text }).to_string();
    post(url, |request| request.header("content-type", "application/json").body(body)).await
}

pub(super) async fn webhook(webhook: &Webhook, message: &Message) -> Result<(), Failed> {
    let body = serde_json::to_vec(&message.data).expect("a tree of JSON values always serialises");
    let now = Timestamp::now().as_second();
    post(&webhook.url, |request| {
        let request = request.header("content-type", "application/json").header("x-ops-timestamp", now);
        let request = match &webhook.secret {
            Some(secret) => request.header("x-ops-signature", signature(secret, now, &body)),
            None => request,
        };
        let request = match webhook.timeout {
            Some(timeout) => request.timeout(timeout.get()),
            None => request,
        };
        request.body(body)
    })
    .await
}

/// The signature of a body that is sent at a time.
fn signature(secret: &SecretString, at: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{at}.").as_bytes());
    context.update(body);
    let hex: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

async fn post(url: &SecretString, fill: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Result<(), Failed> {
    let client = Client::builder().no_proxy().redirect(Policy::none()).user_agent("ops-gates");
    let client = client.build().map_err(|error| (error.to_string(), false))?;
    let url =
        reqwest::Url::parse(url.expose_secret()).map_err(|_| ("its url is no address".to_owned(), false))?;
    let response = fill(client.post(url)).send().await.map_err(|error| {
        let mut reason = error.without_url().to_string();
        if reason.is_empty() {
            reason = "it cannot be reached".to_owned();
        }
        (reason, true)
    })?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    // The body of a refusal may repeat what was sent to it, and is not told.
    Err((format!("it answered {}", status.as_u16()), status.is_server_error() || status.as_u16() == 429))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_openssl_computes() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac hunter2hunter2
        let expected = "sha256=00c89879d85c939fec8e6c7060325987ade9d28a780c2ad436679127d30c3302";
        assert_eq!(signature(&"hunter2hunter2".into(), 1_700_000_000, b"{\"a\":1}"), expected);
    }
}
