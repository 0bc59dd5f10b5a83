//! ops-gates.
