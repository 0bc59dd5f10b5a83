//! Who may be sent: a statement is judged by what the catalog says, or covered by an approval, or refused.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_postgres::Client;

use super::autocommit::Session;
use super::statement::sealed::Source;
use super::warrant::{Warrant, Whose};
use crate::error::Error;
use crate::guard::{Context, Verdict, Violation};

/// How long a catalog counts as new when a statement calls something that it does not know.
const NEW: Duration = Duration::from_secs(1);

/// A statement that may be sent.
pub(super) struct Admitted {
    pub(super) verdict: Arc<Verdict>,
    /// The approval that it needs.
    pub(super) warrant: Option<Warrant>,
}

impl Session {
    /// Judges a statement and refuses it, unless an approval covers it; where it calls what the catalog does not know, a
    /// new catalog is asked first.
    pub(super) async fn admit(&self, client: &Client, source: Source<'_>) -> Result<Admitted, Error> {
        self.usable()?;
        let mut verdict = self.guard.judge(source);
        if calls_unknown(&verdict) && self.renew_if_old(client).await? {
            verdict = self.guard.judge(source);
        }
        self.admit_verdict(source, verdict).await
    }

    /// Admits a statement inside a transaction, where the catalog cannot be read again.
    pub(super) async fn admit_in_transaction(&self, source: Source<'_>) -> Result<Admitted, Error> {
        self.usable()?;
        let verdict = self.guard.judge(source);
        if calls_unknown(&verdict) {
            self.is_outdated.store(true, Ordering::Relaxed);
        }
        self.admit_verdict(source, verdict).await
    }

    async fn admit_verdict(&self, source: Source<'_>, verdict: Arc<Verdict>) -> Result<Admitted, Error> {
        let warrant = self.wallet.claim(&self.guard, source, &verdict, || self.whose()).await?;
        if warrant.is_none() {
            self.guard.deny(&verdict)?;
        }
        Ok(Admitted { verdict, warrant })
    }

    /// Returns whose session it is, for the audit log.
    pub(super) fn whose(&self) -> Whose {
        let context = self.guard.judge.context(Timestamp::UNIX_EPOCH);
        Whose {
            principal: context.principal.unwrap_or_default(),
            database: context.database.unwrap_or_default(),
            trace_id: self.trace_id.clone().unwrap_or_default(),
        }
    }

    pub(super) fn note_unpredicted(&self, violation: &Violation) {
        if violation.is_unpredicted {
            self.is_outdated.store(true, Ordering::Relaxed);
        }
    }

    /// Reads the catalog again where a transaction showed that it is old.
    pub(super) async fn renew_if_outdated(&self, client: &Client) -> Result<(), Error> {
        if self.is_outdated.swap(false, Ordering::Relaxed) {
            self.renew(client).await?;
        }
        Ok(())
    }

    /// Reads the role, the database and the catalog, and judges by them from now on.
    pub(super) async fn renew(&self, client: &Client) -> Result<(), Error> {
        let context = self.context(client).await?;
        self.guard.judge.set_context(context);
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }

    async fn renew_if_old(&self, client: &Client) -> Result<bool, Error> {
        let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        if renewed.is_some_and(|at| at.elapsed() < NEW) {
            return Ok(false);
        }
        let _alone = self.gate.write().await;
        self.renew(client).await.map(|()| true)
    }

    pub(super) async fn context(&self, client: &Client) -> Result<Context, Error> {
        let fail = |error| self.guard.failure("read the catalog", error);
        let row = client
            .query_one(
                "SELECT session_user::pg_catalog.text, pg_catalog.current_database()::pg_catalog.text",
                &[],
            )
            .await
            .map_err(fail)?;
        Ok(Context {
            principal: Some(row.get(0)),
            database: Some(row.get(1)),
            catalog: Some(Arc::new(super::catalog::load(client).await.map_err(fail)?)),
            at: None,
        })
    }
}

fn calls_unknown(verdict: &Verdict) -> bool {
    verdict.denied().any(|denied| denied.rule.as_deref() == Some("unknown-function"))
}
