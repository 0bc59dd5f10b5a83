//! The WAL service: a resident process beside the server that makes `archive_command` and `restore_command` cheap.
//!
//! Without it each WAL file costs a process that opens the repository, and the files go one after the other, because the
//! server calls its commands one at a time. The service opens the repository once, looks ahead, and answers a small client
//! ([`client`]) over a private socket.
//!
//! - **Push**: while the server waits for one segment, those behind it that `archive_status` says are complete are stored
//!   already. A segment is acknowledged only when it is durable in the repository; what was stored ahead is acknowledged
//!   from memory only where the file is still the same one.
//! - **Fetch**: the segments that recovery will ask for next, also on the timeline that begins there, are fetched into a
//!   folder beside their destination, and then only renamed. That a segment is absent is never remembered: it may arrive.
//! - **Watch**: how much waits to be archived, and when that will have filled the disk.
//!
//! # What a crash leaves
//! The service keeps nothing that matters: what is durable is in the repository, what is not was not acknowledged. A client
//! that finds no service, or loses it in the middle, does the work itself. Segments that were fetched ahead stay in
//! `pg_wal/.ops-backup` and are removed at the next start; the server ignores that folder.
//!
//! # Who may ask
//! The socket lies in a directory that only its owner can write, and both ends look at the user of the other: the same user
//! or root. A request names a file, and never a path: the service reads and writes in the `pg_wal` that it serves alone.

pub mod client;
mod fetching;
mod forecast;
mod pushing;
mod socket;
mod status;
#[cfg(test)]
mod tests;
mod waiting;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::control::ControlFile;
use crate::repo::Repository;
use crate::wal::{Fetched, PushOptions, Pushed, archive};
use fetching::Fetching;
use pushing::Pushing;
use socket::Endpoint;
pub use status::{Disk, Status, StatusHandle, Totals};
use wire::{Reply, Request};

/// How a service works.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServiceOptions {
    /// The data directory of the server whose WAL is served.
    pub data_directory: PathBuf,
    /// The directory of the socket, where the usual one cannot be: see [`client`]. It must be private.
    pub socket_directory: Option<PathBuf>,
    /// How WAL files are stored.
    pub push: PushOptions,
    /// How many files are stored at the same time. Each takes up to three times the size of a segment in memory.
    pub uploads: usize,
    /// How many segments are fetched ahead of recovery.
    pub prefetch: usize,
    /// From which time on before the disk is full a warning is given.
    pub warn_before_full: Duration,
}

impl ServiceOptions {
    /// Options for the server with this data directory: four uploads, eight segments ahead, a warning two hours before.
    pub fn new(data_directory: impl Into<PathBuf>) -> Self {
        ServiceOptions {
            data_directory: data_directory.into(),
            socket_directory: None,
            push: PushOptions::default(),
            uploads: 4,
            prefetch: 8,
            warn_before_full: Duration::from_secs(2 * 3600),
        }
    }
}

/// How often the service looks at the disk and at what waits.
const TICK: Duration = Duration::from_secs(5);
/// How often an idle service makes sure that it can reach the repository.
const PROBE: Duration = Duration::from_secs(30);
/// How often a client that waits is told that its request is alive.
const ALIVE: Duration = Duration::from_secs(2);
/// How long the end waits for requests that are under way.
const LEAVE: Duration = Duration::from_secs(10);

/// A service that is listening, and has begun nothing yet.
#[derive(Debug)]
pub struct Service {
    endpoint: Endpoint,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    repository: Repository,
    pushing: Arc<Pushing>,
    fetching: Arc<Fetching>,
    status: StatusHandle,
    wal_directory: PathBuf,
    warn_before_full: Duration,
}

impl Service {
    /// Begins to listen for the clients of one server.
    ///
    /// # Errors
    /// `Configuration` where the data directory is none or the socket cannot be private, `Busy` where another service serves
    /// the same directory, `Conflict` where the repository knows the cluster as another one, and those of the store.
    #[tracing::instrument(skip_all)]
    pub async fn bind(repository: Repository, options: &ServiceOptions) -> Result<Self> {
        let control = ControlFile::read(&options.data_directory)?;
        let wal_directory = options.data_directory.join("pg_wal");
        let wal_directory = std::fs::canonicalize(&wal_directory)
            .map_err(|error| Error::io(format!("find {wal_directory:?}"), error))?;
        let endpoint = Endpoint::bind(&wal_directory, options.socket_directory.as_deref())?;
        archive::register(&repository, &control.cluster).await?;
        let status = StatusHandle::default();
        let (cluster, count) = (control.cluster, status.totals());
        let pushing = Pushing::new(
            repository.clone(),
            cluster,
            wal_directory.clone(),
            options.push,
            options.uploads,
            count.clone(),
        );
        let fetching =
            Fetching::new(repository.clone(), cluster, wal_directory.clone(), options.prefetch, count)?;
        let (pushing, fetching) = (Arc::new(pushing), Arc::new(fetching));
        let warn_before_full = options.warn_before_full;
        let shared = Shared { repository, pushing, fetching, status, wal_directory, warn_before_full };
        Ok(Service { endpoint, shared: Arc::new(shared) })
    }

    /// Returns where the service listens.
    pub fn socket(&self) -> &Path {
        self.endpoint.path()
    }

    /// Returns what shows the state of the service while it runs.
    pub fn status(&self) -> StatusHandle {
        self.shared.status.clone()
    }

    /// Serves until `stop`. Requests that are under way then are answered first, but for those that take too long: their
    /// clients do the work themselves.
    ///
    /// # Errors
    /// `Io` where the socket fails. Failures of a request are told to its client.
    #[tracing::instrument(name = "wal service", skip_all)]
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let Service { endpoint, shared } = self;
        let mut clients = JoinSet::new();
        let mut watch = std::pin::pin!(watch(&shared));
        let served = loop {
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                () = &mut watch => {}
                Some(_) = clients.join_next(), if !clients.is_empty() => {}
                accepted = endpoint.accept() => match accepted {
                    Ok(Some(stream)) => {
                        let shared = Arc::clone(&shared);
                        clients.spawn(async move { serve(&shared, stream).await });
                    }
                    Ok(None) => {}
                    Err(error) => break Err(error),
                },
            }
        };
        // New clients find no socket from here on, and do their work themselves.
        drop(endpoint);
        let rest = async {
            while clients.join_next().await.is_some() {}
            shared.fetching.clear().await;
        };
        if tokio::time::timeout(LEAVE, rest).await.is_err() {
            tracing::warn!("the repository is slow: requests are left to their clients");
        }
        served
    }
}

/// Never ends.
async fn watch(shared: &Shared) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut watcher = waiting::Watcher::new(shared.wal_directory.clone(), shared.warn_before_full);
    let mut since_probe = PROBE;
    loop {
        tick.tick().await;
        watcher = watcher.look(&shared.status).await;
        shared.fetching.forget_if_idle().await;
        since_probe += TICK;
        if since_probe >= PROBE {
            since_probe = Duration::ZERO;
            let reachable = shared.repository.check_marker().await;
            shared.status.repository(reachable.err().map(|error| error.to_string()));
        }
    }
}

/// Answers one client: one request, one reply, and between them a blank line now and then.
async fn serve(shared: &Shared, stream: UnixStream) {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(wire::LONGEST));
    if reader.read_line(&mut line).await.is_err() {
        return;
    }
    let mut answer = std::pin::pin!(answer(shared, &line));
    let reply = loop {
        tokio::select! {
            reply = &mut answer => break reply,
            // Where the client is gone the work goes on: it will be asked for again.
            () = tokio::time::sleep(ALIVE) => drop(writer.write_all(b"\n").await),
        }
    };
    // A client that left asks again.
    drop(writer.write_all(&reply.to_line()).await);
}

async fn answer(shared: &Shared, line: &str) -> Reply {
    let reply = match Request::parse(line) {
        Some(Request::Push { name }) => shared.pushing.push(&name).await.map(|pushed| match pushed {
            Pushed::Stored => Reply::Stored,
            Pushed::AlreadyThere => Reply::AlreadyThere,
        }),
        Some(Request::Fetch { name, to }) => {
            let fetched = shared.fetching.fetch(&name, &to).await.map_err(Arc::new);
            fetched.map(|fetched| match fetched {
                Fetched::Written => Reply::Written,
                Fetched::Absent => Reply::Absent,
            })
        }
        None => return Reply::Unknown,
    };
    reply.unwrap_or_else(|error| Reply::failed(&error))
}

/// A file name and nothing more: a request never leads out of the WAL directory.
fn plain(name: &str) -> Result<&str> {
    if !name.is_empty() && !name.starts_with('.') && name.bytes().all(|byte| byte != b'/' && byte != 0) {
        return Ok(name);
    }
    Err(Error::new(ErrorKind::Configuration, format!("{name:?} is not the name of a file")))
}
