//! The guarded client: `tokio_postgres` behind a policy. Only a break-glass approval leads to the raw client.
//!
//! Each statement is judged before it is sent; a refused one never reaches the server, and the error carries the
//! verdict. A write runs in a block and is observed before it lasts; one that did more than it may is rolled back, and the
//! error carries what was seen. `docs/guard.md` of the project tells the whole course.
//!
//! ```no_run
//! use ops_core::connection::ConnectionSettings;
//! use ops_core::guard::Policy;
//! use ops_core::postgres::GuardedClient;
//! use ops_core::ErrorKind;
//!
//! # async fn example() -> Result<(), ops_core::Error> {
//! let settings = ConnectionSettings::parse("postgresql://app@127.0.0.1/shop")?.with_application("shop", None);
//! let mut client = GuardedClient::connect(&settings, Policy::app()).await?;
//! let row = client.query_one("SELECT sum(amount) FROM ledger WHERE account = $1", &[&7_i32]).await?;
//!
//! let refused = client.execute("DELETE FROM ledger", &[]).await.unwrap_err();
//! assert_eq!(refused.kind(), ErrorKind::Denied);
//!
//! let transaction = client.transaction().await?;
//! transaction.execute("UPDATE ledger SET amount = $1 WHERE id = $2", &[&5_i32, &1_i32]).await?;
//! transaction.commit().await?;
//! # let _ = row;
//! # Ok(())
//! # }
//! ```

mod admission;
mod audit_table;
mod autocommit;
mod block;
mod budget;
mod catalog;
mod client;
mod copy;
mod driver;
#[cfg(doctest)]
mod escape_hatches;
pub(crate) mod failure;
mod generic;
mod observe;
mod pool;
mod preview;
mod run;
mod session;
mod shapes;
mod statement;
mod text;
mod transaction;
mod undo;
mod warrant;

pub use audit_table::AuditTable;
pub use catalog::load_catalog;
pub use client::{CancelToken, GuardedClient};
pub use copy::{GuardedCopyIn, GuardedCopyOut};
pub use driver::{Heard, Notifications};
pub use generic::GenericClient;
pub use pool::{Manager, Pool};
pub use preview::Preview;
pub use session::SessionLimits;
pub use shapes::load_shapes;
pub use statement::{GuardedStatement, ToStatement};
pub use text::TextAnswer;
pub use transaction::GuardedTransaction;
pub use undo::Undo;
pub use warrant::Oversight;
