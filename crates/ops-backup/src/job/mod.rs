//! The jobs: each plans, then applies, and knows the order in which a crash does no harm. Formats live elsewhere.

pub(crate) mod backup;
pub mod expire;
#[cfg(any())]
pub mod list;
pub mod restore;
#[cfg(any())]
pub(crate) mod verify;
