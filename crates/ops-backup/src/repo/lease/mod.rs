//! Leases: how a backup's job begins, says that it lives, and ends.
//!
//! 1. [`Repository::begin`] appends the `begin` record. It refuses where a living job of the same source runs; a dead one
//!    is abandoned first.
//! 2. A task writes heartbeats, `leases/<id>/<n>`, one a minute, and removes those before.
//! 3. [`Lease::commit`] or [`Lease::abandon`] appends the record that ends the job, and removes the heartbeats.
//!
//! Nothing is safe because of a heartbeat or a clock: they only tell others when to try to abandon the job. What counts is
//! the log. Whichever of `commit` and `abandon` comes first in it is the end of the job, and the other one is refused;
//! what the job has built on is kept until then. So a job whose heartbeats cannot be written goes on, and its commit
//! decides. A crash leaves the heartbeats, which garbage collection removes.

mod alive;
mod beat;

pub(crate) use beat::{CLOCK, PREFIX};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::error::{Error, ErrorKind, Result};
use crate::repo::Repository;
use crate::repo::catalog::Backup;
use crate::repo::log::{Event, Running, State};

/// A running job's hold on the repository.
///
/// Dropped without an end, it stops its heartbeats and tries to abandon the job in the background.
#[must_use = "the job is abandoned when its lease is dropped"]
pub(crate) struct Lease {
    repository: Repository,
    id: String,
    begun: State,
    heartbeats: CancellationToken,
    ended: bool,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("id", &self.id).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Repository {
    /// Begins the job of backup `id`; `bases_of` names the backups and abandoned jobs that it builds on, out of those in
    /// the state that it is given. `commit` relies on this: a manifest refers to packs of the job itself and
    /// to those that its bases refer to, and to no others.
    ///
    /// # Errors
    /// `Busy` where a living job of the same `source` runs, unless `allow_concurrent`; `Conflict` where the id is in use.
    pub(crate) async fn begin(
        &self,
        id: &str,
        source: &str,
        mut bases_of: impl FnMut(&State) -> Vec<String>,
        allow_concurrent: bool,
    ) -> Result<Lease> {
        loop {
            let seen = self.state().await?;
            let others: Vec<String> = running_of(&seen, source).map(|(id, _)| id.clone()).collect();
            for (other, job) in running_of(&seen, source) {
                match self.why_dead(other, job).await? {
                    Some(reason) => self.abandon(other, &reason).await?,
                    None if allow_concurrent => {}
                    None => return Err(busy(other, job)),
                }
            }
            let mut judged = true;
            let begun = self
                .append(|state| {
                    // A job that began meanwhile has to be looked at first.
                    judged = allow_concurrent || running_of(state, source).all(|(id, _)| others.contains(id));
                    if !judged {
                        return Ok(None);
                    }
                    if state.knows(id) {
                        let message = format!("a backup called {id} is already known");
                        return Err(Error::new(ErrorKind::Conflict, message));
                    }
                    let bases = bases_of(state);
                    if let Some(base) = bases.iter().find(|base| !can_be_base(state, base)) {
                        let message = format!("there is no backup {base:?} to build on");
                        return Err(Error::new(ErrorKind::NotFound, message));
                    }
                    Ok(Some(Event::Begin { backup: id.to_owned(), source: source.to_owned(), bases }))
                })
                .await?;
            if judged {
                return Ok(Lease::new(self.clone(), id, begun));
            }
        }
    }

    /// Makes a later commit of job `id` impossible; does nothing where it has ended.
    pub(crate) async fn abandon(&self, id: &str, reason: &str) -> Result<()> {
        let mut was_running = false;
        self.append(|state| {
            was_running |= state.running.contains_key(id);
            let event = Event::Abandon { backup: id.to_owned(), reason: reason.to_owned() };
            Ok(state.running.contains_key(id).then_some(event))
        })
        .await?;
        if was_running {
            tracing::info!(backup = id, reason, "abandoned a job");
            self.remove_heartbeats(id).await;
        }
        Ok(())
    }

    /// Abandons every job whose process is gone or silent, and returns their ids.
    pub(crate) async fn abandon_dead(&self) -> Result<Vec<String>> {
        let mut dead = Vec::new();
        for (id, job) in self.state().await?.running {
            if let Some(reason) = self.why_dead(&id, &job).await? {
                self.abandon(&id, &reason).await?;
                dead.push(id);
            }
        }
        Ok(dead)
    }
}

fn running_of<'a>(state: &'a State, source: &'a str) -> impl Iterator<Item = (&'a String, &'a Running)> {
    state.running.iter().filter(move |(_, job)| job.source == source)
}

fn can_be_base(state: &State, id: &str) -> bool {
    state.backups.contains_key(id) || state.abandoned.contains_key(id)
}

fn busy(id: &str, job: &Running) -> Error {
    let Running { source, since, by, .. } = job;
    Error::new(ErrorKind::Busy, format!("backup {id} of {source} is running since {since:.0}: {by}"))
}

impl Lease {
    fn new(repository: Repository, id: &str, begun: State) -> Self {
        let heartbeats = CancellationToken::new();
        let task = beat::run(repository.clone(), id.to_owned(), heartbeats.clone());
        tokio::spawn(task.instrument(tracing::debug_span!("heartbeats", backup = id)));
        Lease { repository, id: id.to_owned(), begun, heartbeats, ended: false }
    }

    #[cfg(test)]
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The log as it was when the job began; its bases are backups and abandoned jobs of this state.
    pub(crate) fn begun(&self) -> &State {
        &self.begun
    }

    /// Makes the backup exist.
    ///
    /// # Errors
    /// `Abandoned` where another process gave the job up; `Corrupt` where the log says too little to know. After any
    /// error the job is abandoned, as far as the store answers.
    pub(crate) async fn commit(mut self, backup: Backup) -> Result<Backup> {
        let id = self.id.clone();
        if backup.id != id {
            let message = format!("the job of backup {id} cannot commit backup {}", backup.id);
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        let begun = self.begun.sequence;
        if let Err(error) = self.repository.append(|state| may_commit(state, &backup, begun)).await {
            // Its acknowledgement may be lost. If it is not there now, this keeps it from coming to be there.
            let ended = self.end("its commit failed").await;
            let state = self.repository.state().await;
            if ended.is_err() || !state.is_ok_and(|state| state.backups.contains_key(&id)) {
                return Err(error);
            }
        }
        self.ended = true;
        self.heartbeats.cancel();
        self.repository.remove_heartbeats(&id).await;
        tracing::info!(backup = id, "committed a backup");
        Ok(backup)
    }

    /// Gives the job up; what it has stored is there for a later one to build on.
    pub(crate) async fn abandon(mut self, reason: &str) -> Result<()> {
        self.end(reason).await
    }

    async fn end(&mut self, reason: &str) -> Result<()> {
        self.heartbeats.cancel();
        self.repository.abandon(&self.id, reason).await?;
        self.ended = true;
        Ok(())
    }
}

/// Says whether `backup`, whose job has begun with record `begun`, can be committed now.
fn may_commit(state: &State, backup: &Backup, begun: u64) -> Result<Option<Event>> {
    let id = &backup.id;
    // An abandonment that cannot be read, and what was removed after it, cannot be excluded.
    if let Some((sequence, how)) = state.damaged.range(begun..).next() {
        let message =
            format!("cannot commit backup {id}: record {sequence} of the log cannot be read ({how})");
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    if state.backups.contains_key(id) {
        return Ok(None);
    }
    if !state.running.contains_key(id) {
        let gave_up = state.abandoned.get(id).and_then(|job| job.abandoned.as_ref());
        let reason = gave_up.map_or_else(String::new, |(at, reason)| format!(" at {at}: {reason}"));
        let message = format!("the job of backup {id} was abandoned by another process{reason}");
        return Err(Error::new(ErrorKind::Abandoned, message));
    }
    Ok(Some(Event::Commit { backup: Box::new(backup.clone()) }))
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.heartbeats.cancel();
        if self.ended {
            return;
        }
        let (repository, id) = (self.repository.clone(), self.id.clone());
        // Without a runtime nobody can: the process is about to end, and others will see that.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = repository.abandon(&id, "it was stopped").await {
                    tracing::warn!(backup = id, %error, "a stopped job was not abandoned");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests;
