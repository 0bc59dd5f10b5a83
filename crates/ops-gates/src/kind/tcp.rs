//! `kind = "tcp"`: connects to a port, and looks at what the service says there.

use super::net::{Place, connect, wrong_place};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::process::Finder;
use crate::value::Text;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A port behind which a service must speak.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// Host and port, such as `mail.internal:25` or `[::1]:25`.
    pub address: Text,
    /// A text to send first; `\r\n` is written as such in TOML.
    pub send: Option<Text>,
    /// A text that the service must say, within its first 64 KiB.
    pub expect: Option<Text>,
    /// Accepts a port that only lets us in. Says nothing about the service behind it, so it has to be asked for.
    #[serde(default)]
    pub connect_only: bool,
    /// Whether every address of the name must do so, IPv4 and IPv6; by default the first that lets us in.
    #[serde(default)]
    pub every_address: bool,
}

/// How much of what a service says is looked at.
const LIMIT: usize = 64 * 1024;

impl Gate for Tcp {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = wrong_place(&self.address).into_iter().collect();
        match (&self.expect, self.connect_only) {
            (None, false) => wrong.push(Wrong::gate(
                "an open port proves little; give `expect`, or write `connect_only = true`",
            )),
            (Some(_), true) => wrong.push(Wrong::gate("`connect_only` and `expect` exclude each other")),
            (Some(text), false) if text.template().is_empty() => {
                wrong.push(Wrong::text(text, "an empty text is in every answer, so it would prove nothing"));
            }
            _ => {}
        }
        if self.connect_only && self.send.is_some() {
            wrong.push(Wrong::gate("`send` proves nothing without `expect`"));
        }
        wrong
    }

    fn summary(&self) -> String {
        match &self.expect {
            Some(text) => format!("{} says {text:?}", self.address),
            None => format!("connects to {}", self.address),
        }
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Tcp {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let place = Place::of(context, &self.address)?;
        let addresses = place.addresses().await?;
        let count = addresses.len();
        let (mut slowest, mut looked, mut last) = (0.0_f64, 0_u32, None);
        for address in addresses {
            match self.look_at(context, address).await {
                Ok(seconds) => {
                    slowest = slowest.max(seconds);
                    looked += 1;
                    if !self.every_address {
                        break;
                    }
                }
                Err(finding) if self.every_address => return Err(finding),
                // Only what cannot be reached makes way for the next address.
                Err(finding) if finding.code == "connect" => last = Some(finding),
                Err(finding) => return Err(finding),
            }
        }
        if let (0, Some(finding)) = (looked, last) {
            return Err(finding);
        }
        let found = Finding::pass(format!(
            "{} {} at {looked} of {count} addresses",
            self.address,
            if self.expect.is_some() { "answered as expected" } else { "let us in" }
        ))
        .measured("connect_seconds", slowest)
        .measured("addresses", f64::from(looked));
        Ok(found)
    }

    /// One address; returns how long connecting took.
    async fn look_at(&self, context: &Context<'_>, address: SocketAddr) -> Result<f64, Finding> {
        let started = Instant::now();
        let mut stream = connect(address).await?;
        let seconds = started.elapsed().as_secs_f64();
        let lost = |error: std::io::Error| {
            Finding::error(Fault::Connect, "connection-lost", format!("{address}: {error}"))
        };
        if let Some(text) = &self.send {
            stream.write_all(context.resolve(text)?.as_bytes()).await.map_err(lost)?;
        }
        let Some(expect) = &self.expect else { return Ok(seconds) };
        let mut finder = Finder::new(&context.resolve(expect)?);
        let (mut chunk, mut read) = (vec![0; 4096], 0);
        while !finder.found() && read < LIMIT {
            match stream.read(&mut chunk).await.map_err(lost)? {
                0 => break,
                count => {
                    finder.feed(&chunk[..count]);
                    read += count;
                }
            }
        }
        match (finder.found(), read) {
            (true, _) => Ok(seconds),
            (false, 0) => {
                let reason = format!("{address} closed the connection without a word");
                Err(Finding::error(Fault::NotReady, "silent", reason))
            }
            (false, _) => Err(Finding::fail("answer", format!("{address} did not say {expect:?}"))),
        }
    }
}
