//! The loop of a stream: bytes in, jobs for the repository, and our word to the server on what is durable.
//!
//! One job runs at a time. While a segment is being stored the next one fills up; when that is full too, nothing more is
//! read, and the server keeps its WAL. It still hears from us, so that it does not take us for dead.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::begin::{Position, explain};
use super::segment::Incoming;
use super::store::{Done, Store};
use super::{LAST_PATIENCE, Place, Receiver};
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::Lsn;
use crate::postgres::replication::{NextTimeline, Replication, Streamed, WalMessage, WalStream};
use crate::wal::tail::{Kept, LARGEST};

/// How often the server hears from us where it does not ask. Its own patience (`wal_sender_timeout`) is a minute, and what
/// it asks is answered at once while we read.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A server that shuts down asks again and again until everything is flushed: not more often than this is it answered.
const ANSWER_AFTER: Duration = Duration::from_millis(50);

/// A server that says nothing for so long is asked for a sign of life, and after the longer time is taken for gone: a dead
/// network may not say so for a quarter of an hour.
const ASK_AFTER: Duration = Duration::from_secs(20);
const GONE_AFTER: Duration = Duration::from_secs(60);
/// No byte waits longer to be stored, whatever the options say.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);

/// How a stream ended.
pub(super) enum Flow {
    Cancelled,
    /// The server has no more of this timeline.
    Ended(Replication, NextTimeline),
}

type Job = Pin<Box<dyn Future<Output = Result<Done>> + Send>>;

pub(super) struct Pump<'r, 'a> {
    receiver: &'r mut Receiver<'a>,
    store: Store,
    incoming: Incoming,
    job: Option<Job>,
    /// Up to where the segment is durable that is being stored, while the next one fills up.
    pushing: Option<Lsn>,
    /// What came after the end of a full segment.
    pending: Bytes,
    buffer: Vec<u8>,
    /// Since when a byte waits to be stored.
    waiting: Option<Instant>,
    /// What waits is stored at once.
    hurry: bool,
    durable: Lsn,
    /// The slot stands here: a lower position is not reported.
    floor: Lsn,
    reported: Lsn,
    last_report: Instant,
    /// The server wants to hear from us.
    asked: bool,
    last_heard: Instant,
    server_end: Lsn,
}

impl<'r, 'a> Pump<'r, 'a> {
    pub(super) fn new(receiver: &'r mut Receiver<'a>, store: Store, incoming: Incoming, floor: Lsn) -> Self {
        Pump {
            receiver,
            store,
            durable: incoming.durable(),
            incoming,
            job: None,
            pushing: None,
            pending: Bytes::new(),
            buffer: Vec::new(),
            waiting: None,
            hurry: false,
            floor,
            reported: Lsn(0),
            last_report: Instant::now(),
            asked: false,
            last_heard: Instant::now(),
            server_end: Lsn(0),
        }
    }

    /// Goes on until the timeline ends or `stop` is cancelled.
    ///
    /// # Errors
    /// What ended it. Where the connection is lost, the server may be lost with it, for ever: what has come is made durable
    /// first.
    pub(super) async fn run(mut self, mut stream: WalStream) -> Result<Flow> {
        match self.receive(&mut stream).await {
            Ok(true) => {
                self.last(stream).await?;
                Ok(Flow::Cancelled)
            }
            Ok(false) => self.end(stream).await,
            Err(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Postgres) => {
                if timeout(LAST_PATIENCE, self.flush(None)).await.is_err() {
                    tracing::warn!(
                        "the store does not take what was received before the connection was lost"
                    );
                }
                Err(explain(error, self.incoming.name, &self.receiver.options.slot))
            }
            Err(error) => Err(error),
        }
    }

    /// Receives until cancellation (true) or the end of the timeline.
    async fn receive(&mut self, stream: &mut WalStream) -> Result<bool> {
        let mut report = interval(REPORT_EVERY);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stop = self.receiver.stop.clone();
        loop {
            let can_read = self.pending.is_empty() && !self.incoming.is_full();
            let (flush_at, flush_waits) = (self.flush_at(), self.flush_waits());
            let (answer, asked) = (self.last_report + ANSWER_AFTER, self.asked);
            if !can_read {
                // Whoever does not listen cannot tell silence.
                self.last_heard = Instant::now();
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(true),
                done = finished(&mut self.job), if self.job.is_some() => {
                    self.job = None;
                    self.done(done?)?;
                }
                streamed = stream.next(), if can_read => match streamed? {
                    Streamed::Message(message) => self.message(message)?,
                    Streamed::End => return Ok(false),
                },
                () = sleep_until(flush_at), if flush_waits => {}
                () = sleep_until(answer), if asked => self.report(stream).await?,
                _ = report.tick() => self.report(stream).await?,
            }
            self.next_job(self.flush_is_due());
            if self.advance() {
                self.report(stream).await?;
            }
        }
    }

    fn message(&mut self, message: WalMessage) -> Result<()> {
        self.last_heard = Instant::now();
        match message {
            WalMessage::Data { start, server_end, bytes } => {
                let expected = self.incoming.position();
                if start != expected {
                    let message = format!("the server sends WAL of {start}, and {expected} was to follow");
                    return Err(Error::corrupt(message));
                }
                let end = Lsn(start.0 + bytes.len() as u64);
                self.server_end = self.server_end.max(server_end).max(end);
                let received = bytes.len() as u64;
                self.pending = bytes;
                self.absorb()?;
                self.receiver.told.status.send_modify(|status| status.bytes += received);
            }
            WalMessage::Keepalive { server_end, reply } => {
                self.server_end = self.server_end.max(server_end);
                if reply {
                    self.asked = true;
                    // A server that shuts down waits until it hears that everything is flushed.
                    if self.incoming.unsealed().is_some() {
                        self.hurry = true;
                    }
                }
            }
        }
        Ok(())
    }

    /// Moves what is pending into the segment, as far as it belongs there.
    fn absorb(&mut self) -> Result<()> {
        let taken = self.incoming.take(&self.pending)?;
        self.pending = self.pending.slice(taken..);
        if self.incoming.unsealed().is_some() {
            self.waiting.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn flush_at(&self) -> Instant {
        let wait = if self.hurry { Duration::ZERO } else { self.receiver.options.flush_interval };
        self.waiting.map_or_else(Instant::now, |since| since + wait.min(LONGEST_WAIT))
    }

    fn flush_waits(&self) -> bool {
        self.job.is_none() && self.waiting.is_some()
    }

    fn flush_is_due(&self) -> bool {
        self.waiting.is_some() && self.flush_at() <= Instant::now()
    }

    /// Begins the next job where none runs: a full segment first, else a piece where it is time for one.
    fn next_job(&mut self, flush: bool) {
        if self.job.is_some() {
            return;
        }
        if self.incoming.is_full() {
            let cluster = self.store.cluster;
            let number = cluster.segment_size.segment_of(self.incoming.start) + 1;
            let next = Incoming::new(
                &cluster,
                self.incoming.name.timeline,
                number,
                std::mem::take(&mut self.buffer),
            );
            let full = std::mem::replace(&mut self.incoming, next);
            self.pushing = Some(full.durable());
            (self.waiting, self.hurry) = (None, false);
            self.job = Some(Box::pin(self.store.clone().push(full)));
        } else if flush {
            (self.waiting, self.hurry) = (None, false);
            let Some((offset, bytes)) = self.incoming.unsealed() else { return };
            let place = Place { name: self.incoming.name, number: self.incoming.pieces };
            let bytes = Bytes::copy_from_slice(bytes);
            self.job = Some(Box::pin(self.store.clone().seal(place, offset, bytes)));
        }
    }

    fn done(&mut self, done: Done) -> Result<()> {
        let told = self.receiver.told.clone();
        match done {
            Done::Pushed(segment) => {
                self.pushing = None;
                self.buffer = segment.into_buffer();
                told.status.send_modify(|status| status.segments += 1);
                tracing::debug!(start = %self.incoming.start, "a segment is stored");
            }
            Done::Kept(length, kept) => {
                match kept {
                    Kept::Ours => self.incoming.keep(length),
                    Kept::Theirs(theirs) => self.incoming.adopt(&theirs)?,
                }
                if self.incoming.unsealed().is_some() {
                    self.waiting.get_or_insert_with(Instant::now);
                    // What did not fit into the piece has waited long enough.
                    self.hurry |= length == LARGEST;
                }
                told.status.send_modify(|status| status.pieces += 1);
            }
        }
        told.settle();
        if !self.pending.is_empty() {
            self.absorb()?;
        }
        Ok(())
    }

    /// Takes note of how far everything is; says whether more is durable than before.
    fn advance(&mut self) -> bool {
        let durable = self.pushing.unwrap_or_else(|| self.incoming.durable());
        let more = durable > self.durable;
        self.durable = self.durable.max(durable);
        let timeline = self.incoming.name.timeline;
        let told = &self.receiver.told;
        told.status.send_modify(|status| {
            status.received = Some(self.incoming.position());
            // A new session begins before what an old one has stored: that is durable all the same.
            status.durable = status.durable.max(Some(self.durable));
            status.server_end = Some(self.server_end.max(self.durable));
            status.timeline = timeline;
            if more {
                status.last_durable_at = Some(Timestamp::now());
            }
            status.settle();
        });
        let last = self.receiver.last.filter(|last| last.timeline == timeline && last.lsn >= self.durable);
        if more && last.is_none() {
            self.receiver.last = Some(Position { timeline, lsn: self.durable });
        }
        self.warn_of_lag();
        more
    }

    fn warn_of_lag(&self) {
        let limit = self.receiver.options.warn_lag;
        let lag = self.server_end.0.saturating_sub(self.durable.0);
        let told = &self.receiver.told;
        let is_warned = told.troubles.borrow().lag.is_some();
        // With some distance, so that a lag around the limit is one warning.
        let warn = if is_warned { lag > limit / 10 * 9 } else { lag > limit };
        if warn != is_warned {
            let slot = &self.receiver.options.slot;
            let what = format!(
                "the server keeps more than {limit} bytes of WAL for slot {slot:?}: it is not stored as fast as it is \
                 written, and fills the server's disk"
            );
            told.trouble(|troubles| &mut troubles.lag, warn.then_some(what));
        }
    }

    /// Tells the server what is durable. Nothing else counts as written: what is in memory alone is lost with us.
    async fn report(&mut self, stream: &mut WalStream) -> Result<()> {
        self.receiver.told.settle();
        if self.durable >= self.floor {
            self.reported = self.reported.max(self.durable);
        }
        self.asked = false;
        self.last_report = Instant::now();
        let silent = self.last_heard.elapsed();
        if silent > GONE_AFTER {
            let message = format!("the server has been silent for {} s", silent.as_secs());
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        stream.standby_status(self.reported, self.reported, Lsn(0), silent > ASK_AFTER).await
    }

    /// Makes all that has come durable.
    async fn flush(&mut self, mut stream: Option<&mut WalStream>) -> Result<()> {
        loop {
            self.next_job(true);
            let Some(job) = &mut self.job else { return Ok(()) };
            let Ok(done) = timeout(REPORT_EVERY, job).await else {
                // The server must not take us for dead meanwhile.
                if let Some(stream) = stream.as_deref_mut() {
                    self.report(stream).await?;
                }
                continue;
            };
            let done = done?;
            self.job = None;
            self.done(done)?;
            self.advance();
        }
    }

    /// The timeline has ended: what has come of it is made durable, before the next one begins.
    async fn end(mut self, mut stream: WalStream) -> Result<Flow> {
        self.flush(Some(&mut stream)).await?;
        self.report(&mut stream).await?;
        match stream.finish().await? {
            (session, Some(next)) => Ok(Flow::Ended(session, next)),
            (_, None) => {
                let message = "the server has ended the stream";
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }

    /// The end from our side. What cannot be made durable in time is not lost: the slot keeps it.
    async fn last(mut self, mut stream: WalStream) -> Result<()> {
        match timeout(LAST_PATIENCE, self.flush(Some(&mut stream))).await {
            Ok(flushed) => flushed?,
            Err(_) => tracing::warn!("the store does not take what was received last; the slot keeps it"),
        }
        self.report(&mut stream).await?;
        // The server ends its side; an answer that does not come harms nothing.
        let _ = timeout(REPORT_EVERY, stream.finish()).await;
        Ok(())
    }
}

async fn finished(job: &mut Option<Job>) -> Result<Done> {
    match job {
        Some(job) => job.await,
        None => std::future::pending().await,
    }
}
