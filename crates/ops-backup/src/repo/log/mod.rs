//! The log of a repository: what was begun, committed, expired, condemned and proven, in one order for all hosts.
//!
//! # Why a log
//! A record is created at `log/<number>` if and only if nothing is there; the numbers have no gap. So any two hosts
//! agree on what came first, with nothing but "create if absent" and "read this name": no listing, no clock and no lock
//! is trusted. A job that wants to write a record reads all records, decides by what they say, and tries to create the
//! next one. If another host was faster, it reads that record and decides again ([`Repository::append`]).
//!
//! # Reading it
//! A reader begins with the newest [`snapshot`] and then asks for the numbers that follow, sixteen at once, until nothing
//! is found. Each record repeats the one before it, so that one damaged object is made good by the next. What
//! cannot be made good is skipped and told ([`State::damaged`]): restores and lists go on with what is left, but nothing is
//! expired, condemned or swept, and no job commits that began before the damage.
//!
//! What rests on this order:
//! - A backup exists if and only if its `commit` is in the log, and no `expire` of it.
//! - A backup's packs belong to it from its `begin` on. They can be condemned only after an `abandon` or `expire` of it,
//!   and when no backup that lives or runs refers to them; and a `commit` is refused after its `abandon`.
//! - What a running backup builds on is named in its `begin`, and is kept as if it had been committed.

mod host;
mod read;
mod record;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use object_store::path::Path;

pub(crate) use host::{Fate, Host};
pub(crate) use read::LogAudit;
pub(crate) use record::{Event, Expired, Proof, Record, WalStretch};
pub(crate) use state::{Kept, Running, State, WalDecision};

use crate::error::Result;
use crate::repo::compress::Compression;
use crate::repo::seal::Kind;
use crate::repo::{Repository, Written, object_path};

/// What is known of the log, so that only new records are read.
pub(crate) type Known = Arc<tokio::sync::Mutex<State>>;

pub(super) fn path(sequence: u64) -> Path {
    object_path(&format!("log/{sequence:020}"))
}

impl Repository {
    /// Returns what the log says now.
    ///
    /// A damaged record is no error: it is in [`State::damaged`].
    ///
    /// # Errors
    /// `Storage`, or `Unsupported` where a newer program has written a record.
    pub(crate) async fn state(&self) -> Result<State> {
        let mut known = self.known().lock().await;
        self.catch_up(&mut known).await?;
        Ok(known.clone())
    }

    /// Appends the record that `decide` returns for the newest state, or nothing where it returns `None`.
    ///
    /// `decide` is called again with a newer state where another host was faster.
    ///
    /// # Errors
    /// Those of `decide`, and as [`Repository::state`]. After `Storage` the record may be there or not, or even come to be
    /// there later; whoever has to know appends once more, and decides by the state.
    pub(crate) async fn append(&self, decide: impl FnMut(&State) -> Result<Option<Event>>) -> Result<State> {
        self.append_by(&Host::this(), decide).await
    }

    /// Appends as [`Repository::append`] does, in the name of `host`.
    pub(super) async fn append_by(
        &self,
        host: &Host,
        mut decide: impl FnMut(&State) -> Result<Option<Event>>,
    ) -> Result<State> {
        let mut known = self.known().lock().await;
        loop {
            self.catch_up(&mut known).await?;
            let Some(event) = decide(&known)? else { return Ok(known.clone()) };
            let sequence = known.sequence + 1;
            let record = Record::new(sequence, Timestamp::now(), host.clone(), event, known.last.as_deref());
            let path = path(sequence);
            let object =
                self.secrets().seal(Kind::Record, path.as_ref(), &record.encode(), Compression::default())?;
            let is_ours = match self.create(&path, object.clone()).await {
                Ok(Written::Created) => true,
                // A record is found there: of another host, or ours whose acknowledgement was lost.
                Ok(Written::Identical) => self.read(&path).await? == object,
                Err(error) => match self.read_if_present(&path).await {
                    Ok(Some(found)) => found == object,
                    Ok(None) | Err(_) => return Err(error),
                },
            };
            if is_ours {
                known.follow(record);
                self.offer_snapshot(&known).await;
                return Ok(known.clone());
            }
        }
    }
}
