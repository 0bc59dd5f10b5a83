//! ops-secrets.
