//! The integration tests of ops-core, in one binary.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[cfg(feature = "guard")]
mod approval;
#[cfg(feature = "guard")]
mod audit;
#[cfg(feature = "guard")]
mod catalog;
#[cfg(feature = "guard")]
mod client;
#[cfg(feature = "guard")]
mod differential;
#[cfg(feature = "guard")]
mod doctor;
mod evidence;
#[cfg(feature = "guard")]
mod fuzz;
#[cfg(feature = "guard")]
mod live;
#[cfg(feature = "guard")]
mod observed;
#[cfg(feature = "guard")]
mod payloads;
#[cfg(feature = "guard")]
mod policy;
#[cfg(feature = "guard")]
mod robustness;
#[cfg(feature = "guard")]
mod statements;
#[cfg(feature = "guard")]
mod undo;
