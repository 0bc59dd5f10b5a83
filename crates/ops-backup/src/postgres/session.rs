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

/// What a server is to its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Primary,
    Standby,
}

impl Role {
    /// Fails where the server is not what is `wanted`.
    ///
    /// # Errors
    /// `WrongRole`.
    pub(crate) fn check(self, wanted: Role) -> Result<()> {
        let message = match (self, wanted) {
            (Role::Standby, Role::Primary) => {
                "the server is a standby, and a backup of the primary was asked for"
            }
            (Role::Primary, Role::Standby) => {
                "the server is a primary, and a backup from a standby was asked for"
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::WrongRole, message))
    }
}

/// What the server says about itself.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// For example 150006.
    pub(crate) version: u32,
    pub(crate) data_directory: PathBuf,
    pub(crate) system_identifier: SystemIdentifier,
    pub(crate) role: Role,
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

    /// Asks what is needed to decide whether the server, which must be what is `wanted`, can be backed up.
    ///
    /// # Errors
    /// `Unsupported` for a version, `WrongRole`, `Postgres` where nothing takes the WAL of a primary.
    pub(crate) async fn inspect(&self, wanted: Role) -> Result<Server> {
        let sql = "SELECT current_setting('server_version_num')::int4, current_setting('data_directory'), \
                   current_setting('wal_level'), current_setting('archive_mode'), pg_is_in_recovery(), \
                   (SELECT system_identifier::text FROM pg_control_system()), \
                   EXISTS (SELECT FROM pg_stat_replication)";
        let row = self.row("ask the server for its settings", sql, &[]).await?;
        let version = u32::try_from(row.get::<_, i32>(0)).expect("a version is positive");
        if !(OLDEST..NEWEST).contains(&version) {
            let message = format!("PostgreSQL {} is not supported (14 to 18 are)", version / 10_000);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let role = if row.get(4) { Role::Standby } else { Role::Primary };
        role.check(wanted)?;
        let wal_level: &str = row.get(2);
        if wal_level == "minimal" {
            return Err(Error::new(
                ErrorKind::Postgres,
                "wal_level is minimal; a backup needs replica or logical",
            ));
        }
        // The WAL of a standby comes from its primary; and a receiver takes it from a server that archives nothing.
        let (archive_mode, is_streamed): (&str, bool) = (row.get(3), row.get(6));
        if archive_mode == "off" && role == Role::Primary && !is_streamed {
            return Err(Error::new(
                ErrorKind::Postgres,
                "archive_mode is off, and nobody receives the WAL; a backup needs its WAL in the repository",
            ));
        }
        let system_identifier =
            row.get::<_, &str>(5).parse().expect("the server writes its identifier as a number");
        Ok(Server { version, data_directory: PathBuf::from(row.get::<_, &str>(1)), system_identifier, role })
    }

    /// Begins the backup; `fast` asks for an immediate checkpoint.
    pub(crate) async fn start(&self, server: &Server, label: &str, fast: bool) -> Result<Started> {
        let call = if server.version >= 150_000 {
            "pg_backup_start($1, $2)"
        } else {
            "pg_start_backup($1, $2, false)"
        };
        // A standby does not name WAL files; the backup begins with its last restart point, whose timeline is the one asked for.
        let timeline = match server.role {
            Role::Primary => "('x' || left(pg_walfile_name(lsn), 8))::bit(32)::int4",
            Role::Standby => "(SELECT timeline_id FROM pg_control_checkpoint())",
        };
        let sql = format!(
            "SELECT lsn::text, {timeline}, (extract(epoch FROM clock_timestamp()) * 1000000)::int8 \
             FROM (SELECT {call} AS lsn) AS started"
        );
        let row = self.row("start the backup on the server", &sql, &[&label, &fast]).await?;
        let timeline = u32::try_from(row.get::<_, i32>(1))
            .map_err(|_| Error::corrupt("the server names a timeline that cannot be"))?;
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

    /// Fails where a standby, whose backup began on `timeline`, is none any more or follows another one.
    ///
    /// # Errors
    /// `Postgres`.
    pub(crate) async fn is_still_standby(&self, timeline: u32) -> Result<()> {
        // What the standby may have written last: zero before its first restart point.
        let sql = "SELECT pg_is_in_recovery(), min_recovery_end_timeline FROM pg_control_recovery()";
        let row = self.row("ask the standby how far it is", sql, &[]).await?;
        let message = match (row.get::<_, bool>(0), i64::from(row.get::<_, i32>(1))) {
            (false, _) => "the standby was promoted during the backup".to_owned(),
            (true, now) if now != 0 && now != i64::from(timeline) => {
                format!("the standby went from timeline {timeline} to {now} during the backup")
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Postgres, message))
    }

    /// Fails where this is not the primary of cluster `system`, or its WAL segment cannot be ended in this session.
    ///
    /// # Errors
    /// `Configuration` for another cluster, `WrongRole`, `Postgres` without the right.
    pub(crate) async fn is_primary_of(&self, system: SystemIdentifier) -> Result<()> {
        let sql = "SELECT (SELECT system_identifier::text FROM pg_control_system()), pg_is_in_recovery(), \
                   has_function_privilege('pg_switch_wal()', 'EXECUTE')";
        let row = self.row("ask the primary who it is", sql, &[]).await?;
        let (found, in_recovery, may): (&str, bool, bool) = (row.get(0), row.get(1), row.get(2));
        if found != system.to_string() {
            let message =
                format!("the server named as the primary runs cluster {found}, and the standby {system}");
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        if in_recovery {
            let message = "the server named as the primary is a standby itself";
            return Err(Error::new(ErrorKind::WrongRole, message));
        }
        if !may {
            let message = "the role on the primary may not call pg_switch_wal()";
            return Err(Error::new(ErrorKind::Postgres, message));
        }
        Ok(())
    }

    /// Ends the primary's WAL segment, so that it goes to the archive.
    pub(crate) async fn switch_wal(&self) -> Result<()> {
        self.row("end the WAL segment of the primary", "SELECT pg_switch_wal()::text", &[]).await.map(drop)
    }

    /// Returns what the server's clock shows.
    pub(crate) async fn now(&self) -> Result<Timestamp> {
        let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8";
        moment(self.row("ask the server for its time", sql, &[]).await?.get(0))
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
