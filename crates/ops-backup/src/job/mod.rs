//! The jobs: each plans, then applies, and knows the order in which a crash does no harm. Formats live elsewhere.

#[cfg(any())]
pub(crate) mod backup;
pub mod expire;
#[cfg(any())]
pub mod list;
#[cfg(any())]
pub mod restore;
#[cfg(any())]
pub(crate) mod verify;
