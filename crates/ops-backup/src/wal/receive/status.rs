//! How far a receiver is: what its owner watches.

use jiff::Timestamp;
use serde::Serialize;

use crate::postgres::lsn::{Lsn, SystemIdentifier};

/// A snapshot of a receiver.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Status {
    /// Whether WAL is being streamed now.
    pub streaming: bool,
    /// The cluster that is received.
    pub system_identifier: Option<SystemIdentifier>,
    /// The timeline that is received.
    pub timeline: u32,
    /// How far WAL has arrived in memory.
    pub received: Option<Lsn>,
    /// How far WAL is durable in the repository.
    pub durable: Option<Lsn>,
    /// How far the server's own WAL goes, as it last said.
    pub server_end: Option<Lsn>,
    /// What would be lost with the server now: bytes that the server has and the repository has not.
    pub lag_bytes: u64,
    /// When something last became durable, by this machine's clock.
    pub last_durable_at: Option<Timestamp>,
    /// Complete segments that were stored, or found there with the same content.
    pub segments: u64,
    /// Pieces of incomplete segments that were stored.
    pub pieces: u64,
    /// Bytes of WAL that were received.
    pub bytes: u64,
    /// How often the connection was lost.
    pub reconnects: u64,
    /// What needs a person's eye: the store fails, the slot fills the server's disk.
    pub warning: Option<String>,
}

impl Status {
    /// Computes what follows from the positions.
    pub(super) fn settle(&mut self) {
        let durable = self.durable.unwrap_or_default();
        self.lag_bytes = self.server_end.map_or(0, |end| end.0.saturating_sub(durable.0));
    }
}

/// What may be wrong at the same time; the worst is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Troubles {
    /// The store cannot be written to.
    pub(super) store: Option<String>,
    /// The server is about to remove, or has removed, what the slot should keep.
    pub(super) slot: Option<String>,
    /// The server keeps too much for us.
    pub(super) lag: Option<String>,
    /// The server is away.
    pub(super) connection: Option<String>,
}

impl Troubles {
    pub(super) fn worst(&self) -> Option<&String> {
        self.slot.as_ref().or(self.store.as_ref()).or(self.lag.as_ref()).or(self.connection.as_ref())
    }
}
