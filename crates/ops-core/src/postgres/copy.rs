//! COPY through a guarded session: rows in, observed before they last; rows out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream};
use tokio::sync::{RwLockReadGuard, RwLockWriteGuard};
use tokio_postgres::{Client, CopyInSink, CopyOutStream};

use super::admission::Admitted;
use super::autocommit::Session;
use super::block::Block;
use super::driver::SpoilUnlessDone;
use super::run::Guard;
use super::statement::sealed::Source;
use super::warrant::Warrant;
use crate::audit::Outcome;
use crate::error::{Error, ErrorKind};
use crate::guard::{Course, Verdict};

/// Rows on their way into a table, in the format that the `COPY … FROM STDIN` statement names.
///
/// Send the bytes in pieces of any size, with [`GuardedCopyIn::send`] or as a [`Sink`], then call
/// [`GuardedCopyIn::finish`]. Dropped before that, no row lasts.
#[must_use = "without `finish` no row lasts"]
pub struct GuardedCopyIn<'a> {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    block: Block<'a, Client>,
    client: &'a Client,
    session: &'a Session,
    verdict: Arc<Verdict>,
    warrant: Option<Warrant>,
    _alone: RwLockWriteGuard<'a, ()>,
}

impl<'a> GuardedCopyIn<'a> {
    pub(super) async fn open(client: &'a Client, session: &'a Session, sql: &str) -> Result<Self, Error> {
        let Admitted { verdict, warrant } = session.admit(client, Source::Text(sql)).await?;
        let alone = session.gate.write().await;
        let statement = session.guard.prepare_source(client, Source::Text(sql), &verdict).await?;
        let block = session.begin(client).await?;
        // Where the server refuses to begin a copy, `tokio_postgres` takes the answers that follow for those of other
        // statements.
        let begun = SpoilUnlessDone::new(&session.line);
        let sink = client.copy_in(&statement).await;
        let sink = Box::pin(sink.map_err(|error| session.guard.failure("copy rows in", error))?);
        begun.done();
        Ok(Self { sink, block, client, session, verdict, warrant, _alone: alone })
    }

    /// Sends a piece; waits while the server is behind.
    ///
    /// # Errors
    /// What the server or the line reports.
    pub async fn send(&mut self, piece: Bytes) -> Result<(), Error> {
        let sent = self.sink.as_mut().send(piece).await;
        sent.map_err(|error| self.session.guard.failure("copy rows in", error))
    }

    /// Ends the copy and returns the number of rows, once they last.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] where more was done than the policy allows; else what the server or the line reports. No row
    /// lasts then.
    pub async fn finish(self) -> Result<u64, Error> {
        let Self { mut sink, block, client, session, verdict, warrant, _alone } = self;
        let limits = warrant.as_ref().map(Warrant::limits);
        let ended = match sink.as_mut().finish().await {
            Ok(rows) => session.keep(client, block, &verdict, limits).await.map(|seen| (rows, seen)),
            Err(error) => Err(session.guard.failure("copy rows in", error)),
        };
        if let Some(warrant) = warrant {
            let observation = ended.as_ref().ok().map(|(_, observation)| observation);
            warrant.end(&ended, observation, Outcome::Committed).await;
        }
        ended.map(|(rows, _)| rows)
    }

    fn failed<T>(guard: &Guard, polled: Poll<Result<T, tokio_postgres::Error>>) -> Poll<Result<T, Error>> {
        polled.map_err(|error| guard.failure("copy rows in", error))
    }
}

/// Closing the sink does not end the copy: [`GuardedCopyIn::finish`] does.
impl Sink<Bytes> for GuardedCopyIn<'_> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let polled = self.sink.as_mut().poll_ready(context);
        Self::failed(&self.session.guard, polled)
    }

    fn start_send(mut self: Pin<&mut Self>, piece: Bytes) -> Result<(), Error> {
        let sent = self.sink.as_mut().start_send(piece);
        sent.map_err(|error| self.session.guard.failure("copy rows in", error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let polled = self.sink.as_mut().poll_flush(context);
        Self::failed(&self.session.guard, polled)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_flush(context)
    }
}

impl std::fmt::Debug for GuardedCopyIn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardedCopyIn").field("verdict", &self.verdict).finish_non_exhaustive()
    }
}

/// Rows on their way out, in the format that the `COPY … TO STDOUT` statement names, in pieces as the server sends them.
pub struct GuardedCopyOut<'a> {
    stream: Pin<Box<CopyOutStream>>,
    guard: &'a Guard,
    _shared: RwLockReadGuard<'a, ()>,
}

impl<'a> GuardedCopyOut<'a> {
    pub(super) async fn open(client: &'a Client, session: &'a Session, sql: &str) -> Result<Self, Error> {
        let Admitted { verdict, .. } = session.admit(client, Source::Text(sql)).await?;
        if session.guard.course(&verdict) != Course::Read {
            // Its rows would be gone before anybody could look at what else it did.
            let message = "copy out takes a statement that only reads, and calls nothing unknown";
            return Err(Error::new(ErrorKind::InvalidParameter, message));
        }
        let shared = session.gate.read().await;
        let stream = client.copy_out(sql).await;
        let stream = stream.map_err(|error| session.guard.failure("copy rows out", error))?;
        Ok(Self { stream: Box::pin(stream), guard: &session.guard, _shared: shared })
    }
}

impl Stream for GuardedCopyOut<'_> {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.stream.as_mut().poll_next(context);
        polled.map(|next| next.map(|piece| piece.map_err(|error| self.guard.failure("copy rows out", error))))
    }
}

impl std::fmt::Debug for GuardedCopyOut<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuardedCopyOut").finish_non_exhaustive()
    }
}
