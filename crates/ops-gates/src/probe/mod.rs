//! One file a kind: looks at the world, and says what it found. A probe never writes to what it looks at.

mod command;
mod evidence;
mod http;
mod postgres;

use crate::outcome::Finding;
use crate::plan::{Gate, Kind, Plan, Text};
use crate::process::{Excerpt, Masker};
use jiff::Timestamp;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a probe works with.
pub(crate) struct Context<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) gate: &'a Gate,
    /// What every child process gets, such as `TRACEPARENT`.
    pub(crate) environment: &'a [(String, String)],
    /// The time by which the age of evidence is measured.
    pub(crate) now: Timestamp,
    /// Where a program's output goes.
    pub(crate) log: &'a Path,
    pub(crate) masker: Option<&'a Masker>,
    /// Tells the processes of this attempt from all others.
    pub(crate) marker: String,
    pub(crate) grace: Duration,
    pub(crate) cancel: &'a CancellationToken,
}

impl Context<'_> {
    fn resolve(&self, text: &Text) -> String {
        text.resolve(self.plan.variables())
    }

    /// The trace context that children get, for probes that pass it on in their own protocol.
    fn traceparent(&self) -> Option<&str> {
        self.environment.iter().find(|(name, _)| name == "TRACEPARENT").map(|(_, value)| value.as_str())
    }

    /// The trace id within [`Context::traceparent`].
    fn trace_id(&self) -> Option<&str> {
        self.traceparent()?.split('-').nth(1)
    }
}

/// Runs the gate's probe within the gate's time.
pub(crate) async fn run(context: &Context<'_>) -> (Finding, Option<Excerpt>) {
    let probe = async {
        match &context.gate.kind {
            Kind::Command(_) => unreachable!("a command keeps its own time"),
            Kind::Http(http) => http::run(http, context).await,
            Kind::Postgres(postgres) => postgres::run(postgres, context).await,
            Kind::Evidence(evidence) => evidence::run(evidence, context).await,
        }
    };
    if let Kind::Command(command) = &context.gate.kind {
        // Its processes must be gone before it is over, so that it cannot just be dropped.
        return command::run(command, context).await;
    }
    let finding = tokio::select! {
        finding = probe => finding,
        () = tokio::time::sleep(context.gate.timeout.get()) => Finding::timeout(context.gate.timeout),
        () = context.cancel.cancelled() => Finding::cancelled(),
    };
    (finding, None)
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let part = cause.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        source = cause.source();
    }
    text.replace('\n', "; ")
}
