//! Guarded PostgreSQL client, and signed evidence.

pub mod connection;
mod digest;
mod error;
pub mod evidence;
#[cfg(feature = "guard")]
pub mod guard;
#[cfg(feature = "guard")]
pub mod postgres;

pub use error::{Error, ErrorKind, ServerError};
