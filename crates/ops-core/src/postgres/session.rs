//! The settings that the guard relies on: set when a session opens, restored and checked when it comes back to a pool.

use std::time::Duration;

use tokio_postgres::{Client, SimpleQueryMessage};

use super::failure::failure;
use crate::error::{Error, ErrorKind};
use crate::guard::Policy;

/// How long one session may keep the server busy. Zero means no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// A statement that runs longer is cancelled by the server. 30 seconds by default.
    pub statement: Duration,
    /// A statement that waits longer for one lock is cancelled. 5 seconds by default.
    pub lock: Duration,
    /// A session that leaves a transaction open for longer is ended, so that its locks go. 60 seconds by default.
    pub idle_in_transaction: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            statement: Duration::from_secs(30),
            lock: Duration::from_secs(5),
            idle_in_transaction: Duration::from_secs(60),
        }
    }
}

/// Undoes what a session may have left behind, except prepared statements: the client refers to those by name.
const CLEAN: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
                     SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES; ";

/// True for a session in which the guard's reading of a text is the server's, and no transaction was left open:
/// `now()` is the transaction's start.
const CHECK: &str = "SELECT pg_catalog.now() = pg_catalog.statement_timestamp() \
                     AND current_user = session_user \
                     AND pg_catalog.current_setting('client_encoding') = 'UTF8' \
                     AND pg_catalog.current_setting('standard_conforming_strings') = 'on' \
                     AND pg_catalog.current_setting('session_replication_role') = 'origin'";

/// The fixed scripts of a session.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    set: String,
}

impl Pins {
    pub(super) fn new(policy: &Policy, limits: &SessionLimits) -> Self {
        // `PostgreSQL` counts in milliseconds, in a 32-bit integer.
        let millis = |limit: Duration| limit.as_millis().min(i32::MAX as u128).to_string();
        let settings = [
            ("client_encoding", "UTF8".to_owned()),
            ("standard_conforming_strings", "on".to_owned()),
            ("statement_timeout", millis(limits.statement)),
            ("lock_timeout", millis(limits.lock)),
            ("idle_in_transaction_session_timeout", millis(limits.idle_in_transaction)),
            ("default_transaction_read_only", if policy.is_read_only() { "on" } else { "off" }.to_owned()),
        ];
        let calls: Vec<String> = settings
            .iter()
            .map(|(name, value)| format!("pg_catalog.set_config('{name}', '{value}', false)"))
            .collect();
        Self { set: format!("SELECT {}; ", calls.join(", ")) }
    }

    /// Prepares a session that was just opened.
    pub(super) async fn open(&self, client: &Client, target: &str) -> Result<(), Error> {
        self.run(client, target, "").await
    }

    /// Makes a used session like new.
    pub(super) async fn restore(&self, client: &Client, target: &str) -> Result<(), Error> {
        self.run(client, target, CLEAN).await
    }

    /// The one place that uses the simple protocol: a fixed script, in one round trip.
    async fn run(&self, client: &Client, target: &str, before: &str) -> Result<(), Error> {
        let script = format!("{before}{}{CHECK}", self.set);
        let answers = client
            .simple_query(&script)
            .await
            .map_err(|error| failure("prepare the session", target, error))?;
        let holds = answers.iter().rev().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row.get(0) == Some("t")),
            _ => None,
        });
        if holds == Some(true) {
            return Ok(());
        }
        let message = format!("session on {target} does not keep the settings that the guard relies on");
        Err(Error::new(ErrorKind::SessionChanged, message))
    }
}
