//! The restored server: how it is locked down, started, asked where it stands and promoted.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use super::lockdown::{DEFAULTS, LOCKED};
use super::options::Keep;
use super::process::{Launcher, Supervised};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::control::MinimumSettings;
use crate::postgres::lsn::Lsn;

/// How long to wait before the server is asked again. Each attempt before it answers leaves a line in its log.
const POLL: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_millis(200);

/// Only the user of the server (and root) can enter the directory of the socket, so nobody else gets as far as this.
const HBA: &str = "local all all trust\n";

/// A running restored server. Dropping it stops the server.
#[derive(Debug)]
pub(super) struct Server {
    process: Supervised,
    config: Config,
    log: PathBuf,
}

/// Where replay stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// The end of the last record that was replayed.
    pub(super) lsn: Option<Lsn>,
    /// The time of the last commit or abort that was replayed; `None` where there was none.
    pub(super) last_transaction: Option<Timestamp>,
    /// The server's words on why it stopped at the target; `None` where it ended with the WAL.
    pub(super) stopped: Option<String>,
}

impl Server {
    /// Starts `postgres` on the restored files.
    pub(super) fn start(launcher: &Launcher<'_>, minimum: &MinimumSettings) -> Result<Self> {
        let Launcher { options, scratch } = launcher;
        let root = scratch.root();
        // The restored files may name includes, certificates and libraries that are not here, or lie elsewhere.
        for (name, text) in [("postgresql.conf", ""), ("pg_hba.conf", HBA), ("pg_ident.conf", "")] {
            scratch.write(name, text, options.run_as)?;
        }
        let log = scratch.log();
        let log_file = fs::File::create(&log)
            .map_err(|error| Error::io(format_args!("create {}", log.display()), error))?;

        let minimum = [
            ("max_connections", minimum.max_connections),
            ("max_worker_processes", minimum.max_worker_processes),
            ("max_wal_senders", minimum.max_wal_senders),
            ("max_prepared_transactions", minimum.max_prepared_transactions),
            ("max_locks_per_transaction", minimum.max_locks_per_transaction),
        ];
        let defaults = DEFAULTS.iter().map(|(name, value)| format!("{name}={value}"));
        let minimum = minimum.iter().map(|(name, value)| format!("{name}={value}"));
        let chosen = options.settings.iter().map(|(name, value)| format!("{name}={value}"));
        let locked = LOCKED.iter().map(|(name, value)| match *name {
            "data_directory" | "config_file" | "hba_file" | "ident_file" => {
                format!("{name}={}", root.join(value).display())
            }
            _ => format!("{name}={value}"),
        });
        // Of two values for one name the later one holds.
        let settings = defaults.chain(minimum).chain(chosen).chain(locked);
        let arguments: Vec<String> = settings.flat_map(|setting| ["-c".to_owned(), setting]).collect();

        // A copy that is thrown away need not write a checkpoint; one that is kept should start again at once.
        let signal = if options.keep == Keep::Nothing { "QUIT" } else { "INT" };
        let process = launcher.start("postgres", &arguments, signal, Stdio::from(log_file))?;
        let mut config = Config::new();
        config.host_path(scratch.sockets()).port(5432).user(&options.user);
        config.application_name("ops-backup rehearse").connect_timeout(Duration::from_secs(10));
        Ok(Server { process, config, log })
    }

    /// Opens a session.
    pub(super) async fn connect(&self, database: &str) -> Result<Client> {
        self.try_connect(database).await.map_err(|error| {
            Error::postgres(format_args!("connect to database {database:?} of the restored server"), error)
        })
    }

    async fn try_connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.config.clone().dbname(database).connect(NoTls).await?;
        tokio::spawn(async move {
            // The client's next request reports that the session was lost.
            let _ = connection.await;
        });
        Ok(client)
    }

    /// Waits until the server is consistent and answers.
    pub(super) async fn wait_until_accepting(&mut self, database: &str) -> Result<Client> {
        let mut pause = *POLL.start();
        loop {
            match self.try_connect(database).await {
                Ok(client) => return Ok(client),
                Err(error) if error.code().is_some_and(|code| *code != SqlState::CANNOT_CONNECT_NOW) => {
                    return Err(Error::postgres(format_args!("connect to database {database:?}"), error));
                }
                Err(_) => pause = self.pause_or_ended(pause).await?,
            }
        }
    }

    /// Waits until replay has stopped: paused at its target, or at the end of the WAL and promoted.
    pub(super) async fn wait_until_replayed(&mut self, client: &Client) -> Result<Position> {
        const STATE: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() = 'paused' ELSE true END";
        let mut pause = *POLL.start();
        loop {
            match client.query_one(STATE, &[]).await {
                Ok(row) if row.get(0) => return self.position(client).await,
                Ok(_) => pause = self.pause_or_ended(pause).await?,
                // Recovery ended between the two functions.
                Err(error) if error.code() == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => {}
                Err(error) => {
                    // A server that fails in recovery ends all sessions first, itself a moment later.
                    let ended = tokio::time::timeout(Duration::from_secs(10), self.process.wait()).await;
                    if ended.is_ok() {
                        return Err(self.ended());
                    }
                    return Err(Error::postgres("ask the restored server how far it is", error));
                }
            }
        }
    }

    async fn position(&self, client: &Client) -> Result<Position> {
        // After promotion both keep the values of the end of recovery.
        const POSITION: &str = "SELECT pg_last_wal_replay_lsn()::text, \
                                (extract(epoch FROM pg_last_xact_replay_timestamp()) * 1000000)::bigint";
        let row = client
            .query_one(POSITION, &[])
            .await
            .map_err(|error| Error::postgres("ask the restored server what it has replayed", error))?;
        let lsn: Option<String> = row.get(0);
        let microseconds: Option<i64> = row.get(1);
        Ok(Position {
            lsn: lsn.and_then(|lsn| lsn.parse().ok()),
            last_transaction: microseconds
                .and_then(|since_1970| Timestamp::from_microsecond(since_1970).ok()),
            stopped: self.last_line(|message| message.starts_with("recovery stopping")),
        })
    }

    /// Returns the last message about recovery that needs a person, such as settings that are too small.
    pub(super) fn complaint(&self) -> Option<String> {
        self.last_line(|message| message.contains("hot standby is not possible"))
    }

    /// Ends recovery, and returns the server's version once it takes writes.
    pub(super) async fn promote(&mut self, client: &Client) -> Result<String> {
        // At the target, resuming means promotion. It wakes the server at once; `pg_promote` is seen up to a second later.
        const RESUME: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_wal_replay_resume()::text END";
        const STATE: &str = "SELECT pg_is_in_recovery(), current_setting('server_version')";
        let failed = |error| Error::postgres("promote the restored server", error);
        client.query_one(RESUME, &[]).await.map_err(failed)?;
        let mut pause = *POLL.start();
        loop {
            let row = client.query_one(STATE, &[]).await.map_err(failed)?;
            if !row.get::<_, bool>(0) {
                return Ok(row.get(1));
            }
            pause = self.pause_or_ended(pause).await?;
        }
    }

    /// Says whether the server has got as far as replaying WAL.
    pub(super) fn has_begun_replay(&self) -> bool {
        self.last_line(|message| message.starts_with("redo starts at")).is_some()
    }

    /// Returns the next pause, or an error where the server has ended.
    async fn pause_or_ended(&mut self, pause: Duration) -> Result<Duration> {
        match tokio::time::timeout(pause, self.process.wait()).await {
            Err(_) => Ok((pause * 2).min(*POLL.end())),
            Ok(Ok(_)) => Err(self.ended()),
            Ok(Err(error)) => Err(Error::io("watch the restored server", error)),
        }
    }

    fn ended(&self) -> Error {
        let reason = last_failure(&fs::read_to_string(&self.log).unwrap_or_default());
        let reason = reason.unwrap_or_else(|| "without a reason in its log".to_owned());
        Error::new(ErrorKind::Postgres, format!("the restored server ended: {reason}"))
    }

    fn last_line(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines()
            .rev()
            .filter_map(message)
            .map(|(_, text)| text)
            .find(|text| wanted(text))
            .map(str::to_owned)
    }
}

/// Splits a line of the log, as `log_line_prefix` makes it, into severity and message.
fn message(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once("] ")?;
    rest.split_once(":  ")
}

/// Finds the last message of a server that gave up.
fn last_failure(log: &str) -> Option<String> {
    // Each attempt to connect before the server is ready leaves "the database system is starting up".
    log.lines()
        .rev()
        .filter_map(message)
        .find(|(severity, text)| {
            matches!(*severity, "FATAL" | "PANIC") && !text.starts_with("the database system is")
        })
        .map(|(_, text)| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_last_failure_that_is_not_about_a_session() {
        let early = "2026-11-21 06:00:00.001 UTC [7] FATAL:  the database system is starting up\n";
        let target = "2026-11-21 06:00:00.002 UTC [7] FATAL:  recovery ended before configured recovery target was reached\n";
        let log = "2026-11-21 06:00:00.003 UTC [7] LOG:  shutting down\n";
        for (text, reason) in [
            (
                format!("{early}{target}{early}{log}"),
                Some("recovery ended before configured recovery target was reached"),
            ),
            (format!("{early}{log}"), None),
            ("sh: 1: fetch: not found\n".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(last_failure(&text).as_deref(), reason, "{text}");
        }
    }
}
