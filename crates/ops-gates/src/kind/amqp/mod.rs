//! `kind = "amqp"`: logs in to RabbitMQ or another server of AMQP 0-9-1, looks at queues, and sees a message come back.

mod frame;

use super::net::{Schemes, Target, Wire, wrong_url};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Text, Threshold};
use frame::{Arguments, Event, Link};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;

/// A message broker of AMQP 0-9-1 that must let us in and deliver.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Amqp {
    /// The address, `amqp://[user@]host[:port][/vhost]`, or `amqps://` with TLS. Without a path the virtual host is `/`.
    pub url: Text,
    /// The password, as `${secret:NAME}` or `${env:NAME}`.
    pub password: Option<Text>,
    /// Queues that must be there, each with its limits. They are looked at, never made.
    #[serde(default)]
    pub queues: BTreeMap<String, QueueLimits>,
    /// Whether to publish one message to a queue of our own, exclusive and removed with the session, and to get it back.
    #[serde(default)]
    pub write_canary: bool,
    /// A PEM file with the only certificate authorities to trust, instead of the system's.
    pub ca_file: Option<Text>,
}

/// What a queue may be like.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueLimits {
    /// How many messages may be ready in it.
    pub max_messages: Option<Threshold>,
    /// How many consumers it must have.
    pub min_consumers: Option<u32>,
}

const SCHEMES: &Schemes = &[("amqp", false, 5672), ("amqps", true, 5671)];

impl Gate for Amqp {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong = wrong_url(&self.url, self.password.as_ref(), SCHEMES);
        if self.queues.is_empty() && !self.write_canary {
            wrong.push(Wrong::gate(
                "a broker that lets us in may deliver nothing; give `queues` or `write_canary = true`",
            ));
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("AMQP at {}", self.url)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Amqp {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let target = Target::of(context, &self.url, self.password.as_ref(), SCHEMES)?;
        let wire = Wire::open(context, &target, self.ca_file.as_ref()).await?;
        let user = target.user.as_deref().unwrap_or("guest");
        let password = target.password.as_deref().unwrap_or(if user == "guest" { "guest" } else { "" });
        let vhost = if target.path.is_empty() { "/" } else { &target.path };
        let mut link = Link::open(wire, user, password, vhost).await?;
        let mut finding = Finding::pass(format!("{} let us in", link.place()));
        for (name, limits) in &self.queues {
            let (messages, consumers) = queue(&mut link, name).await?;
            limits.judge(name, messages, consumers)?;
            finding = finding
                .measured(format!("{name}_messages"), f64::from(messages))
                .measured(format!("{name}_consumers"), f64::from(consumers));
        }
        if !self.queues.is_empty() {
            finding.reason.push_str(&format!(", {} queues are as expected", self.queues.len()));
        }
        if self.write_canary {
            let started = Instant::now();
            canary(&mut link).await?;
            finding.reason.push_str(", a message came back");
            finding = finding.measured("round_trip_seconds", started.elapsed().as_secs_f64());
        }
        // Closed properly, or the broker's log would tell of a client that went away.
        link.close().await;
        Ok(finding)
    }
}

impl QueueLimits {
    fn judge(&self, name: &str, messages: u32, consumers: u32) -> Result<(), Finding> {
        if let Some(least) = self.min_consumers.filter(|least| consumers < *least) {
            let reason = format!("queue `{name}` has {consumers} consumers, expected at least {least}");
            return Err(Finding::fail("consumers", reason));
        }
        let over = self.max_messages.as_ref().filter(|most| f64::from(messages) > most.get());
        let Some(most) = over else { return Ok(()) };
        let reason = format!("queue `{name}` has {messages} messages, more than {}", most.get());
        Err(Finding::fail("messages", reason)
            .measured(format!("{name}_messages"), f64::from(messages))
            .judged_by(format!("{name}_messages <= {most}")))
    }
}

/// Messages and consumers of a queue, which is declared passively: it is not made.
async fn queue(link: &mut Link, name: &str) -> Result<(u32, u32), Finding> {
    let declare = Arguments::new().short(0).text(name).bits(1).table(&[]);
    match link.call((50, 10), declare).await? {
        Event::Method((50, 11), mut answer) => {
            answer.read_text();
            match (answer.long(), answer.long()) {
                (Some(messages), Some(consumers)) => Ok((messages, consumers)),
                _ => Err(link.strange()),
            }
        }
        Event::Closed(404, _) => Err(Finding::fail("queue-missing", format!("there is no queue `{name}`"))),
        event => Err(link.refused(event)),
    }
}

async fn canary(link: &mut Link) -> Result<(), Finding> {
    // A name of the broker's choice; exclusive, and deleted with its last user.
    let declare = Arguments::new().short(0).text("").bits(4 | 8).table(&[]);
    let name = match link.call((50, 10), declare).await? {
        Event::Method((50, 11), mut answer) => answer.read_text().ok_or_else(|| link.strange())?,
        event => return Err(link.refused(event)),
    };
    match link.call((85, 10), Arguments::new().bits(0)).await? {
        Event::Method((85, 11), _) => {}
        event => return Err(link.refused(event)),
    }
    let token = format!("{:032x}", rand::random::<u128>());
    link.publish(&name, token.as_bytes()).await?;
    match link.next().await? {
        Event::Method((60, 80), _) => {}
        Event::Method((60, 50 | 120), _) => {
            let reason = format!("{} did not take a message", link.place());
            return Err(Finding::fail("canary", reason));
        }
        event => return Err(link.refused(event)),
    }
    match link.call((60, 70), Arguments::new().short(0).text(&name).bits(1)).await? {
        Event::Method((60, 71), _) => {}
        Event::Method((60, 72), _) => {
            let reason = format!("{} took a message, and does not have it", link.place());
            return Err(Finding::fail("canary", reason));
        }
        event => return Err(link.refused(event)),
    }
    if link.content().await? == token.as_bytes() {
        return Ok(());
    }
    let reason = format!("{} gave back another message than it was given", link.place());
    Err(Finding::fail("canary", reason))
}

/// What a broker's refusal means (AMQP 0-9-1, "Constants").
fn refusal(place: &str, code: u16, text: &str) -> Finding {
    let text: String = text.chars().take(200).collect();
    let reason = format!("{place}: {text} ({code})");
    match code {
        403 | 530 => Finding::error(Fault::Tool, "refused", reason),
        320 => Finding::error(Fault::NotReady, "not-ready", reason),
        _ => Finding::error(Fault::Tool, "command", reason),
    }
}
