//! The integration tests of ops-core, in one binary.

mod evidence;
#[cfg(feature = "guard")]
mod live;
#[cfg(feature = "guard")]
mod robustness;
#[cfg(feature = "guard")]
mod statements;
