//! `wal push`, `wal fetch` and `wal check`. The first two are what PostgreSQL calls, once for each file: a service that may
//! run beside the server is asked first, before anything else is started; where there is none they do the work themselves.

use super::Answered;
use crate::args::{CheckArgs, WalAction};
use crate::failed::failed;
use crate::render::Answer;
use crate::settings::BackupSettings;
use crate::{open, parse};
use jiff::Timestamp;
use ops_backup::wal::{self, Fetched, Pushed, service::client};
use ops_backup::{WalAudit, audit_wal};
use ops_cli::{Exit, Failure, Parts};
use serde::Deserialize;
use std::path::Path;

/// What of the settings a call needs that the service answers: no secret, and nothing that a mistake elsewhere can spoil.
#[derive(Deserialize)]
struct ServicePart {
    backup: SocketPart,
}

/// Its part of the table `[backup]`.
#[derive(Deserialize)]
struct SocketPart {
    wal_socket_dir: String,
}

impl ServicePart {
    /// Where the socket of the service is, if not in the usual place.
    fn directory(&self) -> Option<&Path> {
        socket_directory(&self.backup.wal_socket_dir)
    }
}

/// Lets the service do it; `None` where there is none, or this is nothing for it.
pub(crate) fn by_service(action: &WalAction, parts: &Parts<'_>) -> Option<Result<Exit, Failure>> {
    match action {
        WalAction::Push { path } => {
            let part: ServicePart = parts.load()?;
            client::push(path, part.directory()).map(|pushed| archived(path, true, pushed))
        }
        WalAction::Fetch { name, to, tail } => {
            let part: ServicePart = parts.load()?;
            match client::fetch(name, to, part.directory())? {
                // The service serves whole files alone.
                Ok(Fetched::Absent) if *tail => None,
                answer => Some(fetched(name, true, answer)),
            }
        }
        _ => None,
    }
}

pub(super) async fn push(settings: &BackupSettings, path: &Path) -> Result<Exit, Failure> {
    let repository = open::writable_repository(settings).await?;
    let cluster = wal::cluster_of_segment(path).map_err(|error| failed(&error))?;
    archived(path, false, wal::push(&repository, &cluster, path).await)
}

fn archived(
    path: &Path,
    by_service: bool,
    pushed: Result<Pushed, ops_backup::Error>,
) -> Result<Exit, Failure> {
    let pushed = pushed.map_err(|error| failed(&error))?;
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    tracing::info!(file, stored = pushed == Pushed::Stored, by_service, "archived");
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
    let answer = match tail {
        true => wal::tail::fetch(&repository, &cluster, name, to).await,
        false => wal::fetch(&repository, &cluster, name, to).await,
    };
    fetched(name, false, answer)
}

fn fetched(
    name: &str,
    by_service: bool,
    answer: Result<Fetched, ops_backup::Error>,
) -> Result<Exit, Failure> {
    match answer.map_err(|error| failed(&error))? {
        Fetched::Written => {
            tracing::info!(file = name, by_service, "fetched");
            Ok(Exit::Done)
        }
        Fetched::Absent => {
            tracing::info!(file = name, by_service, "not in the archive");
            Ok(Exit::WalAbsent)
        }
    }
}

/// Where the socket of the service is, if not in the usual place.
pub(super) fn socket_directory(setting: &str) -> Option<&Path> {
    Some(setting).filter(|text| !text.is_empty()).map(Path::new)
}

pub(super) async fn check(args: &CheckArgs, settings: &BackupSettings) -> Answered {
    let age = args.max_age.as_deref().map(|text| parse::age("--max-age", text)).transpose()?;
    let repository = open::repository(settings).await?;
    let mut audit = audit_wal(&repository).await.map_err(|error| failed(&error))?;
    if let Some(wanted) = parse::cluster(args.cluster.as_ref())? {
        audit.clusters.retain(|checked| checked.cluster.system_identifier == wanted);
    }
    let late = age.map_or_else(Vec::new, |age| late(&audit, age, Timestamp::now()));
    let exit = match (audit.clusters.is_empty(), audit.is_whole() && late.is_empty()) {
        (true, _) => Exit::Nothing,
        (false, true) => Exit::Done,
        (false, false) => Exit::No,
    };
    Ok((Answer::WalChecked { whole: audit.is_whole(), audit, late }, exit))
}

/// Names the clusters whose newest segment is older than `age`.
fn late(audit: &WalAudit, age: jiff::SignedDuration, now: Timestamp) -> Vec<String> {
    let behind = |checked: &&ops_backup::audit::ClusterAudit| {
        checked.last_stored_at().is_none_or(|at| now.duration_since(at) > age)
    };
    let named = |checked: &ops_backup::audit::ClusterAudit| {
        let system = checked.cluster.system_identifier;
        match checked.last_stored_at() {
            Some(at) => format!("Cluster {system} is behind: its newest segment was stored at {at:.0}."),
            None => format!("Cluster {system} is behind: no segment of it is archived."),
        }
    };
    audit.clusters.iter().filter(behind).map(named).collect()
}
