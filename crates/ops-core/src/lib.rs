//! The guarded PostgreSQL client, and signed evidence.
//!
//! A statement that destroys data by accident should never reach the server, and a claim that something was done
//! should be provable later. This crate has what both need:
//!
//! - `guard`: tells from a statement's text what it does, with PostgreSQL's own grammar, and whether a `guard::Policy`
//!   allows it. Pure; no connection.
//! - `postgres`: `postgres::GuardedClient`, its transactions and its pool: `tokio_postgres` behind a policy.
//! - `doctor`: `doctor::examine`: what a role and its database allow that the guard cannot stop, with the SQL that ends it.
//! - `undo`: `undo::load`, what `guard::undo` must know to keep doomed rows; `blast`: how far a statement would reach.
//! - `approval`: `approval::Approval`, a signed permission of somebody else's to run what a policy refuses.
//! - `audit`: `audit::AuditLog`, an append-only, hash-chained file of what was refused, approved and run.
//! - [`evidence`]: [`evidence::Record`], signed with ed25519 in a DSSE envelope, chained, verified offline.
//! - [`connection`]: [`connection::ConnectionSettings`], from a URL or `key=value` pairs, with TLS through rustls.
//!
//! ```
//! # #[cfg(feature = "guard")] {
//! use ops_core::guard::Policy;
//!
//! let verdict = Policy::app().judge("SELECT 1; DELETE FROM ledger");
//! let denied = verdict.denied().next().expect("the second statement has no condition");
//! assert_eq!((denied.rule.as_deref(), denied.line), (Some("delete-all"), 1));
//! assert_eq!(denied.reason.as_deref(), Some("would delete every row of ledger: it has no condition"));
//! # }
//! ```
//!
//! # Features
//!
//! `guard` (default) brings the modules `guard` and `postgres`. It compiles PostgreSQL's parser, and so needs a C compiler and
//! libclang. It also switches off the recursion limit of `prost` 0.13 for the whole build, since that limit refuses
//! ordinary statements of 48 joins; the guard bounds the depth itself.
//!
//! # What the guard is, and is not
//!
//! It protects against honest mistakes, and against a confused program that tries again. It judges the text: code that
//! the text does not show (a view, a trigger, a cascade, a user's operator, a function in attribute notation) runs unseen.
//! Against somebody who writes hostile SQL only a role with few privileges helps; the guard does not replace it.

#[cfg(feature = "guard")]
pub mod approval;
#[cfg(feature = "guard")]
pub mod audit;
#[cfg(feature = "guard")]
pub mod blast;
pub mod connection;
mod digest;
#[cfg(feature = "guard")]
pub mod doctor;
mod error;
pub mod evidence;
#[cfg(feature = "guard")]
pub mod guard;
#[cfg(feature = "guard")]
pub mod postgres;
#[cfg(feature = "guard")]
mod trusted;
#[cfg(feature = "guard")]
pub mod undo;

pub use error::{Error, ErrorKind, ServerError};
