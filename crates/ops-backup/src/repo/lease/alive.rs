//! Whether the process of a job still lives. A wrong answer costs a job its work, never a backup.

use jiff::{SignedDuration, Timestamp};
use object_store::ObjectStoreExt as _;

use crate::error::{Error, Result};
use crate::repo::Repository;
use crate::repo::lease::beat::stored_at;
use crate::repo::log::{self, Fate, Host, Running};

/// A job that said nothing for so long is dead: ten heartbeats.
pub(super) const SILENCE: SignedDuration = SignedDuration::from_mins(10);

/// What [`Repository::why_dead`] goes by.
enum Verdict {
    Dead(String),
    Alive,
    /// By this host's clock it is silent; clocks differ, so the store's is asked.
    AskStore(Timestamp),
}

/// `heard` is when the job last said that it lives, by the clock of the store.
fn judge(fate: Fate, heard: Timestamp, now: Timestamp) -> Verdict {
    match fate {
        Fate::Gone => Verdict::Dead("its process is gone".to_owned()),
        // The process may live on after its job.
        Fate::Running | Fate::Unknown if now.duration_since(heard) > SILENCE => Verdict::AskStore(heard),
        Fate::Running | Fate::Unknown => Verdict::Alive,
    }
}

impl Repository {
    /// Says why job `id` is taken for dead; `None` where it lives.
    pub(crate) async fn why_dead(&self, id: &str, job: &Running) -> Result<Option<String>> {
        let fate = job.by.fate(&Host::this());
        if let Verdict::Dead(reason) = judge(fate, Timestamp::MAX, Timestamp::now()) {
            return Ok(Some(reason));
        }
        let heard = match self.last_heartbeat(id).await? {
            Some(at) => at,
            // It may be about to write its first one: the store knows when its record was written.
            None => {
                let path = log::path(job.sequence);
                match self.store().head(&path).await {
                    Ok(record) => stored_at(&record),
                    Err(object_store::Error::NotFound { .. }) => job.since,
                    Err(error) => return Err(Error::storage(format!("look for {path}"), error)),
                }
            }
        };
        match judge(fate, heard, Timestamp::now()) {
            Verdict::Dead(reason) => Ok(Some(reason)),
            Verdict::Alive => Ok(None),
            Verdict::AskStore(heard) => {
                let silent = self.store_clock().await?.duration_since(heard);
                let minutes = silent.as_mins();
                Ok((silent > SILENCE).then(|| format!("it was silent for {minutes} minutes")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_gone_is_dead_at_once_and_any_other_only_after_silence() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (fate, minutes, expected) in [
            (Fate::Gone, 0, "dead"),
            (Fate::Running, 10, "alive"),
            (Fate::Unknown, 10, "alive"),
            (Fate::Running, 11, "ask"),
            (Fate::Unknown, 11, "ask"),
            (Fate::Unknown, -60, "alive"),
        ] {
            let heard = now - SignedDuration::from_mins(minutes);
            let verdict = match judge(fate, heard, now) {
                Verdict::Dead(_) => "dead",
                Verdict::Alive => "alive",
                Verdict::AskStore(_) => "ask",
            };
            assert_eq!(verdict, expected, "{fate:?} silent for {minutes} minutes");
        }
    }
}
