//! The log of a repository: what was begun, committed, expired, condemned and proven, in one order for all hosts.
//!
//! # Why a log
//! A record is created at `log/<number>` if and only if nothing is there; the numbers have no gap. So any two hosts
//! agree on what came first, with nothing but "create if absent" and "read this name": no listing, no clock and no lock
//! is trusted. A job that wants to write a record reads all records, decides by what they say, and tries to create the
//! next one. If another host was faster, it reads that record and decides again ([`Repository::append`]).
//!
//! What rests on this order:
//! - A backup exists if and only if its `commit` is in the log.
//! - A backup's packs belong to it from its `begin` on. They can be condemned only after an `abandon` or `expire` of it,
//!   and when no backup that lives or runs refers to them; and a `commit` is refused after its `abandon`.
//! - What a running backup builds on is named in its `begin`, and is kept as if it had been committed.

mod record;
mod state;

use std::sync::Arc;

use jiff::Timestamp;
use object_store::path::Path;

pub(crate) use record::{Event, Expired, Host, Proof, Record};
pub(crate) use state::{Kept, Running, State};

use crate::error::{Error, ErrorKind, Result};
use crate::repo::compress::Compression;
use crate::repo::seal::Kind;
use crate::repo::{Repository, Written, object_path};

/// What is known of the log, so that only new records are read.
pub(crate) type Known = Arc<tokio::sync::Mutex<State>>;

fn path(sequence: u64) -> Path {
    object_path(&format!("log/{sequence:020}"))
}

impl Repository {
    /// Returns what the log says now.
    ///
    /// # Errors
    /// `Corrupt` for a damaged record, `Storage`.
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
    /// Those of `decide`, and as [`Repository::state`].
    pub(crate) async fn append(
        &self,
        mut decide: impl FnMut(&State) -> Result<Option<Event>>,
    ) -> Result<State> {
        let mut known = self.known().lock().await;
        loop {
            self.catch_up(&mut known).await?;
            let Some(event) = decide(&known)? else { return Ok(known.clone()) };
            let record = Record::new(known.sequence + 1, Timestamp::now(), Host::this(), event);
            let path = path(record.sequence);
            let object =
                self.secrets().seal(Kind::Record, path.as_ref(), &record.encode(), Compression::default())?;
            // A record is found there: of another host, or ours whose acknowledgement was lost.
            match self.create(&path, object.clone()).await? {
                Written::Identical if self.read(&path).await? != object => {}
                _ => {
                    known.apply(&record);
                    return Ok(known.clone());
                }
            }
        }
    }

    async fn catch_up(&self, known: &mut State) -> Result<()> {
        loop {
            let path = path(known.sequence + 1);
            let Some(object) = self.read_if_present(&path).await? else { return Ok(()) };
            let content = self.secrets().unseal(Kind::Record, path.as_ref(), &object)?;
            let record = Record::decode(&content)
                .map_err(|error| Error::corrupt(format!("{path} is damaged")).with_source(error))?;
            if record.sequence != known.sequence + 1 {
                return Err(Error::corrupt(format!("{path} is record {}", record.sequence)));
            }
            if record.version > Record::VERSION {
                let message =
                    format!("{path} has version {}; this program reads {}", record.version, Record::VERSION);
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
            known.apply(&record);
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    async fn repository() -> Repository {
        Repository::open_or_create(Arc::new(InMemory::new()), None).await.unwrap()
    }

    fn begin(id: &str) -> Event {
        Event::Begin { backup: id.to_owned(), source: "tree/x".to_owned(), bases: Vec::new() }
    }

    #[tokio::test]
    async fn two_writers_agree_on_one_order_and_decide_again() {
        let first = repository().await;
        let second = Repository::open(Arc::clone(&first.store), None).await.unwrap();
        first.append(|_| Ok(Some(begin("a")))).await.unwrap();
        second
            .append(|state| {
                assert!(state.running.contains_key("a"));
                Ok(Some(begin("b")))
            })
            .await
            .unwrap();
        let mut seen = Vec::new();
        first
            .append(|state| {
                seen.push(state.sequence);
                Ok(None)
            })
            .await
            .unwrap();
        assert_eq!(seen, [2]);
        let state = second.state().await.unwrap();
        assert_eq!(state.running.keys().collect::<Vec<_>>(), ["a", "b"]);
    }
}
