//! `kind = "nats"`: logs in to a NATS server, and sees a message come back.
//!
//! The client protocol by hand (NATS documentation, "Client Protocol"): it is text.

use super::net::{Schemes, Target, Wire, server_name, trust, wrong_url};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::Text;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Instant;

/// A NATS server that must let us in and deliver.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// The address, `nats://[user@]host[:port]`, or `tls://` where TLS is demanded.
    pub url: Text,
    /// The password, as `${secret:NAME}` or `${env:NAME}`; the token, where the address has no user.
    pub password: Option<Text>,
    /// Whether JetStream must be turned on.
    #[serde(default)]
    pub jetstream: bool,
    /// A subject to publish one message on, which must come back to a subscription of ours: `ops-gates.canary.` and a
    /// random word by default. Others who listen there get it too.
    pub subject: Option<Text>,
    /// Accepts a server that only lets us in, without publishing.
    #[serde(default)]
    pub connect_only: bool,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

const SCHEMES: &Schemes = &[("nats", false, 4222), ("tls", true, 4222)];

impl Gate for Nats {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong = wrong_url(&self.url, self.password.as_ref(), SCHEMES);
        if self.connect_only && self.subject.is_some() {
            wrong.push(Wrong::gate("`connect_only` and `subject` exclude each other"));
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("NATS at {}", self.url)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Nats {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let target = Target::of(context, &self.url, self.password.as_ref(), SCHEMES)?;
        // The server speaks first, and TLS begins after that.
        let mut wire = Wire::open_place(context, &target.place, false, None).await?;
        let line = wire.line().await?;
        let info = line.strip_prefix("INFO ").and_then(|info| serde_json::from_str::<Value>(info).ok());
        let info = info.ok_or_else(|| wire.strange("this is not NATS"))?;
        let is = |name: &str| info.get(name) == Some(&Value::Bool(true));
        if target.tls || is("tls_required") {
            if !is("tls_required") && !is("tls_available") {
                return Err(Finding::fail("no-tls", format!("{} does not offer TLS", wire.place)));
            }
            server_name(&target.place.host)?;
            wire = wire.secured(&trust(context, self.ca_file.as_ref())?, &target.place).await?;
        }
        if self.jetstream && !is("jetstream") {
            return Err(Finding::fail("no-jetstream", format!("{} has no JetStream", wire.place)));
        }
        let mut connect = json!({
            "verbose": false, "pedantic": false, "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
            "name": "ops-gates", "protocol": 1, "tls_required": target.tls,
        });
        match (&target.user, &target.password) {
            (Some(user), password) => {
                connect["user"] = json!(user);
                connect["pass"] = json!(password.clone().unwrap_or_default());
            }
            (None, Some(token)) => connect["auth_token"] = json!(token),
            (None, None) => {}
        }
        wire.send(format!("CONNECT {connect}\r\nPING\r\n").as_bytes()).await?;
        pong(&mut wire).await?;
        let version = info.get("version").and_then(Value::as_str).unwrap_or_default().to_owned();
        let place = wire.place.clone();
        if self.connect_only {
            return Ok(Finding::pass(format!("{place} let us in")).output("version", version));
        }
        let seconds = self.canary(context, &mut wire).await?;
        let reason = format!("{place} delivered a message");
        Ok(Finding::pass(reason).measured("round_trip_seconds", seconds).output("version", version))
    }

    async fn canary(&self, context: &Context<'_>, wire: &mut Wire) -> Result<f64, Finding> {
        let token = format!("{:032x}", rand::random::<u128>());
        let subject = match &self.subject {
            Some(subject) => context.resolve(subject)?,
            None => format!("ops-gates.canary.{token}"),
        };
        // White space would end the subject, and a line the command.
        if subject.is_empty() || subject.contains(|c: char| c.is_whitespace() || matches!(c, '*' | '>')) {
            let reason = format!("`{subject}` is not a subject to publish on");
            return Err(Finding::error(Fault::Unresolved, "subject", reason));
        }
        let started = Instant::now();
        let length = token.len();
        let request = format!("SUB {subject} 1\r\nPUB {subject} {length}\r\n{token}\r\nPING\r\n");
        wire.send(request.as_bytes()).await?;
        let mut delivered = None;
        // The answer to PING comes after all that was delivered to us before it.
        loop {
            let line = wire.line().await?;
            let mut words = line.split(' ');
            match words.next() {
                Some("MSG") => {
                    let length = words.next_back().and_then(|word| word.parse::<usize>().ok());
                    let length = length.ok_or_else(|| wire.strange("a message without a length"))?;
                    let mut message = wire.take(length.saturating_add(2)).await?;
                    message.truncate(length);
                    if message == token.as_bytes() {
                        delivered = Some(started.elapsed().as_secs_f64());
                    }
                }
                Some("PONG") => break,
                Some("PING") => wire.send(b"PONG\r\n").await?,
                Some("-ERR") => return Err(refused(&wire.place, &line)),
                _ => {}
            }
        }
        delivered.ok_or_else(|| {
            let reason = format!("{} took a message, and did not deliver it", wire.place);
            Finding::fail("canary", reason)
        })
    }
}

async fn pong(wire: &mut Wire) -> Result<(), Finding> {
    loop {
        let line = wire.line().await?;
        match line.split(' ').next() {
            Some("PONG") => return Ok(()),
            Some("PING") => wire.send(b"PONG\r\n").await?,
            Some("-ERR") => return Err(refused(&wire.place, &line)),
            Some("INFO" | "+OK") => {}
            _ => return Err(wire.strange("this is not NATS")),
        }
    }
}

fn refused(place: &str, line: &str) -> Finding {
    let said: String = line.trim_start_matches("-ERR").trim().chars().take(200).collect();
    Finding::error(Fault::Tool, "refused", format!("{place}: {said}"))
}
