//! What is different where a backup is taken from a standby.
//!
//! Source: the manual's "Making a Base Backup Using the Low Level API" and `do_pg_backup_start` of `xlog.c`. The standby
//! itself begins and ends the backup; the server refuses where the primary wrote WAL without `full_page_writes`. The copy
//! is consistent once replay has reached the position that `pg_control`, copied last, names. A standby writes no WAL, so it
//! cannot end the segment that holds this position: the primary does, by itself where it is busy, or when it is asked to.

use ops_core::connection::ConnectionSettings;

use crate::error::Result;
use crate::postgres::lsn::SystemIdentifier;
use crate::postgres::session::{Role, Session};

/// Which server of a cluster a backup is taken from. It must be what is asked for.
#[derive(Debug, Clone, Default)]
#[expect(clippy::large_enum_variant, reason = "there is one for each backup")]
pub enum TakenFrom {
    /// The primary.
    #[default]
    Primary,
    /// A standby. Its own `archive_mode` does not matter: its primary's WAL must reach the repository.
    Standby {
        /// How the primary is reached, by a role that may call `pg_switch_wal()`. Without it the end of a backup waits until
        /// the primary has filled a WAL segment, and fails where it is idle for too long.
        primary: Option<ConnectionSettings>,
    },
}

impl TakenFrom {
    pub(in crate::engine) fn role(&self) -> Role {
        match self {
            TakenFrom::Primary => Role::Primary,
            TakenFrom::Standby { .. } => Role::Standby,
        }
    }

    /// Finds out early whether the primary can be asked in the end.
    ///
    /// # Errors
    /// As [`Session::connect`] and [`Session::is_primary_of`].
    pub(in crate::engine) async fn check_primary(&self, system: SystemIdentifier) -> Result<()> {
        match self {
            TakenFrom::Standby { primary: Some(primary) } => {
                Session::connect(primary).await?.is_primary_of(system).await
            }
            _ => Ok(()),
        }
    }

    /// Has the primary end its WAL segment. Where it cannot be asked any more, the segment may still come by itself.
    pub(in crate::engine) async fn switch_wal(&self, system: SystemIdentifier) {
        let TakenFrom::Standby { primary: Some(primary) } = self else { return };
        let switched = async {
            let session = Session::connect(primary).await?;
            session.is_primary_of(system).await?;
            session.switch_wal().await
        };
        let switched: Result<()> = switched.await;
        if let Err(error) = switched {
            tracing::warn!(%error, "the primary was not asked to end its WAL segment; the backup waits for it");
        }
    }
}
