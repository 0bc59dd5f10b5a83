//! Signed evidence and PostgreSQL connection settings.

pub mod connection;
mod error;
pub mod evidence;

pub use error::{Error, ErrorKind, ServerError};
