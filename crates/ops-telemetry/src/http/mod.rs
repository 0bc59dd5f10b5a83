//! HTTP, as layers of `tower`: a span for each exchange, the trace in and out, metrics, and errors that say which trace
//! they belong to. Feature `http`.
//!
//! [`ServerLayer`] goes around a service that answers requests, [`ClientLayer`] around one that sends them. Neither knows
//! a server, a client or a router: any that speak `http` and `tower` will do; `examples/http` of the workspace shows axum and
//! reqwest.
//!
//! An exchange ends with the last byte of the response's body, or when somebody drops it before: only then are its
//! duration known, its line written and its span closed. Paths and queries may hold secrets and are without number: the
//! query is recorded nowhere, the path in the span alone, and metrics know the route's template.

mod body;
mod client;
mod exchange;
mod problem;
mod server;

pub use body::Body;
pub use client::{Client, ClientFuture, ClientLayer};
pub use problem::Problem;
pub use server::{ResponseHeaders, Server, ServerFuture, ServerLayer};

use crate::propagate::{BaggagePolicy, Outgoing};

/// Writes the current trace into the headers of a request, for a client that has no layer. What they had of it is
/// replaced; without a [`TelemetryLayer`](crate::TelemetryLayer) they stay as they are.
pub fn inject(headers: &mut http::HeaderMap, policy: &BaggagePolicy) {
    if let Some(outgoing) = Outgoing::current(policy) {
        outgoing.inject(headers);
    }
}
