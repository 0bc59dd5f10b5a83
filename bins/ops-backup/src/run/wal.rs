//! `wal push` and `wal fetch`: what PostgreSQL calls, once for each file. Nothing but the file itself is read.

use crate::failed::failed;
use crate::open;
use crate::settings::BackupSettings;
use ops_backup::wal::{self, Fetched, Pushed};
use ops_cli::{Exit, Failure};
use std::path::Path;

pub(super) async fn push(settings: &BackupSettings, path: &Path) -> Result<Exit, Failure> {
    let repository = open::writable_repository(settings).await?;
    let cluster = wal::cluster_of_segment(path).map_err(|error| failed(&error))?;
    let pushed = wal::push(&repository, &cluster, path).await.map_err(|error| failed(&error))?;
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    tracing::info!(file, stored = pushed == Pushed::Stored, "archived");
    Ok(Exit::Done)
}

pub(super) async fn fetch(
    settings: &BackupSettings,
    name: &str,
    to: &Path,
    tail: bool,
) -> Result<Exit, Failure> {
    let repository = open::repository(settings).await?;
    let cluster = wal::cluster_of_segment(to).map_err(|error| failed(&error))?;
    let fetched = match tail {
        true => wal::tail::fetch(&repository, &cluster, name, to).await,
        false => wal::fetch(&repository, &cluster, name, to).await,
    };
    match fetched.map_err(|error| failed(&error))? {
        Fetched::Written => {
            tracing::info!(file = name, "fetched");
            Ok(Exit::Done)
        }
        Fetched::Absent => {
            tracing::info!(file = name, "not in the archive");
            Ok(Exit::WalAbsent)
        }
    }
}
