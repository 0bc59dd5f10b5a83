//! The ways to the raw client that must not compile, each as a documentation test. Nothing else stands here.
//!
//! The program around them does compile, so that each fails for its own reason:
//!
//! ```
//! use ops_core::postgres::{GuardedClient, GuardedStatement, GuardedTransaction, Pool};
//! async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
//!     let _ = client.query("SELECT 1", &[]).await;
//! }
//! ```
//!
//! A guarded client does not dereference to the raw one.
//! ```compile_fail,E0614
//! use ops_core::postgres::{GuardedClient, GuardedStatement, GuardedTransaction, Pool};
//! async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
//!     let _ = **client;
//! }
//! ```
//!
//! The raw client is a private field.
//! ```compile_fail,E0616
//! use ops_core::postgres::{GuardedClient, GuardedStatement, GuardedTransaction, Pool};
//! async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
//!     let _ = &client.client;
//! }
//! ```
//!
//! So is the raw transaction.
//! ```compile_fail,E0616
//! use ops_core::postgres::{GuardedClient, GuardedStatement, GuardedTransaction, Pool};
//! async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
//!     let _ = &transaction.transaction;
//! }
//! ```
//!
//! There is no way to send a script.
//! ```compile_fail,E0599
//! use ops_core::postgres::{GuardedClient, GuardedStatement, GuardedTransaction, Pool};
//! async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
//!     let _ = client.batch_execute("DELETE FROM ledger").await;
//! }
//! ```
//!
//! There is no simple protocol.
//! ```compile_fail,E0599
//! use ops_core::postgres::{GuardedClient, GuardedStatement, GuardedTransaction, Pool};
//! async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
//!     let _ = client.simple_query("DELETE FROM ledger").await;
//! }
//! ```
//!
//! Nor inside a transaction.
//! ```compile_fail,E0599
//! use ops_core::postgres::{GuardedClient, GuardedStatement, GuardedTransaction, Pool};
//! async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
//!     let _ = transaction.batch_execute("DELETE FROM ledger").await;
//! }
//! ```
//!
//! A transaction does not give its client.
//! ```compile_fail,E0599
//! use ops_core::postgres::{GuardedClient, GuardedStatement, GuardedTransaction, Pool};
//! async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
//!     let _ = transaction.client();
//! }
//! ```
//!
//! A statement that nobody has judged cannot run.
//! ```compile_fail,E0277
//! use ops_core::postgres::{GuardedClient, GuardedStatement, GuardedTransaction, Pool};
//! async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
//!     async fn run(client: &GuardedClient, raw: &tokio_postgres::Statement) { let _ = client.execute(raw, &[]).await; }
//! }
//! ```
//!
//! The raw client's trait is not implemented.
//! ```compile_fail,E0277
//! use ops_core::postgres::{GuardedClient, GuardedStatement, GuardedTransaction, Pool};
//! async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
//!     fn raw(_: &impl tokio_postgres::GenericClient) {} raw(&*client);
//! }
//! ```
//!
//! Nobody else can say what a statement is.
//! ```compile_fail,E0603
//! use ops_core::postgres::{GuardedClient, GuardedStatement, GuardedTransaction, Pool};
//! async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
//!     use ops_core::postgres::statement::sealed::Sealed;
//! }
//! ```
//!
//! So the trait cannot be implemented for another type.
//! ```compile_fail,E0277
//! use ops_core::postgres::{GuardedClient, GuardedStatement, GuardedTransaction, Pool};
//! async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
//!     struct Mine; impl ops_core::postgres::ToStatement for Mine {}
//! }
//! ```
//!
//! What leaves a pool is guarded too.
//! ```compile_fail,E0308
//! use ops_core::postgres::{GuardedClient, GuardedStatement, GuardedTransaction, Pool};
//! async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
//!     let _: tokio_postgres::Client = deadpool::managed::Object::take(pool.get().await.unwrap());
//! }
//! ```
//!
//! A prepared statement cannot be put together by hand.
//! ```compile_fail,E0451
//! use ops_core::postgres::{GuardedClient, GuardedStatement, GuardedTransaction, Pool};
//! async fn escape(client: &mut GuardedClient, transaction: &mut GuardedTransaction<'_>, pool: &Pool) {
//!     fn forge(statement: tokio_postgres::Statement) -> GuardedStatement { GuardedStatement { statement, sql: loop {}, verdict: loop {} } }
//! }
//! ```
