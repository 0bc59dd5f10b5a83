//! A stream of WAL: the session while the server sends and listens at once.

use bytes::BytesMut;
use jiff::Timestamp;
use postgres_protocol::message::frontend;

use super::connect::within;
use super::message::{self, Reply, WalMessage};
use super::{Replication, field, one, quoted};
use crate::error::{Error, Result};
use crate::postgres::lsn::Lsn;

/// How a request for WAL was answered.
#[derive(Debug)]
pub(crate) enum Started {
    /// WAL follows.
    Streaming(WalStream),
    /// The timeline ends at the very position that was asked for: the session can be used on.
    Ended(Replication, NextTimeline),
}

/// Where a timeline was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NextTimeline {
    pub(crate) timeline: u32,
    /// The first position of the new timeline that the old one has not.
    pub(crate) fork: Lsn,
}

/// What comes next in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Streamed {
    Message(WalMessage),
    /// The server has no more of this timeline: [`WalStream::finish`] says where to go on.
    End,
}

/// WAL that the server sends, and our word on how far we are.
#[derive(Debug)]
pub(crate) struct WalStream {
    session: Replication,
}

impl Replication {
    /// Asks for the WAL of `timeline` from `start` on. With a slot the server keeps what we do not call flushed.
    ///
    /// # Errors
    /// `Postgres`: SQLSTATE 58P01 where that WAL is removed, 42704 without the slot, 55006 where another uses it.
    pub(crate) async fn start_replication(
        mut self,
        slot: Option<&str>,
        start: Lsn,
        timeline: u32,
    ) -> Result<Started> {
        let slot = slot.map(|name| format!("SLOT {} ", quoted(name))).unwrap_or_default();
        let command = format!("START_REPLICATION {slot}PHYSICAL {start} TIMELINE {timeline}");
        let started = async {
            self.begin(&command).await?;
            match self.next().await? {
                Reply::CopyBoth => Ok(Started::Streaming(WalStream { session: self })),
                Reply::Columns(_) => {
                    let next = self.rest().await?;
                    let next = next.ok_or_else(|| Error::corrupt("the server names no next timeline"))?;
                    Ok(Started::Ended(self, next))
                }
                other => Err(Error::corrupt(format!("the server begins a stream with {other:?}"))),
            }
        };
        let result: Result<Started> = started.await;
        result.map_err(|error| within(error, &format!("cannot stream timeline {timeline} from {start}")))
    }

    /// Reads the answer to its end; the next timeline, where it names one.
    async fn rest(&mut self) -> Result<Option<NextTimeline>> {
        let mut rows = Vec::new();
        loop {
            match self.next().await? {
                Reply::Row(row) => rows.push(row),
                Reply::Ready => break,
                _ => {}
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let row = one(rows, "START_REPLICATION")?;
        Ok(Some(NextTimeline {
            timeline: field(&row, 0, "a timeline")?,
            fork: field(&row, 1, "a position")?,
        }))
    }
}

impl WalStream {
    /// Returns what comes next. Safe to drop at any await.
    pub(crate) async fn next(&mut self) -> Result<Streamed> {
        loop {
            let reply = self.session.next().await;
            match reply.map_err(|error| within(error, "cannot go on streaming WAL"))? {
                Reply::Data(data) => {
                    if let Some(message) = message::wal_message(data)? {
                        return Ok(Streamed::Message(message));
                    }
                }
                // A server that shuts down says only that its command is complete, once we have everything.
                Reply::CopyDone | Reply::Complete(_) => return Ok(Streamed::End),
                other => return Err(Error::corrupt(format!("the server sends {other:?} within its WAL"))),
            }
        }
    }

    /// Tells the server how far we are; it may remove what is called flushed. A zero position says nothing.
    pub(crate) async fn standby_status(
        &mut self,
        write: Lsn,
        flush: Lsn,
        apply: Lsn,
        reply: bool,
    ) -> Result<()> {
        let status = message::standby_status(write, flush, apply, reply, Timestamp::now());
        self.session.frames.send(&status).await
    }

    /// Ends the stream from our side, or agrees to its end, and returns the session and where the timeline goes on.
    pub(crate) async fn finish(mut self) -> Result<(Replication, Option<NextTimeline>)> {
        let mut message = BytesMut::new();
        frontend::copy_done(&mut message);
        self.session.frames.send(&message).await?;
        let next = self.session.rest().await?;
        Ok((self.session, next))
    }
}
