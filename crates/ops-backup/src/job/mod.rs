//! The jobs: each plans, then applies, and knows the order in which a crash does no harm. Formats live elsewhere.

pub mod audit;
pub(crate) mod backup;
pub mod expire;
pub mod list;
pub(crate) mod reach;
pub mod restore;
pub(crate) mod verify;
