//! ops-telemetry.
