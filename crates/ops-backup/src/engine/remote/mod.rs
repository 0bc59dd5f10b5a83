//! PostgreSQL, over the replication protocol alone: nothing is needed on the server's machine, nor access to its files.
//!
//! # Order
//! 1. The replication session says which cluster this is, and how large its pages are. The server must be what is asked for.
//! 2. Where changes are enough, the manifest of the base goes to the server. Then `BASE_BACKUP`. A crash from here on ends the session, and with it the backup on the server.
//! 3. The files come as tar streams, tablespaces first; `backup_label` comes before the others of the data directory and
//!    `pg_control` behind them. Both are kept for the end.
//! 4. The server's manifest and the end position come. Every stored file is compared with the manifest.
//! 5. Each WAL segment from start to stop is waited for in *this* repository, whoever brings it there.
//!
//! A second, normal session asks for the names of the databases and for the time; a server that does not let us in costs
//! these names.

mod audit;
mod changes;
mod command;
mod incremental;
mod sent;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use ops_core::connection::ConnectionSettings;

use crate::engine::postgres::TakenFrom;
use crate::engine::postgres::reader::{Checked, Pages, SentFiles};
use crate::engine::postgres::wal::NeededWal;
use crate::engine::{Auditor, Connect, Engine, Finished, LastFile, Proof, Start, Supply};
use crate::error::{Error, ErrorKind, Result};
use crate::monitor::{Monitor, Phase};
use crate::postgres::control;
use crate::postgres::replication::Replication;
use crate::postgres::segment::Cluster;
use crate::postgres::sent_manifest::SentManifest;
use crate::postgres::session::{Role, Session};
use crate::repo::Repository;
use crate::repo::catalog::{Audit, Backup, BackupSource, Database, Incremental, Origin, PostgresBackup};
use crate::wal::archive;
use audit::LineAuditor;
use command::{BaseBackup, Begun};
pub use incremental::IncrementalUse;
use sent::{Ended, Sent};
pub use wire::WireCompression;

/// A running PostgreSQL server that is reached over the network, as a role with `REPLICATION`.
#[derive(Debug, Clone)]
pub struct RemoteEngine {
    /// How the server is reached.
    pub server: ConnectionSettings,
    /// A note that the server shows and writes into `backup_label`.
    pub label: String,
    /// Whether the server makes its checkpoint at once. Otherwise the backup begins minutes later, with less load.
    pub fast_checkpoint: bool,
    /// How long a WAL segment may take to arrive in the repository before the backup fails.
    pub archive_timeout: Duration,
    /// What the server must be to its cluster.
    pub taken_from: TakenFrom,
    /// Whether the server is asked for changes alone. The backup is complete either way.
    pub incremental: IncrementalUse,
    /// How long changes may be added to one backup that was read whole. Then everything is read again, and compared.
    pub whole_after: Duration,
    /// Whether the server compresses what it sends. What is stored is the same either way.
    pub wire_compression: WireCompression,
}

impl RemoteEngine {
    /// An engine with the usual settings: a checkpoint at once, and a minute for each WAL segment to arrive.
    pub fn new(server: ConnectionSettings) -> Self {
        RemoteEngine {
            server,
            label: "ops-backup".to_owned(),
            fast_checkpoint: true,
            archive_timeout: Duration::from_secs(60),
            taken_from: TakenFrom::default(),
            incremental: IncrementalUse::default(),
            whole_after: Duration::from_secs(7 * 24 * 60 * 60),
            wire_compression: WireCompression::default(),
        }
    }
}

impl Engine for RemoteEngine {}

#[async_trait]
impl Connect for RemoteEngine {
    async fn connect(&self) -> Result<Box<dyn super::Session>> {
        let mut replication = Replication::connect(&self.server).await?;
        let cluster = replication.cluster().await?;
        let standby = replication.show("in_hot_standby").await? == "on";
        let role = if standby { Role::Standby } else { Role::Primary };
        role.check(self.taken_from.role())?;
        self.taken_from.check_primary(cluster.system_identifier).await?;
        let pages = PageFormat::ask(&mut replication).await?;
        Ok(Box::new(RemoteSession {
            engine: self.clone(),
            version: replication.version(),
            replication: Mutex::new(Some(replication)),
            cluster,
            role,
            pages,
            begun: None,
            line: None,
            auditor: None,
            databases: Vec::new(),
            checked: Checked::default(),
            ended: Arc::default(),
        }))
    }

    fn may_read_whole(&self) -> bool {
        self.incremental != IncrementalUse::Require
    }
}

/// What the server says about its pages; `pg_control`, which comes last, must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PageFormat {
    size: u32,
    blocks_per_file: u32,
    checksums: bool,
}

impl PageFormat {
    async fn ask(replication: &mut Replication) -> Result<Self> {
        let (block, file) = (replication.show("block_size").await?, replication.show("segment_size").await?);
        let size: u32 = block.parse().unwrap_or(0);
        let blocks = bytes(&file).and_then(|bytes| u32::try_from(bytes.checked_div(size.into())?).ok());
        let Some(blocks_per_file) = blocks.filter(|blocks| *blocks > 0) else {
            let message = format!("the server says that its files have {file:?} in pages of {block:?} bytes");
            return Err(Error::corrupt(message));
        };
        // While they are being switched on or off, pages may lack them.
        let checksums = replication.show("data_checksums").await? == "on";
        Ok(PageFormat { size, blocks_per_file, checksums })
    }
}

/// Reads a size such as `1GB`, as the server shows it.
fn bytes(text: &str) -> Option<u64> {
    let at = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let unit = match &text[at..] {
        "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "TB" => 1 << 40,
        _ => return None,
    };
    text[..at].parse::<u64>().ok()?.checked_mul(unit)
}

struct RemoteSession {
    engine: RemoteEngine,
    version: u32,
    /// Goes to whoever reads what is sent. Never contended: it lets the session be shared, which a stream need not.
    replication: Mutex<Option<Replication>>,
    cluster: Cluster,
    role: Role,
    pages: PageFormat,
    begun: Option<Begun>,
    /// Where the server sends changes alone.
    line: Option<Incremental>,
    /// Where it sends everything after a line of changes.
    auditor: Option<Arc<LineAuditor>>,
    databases: Vec<Database>,
    checked: Checked,
    /// Filled once everything has come.
    ended: Arc<Mutex<Option<Ended>>>,
}

#[async_trait]
impl super::Session for RemoteSession {
    fn source(&self) -> String {
        format!("postgres/{}", self.cluster.system_identifier)
    }

    async fn start(&mut self, repository: &Repository, start: Start<'_>) -> Result<()> {
        archive::register(repository, &self.cluster).await?;
        let begun = match self.start_changes(repository, start).await? {
            Some(begun) => begun,
            None => {
                self.auditor = start.base.and_then(|base| self.auditor_of(base)).map(Arc::new);
                self.begin(start, false).await?
            }
        };
        // On another timeline, a page may lack hints that it had.
        let is_on = |base: &Backup| base.postgres().is_some_and(|facts| facts.timeline == begun.timeline);
        self.auditor.take_if(|_| !start.base.is_some_and(is_on));
        let changes = self.line.is_some();
        tracing::info!(lsn = %begun.start, timeline = begun.timeline, changes, "the server has started the backup");
        self.begun = Some(begun);
        Ok(())
    }

    async fn supply(&mut self) -> Result<Supply> {
        match self.ask_for_databases().await {
            Ok(databases) => self.databases = databases,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "the backup does not name its databases: their numbers must be given to restore some");
            }
        }
        let begun = self.begun().clone();
        let pages = self.pages.checksums.then_some(Pages {
            size: self.pages.size as usize,
            blocks_per_file: self.pages.blocks_per_file,
            backup_start: begun.start,
        });
        let inspector = Arc::new(SentFiles {
            pages,
            checked: self.checked.clone(),
            auditor: self.auditor.clone().map(|auditor| auditor as Arc<dyn Auditor>),
        });
        let replication = self.replication.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let replication = replication.expect("what is sent is asked for once");
        let changes = self.line.is_some().then_some(self.pages);
        let sent = Sent::new(replication, begun, inspector, Arc::clone(&self.ended), changes)?;
        Ok(Supply::Arrivals(Box::new(sent)))
    }

    /// Everything is read and compared: no time is asked.
    fn doubt(&self, _base: &BackupSource) -> Option<String> {
        None
    }

    async fn watch(&self, repository: &Repository) -> Error {
        if self.role == Role::Primary
            && let Err(error) = self.wal().one_before(repository).await
        {
            return error;
        }
        // That the server lives is seen by what it sends.
        std::future::pending().await
    }

    async fn finish(&mut self, repository: &Repository, monitor: &Monitor) -> Result<Finished> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(ended) = ended else { return Err(Error::corrupt("the server did not end the backup")) };
        tracing::info!(lsn = %ended.stop, "the server has ended the backup");
        let control = control::parse(&ended.control, self.cluster.major)?;
        self.agree(&control, &ended)?;
        self.checked.judge_newer(ended.stop);
        if ended.is_damaged && self.checked.findings().bad_pages == 0 {
            let message = "the server found pages with a wrong checksum that were right when they came";
            return Err(Error::corrupt(message));
        }
        let (start_time, stop_time) = self.times(&ended).await;
        monitor.phase(Phase::WaitForWal, 0);
        let wal = self.wal();
        if !wal.has_last(repository, ended.stop).await? {
            self.engine.taken_from.switch_wal(self.cluster.system_identifier).await;
        }
        wal.wait(repository, ended.stop).await?;
        let modified = i64::try_from(stop_time.as_nanosecond()).unwrap_or(i64::MAX);
        let file =
            |path: &str, content: Bytes| LastFile { path: path.to_owned(), mode: 0o600, modified, content };
        let files = vec![file("backup_label", ended.label.into()), file(control::PATH, ended.control.into())];
        let begun = self.begun();
        let source = PostgresBackup {
            cluster: self.cluster,
            server_version: self.version,
            catalog_version: control.catalog_version,
            timeline: begun.timeline,
            start_lsn: begun.start,
            stop_lsn: ended.stop,
            start_time,
            stop_time,
            page_checksums: self.pages.checksums,
            tablespaces: begun.tablespaces(),
            databases: self.databases.clone(),
            origin: self.origin(),
            incremental: self.line.clone(),
            audit: self.audited(),
        };
        let proof: Box<dyn Proof> = Box::new(Word(ended.manifest));
        Ok(Finished { source: BackupSource::Postgres(source), files, proof: Some(proof) })
    }
}

impl RemoteSession {
    fn replication(&mut self) -> &mut Replication {
        let replication = self.replication.get_mut().unwrap_or_else(PoisonError::into_inner);
        replication.as_mut().expect("a session is started before anything else")
    }

    /// Starts the backup on the server, compressed in the best way that it knows.
    async fn begin(&mut self, start: Start<'_>, changes: bool) -> Result<Begun> {
        let RemoteEngine { label, fast_checkpoint, wire_compression, .. } = self.engine.clone();
        let version = self.version;
        let (bytes_per_second, fast) = (start.bytes_per_second, fast_checkpoint);
        let replication = self.replication();
        let ways = wire_compression.ways(version, replication.is_local())?;
        let command =
            BaseBackup { version, label: &label, fast, bytes_per_second, changes, compression: None };
        let begun = command::begin_in_one_of(replication, command, ways).await;
        match (begun, wire_compression) {
            (Err(error), WireCompression::Lz4 | WireCompression::Zstd) if wire::is_unknown(&error) => {
                let message = "the server cannot compress what it sends in the way that is asked for";
                Err(Error::new(ErrorKind::Unsupported, message).with_source(error))
            }
            (begun, _) => begun,
        }
    }

    /// Begins a backup of which the server sends what has changed since the base; `None` where it is to send everything.
    async fn start_changes(&mut self, repository: &Repository, start: Start<'_>) -> Result<Option<Begun>> {
        let required = self.engine.incremental == IncrementalUse::Require;
        let (base, reason) = match self.base_of_changes(start).await? {
            Ok((base, facts)) => match self.ask_for_changes(repository, start, base, facts).await {
                Ok(begun) => return Ok(Some(begun)),
                Err(error) if required => return Err(error),
                // The server refuses, or the base has gone.
                Err(error) => match error.kind() {
                    ErrorKind::Postgres | ErrorKind::NotFound | ErrorKind::Corrupt => (base, chain(&error)),
                    _ => return Err(error),
                },
            },
            Err(reason) if required => {
                let message = format!("the server cannot send changes alone: {reason}");
                return Err(Error::new(ErrorKind::Postgres, message));
            }
            Err(reason) => {
                if start.base.is_some() && self.engine.incremental == IncrementalUse::Auto {
                    tracing::info!(reason, "the server is asked for everything");
                }
                return Ok(None);
            }
        };
        tracing::warn!(base = base.id, reason, "the server is asked for everything");
        // What was refused may have left the session within a command.
        let mut replication = Replication::connect(&self.engine.server).await?;
        if replication.cluster().await? != self.cluster {
            return Err(Error::new(ErrorKind::Postgres, "another server answers than before"));
        }
        *self.replication.get_mut().unwrap_or_else(PoisonError::into_inner) = Some(replication);
        Ok(None)
    }

    /// Returns the backup since which the server is asked for changes, or why there is none.
    async fn base_of_changes<'a>(
        &mut self,
        start: Start<'a>,
    ) -> Result<Result<(&'a Backup, &'a PostgresBackup), String>> {
        if self.engine.incremental == IncrementalUse::Never || start.whole {
            return Ok(Err("everything is to be read".to_owned()));
        }
        if self.version < incremental::FIRST_VERSION {
            return Ok(Err(format!("PostgreSQL {} cannot", self.cluster.major)));
        }
        let Some((base, facts)) = start.base.and_then(|base| Some((base, base.postgres()?))) else {
            return Ok(Err("there is no sound backup to add them to".to_owned()));
        };
        let replication = self.replication();
        let timeline = replication.identify().await?.timeline;
        let summarizes = replication.show("summarize_wal").await? == "on";
        let (major, origin, pages) = (self.cluster.major, self.origin(), self.pages);
        let server = incremental::Server { major, timeline, origin, pages, summarizes };
        let reason = incremental::why_not(server, base, Timestamp::now(), self.engine.whole_after);
        Ok(reason.map_or(Ok((base, facts)), Err))
    }

    async fn ask_for_changes(
        &mut self,
        repository: &Repository,
        start: Start<'_>,
        base: &Backup,
        facts: &PostgresBackup,
    ) -> Result<Begun> {
        incremental::upload_manifest(self.replication(), repository, base, facts).await?;
        let begun = self.begin(start, true).await?;
        if begun.timeline != facts.timeline {
            let message = format!("the server went to timeline {}", begun.timeline);
            return Err(Error::new(ErrorKind::Postgres, message));
        }
        self.line = Some(incremental::next(base, facts));
        Ok(begun)
    }

    fn origin(&self) -> Origin {
        match self.role {
            Role::Primary => Origin::PrimaryNetwork,
            Role::Standby => Origin::StandbyNetwork,
        }
    }

    /// Returns who compares what comes with the line of changes that `base` is the last of.
    fn auditor_of(&self, base: &Backup) -> Option<LineAuditor> {
        let facts = base.postgres().filter(|facts| facts.incremental.is_some())?;
        let is_alike = facts.page_checksums && self.pages.checksums && facts.origin == self.origin();
        is_alike.then(|| LineAuditor::new(&base.id, facts.start_lsn, self.pages.size))
    }

    fn audited(&self) -> Option<Audit> {
        let audit = self.auditor.as_ref()?.result();
        let Audit { backup, compared_pages, stale_pages, .. } = &audit;
        if *stale_pages > 0 {
            tracing::error!(
                backup,
                stale_pages,
                "the backups made of changes up to this one are not to be trusted"
            );
        } else {
            tracing::info!(backup, compared_pages, "the line of changes up to this backup has lost nothing");
        }
        Some(audit)
    }

    fn begun(&self) -> &Begun {
        self.begun.as_ref().expect("a session is started before anything else")
    }

    fn wal(&self) -> NeededWal {
        let Begun { start, timeline, .. } = *self.begun();
        NeededWal { cluster: self.cluster, timeline, start, patience: self.engine.archive_timeout }
    }

    async fn ask_for_databases(&self) -> Result<Vec<Database>> {
        let databases = Session::connect(&self.engine.server).await?.databases().await?;
        Ok(databases.into_iter().map(|(oid, name)| Database { oid, name }).collect())
    }

    /// Fails where what came is not of the cluster and the timeline that the backup began with.
    fn agree(&self, control: &control::ControlFile, ended: &Ended) -> Result<()> {
        let begun = self.begun();
        if ended.timeline != begun.timeline {
            let message = format!(
                "the server went from timeline {} to {} during the backup",
                begun.timeline, ended.timeline
            );
            return Err(Error::new(ErrorKind::Postgres, message));
        }
        let pages = PageFormat {
            size: control.block_size,
            blocks_per_file: control.blocks_per_file,
            checksums: control.page_checksums,
        };
        if control.cluster != self.cluster || pages != self.pages {
            return Err(Error::corrupt(
                "the pg_control that the server sent is of another cluster than it says",
            ));
        }
        Ok(())
    }

    /// Returns when the backup began and ended by the server's clock. Where the server does not tell the time, it is
    /// reckoned from the time of the label, and taken for later rather than earlier: no moment before the end can be
    /// recovered.
    async fn times(&self, ended: &Ended) -> (Timestamp, Timestamp) {
        let asked = async { Session::connect(&self.engine.server).await?.now().await };
        let ahead = ended.clock_ahead;
        let stop: Result<Timestamp> =
            if self.databases.is_empty() { Err(Error::cancelled()) } else { asked.await };
        let stop = stop.unwrap_or_else(|_| {
            let now = Timestamp::now();
            now.checked_add(ahead.max(SignedDuration::ZERO) + SignedDuration::from_secs(1)).unwrap_or(now)
        });
        let start = self.begun().at;
        (start.checked_add(ahead).unwrap_or(start).min(stop), stop)
    }
}

/// An error with its causes, in one line.
fn chain(error: &Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The server's word on every file.
struct Word(SentManifest);

impl Proof for Word {
    fn file(&mut self, path: &str, size: u64, crc32c: u32) -> Result<()> {
        self.0.check(path, size, crc32c)
    }

    fn end(&mut self) -> Result<()> {
        self.0.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_the_server_shows_them() {
        for (text, expected) in [
            ("1GB", Some(1 << 30)),
            ("64kB", Some(65_536)),
            ("8B", Some(8)),
            ("", None),
            ("5", None),
            ("xGB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
