//! ops-core.
