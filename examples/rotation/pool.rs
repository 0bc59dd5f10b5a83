//! The recipe: deadpool-postgres with the credentials of a live group.
//!
//! 1. A new session takes the credentials of this moment (`Credentials::connect`).
//! 2. A login that is refused makes the group look once, for all who are refused at once, and is tried again once.
//! 3. A session that was opened before the last swap is not handed out again (`pre_recycle`); one that is in use is left alone, so
//!    no query is cut off.

use deadpool_postgres::{Connect, Hook, HookError, Manager, ManagerConfig, Pool};
use ops_secrets::rotate::{Live, Refusal, Snapshot};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls};

/// A pool whose sessions follow the group's member `database`, with its fields `username` and `password`.
pub(crate) fn build(base: Config, live: Live, size: usize) -> anyhow::Result<Pool> {
    let newest = live.clone();
    let fresh = Hook::sync_fn(move |_, metrics| {
        // Stale credentials do not end sessions: they were good when the session was opened.
        let since = newest.current().map(|current| current.since().into_std());
        match since {
            Ok(since) if metrics.created < since => {
                Err(HookError::message("opened before the last rotation"))
            }
            _ => Ok(()),
        }
    });
    let manager = Manager::from_connect(base, Credentials(live), ManagerConfig::default());
    Ok(Pool::builder(manager).max_size(size).pre_recycle(fresh).build()?)
}

/// Opens one session with new credentials, before anybody else gets them.
pub(crate) async fn trial(base: Config, candidate: Arc<Snapshot>) -> Result<(), Refusal> {
    let (client, task) = open(&base, &candidate).await?;
    let answer = client.simple_query("SELECT 1").await;
    task.abort();
    answer?;
    Ok(())
}

struct Credentials(Live);

impl Connect for Credentials {
    fn connect(
        &self,
        base: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        let base = base.clone();
        Box::pin(async move {
            // Without credentials in time the server says what is wrong, in the one error type that there is here.
            let Ok(current) = self.0.current() else { return open_as(base).await };
            let end = open(&base, &current).await;
            let newer = match &end {
                Err(error) if is_refused(error) => self.0.refresh().await,
                _ => self.0.current(),
            };
            match newer {
                // Refused, or swapped while it was opened: it would pass for one that is newer than the swap.
                Ok(newer) if newer.generation() > current.generation() => open(&base, &newer).await,
                _ => end,
            }
        })
    }
}

async fn open(base: &Config, credentials: &Snapshot) -> Result<(Client, JoinHandle<()>), Error> {
    let mut config = base.clone();
    if let Some(user) = credentials.get("database", "username") {
        config.user(user.expose_secret());
    }
    if let Some(password) = credentials.get("database", "password") {
        config.password(password.expose_secret());
    }
    open_as(config).await
}

async fn open_as(config: Config) -> Result<(Client, JoinHandle<()>), Error> {
    let (client, connection) = config.connect(NoTls).await?;
    // It ends with the client, or with an error that the client's next query reports.
    Ok((client, tokio::spawn(async move { drop(connection.await) })))
}

fn is_refused(error: &Error) -> bool {
    let refused = [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION];
    error.code().is_some_and(|code| refused.contains(code))
}
