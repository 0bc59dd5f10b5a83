//! The guarded client: owns the raw client, and gives it to nobody.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::failure::connect_failure;
use super::run::{Guard, GuardedStatement, ToStatement};
use super::session::{Pins, SessionLimits};
use super::transaction::GuardedTransaction;
use crate::connection::ConnectionSettings;
use crate::error::Error;
use crate::guard::{Context, Judge, Policy};

/// A session whose every statement is judged before it is sent.
///
/// The methods are those of [`tokio_postgres::Client`] that can be guarded. Nothing leads to that client itself.
#[derive(Debug)]
pub struct GuardedClient {
    // Before the driver: when the client goes, its driver says goodbye to the server and ends.
    client: Client,
    _driver: Driver,
    guard: Guard,
    pins: Pins,
}

impl GuardedClient {
    /// Opens a session with the default [`SessionLimits`].
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) where the server does not answer,
    /// [`ErrorKind::Server`](crate::ErrorKind::Server) where it refuses,
    /// [`ErrorKind::SessionChanged`](crate::ErrorKind::SessionChanged) where the session cannot be made safe.
    pub async fn connect(settings: &ConnectionSettings, policy: Policy) -> Result<Self, Error> {
        Self::connect_with_limits(settings, policy, &SessionLimits::default()).await
    }

    /// Opens a session with limits of your own.
    ///
    /// # Errors
    /// As [`GuardedClient::connect`].
    pub async fn connect_with_limits(
        settings: &ConnectionSettings,
        policy: Policy,
        limits: &SessionLimits,
    ) -> Result<Self, Error> {
        let pins = Pins::new(&policy, limits);
        Self::open(settings, Arc::new(Judge::new(policy)), pins).await
    }

    pub(super) async fn open(
        settings: &ConnectionSettings,
        judge: Arc<Judge>,
        pins: Pins,
    ) -> Result<Self, Error> {
        let target = settings.target();
        let mut config = settings.config();
        if config.get_application_name().is_none() {
            config.application_name("ops-guard");
        }
        let (client, connection) =
            config.connect(settings.tls()?).await.map_err(|error| connect_failure(&target, error))?;
        // An error of the line reaches whoever waits for an answer; here it only ends the task.
        let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
        pins.open(&client, &target).await?;
        Ok(Self { client, _driver: driver, guard: Guard { judge, target: target.into() }, pins })
    }

    /// Runs a query and returns its rows.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`](crate::ErrorKind::Denied) where the policy refuses it, with [`Error::denial`]; else what the
    /// server or the line reports.
    pub async fn query(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.guard.query(&self.client, statement, params).await
    }

    /// Runs a query that returns exactly one row.
    ///
    /// # Errors
    /// As [`GuardedClient::query`], and [`ErrorKind::UnexpectedRows`](crate::ErrorKind::UnexpectedRows).
    pub async fn query_one(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        self.guard.query_one(&self.client, statement, params).await
    }

    /// Runs a query that returns one row or none.
    ///
    /// # Errors
    /// As [`GuardedClient::query`], and [`ErrorKind::UnexpectedRows`](crate::ErrorKind::UnexpectedRows).
    pub async fn query_opt(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        self.guard.query_opt(&self.client, statement, params).await
    }

    /// Runs a statement and returns how many rows it concerned.
    ///
    /// # Errors
    /// As [`GuardedClient::query`].
    pub async fn execute(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        self.guard.execute(&self.client, statement, params).await
    }

    /// Judges and prepares a statement for repeated use on this session.
    ///
    /// # Errors
    /// As [`GuardedClient::query`].
    pub async fn prepare(&self, sql: &str) -> Result<GuardedStatement, Error> {
        self.guard.prepare(&self.client, sql).await
    }

    /// Begins a transaction. Dropping it rolls back.
    ///
    /// # Errors
    /// What the server or the line reports.
    pub async fn transaction(&mut self) -> Result<GuardedTransaction<'_>, Error> {
        let begun = self.client.transaction().await;
        let transaction = begun.map_err(|error| self.guard.failure("begin a transaction", error))?;
        Ok(GuardedTransaction::new(transaction, &self.guard))
    }

    /// Asks the server for what a judgement may know beside the text: the role, the database, and what names mean there.
    ///
    /// # Errors
    /// What the server or the line reports.
    pub async fn context(&self) -> Result<Context, Error> {
        let fail = |error| self.guard.failure("read the catalog", error);
        let row = self
            .client
            .query_one("SELECT session_user::text, current_database()::text", &[])
            .await
            .map_err(fail)?;
        let mut context = Context::default();
        context.principal = Some(row.get(0));
        context.database = Some(row.get(1));
        context.catalog = Some(Arc::new(super::catalog::load(&self.client).await.map_err(fail)?));
        Ok(context)
    }

    /// Tells whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Returns the policy.
    pub fn policy(&self) -> &Policy {
        self.guard.judge.policy()
    }

    pub(super) async fn restore(&self) -> Result<(), Error> {
        self.pins.restore(&self.client, &self.guard.target).await
    }
}

/// The task that moves bytes between the client and its socket.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

/// How long the driver may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

impl Drop for Driver {
    fn drop(&mut self) {
        let abort = self.0.abort_handle();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !self.0.is_finished() => {
                runtime.spawn(async move {
                    tokio::time::sleep(GOODBYE).await;
                    abort.abort();
                });
            }
            _ => abort.abort(),
        }
    }
}
