//! A guarded transaction: the client's methods between BEGIN and COMMIT.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Transaction};

use super::run::{Guard, GuardedStatement, ToStatement};
use crate::error::Error;

/// A transaction whose every statement is judged before it is sent. Dropping it rolls back.
pub struct GuardedTransaction<'a> {
    transaction: Transaction<'a>,
    guard: Guard,
}

impl<'a> GuardedTransaction<'a> {
    pub(super) fn new(transaction: Transaction<'a>, guard: &Guard) -> Self {
        Self { transaction, guard: guard.clone() }
    }

    /// Runs a query and returns its rows.
    ///
    /// # Errors
    /// As [`GuardedClient::query`](super::GuardedClient::query).
    pub async fn query(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.guard.query(&self.transaction, statement, params).await
    }

    /// Runs a query that returns exactly one row.
    ///
    /// # Errors
    /// As [`GuardedClient::query_one`](super::GuardedClient::query_one).
    pub async fn query_one(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        self.guard.query_one(&self.transaction, statement, params).await
    }

    /// Runs a query that returns one row or none.
    ///
    /// # Errors
    /// As [`GuardedClient::query_opt`](super::GuardedClient::query_opt).
    pub async fn query_opt(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        self.guard.query_opt(&self.transaction, statement, params).await
    }

    /// Runs a statement and returns how many rows it concerned.
    ///
    /// # Errors
    /// As [`GuardedClient::execute`](super::GuardedClient::execute).
    pub async fn execute(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        self.guard.execute(&self.transaction, statement, params).await
    }

    /// Judges and prepares a statement for repeated use on this session.
    ///
    /// # Errors
    /// As [`GuardedClient::prepare`](super::GuardedClient::prepare).
    pub async fn prepare(&self, sql: &str) -> Result<GuardedStatement, Error> {
        self.guard.prepare(&self.transaction, sql).await
    }

    /// Makes the transaction's changes last.
    ///
    /// # Errors
    /// What the server or the line reports; deferred constraints and triggers run now.
    pub async fn commit(self) -> Result<(), Error> {
        let Self { transaction, guard } = self;
        transaction.commit().await.map_err(|error| guard.failure("commit a transaction", error))
    }

    /// Undoes the transaction's changes.
    ///
    /// # Errors
    /// What the line reports.
    pub async fn rollback(self) -> Result<(), Error> {
        let Self { transaction, guard } = self;
        transaction.rollback().await.map_err(|error| guard.failure("roll back a transaction", error))
    }
}

impl std::fmt::Debug for GuardedTransaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardedTransaction").field("guard", &self.guard).finish_non_exhaustive()
    }
}
