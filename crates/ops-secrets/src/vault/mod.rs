//! A small client for Vault and OpenBao: read, write and list entries, log in and stay so, and lease credentials.
//!
//! | job | what is there |
//! |---|---|
//! | entries | KV version 1 and 2, which one a mount is is asked of the server; versions, deleted and destroyed told apart |
//! | log in | token, AppRole, Kubernetes; again when the token is old or refused, and by one task at a time |
//! | leases | issue, renew, revoke; what counts is the time that the server grants, never that it answered 200 |
//!
//! No error holds a value, a token, or words of the server, which may quote them; it says which path and what to do.

mod auth;
mod client;
mod error;
mod fetch;
mod http;
mod keep;
mod kv;
mod lease;
mod options;
#[cfg(feature = "rotate")]
mod provider;
#[cfg(feature = "rotate")]
mod store;

pub use auth::{Auth, SecretId};
pub use client::Vault;
pub use error::{VaultError, VaultErrorKind};
pub use kv::{Entry, Expected, KvVersion, VersionState, Versions};
pub use lease::{Credentials, Lease};
pub use options::VaultOptions;
#[cfg(feature = "rotate")]
pub use provider::VaultProvider;
