//! ops-testkit.
