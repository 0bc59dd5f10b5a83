//! A pool of guarded clients: what it hands out is a [`GuardedClient`], made like new each time.

use std::sync::Arc;

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};

use super::client::GuardedClient;
use super::session::{Pins, SessionLimits};
use crate::connection::ConnectionSettings;
use crate::error::Error;
use crate::guard::{Context, Judge, Policy};

/// A `deadpool` pool of guarded clients.
pub type Pool = managed::Pool<Manager>;

/// Opens and recycles the sessions of a [`Pool`]. All of them share one policy and its cache of verdicts.
///
/// A session that comes back loses its settings, role, temporary tables, cursors and advisory locks, gets the guard's
/// settings again and is checked in one round trip; one that does not pass is closed.
#[derive(Debug)]
pub struct Manager {
    settings: ConnectionSettings,
    judge: Arc<Judge>,
    pins: Pins,
}

impl Manager {
    /// Makes a manager; it opens no session yet.
    pub fn new(settings: ConnectionSettings, policy: Policy, limits: &SessionLimits) -> Self {
        let pins = Pins::new(&policy, limits);
        Self { settings, judge: Arc::new(Judge::new(policy, Context::default())), pins }
    }

    /// Makes a pool of at most this many sessions.
    pub fn pool(self, max_size: usize) -> Pool {
        Pool::builder(self).max_size(max_size).build().expect("only a pool with timeouts can lack a runtime")
    }
}

impl managed::Manager for Manager {
    type Type = GuardedClient;
    type Error = Error;

    async fn create(&self) -> Result<GuardedClient, Error> {
        GuardedClient::open(&self.settings, Arc::clone(&self.judge), self.pins.clone()).await
    }

    async fn recycle(&self, client: &mut GuardedClient, _: &Metrics) -> RecycleResult<Error> {
        if client.is_closed() {
            return Err(RecycleError::message("the session has ended"));
        }
        client.restore().await.map_err(RecycleError::Backend)
    }
}
