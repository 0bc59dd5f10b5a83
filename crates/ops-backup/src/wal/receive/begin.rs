//! The begin of a session: who the server is, where to go on, and from one timeline to the next.

use ops_core::connection::ConnectionSettings;

use super::pump::{Flow, Pump};
use super::segment::Incoming;
use super::store::Store;
use super::{Receiver, slot};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::Lsn;
use crate::postgres::replication::{NextTimeline, Replication, Started, sqlstate};
use crate::postgres::segment::{Cluster, SegmentName};
use crate::postgres::timeline::History;
use crate::wal::{archive, tail};

/// A position on a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) timeline: u32,
    pub(super) lsn: Lsn,
}

/// There is a slot of that name already.
const DUPLICATE: &str = "42710";
/// A WAL file is not there any more.
const REMOVED: &str = "58P01";
/// The slot was given up by the server, because it kept more than it may.
const INVALIDATED: &str = "55000";

impl Receiver<'_> {
    /// Receives until the connection is lost, or cancellation: only then without an error.
    pub(super) async fn session(&mut self) -> Result<()> {
        let stop = self.stop.clone();
        let Some(opened) = stop.run_until_cancelled(self.open()).await else { return Ok(()) };
        let (mut session, store, mut position, floor) = opened?;
        loop {
            let started = stop.run_until_cancelled(self.start(session, &store, position)).await;
            let Some(started) = started else { return Ok(()) };
            let (started, incoming) = started?;
            let (mut again, next) = match started {
                Started::Ended(again, next) => (again, next),
                Started::Streaming(stream) => {
                    self.begin(&store.cluster, position.timeline);
                    let pump = Pump::new(self, store.clone(), incoming, floor);
                    match pump.run(stream).await? {
                        Flow::Cancelled => return Ok(()),
                        Flow::Ended(again, next) => (again, next),
                    }
                }
            };
            let followed = stop.run_until_cancelled(follow(&mut again, &store, position, next)).await;
            let Some(followed) = followed else { return Ok(()) };
            (session, position) = (again, followed?);
        }
    }

    /// Asks for the WAL from the begin of the segment in which `position` lies.
    async fn start(
        &self,
        session: Replication,
        store: &Store,
        position: Position,
    ) -> Result<(Started, Incoming)> {
        let (size, Position { timeline, lsn }) = (store.cluster.segment_size, position);
        let number = size.segment_of(lsn);
        let incoming = self.incoming(store, timeline, number).await?;
        let slot = Some(self.options.slot.as_str());
        let started = session.start_replication(slot, Lsn(number * size.bytes()), timeline).await;
        let started = started.map_err(|error| explain(error, incoming.name, &self.options.slot))?;
        Ok((started, incoming))
    }

    fn begin(&mut self, cluster: &Cluster, timeline: u32) {
        self.began = true;
        self.told.trouble(|troubles| &mut troubles.connection, None);
        self.told.status.send_modify(|status| {
            status.streaming = true;
            status.system_identifier = Some(cluster.system_identifier);
            if status.timeline != timeline {
                // Another timeline's positions say nothing about this one.
                status.durable = None;
            }
            status.timeline = timeline;
        });
        tracing::info!(timeline, "receiving WAL");
    }

    /// Connects, and finds out where to go on. The last value is what the slot has let go of already.
    async fn open(&mut self) -> Result<(Replication, Store, Position, Lsn)> {
        let mut session = Replication::connect(self.server).await?;
        let cluster = session.cluster().await?;
        let identity = session.identify().await?;
        self.refuse_stranger(&cluster)?;
        archive::register(self.repository, &cluster).await?;
        let store = Store {
            repository: self.repository.clone(),
            cluster,
            compression: self.options.compression,
            retry_pause: self.options.retry_pause,
            bench: self.bench.clone(),
            troubles: self.told.troubles.clone(),
        };
        let mut history = History::root(identity.timeline);
        if identity.timeline > 1 {
            let content = session.timeline_history(identity.timeline).await?;
            history = History::parse(identity.timeline, &String::from_utf8_lossy(&content))?;
            store.history(identity.timeline, content).await?;
        }
        if self.options.create_slot {
            create(&mut session, &self.options.slot).await?;
        }
        let restart = restart(&mut session, self.server, &self.options.slot, &history).await?;
        let floor = restart.map_or(Lsn(0), |restart| restart.lsn);
        let position = match (self.last, restart) {
            (Some(last), _) => go_on(last, &history, &self.server.target())?,
            (None, Some(restart)) => restart,
            // Where to begin is a guess then, and a wrong one would be a gap that nobody hears of.
            (None, None) => return Err(keeps_nothing(&self.options.slot)),
        };
        if position.timeline > 1 && position.timeline != identity.timeline {
            let content = session.timeline_history(position.timeline).await?;
            store.history(position.timeline, content).await?;
        }
        Ok((session, store, position, floor))
    }

    fn refuse_stranger(&self, cluster: &Cluster) -> Result<()> {
        let before = self.told.status.borrow().system_identifier;
        match self.options.system_identifier.or(before) {
            Some(wanted) if wanted != cluster.system_identifier => {
                let (found, target) = (cluster.system_identifier, self.server.target());
                let message = format!("{target} is cluster {found}, and WAL of cluster {wanted} is received");
                Err(Error::new(ErrorKind::Conflict, message))
            }
            _ => Ok(()),
        }
    }

    /// The segment to begin with, and what is known of it.
    async fn incoming(&self, store: &Store, timeline: u32, number: u64) -> Result<Incoming> {
        let mut incoming = Incoming::new(&store.cluster, timeline, number, Vec::new());
        incoming.archived = archive::has_segment(self.repository, &store.cluster, timeline, number).await?;
        incoming.resume(&tail::read(self.repository, &store.cluster, incoming.name).await?);
        Ok(incoming)
    }
}

/// Says what a server's refusal means for whoever relies on the archive. It may come with the first message of a stream.
pub(super) fn explain(error: Error, segment: SegmentName, slot: &str) -> Error {
    if !matches!(sqlstate(&error), Some(REMOVED | INVALIDATED)) {
        return error;
    }
    let message = format!(
        "the server has removed WAL from segment {segment} on, which slot {slot:?} was to keep: nothing behind it can be \
         recovered but from a new backup, unless archive_command has stored it; drop the slot, begin again with a new one, \
         and take a backup"
    );
    Error::new(ErrorKind::NotFound, message).with_source(error)
}

fn keeps_nothing(slot: &str) -> Error {
    let message = format!(
        "slot {slot:?} keeps no WAL: it was made without reserving any, or the server has given it up because it kept more          than it may, and WAL is lost; drop the slot, let it be made again, and take a backup"
    );
    Error::new(ErrorKind::NotFound, message)
}

async fn create(session: &mut Replication, slot: &str) -> Result<()> {
    match session.create_physical_slot(slot, true).await {
        Ok(()) => {
            tracing::info!(slot, "the slot is made");
            Ok(())
        }
        Err(error) if sqlstate(&error) == Some(DUPLICATE) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns from where on the slot keeps WAL; `None` where it keeps nothing yet.
async fn restart(
    session: &mut Replication,
    server: &ConnectionSettings,
    name: &str,
    history: &History,
) -> Result<Option<Position>> {
    let absent = || {
        let message = format!("{} has no physical replication slot {name:?}", server.target());
        Error::new(ErrorKind::NotFound, message)
    };
    if session.version() < 150_000 {
        // This major cannot be asked over a session of replication.
        let restart = slot::restart(server, name).await?.ok_or_else(absent)?;
        return Ok(restart.map(|lsn| Position { timeline: history.timeline_at(lsn), lsn }));
    }
    let slot = session.read_slot(name).await?.ok_or_else(absent)?;
    Ok(slot.restart.map(|(timeline, lsn)| Position { timeline, lsn }))
}

/// Where to go on behind what is durable, on a server with this history.
fn go_on(last: Position, history: &History, target: &str) -> Result<Position> {
    if history.contains(last.timeline, last.lsn) {
        return Ok(last);
    }
    match history.child_of(last.timeline) {
        Some((timeline, fork)) => {
            // A standby was promoted that had not received everything: what it lacks stays on the old timeline.
            tracing::warn!(%fork, timeline, durable = %last.lsn, "the server has left the timeline before what was received");
            Ok(Position { timeline, lsn: fork })
        }
        None => {
            let (timeline, newest) = (last.timeline, history.timeline);
            let message = format!(
                "{target} is on timeline {newest}, which does not descend from timeline {timeline}: it is another copy of \
                 the cluster"
            );
            Err(Error::new(ErrorKind::Conflict, message))
        }
    }
}

/// Goes over to the next timeline: its history first, then the segment in which it begins.
async fn follow(
    session: &mut Replication,
    store: &Store,
    left: Position,
    next: NextTimeline,
) -> Result<Position> {
    let NextTimeline { timeline, fork } = next;
    if timeline <= left.timeline {
        return Err(Error::corrupt(format!("the server goes from timeline {} to {timeline}", left.timeline)));
    }
    tracing::info!(timeline, %fork, "the timeline has ended; going on with the next");
    let content = session.timeline_history(timeline).await?;
    store.history(timeline, content).await?;
    Ok(Position { timeline, lsn: fork })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_followed_where_its_history_leads() {
        let history = History::parse(3, "1\t0/3000000\tx\n2\t0/5000000\tx\n").unwrap();
        let at = |timeline, lsn| Position { timeline, lsn: Lsn(lsn) };
        for (last, expected) in [
            (at(3, 0x600_0000), Some(at(3, 0x600_0000))),
            (at(2, 0x400_0000), Some(at(2, 0x400_0000))),
            (at(1, 0x300_0000), Some(at(1, 0x300_0000))),
            // More was received than the promoted standby had.
            (at(2, 0x500_0001), Some(at(3, 0x500_0000))),
            (at(1, 0x400_0000), Some(at(2, 0x300_0000))),
            (at(4, 0x100_0000), None),
        ] {
            assert_eq!(go_on(last, &history, "x").ok(), expected, "{last:?}");
        }
    }
}
