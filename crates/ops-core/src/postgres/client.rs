//! The guarded client: owns the raw client, and gives it to nobody.

use std::sync::Arc;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::autocommit::Session;
use super::copy::{GuardedCopyIn, GuardedCopyOut};
use super::driver::{Driver, Notifications};
use super::failure::connect_failure;
use super::preview::Preview;
use super::run::Guard;
use super::session::{Pins, SessionLimits};
use super::statement::{GuardedStatement, ToStatement};
use super::transaction::GuardedTransaction;
use super::warrant::Oversight;
use crate::approval::Approval;
use crate::connection::ConnectionSettings;
use crate::error::{Error, ErrorKind};
use crate::guard::{Context, Judge, Policy};

/// A session whose every statement is judged before it is sent.
///
/// The methods are those of [`tokio_postgres::Client`] that can be guarded. Nothing leads to that client itself.
#[derive(Debug)]
pub struct GuardedClient {
    // Before the driver: when the client goes, its driver says goodbye to the server and ends.
    client: Client,
    _driver: Driver,
    session: Session,
    settings: ConnectionSettings,
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
        Self::open(settings, Arc::new(Judge::new(policy, Context::default())), pins).await
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
        let (driver, line) = Driver::spawn(connection);
        let pins = pins.open(&client, &target).await?;
        line.watch(pins.is_watched());
        let session = Session::new(Guard { judge, target: target.into() }, pins, line, settings.trace_id());
        if session.guard.judge.catalog().is_none() {
            session.renew(&client).await?;
        }
        Ok(Self { client, _driver: driver, session, settings: settings.clone() })
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
        self.session.run(&self.client, statement.source(), params).await
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
        self.session.guard.exactly_one(self.query(statement, params).await?)
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
        self.session.guard.one_at_most(self.query(statement, params).await?)
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
        self.session.run(&self.client, statement.source(), params).await
    }

    /// Judges and prepares a statement for repeated use on this session.
    ///
    /// # Errors
    /// As [`GuardedClient::query`].
    pub async fn prepare(&self, sql: &str) -> Result<GuardedStatement, Error> {
        self.session.usable()?;
        self.session.guard.prepare(&self.client, sql).await
    }

    /// Begins a transaction. Dropping it rolls back.
    ///
    /// # Errors
    /// What the server or the line reports.
    pub async fn transaction(&mut self) -> Result<GuardedTransaction<'_>, Error> {
        self.session.renew_if_outdated(&self.client).await?;
        GuardedTransaction::begin(&mut self.client, &self.session).await
    }

    /// Says whose approvals count for this session, and where their use is written down.
    pub fn oversee(&self, oversight: Oversight) {
        self.session.wallet.oversee(oversight);
    }

    /// Presents an approval. It is used up by the first statement that it covers and that the policy would not just let
    /// run, or that may be limited; a break-glass approval holds for this session until it ends.
    ///
    /// # Errors
    /// What [`Approval::verify`] says, and [`ErrorKind::InvalidApproval`] where [`GuardedClient::oversee`] was not called.
    pub fn present(&self, approval: &Approval) -> Result<(), Error> {
        self.session.wallet.present(approval, &self.session.whose())
    }

    /// Gives the raw client to whoever presented a break-glass approval. Nothing is judged or observed on it; the use of
    /// the approval is in the audit log before, and a pool does not take the session back.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidApproval`] where no break-glass approval was presented; what
    /// [`AuditLog::claim`](crate::audit::AuditLog::claim) says.
    pub async fn unguarded(&self) -> Result<&Client, Error> {
        self.session.usable()?;
        self.session.wallet.break_glass(self.session.whose()).await?;
        self.session.note_unguarded();
        Ok(&self.client)
    }

    /// Runs a statement, observes what it does, and undoes it. It takes the statement's locks for as long as that takes.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] where a rollback might not undo everything: files, other servers, unknown code; else what the
    /// server or the line reports.
    pub async fn preview(
        &self,
        statement: &(impl ToStatement + ?Sized),
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Preview, Error> {
        self.session.preview(&self.client, statement.source(), params).await
    }

    /// Begins to copy rows into a table: `COPY ledger FROM STDIN`.
    ///
    /// # Errors
    /// As [`GuardedClient::query`].
    pub async fn copy_in(&self, sql: &str) -> Result<GuardedCopyIn<'_>, Error> {
        GuardedCopyIn::open(&self.client, &self.session, sql).await
    }

    /// Begins to copy rows out: `COPY (SELECT …) TO STDOUT`.
    ///
    /// # Errors
    /// As [`GuardedClient::query`], and [`ErrorKind::InvalidParameter`] where the statement does more than read.
    pub async fn copy_out(&self, sql: &str) -> Result<GuardedCopyOut<'_>, Error> {
        GuardedCopyOut::open(&self.client, &self.session, sql).await
    }

    /// Returns what cancels the statement that this session is running, from anywhere.
    pub fn cancel_token(&self) -> CancelToken {
        CancelToken { token: self.client.cancel_token(), settings: self.settings.clone() }
    }

    /// Hears the channels that this session listens to, from now on; `LISTEN` is a statement like any other.
    pub fn notifications(&self) -> Notifications {
        Notifications(self.session.line.subscribe())
    }

    /// Asks the server for what a judgement may know beside the text: the role, the database, and what names mean there.
    ///
    /// # Errors
    /// What the server or the line reports.
    pub async fn context(&self) -> Result<Context, Error> {
        self.session.context(&self.client).await
    }

    /// Tells whether the session has ended, or can no longer be guarded.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed() || self.session.line.has_drifted()
    }

    /// Returns the policy.
    pub fn policy(&self) -> &Policy {
        self.session.guard.judge.policy()
    }

    pub(super) async fn restore(&self) -> Result<(), Error> {
        self.session.reusable()?;
        self.session.note_unobserved();
        self.session.pins.restore(&self.client, &self.session.guard.target).await
    }
}

/// Asks the server to cancel what a session is running.
#[derive(Clone)]
pub struct CancelToken {
    token: tokio_postgres::CancelToken,
    settings: ConnectionSettings,
}

impl CancelToken {
    /// Asks the server to cancel the statement that runs now. Whether one was cancelled shows only in its own error.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] where the server cannot be asked.
    pub async fn cancel(&self) -> Result<(), Error> {
        let asked = self.token.cancel_query(self.settings.tls()?).await;
        asked.map_err(|error| {
            let message = format!("cannot cancel a statement on {}", self.settings.target());
            Error::new(ErrorKind::Unavailable, message).caused_by(error)
        })
    }
}

impl std::fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelToken").field("server", &self.settings.target()).finish()
    }
}
