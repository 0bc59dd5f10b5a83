//! Receives WAL from a server as it is written, so that what a disaster costs is seconds and not a segment.
//!
//! [`receive`] opens a session of physical replication on a slot and goes on until it is cancelled. A complete segment is
//! stored as [`wal::push`](crate::wal::push) stores it: the same object, the same checks, and one that `archive_command`
//! has stored already is fine. Before it is complete, what has come is stored every [`ReceiveOptions::flush_interval`] as
//! a piece of its [tail](crate::wal::tail).
//!
//! # What is durable, and what a crash leaves
//! Nothing is kept on this machine: memory holds two segments at most, and only what is durable in the repository is
//! reported to the server as flushed. So the slot knows where to begin after a crash of either side. A receiver begins with
//! the first byte of the segment in which the slot stands, and compares all it receives again with the pieces that are
//! there: other content ends it, for then two servers claim one history. A killed receiver leaves at worst a piece or
//! a segment that is stored and not reported; it is received, and found there, again.
//!
//! # Timelines
//! Where a timeline ends, the history file of the next one is stored before any WAL of it. The last segment of the old
//! timeline stays a tail: nothing will complete it, and it is never passed off as a segment. A promoted standby that is
//! reached by the same connection settings is followed where its history contains what was received.
//!
//! # Failures
//! A store that fails is tried until it comes back, and no more than two segments are received in the meantime: the server
//! keeps the rest, and hears from us, so that it does not hang up. A lost connection is opened again. What cannot pass ends
//! the receiver: WAL that the server has removed, another cluster, other content.
//!
//! ```no_run
//! # async fn run(repository: ops_backup::Repository) -> Result<(), Box<dyn std::error::Error>> {
//! use ops_backup::wal::receive::{ReceiveOptions, Status, receive};
//! use ops_core::connection::ConnectionSettings;
//! use tokio_util::sync::CancellationToken;
//!
//! let server = ConnectionSettings::parse("postgresql://replicator@db.example/postgres")?;
//! let mut options = ReceiveOptions::new("ops_backup");
//! options.create_slot = true;
//! let (status, watched) = tokio::sync::watch::channel(Status::default());
//! let stop = CancellationToken::new();
//! let last = receive(&repository, &server, &options, &stop, &status).await?;
//! println!("durable up to {:?}, {} bytes behind", last.durable, last.lag_bytes);
//! # Ok(())
//! # }
//! ```

mod begin;
mod pump;
mod segment;
mod slot;
mod status;
mod store;

use std::time::Duration;

use ops_core::connection::ConnectionSettings;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::begin::Position;
pub use self::status::Status;
use self::status::Troubles;
use self::store::Bench;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::SystemIdentifier;
use crate::postgres::replication::sqlstate;
use crate::postgres::segment::SegmentName;
use crate::repo::Repository;
use crate::repo::compress::Compression;

/// How WAL is received.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReceiveOptions {
    /// The physical replication slot. The server keeps its WAL until it is durable here, and may fill its disk with it.
    pub slot: String,
    /// Make the slot where there is none. It is never dropped: whoever gives up receiving must do that.
    pub create_slot: bool,
    /// How long a received byte waits at most before it is stored. Less means more and smaller objects.
    pub flush_interval: Duration,
    /// Warn where the server keeps more bytes than this for us.
    pub warn_lag: u64,
    /// The pause after the first failure of the store or the server; each later one is twice as long, up to 32 times.
    pub retry_pause: Duration,
    /// How segments and pieces are stored.
    pub compression: Compression,
    /// Receive from this cluster alone.
    pub system_identifier: Option<SystemIdentifier>,
}

impl ReceiveOptions {
    /// Options for the slot `name`, which must exist.
    pub fn new(slot: impl Into<String>) -> Self {
        ReceiveOptions {
            slot: slot.into(),
            create_slot: false,
            // With the time that storing takes, what is lost is what was written in the last second.
            flush_interval: Duration::from_millis(800),
            warn_lag: 1 << 30,
            retry_pause: Duration::from_millis(500),
            compression: Compression::default(),
            system_identifier: None,
        }
    }
}

/// A piece of a segment: which one.
#[derive(Debug, Clone, Copy)]
struct Place {
    name: SegmentName,
    number: u64,
}

/// How long a server may refuse the first session for reasons that pass, for example because the slot is in use still.
const FIRST_PATIENCE: Duration = Duration::from_secs(30);
/// How often a pause is doubled.
const DOUBLED: u32 = 5;
/// How long the server's end may take to be reached after cancellation.
const LAST_PATIENCE: Duration = Duration::from_secs(60);

/// Receives WAL until `stop` is cancelled; then what has come is made durable, and the last status returned.
///
/// # Errors
/// `Unavailable` where the server cannot be reached at first (later it is waited for), `Postgres` where it refuses,
/// `NotFound` where it has removed WAL that the repository lacks, `Conflict` where it is another cluster or another copy
/// of it, and what storing a WAL file can meet.
#[tracing::instrument(skip_all, fields(slot = options.slot))]
pub async fn receive(
    repository: &Repository,
    server: &ConnectionSettings,
    options: &ReceiveOptions,
    stop: &CancellationToken,
    status: &watch::Sender<Status>,
) -> Result<Status> {
    let (troubles, _) = watch::channel(Troubles::default());
    let told = Told { status: status.clone(), troubles: troubles.clone() };
    let mut receiver = Receiver {
        repository,
        server,
        options,
        stop,
        told,
        bench: Bench::start()?,
        last: None,
        began: false,
    };
    let _slot = slot::watch(server, options, troubles);
    let started = Instant::now();
    let mut failures = 0;
    loop {
        let session = Instant::now();
        let result = receiver.session().await;
        receiver.told.status.send_modify(|status| status.streaming = false);
        let Err(error) = result else { break };
        let patient = receiver.began || started.elapsed() < FIRST_PATIENCE;
        if !may_pass(&error) || !patient {
            return Err(error);
        }
        if stop.is_cancelled() {
            break;
        }
        tracing::warn!(error = %chain(&error), "the server cannot be received from; trying again");
        receiver.told.trouble(|troubles| &mut troubles.connection, Some(error.to_string()));
        if receiver.began {
            receiver.told.status.send_modify(|status| status.reconnects += 1);
        }
        let longest = pause(options.retry_pause, DOUBLED);
        failures = if session.elapsed() > longest { 0 } else { failures + 1 };
        if stop.run_until_cancelled(tokio::time::sleep(pause(options.retry_pause, failures))).await.is_none()
        {
            break;
        }
    }
    Ok(status.borrow().clone())
}

/// The pause after so many failures in a row.
fn pause(first: Duration, failures: u32) -> Duration {
    first * (1 << failures.saturating_sub(1).min(DOUBLED))
}

/// What a receiver keeps from one session to the next.
#[derive(Debug)]
struct Receiver<'a> {
    repository: &'a Repository,
    server: &'a ConnectionSettings,
    options: &'a ReceiveOptions,
    stop: &'a CancellationToken,
    told: Told,
    bench: Bench,
    /// What is durable.
    last: Option<Position>,
    /// Whether WAL was ever streamed.
    began: bool,
}

/// What the owner is told.
#[derive(Debug, Clone)]
struct Told {
    status: watch::Sender<Status>,
    troubles: watch::Sender<Troubles>,
}

impl Told {
    /// Notes a trouble, or its end.
    fn trouble(&self, which: impl Fn(&mut Troubles) -> &mut Option<String>, what: Option<String>) {
        self.troubles.send_if_modified(|troubles| {
            let place = which(troubles);
            let is_new = *place != what;
            *place = what;
            is_new
        });
        self.settle();
    }

    /// Carries the worst trouble over, and says so once.
    fn settle(&self) {
        let worst = self.troubles.borrow().worst().cloned();
        self.status.send_if_modified(|status| {
            if status.warning == worst {
                return false;
            }
            match &worst {
                Some(warning) => tracing::warn!(warning, "receiving WAL needs attention"),
                None => tracing::info!("receiving WAL is well again"),
            }
            status.warning = worst;
            true
        });
    }
}

/// Whether the same may succeed later. A slot in use is one that a killed receiver held, until the server finds out. One
/// that vanished in this moment is made again, or missed with better words.
fn may_pass(error: &Error) -> bool {
    const IN_USE: &str = "55006";
    const VANISHED: &str = "42704";
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Timeout => true,
        // The store failed before there was anything to keep.
        ErrorKind::Storage | ErrorKind::Denied | ErrorKind::NoSpace | ErrorKind::Io => true,
        ErrorKind::Postgres => matches!(sqlstate(error), Some(IN_USE | VANISHED)),
        _ => false,
    }
}

/// The error with its causes, in one line.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
