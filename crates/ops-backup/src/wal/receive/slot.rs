//! What the server says about the slot over an ordinary session, where we are allowed one: a slot that keeps too much
//! is given up by the server, and one that may keep everything fills its disk.

use std::time::Duration;

use ops_core::connection::ConnectionSettings;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::ReceiveOptions;
use super::status::Troubles;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::Lsn;

const LOOK_EVERY: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(15);

/// Looks at the slot until it is dropped.
#[derive(Debug)]
pub(super) struct SlotWatch(JoinHandle<()>);

impl Drop for SlotWatch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) fn watch(
    server: &ConnectionSettings,
    options: &ReceiveOptions,
    troubles: watch::Sender<Troubles>,
) -> SlotWatch {
    let (server, name, limit) = (server.clone(), options.slot.clone(), options.warn_lag);
    SlotWatch(tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let trouble = match tokio::time::timeout(PATIENCE, health(&server, &name)).await {
                Ok(Ok(health)) => health.and_then(|health| health.trouble(&name, limit)),
                // A role that may only replicate is let in nowhere else: then there is nothing to see.
                Ok(Err(error)) => {
                    tracing::debug!(%error, "the slot cannot be looked at");
                    continue;
                }
                Err(_) => continue,
            };
            troubles.send_if_modified(|troubles| {
                let is_new = troubles.slot != trouble;
                troubles.slot = trouble;
                is_new
            });
        }
    }))
}

/// What `pg_replication_slots` says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Health {
    wal_status: Option<String>,
    /// How much may still be written before the slot is given up; `None` where that never happens.
    safe_wal_size: Option<i64>,
}

impl Health {
    fn trouble(&self, slot: &str, limit: u64) -> Option<String> {
        let safe = self.safe_wal_size.map(|size| u64::try_from(size).unwrap_or(0));
        match (self.wal_status.as_deref(), safe) {
            (Some("lost"), _) => {
                Some(format!("the server has given up slot {slot:?}: it kept more WAL than it may"))
            }
            (Some("unreserved"), _) => Some(format!(
                "the server gives up slot {slot:?} at its next checkpoint: it keeps more WAL than it may"
            )),
            (Some("extended"), Some(safe)) if safe < limit => Some(format!(
                "slot {slot:?} is close to what it may keep (max_slot_wal_keep_size): then the server gives it up"
            )),
            _ => None,
        }
    }
}

async fn health(server: &ConnectionSettings, name: &str) -> Result<Option<Health>> {
    let client = connect(server).await?;
    let sql = "SELECT wal_status, safe_wal_size FROM pg_replication_slots WHERE slot_name = $1";
    let rows = client.query(sql, &[&name]).await;
    let rows = rows.map_err(|error| Error::postgres("look at the slot", error))?;
    Ok(rows.first().map(|row| Health { wal_status: row.get(0), safe_wal_size: row.get(1) }))
}

/// Returns from where on a physical slot keeps WAL: within, `None` where it keeps nothing; without, where there is none.
pub(super) async fn restart(server: &ConnectionSettings, name: &str) -> Result<Option<Option<Lsn>>> {
    let client = connect(server).await.map_err(|error| {
        let message =
            "PostgreSQL 14 tells about a slot in an ordinary session alone, and that is not to be had";
        Error::new(error.kind(), message).with_source(error)
    })?;
    let sql =
        "SELECT restart_lsn::text FROM pg_replication_slots WHERE slot_name = $1 AND slot_type = 'physical'";
    let rows = client.query(sql, &[&name]).await;
    let rows = rows.map_err(|error| Error::postgres("look at the slot", error))?;
    let Some(row) = rows.first() else { return Ok(None) };
    let restart: Option<&str> = row.get(0);
    restart.map(|text| text.parse().map_err(Error::corrupt)).transpose().map(Some)
}

async fn connect(server: &ConnectionSettings) -> Result<Client> {
    let target = server.target();
    let tls = server.tls().map_err(|error| {
        Error::new(ErrorKind::Configuration, format!("cannot set up TLS to {target}")).with_source(error)
    })?;
    let connected = server.config().connect(tls).await;
    let (client, connection) =
        connected.map_err(|error| Error::postgres(format!("connect to {target}"), error))?;
    // It ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slot_in_danger_is_told() {
        for (wal_status, safe_wal_size, expected) in [
            (None, None, None),
            (Some("reserved"), Some(5), None),
            (Some("extended"), None, None),
            (Some("extended"), Some(2000), None),
            (Some("extended"), Some(500), Some("close to")),
            (Some("unreserved"), Some(-5), Some("next checkpoint")),
            (Some("lost"), None, Some("has given up")),
        ] {
            let health = Health { wal_status: wal_status.map(str::to_owned), safe_wal_size };
            let trouble = health.trouble("s", 1000);
            let fits = match (&trouble, expected) {
                (Some(text), Some(part)) => text.contains(part),
                (None, None) => true,
                _ => false,
            };
            assert!(fits, "{health:?}: {trouble:?}");
        }
    }
}
