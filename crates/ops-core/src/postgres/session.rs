//! The settings that the guard relies on: set when a session opens, restored and checked when it comes back to a pool.

use std::time::Duration;

use tokio_postgres::{Client, SimpleQueryMessage};

use super::failure::failure;
use crate::error::{Error, ErrorKind};
use crate::guard::{Context, Decision, Effect, Policy, Reach};

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

/// One row: whether the guard's reading of a text is the server's, whether the server counts what a transaction does, and
/// whether no transaction was left open (`now()` is the transaction's start); then what names mean and who asks.
const CHECK: &str = "SELECT pg_catalog.now() = pg_catalog.statement_timestamp() \
                     AND pg_catalog.current_setting('client_encoding') = 'UTF8' \
                     AND pg_catalog.current_setting('standard_conforming_strings') = 'on' \
                     AND pg_catalog.current_setting('backslash_quote') IN ('safe_encoding', 'off') \
                     AND pg_catalog.current_setting('session_replication_role') = 'origin' \
                     AND pg_catalog.current_setting('event_triggers', true) IS DISTINCT FROM 'off' \
                     AND pg_catalog.current_setting('row_security') = 'on' \
                     AND pg_catalog.current_setting('track_counts') = 'on', \
                     pg_catalog.current_setting('search_path'), current_user";

/// The fixed scripts of a session, and what it was when it opened.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    set: String,
    is_watched: bool,
    /// The search path and the role with which the session opened.
    opened: Option<Vec<Option<String>>>,
}

impl Pins {
    pub(super) fn new(policy: &Policy, limits: &SessionLimits) -> Self {
        // `PostgreSQL` counts in milliseconds, in a 32-bit integer.
        let millis = |limit: Duration| limit.as_millis().min(i32::MAX as u128).to_string();
        let settings = [
            ("client_encoding", "UTF8".to_owned()),
            ("standard_conforming_strings", "on".to_owned()),
            ("backslash_quote", "safe_encoding".to_owned()),
            ("row_security", "on".to_owned()),
            ("statement_timeout", millis(limits.statement)),
            ("lock_timeout", millis(limits.lock)),
            ("idle_in_transaction_session_timeout", millis(limits.idle_in_transaction)),
            // Also for policies that write: what may write says so when it begins its transaction.
            ("default_transaction_read_only", "on".to_owned()),
        ];
        let calls: Vec<String> = settings
            .iter()
            .map(|(name, value)| format!("pg_catalog.set_config('{name}', '{value}', false)"))
            .collect();
        let escape = Effect::Setting { name: "default_transaction_read_only".into(), reach: Reach::Escape };
        let is_watched = policy.rule_on(&escape, &Context::default()).decision > Decision::Limit;
        Self { set: format!("SELECT {}; ", calls.join(", ")), is_watched, opened: None }
    }

    /// Tells whether the session's settings must stay as they are: a policy may allow to change them.
    pub(super) fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Prepares a session that was just opened, and remembers what it is.
    pub(super) async fn open(&self, client: &Client, target: &str) -> Result<Self, Error> {
        let opened = self.run(client, target, "").await?;
        Ok(Self { opened: Some(opened), ..self.clone() })
    }

    /// Makes a used session like new.
    pub(super) async fn restore(&self, client: &Client, target: &str) -> Result<(), Error> {
        let found = self.run(client, target, CLEAN).await?;
        if self.opened.as_ref() == Some(&found) { Ok(()) } else { Err(changed(target)) }
    }

    /// The one place that uses the simple protocol for more than a command: a fixed script, in one round trip.
    async fn run(&self, client: &Client, target: &str, before: &str) -> Result<Vec<Option<String>>, Error> {
        let script = format!("{before}{}{CHECK}", self.set);
        let answers = client
            .simple_query(&script)
            .await
            .map_err(|error| failure("prepare the session", target, error))?;
        let row = answers.iter().rev().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        match row {
            Some(row) if row.get(0) == Some("t") => {
                Ok((1..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
            }
            _ => Err(changed(target)),
        }
    }
}

fn changed(target: &str) -> Error {
    let message = format!("session on {target} does not keep the settings that the guard relies on");
    Error::new(ErrorKind::SessionChanged, message)
}
