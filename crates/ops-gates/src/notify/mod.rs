//! Telling people and systems when a plan changed its state, and only then.
//!
//! Order of steps: the state of a run is compared with that of the run before ([`change`]); rules choose who is told
//! ([`Rule::applies`]); each channel is tried a few times ([`deliver`]). A notification that cannot be delivered is told to the
//! caller, and changes no verdict: a release does not depend on a chat server, in either direction.
//!
//! Where messages go is for the settings of whoever runs the gates. It never stands in a plan, because a pull request
//! that can edit the plan must not be able to send its results elsewhere.

mod message;
mod smtp;
mod web;

pub use message::Message;
pub use smtp::{Email, Tls};
pub use web::Webhook;

use crate::history::PastRun;
use crate::record::RunRecord;
use crate::value::Span;
use crate::verdict::Verdict;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// How a plan's state changed with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It passed before, or never ran, and is blocked now.
    Blocked,
    /// It is blocked as before, but by other gates.
    OtherGates,
    /// It was blocked, and passes now.
    Passed,
    /// It has been blocked for a time that a rule names, and was not in the run before.
    StillBlocked,
}

/// The change that a run is, given the run of the same plan before it; none where all is as it was.
///
/// A first run that passes is no change.
pub fn change(before: Option<&RunRecord>, now: &RunRecord) -> Option<Change> {
    let was_blocked = before.is_some_and(|before| before.verdict == Verdict::Blocked);
    match (now.verdict, was_blocked) {
        (Verdict::Passed, true) => Some(Change::Passed),
        (Verdict::Passed, false) => None,
        (Verdict::Blocked, false) => Some(Change::Blocked),
        (Verdict::Blocked, true) => {
            let gates = |record: &RunRecord| record.blocked_by.iter().cloned().collect::<BTreeSet<_>>();
            before.filter(|before| gates(before) != gates(now)).map(|_| Change::OtherGates)
        }
    }
}

/// Since when the plan is blocked without a pass between, as the runs before (oldest first) and this one tell.
pub fn blocked_since(earlier: &[&PastRun], now: &RunRecord) -> Option<Timestamp> {
    if now.verdict == Verdict::Passed {
        return None;
    }
    let streak = earlier.iter().rev().take_while(|run| run.record.verdict == Verdict::Blocked);
    Some(streak.last().map_or(now.started_at, |run| run.record.started_at))
}

/// Who is told of what.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The names of the channels.
    pub to: Vec<String>,
    /// The changes that it is for; all but `still_blocked` where it is absent.
    #[serde(default)]
    pub on: Vec<Change>,
    /// Only where one of these gates blocks, or did before; a `*` at the end stands for any rest. Empty is any gate.
    #[serde(default)]
    pub gates: Vec<String>,
    /// Only for these plans. Empty is any plan.
    #[serde(default)]
    pub plans: Vec<String>,
    /// Escalates: told once, when the plan has been blocked for so long.
    #[serde(default)]
    pub blocked_for: Option<Span>,
}

/// What rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The run that has just ended.
    pub now: &'a RunRecord,
    /// The run of the same plan before it.
    pub before: Option<&'a RunRecord>,
    /// Since when the plan is blocked.
    pub blocked_since: Option<Timestamp>,
}

impl Rule {
    /// The change that this rule tells of in a situation; none where it has nothing to tell.
    pub fn applies(&self, situation: Situation<'_>) -> Option<Change> {
        let named = |list: &[String], name: &str| list.is_empty() || list.iter().any(|it| matches(it, name));
        if !named(&self.plans, &situation.now.plan.name) {
            return None;
        }
        let before = situation.before.map(|before| before.blocked_by.as_slice()).unwrap_or_default();
        let mut gates = situation.now.blocked_by.iter().chain(before);
        if !self.gates.is_empty() && !gates.any(|gate| named(&self.gates, gate)) {
            return None;
        }
        match self.blocked_for {
            Some(limit) => crossed(limit.get(), situation).then_some(Change::StillBlocked),
            None => change(situation.before, situation.now)
                .filter(|change| self.on.is_empty() || self.on.contains(change)),
        }
    }
}

/// Whether the limit was reached with this run, and not with the one before.
fn crossed(limit: Duration, situation: Situation<'_>) -> bool {
    let Some(since) = situation.blocked_since else { return false };
    let limit = jiff::SignedDuration::try_from(limit).unwrap_or(jiff::SignedDuration::MAX);
    let reached =
        |record: &RunRecord| record.finished_at.unwrap_or(record.started_at).duration_since(since) >= limit;
    reached(situation.now)
        && !situation.before.is_some_and(|before| before.verdict == Verdict::Blocked && reached(before))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

/// A way to tell somebody. Exactly one of its tables is given.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// What rules call it.
    pub name: String,
    /// The address of a webhook that takes Slack's messages; it is itself a secret.
    #[serde(default)]
    pub slack: Option<SecretString>,
    /// A webhook that takes our own JSON.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// A mail server and whom to write to.
    #[serde(default)]
    pub email: Option<Email>,
}

/// Why a notification was not delivered. It names the channel, and never its address, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotDelivered {
    /// The channel.
    pub channel: String,
    /// What went wrong, in one sentence.
    pub reason: String,
    /// Whether another attempt may help.
    pub temporary: bool,
}

impl fmt::Display for NotDelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "notification by `{}` was not delivered: {}", self.channel, self.reason)
    }
}

impl std::error::Error for NotDelivered {}

/// How often a delivery is tried where trying again may help.
const ATTEMPTS: u32 = 3;
/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends a message by a channel.
///
/// # Errors
/// What went wrong in the last attempt. A refusal that would be the same again is not repeated.
pub async fn deliver(channel: &Channel, message: &Message) -> Result<(), NotDelivered> {
    let mut pause = Duration::from_millis(500);
    for attempt in 1.. {
        let sent = tokio::time::timeout(PATIENCE, send(channel, message)).await;
        let (reason, temporary) = match sent {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(failed)) => failed,
            Err(_) => (format!("no answer within {} s", PATIENCE.as_secs()), true),
        };
        if !temporary || attempt == ATTEMPTS {
            return Err(NotDelivered { channel: channel.name.clone(), reason, temporary });
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    unreachable!("the loop ends with its last attempt")
}

/// What went wrong, and whether another attempt may help.
type Failed = (String, bool);

async fn send(channel: &Channel, message: &Message) -> Result<(), Failed> {
    match (&channel.slack, &channel.webhook, &channel.email) {
        (Some(url), None, None) => web::slack(url, message).await,
        (None, Some(webhook), None) => web::webhook(webhook, message).await,
        (None, None, Some(email)) => smtp::send(email, message).await,
        _ => Err(("it needs exactly one of `slack`, `webhook` and `email`".to_owned(), false)),
    }
}

/// Tells everybody whom the rules name, each channel once, and returns what was not delivered.
pub async fn notify(channels: &[Channel], rules: &[Rule], situation: Situation<'_>) -> Vec<NotDelivered> {
    let mut told = BTreeSet::new();
    let mut failed = Vec::new();
    for rule in rules {
        let Some(change) = rule.applies(situation) else { continue };
        let message = Message::new(change, situation);
        for name in &rule.to {
            if !told.insert(name) {
                continue;
            }
            let unknown = || NotDelivered {
                channel: name.clone(),
                reason: "no channel has this name".to_owned(),
                temporary: false,
            };
            match channels.iter().find(|channel| channel.name == *name) {
                Some(channel) => failed.extend(deliver(channel, &message).await.err()),
                None => failed.push(unknown()),
            }
        }
    }
    failed
}
