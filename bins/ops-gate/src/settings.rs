//! The settings of `ops-gate`. Their types are its own, so that the common code knows and masks every secret among them.

use ops_cli::{LogSettings, SourceSettings};
use ops_gates::Span;
use ops_gates::history::LineSource;
use ops_gates::notify::{Channel, Email, Rule, Tls, Webhook};
use ops_secrets::Secret;
use serde::Deserialize;
use std::path::PathBuf;

/// The defaults of every setting.
pub(crate) const DEFAULTS: &str = r#"
[gate]
# How many gates run at once; 0 is one for each processor.
jobs = 0
# How long the processes of a gate have between SIGTERM and SIGKILL, in seconds.
grace_seconds = 2
# Whether programs run in a control group of their own, where the system allows it.
cgroup = true
# The folder in which each run gets a directory of its own.
runs = "ops-gate-runs"
# The private key that signs the evidence of a run; empty leaves it unsigned.
signing_key = ""
# A policy that counts whatever the plan names; empty for none.
policy = ""
# The digest that the policy must have; empty takes any.
policy_sha256 = ""

[gate.notify]
# The ways to tell somebody of a change of state: docs/gates/after-a-run.md has them.
channels = []
# Who is told of what.
rules = []

[gate.report]
# The lines of the health report, and the gates that know.
lines = []
"#;

/// Everything that `ops-gate` can be told.
#[derive(Debug, Deserialize)]
pub(crate) struct Settings {
    /// The table `[gate]`.
    pub(crate) gate: GateSettings,
    /// The table `[log]`; read by the common code.
    #[expect(dead_code, reason = "declared so that its keys are known; the common code reads it")]
    pub(crate) log: LogSettings,
    /// The table `[secrets]`, as far as all binaries share it; read by the common code.
    #[expect(dead_code, reason = "declared so that its keys are known; the common code reads it")]
    pub(crate) secrets: SourceSettings,
}

/// The table `[gate]`.
#[derive(Debug, Deserialize)]
pub(crate) struct GateSettings {
    pub(crate) jobs: usize,
    pub(crate) grace_seconds: u64,
    pub(crate) cgroup: bool,
    pub(crate) runs: PathBuf,
    pub(crate) signing_key: PathBuf,
    pub(crate) policy: PathBuf,
    pub(crate) policy_sha256: String,
    /// Who is told of a change of state.
    pub(crate) notify: NotifySettings,
    /// What the health report tells.
    pub(crate) report: ReportSettings,
}

/// The table `[gate.notify]`. It stands here and not in plans, so that a pull request cannot change who is told.
#[derive(Debug, Deserialize)]
pub(crate) struct NotifySettings {
    pub(crate) channels: Vec<ChannelSettings>,
    pub(crate) rules: Vec<Rule>,
}

/// The table `[gate.report]`.
#[derive(Debug, Deserialize)]
pub(crate) struct ReportSettings {
    pub(crate) lines: Vec<LineSource>,
}

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
    pub(crate) fn channel(&self) -> Channel {
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
