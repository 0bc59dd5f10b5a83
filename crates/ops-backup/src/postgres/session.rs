//! The one session that a backup holds with the server, from `pg_backup_start` to `pg_backup_stop`.
//!
//! Dropping the session ends the backup on the server without a trace: that is how a backup is aborted.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use ops_core::connection::ConnectionSettings;
use tokio_postgres::{Client, Row};

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::{Lsn, SystemIdentifier};

/// What the server says about itself.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// For example 150006.
    pub(crate) version: u32,
    pub(crate) data_directory: PathBuf,
    pub(crate) system_identifier: SystemIdentifier,
}

/// The position and moment at which the server began the backup.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    pub(crate) lsn: Lsn,
    pub(crate) timeline: u32,
    pub(crate) at: Timestamp,
}

/// What the server gives at the end; without `label` the copy cannot be recovered.
#[derive(Debug, Clone)]
pub(crate) struct Stopped {
    pub(crate) lsn: Lsn,
    pub(crate) at: Timestamp,
    pub(crate) label: String,
}

#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
}

const OLDEST: u32 = 140_000;
const NEWEST: u32 = 190_000;

impl Session {
    /// Connects, with every time limit of the session off: a backup may take days.
    pub(crate) async fn connect(settings: &ConnectionSettings) -> Result<Self> {
        let target = settings.target();
        let tls = settings.tls().map_err(|error| {
            Error::new(ErrorKind::Configuration, format!("cannot set up TLS to {target}")).with_source(error)
        })?;
        let mut config = settings.config();
        config.keepalives_idle(Duration::from_secs(30));
        let (client, connection) = config
            .connect(tls)
            .await
            .map_err(|error| Error::postgres(format!("connect to {target}"), error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the server ended");
            }
        });
        let settings = "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
                        SET idle_session_timeout = 0; SET search_path = pg_catalog; SET client_encoding = 'UTF8'";
        client
            .batch_execute(settings)
            .await
            .map_err(|error| Error::postgres("prepare the backup session", error))?;
        Ok(Session { client })
    }

    /// Asks what is needed to decide whether the server can be backed up.
    ///
    /// # Errors
    /// `Unsupported` for a version or a standby, `Postgres` where WAL is not archived.
    pub(crate) async fn inspect(&self) -> Result<Server> {
        let sql = "SELECT current_setting('server_version_num')::int4, current_setting('data_directory'), \
                   current_setting('wal_level'), current_setting('archive_mode'), pg_is_in_recovery(), \
                   (SELECT system_identifier::text FROM pg_control_system())";
        let row = self.row("ask the server for its settings", sql, &[]).await?;
        let version = u32::try_from(row.get::<_, i32>(0)).expect("a version is positive");
        if !(OLDEST..NEWEST).contains(&version) {
            let message = format!("PostgreSQL {} is not supported (14 to 18 are)", version / 10_000);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if row.get(4) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the server is a standby; backups are taken from a primary",
            ));
        }
        let wal_level: &str = row.get(2);
        if wal_level == "minimal" {
            return Err(Error::new(
                ErrorKind::Postgres,
                "wal_level is minimal; a backup needs replica or logical",
            ));
        }
        let archive_mode: &str = row.get(3);
        if archive_mode == "off" {
            return Err(Error::new(
                ErrorKind::Postgres,
                "archive_mode is off; a backup needs its WAL in the repository",
            ));
        }
        let system_identifier =
            row.get::<_, &str>(5).parse().expect("the server writes its identifier as a number");
        Ok(Server { version, data_directory: PathBuf::from(row.get::<_, &str>(1)), system_identifier })
    }

    /// Begins the backup; `fast` asks for an immediate checkpoint.
    pub(crate) async fn start(&self, server: &Server, label: &str, fast: bool) -> Result<Started> {
        let call = if server.version >= 150_000 {
            "pg_backup_start($1, $2)"
        } else {
            "pg_start_backup($1, $2, false)"
        };
        let sql = format!(
            "SELECT lsn::text, pg_walfile_name(lsn), (extract(epoch FROM clock_timestamp()) * 1000000)::int8 \
             FROM (SELECT {call} AS lsn) AS started"
        );
        let row = self.row("start the backup on the server", &sql, &[&label, &fast]).await?;
        let file: &str = row.get(1);
        let timeline = file.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let timeline =
            timeline.ok_or_else(|| Error::corrupt(format!("the server names a WAL file {file:?}")))?;
        Ok(Started { lsn: lsn(row.get(0))?, timeline, at: moment(row.get(2))? })
    }

    /// Ends the backup. The wait for the archive is ours: the server only knows that its command succeeded.
    pub(crate) async fn stop(&self, server: &Server) -> Result<Stopped> {
        let call =
            if server.version >= 150_000 { "pg_backup_stop(false)" } else { "pg_stop_backup(false, false)" };
        let sql = format!(
            "SELECT lsn::text, labelfile, (extract(epoch FROM clock_timestamp()) * 1000000)::int8 FROM {call}"
        );
        let row = self.row("stop the backup on the server", &sql, &[]).await?;
        Ok(Stopped { lsn: lsn(row.get(0))?, label: row.get(1), at: moment(row.get(2))? })
    }

    /// Returns number and name of each database, in the order of numbers.
    pub(crate) async fn databases(&self) -> Result<Vec<(u32, String)>> {
        let sql = "SELECT oid, datname::text FROM pg_database ORDER BY oid";
        let rows = self.client.query(sql, &[]).await;
        let rows = rows.map_err(|error| Error::postgres("ask the server for its databases", error))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Shows the server that this session lives, and finds out whether the server does.
    pub(crate) async fn ping(&self) -> Result<()> {
        self.client
            .batch_execute("")
            .await
            .map_err(|error| Error::postgres("reach the server during the backup", error))
    }

    async fn row(
        &self,
        operation: &str,
        sql: &str,
        parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Row> {
        self.client.query_one(sql, parameters).await.map_err(|error| Error::postgres(operation, error))
    }
}

fn lsn(text: &str) -> Result<Lsn> {
    text.parse().map_err(Error::corrupt)
}

fn moment(microseconds: i64) -> Result<Timestamp> {
    Timestamp::from_microsecond(microseconds)
        .map_err(|error| Error::corrupt("the server's clock is out of range").with_source(error))
}
