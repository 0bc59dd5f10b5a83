//! What a client and a transaction have in common, for code that takes either.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::client::GuardedClient;
use super::statement::{GuardedStatement, ToStatement};
use super::transaction::GuardedTransaction;
use crate::error::Error;

mod sealed {
    pub trait Sealed {}
}

/// A [`GuardedClient`] or a [`GuardedTransaction`], like `tokio_postgres::GenericClient`. Nobody else can implement it.
pub trait GenericClient: sealed::Sealed + Sync {
    /// Runs a query and returns its rows.
    ///
    /// # Errors
    /// As [`GuardedClient::query`].
    fn query(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<Vec<Row>, Error>> + Send;

    /// Runs a query that returns exactly one row.
    ///
    /// # Errors
    /// As [`GuardedClient::query_one`].
    fn query_one(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<Row, Error>> + Send;

    /// Runs a query that returns one row or none.
    ///
    /// # Errors
    /// As [`GuardedClient::query_opt`].
    fn query_opt(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<Option<Row>, Error>> + Send;

    /// Runs a statement and returns how many rows it concerned.
    ///
    /// # Errors
    /// As [`GuardedClient::execute`].
    fn execute(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Judges and prepares a statement for repeated use on this session.
    ///
    /// # Errors
    /// As [`GuardedClient::prepare`].
    fn prepare(&self, sql: &str) -> impl Future<Output = Result<GuardedStatement, Error>> + Send;

    /// Begins a transaction, or sets a savepoint in one.
    ///
    /// # Errors
    /// As [`GuardedClient::transaction`].
    fn transaction(&mut self) -> impl Future<Output = Result<GuardedTransaction<'_>, Error>> + Send;
}

macro_rules! generic_client {
    ($($type:ty),*) => {
        $(
            impl sealed::Sealed for $type {}

            impl GenericClient for $type {
                async fn query(
                    &self,
                    statement: &(impl ToStatement + ?Sized),
                    params: &[&(dyn ToSql + Sync)],
                ) -> Result<Vec<Row>, Error> {
                    <$type>::query(self, statement, params).await
                }

                async fn query_one(
                    &self,
                    statement: &(impl ToStatement + ?Sized),
                    params: &[&(dyn ToSql + Sync)],
                ) -> Result<Row, Error> {
                    <$type>::query_one(self, statement, params).await
                }

                async fn query_opt(
                    &self,
                    statement: &(impl ToStatement + ?Sized),
                    params: &[&(dyn ToSql + Sync)],
                ) -> Result<Option<Row>, Error> {
                    <$type>::query_opt(self, statement, params).await
                }

                async fn execute(
                    &self,
                    statement: &(impl ToStatement + ?Sized),
                    params: &[&(dyn ToSql + Sync)],
                ) -> Result<u64, Error> {
                    <$type>::execute(self, statement, params).await
                }

                async fn prepare(&self, sql: &str) -> Result<GuardedStatement, Error> {
                    <$type>::prepare(self, sql).await
                }

                async fn transaction(&mut self) -> Result<GuardedTransaction<'_>, Error> {
                    <$type>::transaction(self).await
                }
            }
        )*
    };
}

generic_client!(GuardedClient, GuardedTransaction<'_>);
