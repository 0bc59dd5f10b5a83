//! Telling people about a run that changed the state of its plan, as the settings say.
//!
//! The settings have types of their own, whose secrets the common code knows and masks.

use crate::args::NotifySettings;
use ops_gates::history::{History, PastRun};
use ops_gates::notify::{Channel, Email, Situation, Tls, Webhook, blocked_since, notify};
use ops_gates::{RunRecord, Span};
use ops_secrets::Secret;
use serde::Deserialize;
use std::path::PathBuf;

/// A way to tell somebody, as the settings have it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChannelSettings {
    name: String,
    slack: Option<Secret>,
    webhook: Option<WebhookSettings>,
    email: Option<EmailSettings>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookSettings {
    url: Secret,
    secret: Option<Secret>,
    timeout: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmailSettings {
    host: String,
    port: Option<u16>,
    tls: Option<Tls>,
    ca_file: Option<PathBuf>,
    from: String,
    to: Vec<String>,
    user: Option<String>,
    password: Option<Secret>,
}

impl ChannelSettings {
    fn channel(&self) -> Channel {
        let value = |secret: &Secret| secret.expose_secret().as_str().into();
        let webhook = self.webhook.as_ref().map(|it| Webhook {
            url: value(&it.url),
            secret: it.secret.as_ref().map(value),
            timeout: it.timeout,
        });
        let email = self.email.as_ref().map(|it| Email {
            host: it.host.clone(),
            port: it.port.unwrap_or(Email::SUBMISSION),
            tls: it.tls.unwrap_or_default(),
            ca_file: it.ca_file.clone(),
            from: it.from.clone(),
            to: it.to.clone(),
            user: it.user.clone(),
            password: it.password.as_ref().map(value),
        });
        Channel { name: self.name.clone(), slack: self.slack.as_ref().map(value), webhook, email }
    }
}

/// Tells whom the rules name. What is not delivered is told, and changes no verdict.
pub(crate) async fn tell(settings: &NotifySettings, runs: PathBuf, record: &RunRecord) {
    if settings.rules.is_empty() {
        return;
    }
    let history = match History::read(&[runs]) {
        Ok(history) => history,
        Err(error) => {
            // Without a history every blocked run is a change: told once too often rather than never.
            tracing::warn!("no history to compare with: {error}");
            History::default()
        }
    };
    let earlier: Vec<&PastRun> = history
        .of_plan(&record.plan.name)
        .filter(|run| run.record.run_id != record.run_id && run.has_ended())
        .filter(|run| run.record.started_at <= record.started_at)
        .collect();
    let situation = Situation {
        now: record,
        before: earlier.last().map(|run| &run.record),
        blocked_since: blocked_since(&earlier, record),
    };
    let channels: Vec<Channel> = settings.channels.iter().map(ChannelSettings::channel).collect();
    for failed in notify(&channels, &settings.rules, situation).await {
        tracing::warn!(channel = failed.channel, "{failed}");
    }
}
