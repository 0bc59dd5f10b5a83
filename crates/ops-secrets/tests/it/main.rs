//! ops-secrets from outside: layers, reports, and the search for leaks.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows test functions, but not the helpers of an integration test"
)]

#[cfg(feature = "aws")]
mod aws;
mod canary;
mod layers;
mod leaks;
mod masking;
mod references;
mod report;
#[cfg(feature = "rotate")]
mod rotate;
#[cfg(feature = "scan")]
mod scan;
mod sources;
mod support;
#[cfg(feature = "vault")]
mod vault;
