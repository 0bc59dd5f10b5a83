//! From where everything that is needed can be reached. Pure.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::error::{Error, Result};
use crate::repo::log::{Running, State};

/// The backups and jobs that keep objects; see [`crate::repo::gc`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Roots {
    /// Backups, committed once: what their manifests name is kept.
    pub(super) backups: BTreeSet<String>,
    /// Jobs without a manifest: everything that they own is kept.
    pub(super) jobs: BTreeSet<String>,
}

impl Roots {
    /// # Errors
    /// `Corrupt` where a job builds on something that the log does not know.
    pub(crate) fn of(state: &State, now: Timestamp, resumable: SignedDuration) -> Result<Self> {
        let abandoned = state.abandoned.iter().filter(|(_, job)| is_resumable(state, job, now, resumable));
        let mut open: Vec<&str> =
            state.backups.keys().chain(state.running.keys()).map(String::as_str).collect();
        open.extend(abandoned.map(|(id, _)| id.as_str()));
        let mut roots = Roots::default();
        while let Some(id) = open.pop() {
            if roots.contains(id) {
                continue;
            }
            if state.backups.contains_key(id) || state.expired.contains_key(id) {
                roots.backups.insert(id.to_owned());
            } else if let Some(job) = state.running.get(id).or_else(|| state.abandoned.get(id)) {
                roots.jobs.insert(id.to_owned());
                open.extend(job.bases.iter().map(String::as_str));
            } else {
                return Err(Error::corrupt(format!(
                    "a job builds on backup {id}, of which the log knows nothing"
                )));
            }
        }
        Ok(roots)
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.backups.contains(id) || self.jobs.contains(id)
    }

    /// Whether what `newer` keeps was kept by `self`. A job of `self` may have become a backup since.
    pub(super) fn covers(&self, newer: &Roots) -> bool {
        newer.jobs.is_subset(&self.jobs) && newer.backups.iter().all(|id| self.contains(id))
    }
}

/// A job can be resumed for some time, unless a later backup of its source has made that pointless.
fn is_resumable(state: &State, job: &Running, now: Timestamp, resumable: SignedDuration) -> bool {
    let waits = job.abandoned.as_ref().is_none_or(|(at, _)| now.duration_since(*at) < resumable);
    let later = |kept: &crate::repo::log::Kept| kept.source == job.source && kept.sequence > job.sequence;
    waits && !state.backups.values().any(later)
}
