//! A trace in the environment of a child process: `TRACEPARENT`, `TRACESTATE` and `BAGGAGE`, as OpenTelemetry's
//! specification of environment variables as context propagation carriers names them.
//!
//! They are read once, at the start, by their exact names ([`Options::from_env`](crate::Options::from_env)); the own
//! environment is never changed. Values that are too long lose whole members from the end, as in headers.

use std::process::Command;

use super::{BaggagePolicy, Outgoing};

/// The variables that carry a trace.
pub const VARIABLES: [&str; 3] = ["TRACEPARENT", "TRACESTATE", "BAGGAGE"];

/// Returns the environment variables that make a child process continue this trace: `TRACEPARENT` for the current
/// span, and `TRACESTATE` and `BAGGAGE` where there are any: a child is as trusted as we are. Empty where no
/// [`TelemetryLayer`](crate::TelemetryLayer) is installed.
///
/// ```
/// let mut command = std::process::Command::new("true");
/// command.envs(ops_telemetry::child_env());
/// ```
pub fn child_env() -> Vec<(&'static str, String)> {
    let Some(outgoing) = Outgoing::current(&BaggagePolicy::Everything) else { return Vec::new() };
    let values =
        [Some(outgoing.context.to_traceparent()), outgoing.state.to_header(), outgoing.baggage.to_header()];
    VARIABLES.into_iter().zip(values).filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Lets a command take part in the trace, or keeps it out. For an asynchronous command: `command.as_std_mut()`.
pub trait CommandExt {
    /// Makes the child continue the trace at the current span. What this process inherited itself is not passed on.
    fn trace(&mut self) -> &mut Self;

    /// Keeps all three variables from the child: for a program that is not trusted with ids and baggage.
    fn untraced(&mut self) -> &mut Self;
}

impl CommandExt for Command {
    fn trace(&mut self) -> &mut Self {
        self.untraced().envs(child_env())
    }

    fn untraced(&mut self) -> &mut Self {
        for name in VARIABLES {
            self.env_remove(name);
        }
        self
    }
}
