//! The secrets of a group as they are now, for those who use them.

use super::error::{Error, ErrorKind};
use super::provider::Fetched;
use crate::mask::Registration;
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// All secrets of a group, of one moment: whoever holds it has what belongs together.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) generation: u64,
    pub(super) since: Instant,
    pub(super) members: BTreeMap<String, Arc<Part>>,
}

/// One secret, and what keeps it masked.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) fetched: Fetched,
    pub(super) _masked: Vec<Registration>,
}

impl Snapshot {
    /// Returns a field of a member; a secret of one part calls it `value`.
    pub fn get(&self, member: &str, field: &str) -> Option<&Secret> {
        self.members.get(member)?.fetched.fields.get(field)
    }

    /// Returns how many swaps there were before it, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns when it came into use.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Returns the version of a member.
    pub fn version(&self, member: &str) -> Option<&str> {
        Some(&self.members.get(member)?.fetched.version)
    }
}

/// How a group is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Since when the secrets could not be confirmed or replaced; None where all is well.
    pub failing_since: Option<Instant>,
    /// How often in a row it failed.
    pub failures: u32,
    /// What was said last; never a value.
    pub error: Option<String>,
    /// The members that could not be fetched or renewed, or whose new secret was refused: the whole group waits for them.
    pub waits_for: Vec<String>,
    /// When [`Live::current`] begins to fail, if nothing gets better.
    pub stale_at: Instant,
}

#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) current: Arc<Snapshot>,
    pub(super) previous: Option<Arc<Snapshot>>,
    pub(super) health: Health,
    /// How many rounds there were, so that a refresh knows its end.
    pub(super) rounds: u64,
}

/// The secrets of a group; clones see the same.
#[derive(Debug, Clone)]
pub struct Live {
    state: watch::Receiver<State>,
    pub(super) asked: Arc<Notify>,
}

impl Live {
    pub(super) fn new(state: watch::Receiver<State>) -> Self {
        Self { state, asked: Arc::new(Notify::new()) }
    }

    /// Returns the secrets in use. Costs a lock for reading; ask anew for each use instead of keeping it.
    ///
    /// # Errors
    /// [`ErrorKind::Stale`] where they could not be confirmed for longer than the policy allows, or a lease has ended.
    pub fn current(&self) -> Result<Arc<Snapshot>, Error> {
        let state = self.state.borrow();
        if Instant::now() >= state.health.stale_at {
            let why = state.health.error.as_deref().unwrap_or("the watch does not run");
            return Err(Error::new(ErrorKind::Stale, format!("the secrets are stale: {why}")));
        }
        Ok(Arc::clone(&state.current))
    }

    /// Returns the secrets before the last swap while their grace lasts: for those who check what others send.
    pub fn previous(&self) -> Option<Arc<Snapshot>> {
        self.state.borrow().previous.clone()
    }

    /// Returns how the group is.
    pub fn health(&self) -> Health {
        self.state.borrow().health.clone()
    }

    /// Returns a stream of the versions that come after this moment.
    pub fn subscribe(&self) -> Subscription {
        let state = self.state.clone();
        let seen = state.borrow().current.generation;
        Subscription { state, seen }
    }

    /// Fetches anew and waits until that is done; for a login that was just refused. All who ask at once share one fetch, and
    /// a fetch that just ended answers too.
    ///
    /// # Errors
    /// [`ErrorKind::Ended`] where the watch has ended, else as [`current`](Self::current).
    pub async fn refresh(&self) -> Result<Arc<Snapshot>, Error> {
        let mut state = self.state.clone();
        let before = state.borrow_and_update().rounds;
        self.asked.notify_one();
        let done = state.wait_for(|state| state.rounds > before).await.map(drop);
        done.map_err(|_| Error::new(ErrorKind::Ended, "the watch of the secrets has ended"))?;
        self.current()
    }
}

/// A stream of versions. A slow reader misses versions between, never the last.
#[derive(Debug)]
pub struct Subscription {
    state: watch::Receiver<State>,
    seen: u64,
}

impl Subscription {
    /// Waits for the next version; None where the watch has ended.
    pub async fn next(&mut self) -> Option<Arc<Snapshot>> {
        let seen = self.seen;
        let state = self.state.wait_for(|state| state.current.generation > seen).await.ok()?;
        let current = Arc::clone(&state.current);
        drop(state);
        self.seen = current.generation;
        Some(current)
    }
}
