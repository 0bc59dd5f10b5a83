//! Logs with a trace id on every line, in this process and in a child that inherits it.
//!
//! `cargo run -p ops-examples --bin example-telemetry`

use std::time::Duration;

use anyhow::Context as _;
use ops_telemetry::TraceContext;

fn main() -> anyhow::Result<()> {
    let telemetry = ops_telemetry::init!()?;
    tracing::info!("outside any span, and still with a trace id");

    let order = tracing::info_span!("order", order.id = 42).entered();
    tracing::info!(items = 3, "the fields of the span are on the line too");

    // A child continues the trace: it is told through its environment.
    let mut child = std::process::Command::new("sh");
    child.args(["-c", "echo $TRACEPARENT"]).envs(ops_telemetry::child_env());
    let said = String::from_utf8(child.output()?.stdout)?;
    let here = TraceContext::current().context("telemetry is installed")?;
    anyhow::ensure!(said.contains(&here.trace_id.to_string()), "the child is in another trace: {said}");
    drop(order);

    tracing::info!("done");
    // What still waits is written, and what was lost is said.
    let report = telemetry.shutdown(Duration::from_secs(3));
    anyhow::ensure!(report.is_complete && report.lines_lost.total() == 0, "lines are missing: {report:?}");
    Ok(())
}
