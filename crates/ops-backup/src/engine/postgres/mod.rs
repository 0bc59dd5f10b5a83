//! PostgreSQL, from the files of a running server: the primary, or a standby where that is asked for.
//!
//! # Order
//! 1. `pg_backup_start`. A crash from here to 4 ends the session, and with it the backup on the server.
//! 2. The files are listed and copied, while the session is kept alive and the archive is watched.
//! 3. `pg_control`, read last but before the server ends the backup, as the server's own tool does.
//! 4. `pg_backup_stop`; the label that it returns belongs to the backup.
//! 5. Each WAL segment from start to stop is waited for in *this* repository.

pub(in crate::engine) mod reader;
mod standby;
pub(in crate::engine) mod wal;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ops_core::connection::ConnectionSettings;
use tokio::time::sleep;

use crate::engine::list::{Facts, Kind};
use crate::engine::{Connect, Engine, FileList, Finished, LastFile, Listed, Start, Supply};
use crate::error::{Error, ErrorKind, Result};
use crate::monitor::{Monitor, Phase};
use crate::postgres::Tablespace;
use crate::postgres::control::{self, ControlFile};
use crate::postgres::files::{self, Found};
use crate::postgres::session::{Role, Server, Session, Started, Stopped};
use crate::repo::Repository;
use crate::repo::catalog::{BackupSource, Database, Origin, PostgresBackup};
use crate::wal::archive;
pub use standby::TakenFrom;
use wal::NeededWal;

/// A running PostgreSQL server whose files are on this machine.
#[derive(Debug, Clone)]
pub struct PostgresEngine {
    /// How the server is reached, as a role that may take backups.
    pub server: ConnectionSettings,
    /// A note that the server shows and writes into `backup_label`.
    pub label: String,
    /// Where the cluster's files are, if not where the server says (for example behind a mount).
    pub data_directory: Option<PathBuf>,
    /// Whether the server makes its checkpoint at once. Otherwise the backup begins minutes later, with less load.
    pub fast_checkpoint: bool,
    /// How long the archiver may take for a segment before the backup fails.
    pub archive_timeout: Duration,
    /// What the server must be to its cluster.
    pub taken_from: TakenFrom,
}

impl PostgresEngine {
    /// An engine with the usual settings: a checkpoint at once, and a minute for each WAL segment to arrive.
    pub fn new(server: ConnectionSettings) -> Self {
        PostgresEngine {
            server,
            label: "ops-backup".to_owned(),
            data_directory: None,
            fast_checkpoint: true,
            archive_timeout: Duration::from_secs(60),
            taken_from: TakenFrom::default(),
        }
    }
}

const PING_INTERVAL: Duration = Duration::from_secs(30);

impl Engine for PostgresEngine {}

#[async_trait]
impl Connect for PostgresEngine {
    async fn connect(&self) -> Result<Box<dyn super::Session>> {
        let session = Session::connect(&self.server).await?;
        let server = session.inspect(self.taken_from.role()).await?;
        self.taken_from.check_primary(server.system_identifier).await?;
        let data_directory = self.data_directory.clone().unwrap_or_else(|| server.data_directory.clone());
        let control = blocking({
            let data_directory = data_directory.clone();
            move || ControlFile::read(&data_directory)
        })
        .await?;
        let found = control.cluster.system_identifier;
        if found != server.system_identifier || control.cluster.major != server.version / 10_000 {
            let message = format!(
                "{data_directory:?} holds cluster {found}, but the server runs cluster {}",
                server.system_identifier
            );
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        Ok(Box::new(PostgresSession {
            engine: self.clone(),
            session,
            server,
            data_directory,
            control,
            started: None,
            tablespaces: Vec::new(),
            databases: Vec::new(),
            checked: reader::Checked::default(),
        }))
    }
}

struct PostgresSession {
    engine: PostgresEngine,
    session: Session,
    server: Server,
    data_directory: PathBuf,
    control: ControlFile,
    started: Option<Started>,
    tablespaces: Vec<Tablespace>,
    databases: Vec<Database>,
    checked: reader::Checked,
}

#[async_trait]
impl super::Session for PostgresSession {
    fn source(&self) -> String {
        format!("postgres/{}", self.control.cluster.system_identifier)
    }

    async fn start(&mut self, repository: &Repository, _start: Start<'_>) -> Result<()> {
        archive::register(repository, &self.control.cluster).await?;
        let PostgresEngine { label, fast_checkpoint, .. } = &self.engine;
        let started = self.session.start(&self.server, label, *fast_checkpoint).await?;
        tracing::info!(lsn = %started.lsn, timeline = started.timeline, "the server has started the backup");
        self.started = Some(started);
        Ok(())
    }

    async fn supply(&mut self) -> Result<Supply> {
        let (data_directory, control) = (self.data_directory.clone(), self.control.clone());
        let (files, tablespaces) = blocking(move || list(&data_directory, &control)).await?;
        self.tablespaces = tablespaces;
        let databases = self.session.databases().await?;
        self.databases = databases.into_iter().map(|(oid, name)| Database { oid, name }).collect();
        let control = &self.control;
        let pages = control.page_checksums.then_some(reader::Pages {
            size: control.block_size as usize,
            blocks_per_file: control.blocks_per_file,
            backup_start: self.started().lsn,
        });
        let opener = reader::Files {
            data_directory: self.data_directory.clone(),
            pages,
            checked: self.checked.clone(),
        };
        Ok(Supply::Files(Listed { files, opener: Arc::new(opener) }))
    }

    fn doubt(&self, base: &BackupSource) -> Option<String> {
        let BackupSource::Postgres(base) = base else { return Some("the base is no cluster".to_owned()) };
        let started = self.started();
        // A standby has times of its own, and over the network they come in whole seconds.
        let times = [base.origin, self.origin()].into_iter().find(|origin| *origin != Origin::PrimaryFiles);
        if let Some(Origin::StandbyFiles | Origin::StandbyNetwork) = times {
            Some("a standby has other times than its primary".to_owned())
        } else if times.is_some() {
            Some("the base was taken over the network".to_owned())
        } else if base.cluster != self.control.cluster {
            Some("the base is of another cluster or major version".to_owned())
        } else if base.timeline != started.timeline {
            Some(format!("the server is on timeline {}, and was on {}", started.timeline, base.timeline))
        } else if started.lsn < base.stop_lsn {
            Some(format!("the server is at {}, before the end of the base at {}", started.lsn, base.stop_lsn))
        } else if self.control.page_checksums != base.page_checksums {
            Some("page checksums were switched on or off".to_owned())
        } else {
            None
        }
    }

    async fn watch(&self, repository: &Repository) -> Error {
        let (role, timeline) = (self.server.role, self.started().timeline);
        if role == Role::Primary
            && let Err(error) = self.wal().one_before(repository).await
        {
            return error;
        }
        loop {
            sleep(PING_INTERVAL).await;
            let alive = match role {
                Role::Primary => self.session.ping().await,
                Role::Standby => self.session.is_still_standby(timeline).await,
            };
            if let Err(error) = alive {
                return error;
            }
        }
    }

    async fn finish(&mut self, repository: &Repository, monitor: &Monitor) -> Result<Finished> {
        let data_directory = self.data_directory.clone();
        let (control_bytes, control) = blocking(move || control::read_raw(&data_directory)).await?;
        if control.cluster != self.control.cluster || control.timeline != self.control.timeline {
            let message =
                format!("{:?} changed its timeline or cluster during the backup", self.data_directory);
            return Err(Error::new(ErrorKind::Postgres, message));
        }
        let stopped = self.session.stop(&self.server).await?;
        tracing::info!(lsn = %stopped.lsn, "the server has ended the backup");
        if self.server.role == Role::Standby {
            self.session.is_still_standby(self.started().timeline).await?;
        }
        self.checked.judge_newer(stopped.lsn);
        monitor.phase(Phase::WaitForWal, 0);
        let wal = self.wal();
        if !wal.has_last(repository, stopped.lsn).await? {
            self.engine.taken_from.switch_wal(self.server.system_identifier).await;
        }
        wal.wait(repository, stopped.lsn).await?;
        let modified = i64::try_from(stopped.at.as_nanosecond()).unwrap_or(i64::MAX);
        let file =
            |path: &str, content: Bytes| LastFile { path: path.to_owned(), mode: 0o600, modified, content };
        let files = vec![
            file("backup_label", Bytes::from(stopped.label.clone())),
            file(control::PATH, Bytes::from(control_bytes)),
        ];
        Ok(Finished { source: BackupSource::Postgres(self.facts(&stopped)), files, proof: None })
    }
}

impl PostgresSession {
    fn started(&self) -> &Started {
        self.started.as_ref().expect("a session is started before anything else")
    }

    fn wal(&self) -> NeededWal {
        let Started { lsn, timeline, .. } = *self.started();
        let (cluster, patience) = (self.control.cluster, self.engine.archive_timeout);
        NeededWal { cluster, timeline, start: lsn, patience }
    }

    fn origin(&self) -> Origin {
        match self.server.role {
            Role::Primary => Origin::PrimaryFiles,
            Role::Standby => Origin::StandbyFiles,
        }
    }

    fn facts(&self, stopped: &Stopped) -> PostgresBackup {
        let started = self.started();
        PostgresBackup {
            cluster: self.control.cluster,
            server_version: self.server.version,
            catalog_version: self.control.catalog_version,
            timeline: started.timeline,
            start_lsn: started.lsn,
            stop_lsn: stopped.lsn,
            start_time: started.at,
            stop_time: stopped.at,
            page_checksums: self.control.page_checksums,
            tablespaces: self.tablespaces.clone(),
            databases: self.databases.clone(),
            origin: self.origin(),
            incremental: None,
            audit: None,
        }
    }
}

fn list(data_directory: &std::path::Path, control: &ControlFile) -> Result<(FileList, Vec<Tablespace>)> {
    let mut list = FileList::default();
    let mut parent = list.parent("");
    let tablespaces = files::walk(data_directory, control, &mut |found| match found {
        Found::Inside(path) => parent = list.parent(path),
        Found::Directory { name, mode } => {
            let facts = Facts { kind: Kind::Directory, mode, tag: 0, size: 0, modified: 0 };
            list.push(parent, name, facts);
        }
        Found::File(file) => {
            let files::FoundFile { name, size, mode, modified, relation_part } = file;
            let facts = Facts { kind: Kind::File, mode, tag: reader::tag(relation_part), size, modified };
            list.push(parent, name, facts);
        }
    })?;
    list.sort();
    Ok((list, tablespaces))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    Error::joined(tokio::task::spawn_blocking(work).await)
}
