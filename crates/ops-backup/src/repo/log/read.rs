//! Reading records: in parallel ahead of what is known, and past damage.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::error::{Error, ErrorKind, Result};
use crate::repo::Repository;
use crate::repo::log::{Record, State, path};
use crate::repo::seal::Kind;

/// So many records are asked for at once.
const AHEAD: u64 = 16;

/// What stands at one number of the log.
enum Found {
    Record(Box<Record>),
    Damaged(String),
    Nothing,
}

/// What a reading of every record found.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogAudit {
    /// Records that were asked for, read or not.
    pub(crate) records: u64,
    /// Those that cannot be read, whether or not the next one repeats their content.
    pub(crate) damaged: BTreeMap<u64, String>,
    /// Snapshots that cannot be read, or that say something else than the records before them.
    pub(crate) snapshots: BTreeMap<u64, String>,
}

impl Repository {
    pub(super) async fn catch_up(&self, known: &mut State) -> Result<()> {
        let mut window = 1;
        if known.sequence == 0 {
            *known = self.newest_snapshot().await?;
            // A record that is missing in the middle must not be taken for the end.
            window = AHEAD;
        }
        loop {
            let found = self.records(known.sequence + 1, window).await?;
            let Some(last) = found.iter().rposition(|found| !matches!(found, Found::Nothing)) else {
                return Ok(());
            };
            for found in found.into_iter().take(last + 1) {
                self.take(known, found).await?;
            }
            window = AHEAD;
        }
    }

    /// Adds what was found at the next number; a later one is known to be there.
    async fn take(&self, known: &mut State, found: Found) -> Result<()> {
        let found = match found {
            // It may have come to be there after it was asked for and before a later one was.
            Found::Nothing => self.record(known.sequence + 1).await?,
            found => found,
        };
        match found {
            Found::Record(record) => known.follow(*record),
            Found::Damaged(how) => known.skip(how),
            Found::Nothing => known.skip(format!("{} is missing", path(known.sequence + 1))),
        }
        Ok(())
    }

    async fn records(&self, first: u64, count: u64) -> Result<Vec<Found>> {
        let requests = (first..first + count).map(|sequence| self.record(sequence));
        stream::iter(requests).buffered(AHEAD as usize).try_collect().await
    }

    async fn record(&self, sequence: u64) -> Result<Found> {
        match self.try_record(sequence).await {
            // What was damaged on its way is right the second time.
            Ok(Found::Damaged(_)) => self.try_record(sequence).await,
            result => result,
        }
    }

    async fn try_record(&self, sequence: u64) -> Result<Found> {
        let path = path(sequence);
        let Some(object) = self.read_if_present(&path).await? else { return Ok(Found::Nothing) };
        let record = self
            .secrets()
            .unseal(Kind::Record, path.as_ref(), &object)
            .and_then(|content| Record::decode(path.as_ref(), &content))
            .and_then(|record| match record.sequence == sequence {
                true => Ok(record),
                false => Err(Error::corrupt(format!("{path} is record {}", record.sequence))),
            });
        match record {
            Ok(record) => Ok(Found::Record(Box::new(record))),
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(Found::Damaged(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Reads every record and every snapshot, whatever is known already: for a verification.
    ///
    /// # Errors
    /// `Storage`, `Unsupported`. Damage is in the result.
    pub(crate) async fn audit_log(&self) -> Result<LogAudit> {
        let mut snapshots: BTreeMap<u64, Option<serde_json::Value>> = BTreeMap::new();
        let mut audit = LogAudit::default();
        for sequence in self.snapshots().await? {
            match self.read_snapshot(sequence).await {
                Ok(state) => drop(snapshots.insert(sequence, serde_json::to_value(state).ok())),
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                    audit.snapshots.insert(sequence, error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        let mut state = State::default();
        loop {
            let found = self.records(state.sequence + 1, AHEAD).await?;
            let Some(last) = found.iter().rposition(|found| !matches!(found, Found::Nothing)) else { break };
            for found in found.into_iter().take(last + 1) {
                self.take(&mut state, found).await?;
                if let Some(snapshot) = snapshots.remove(&state.sequence)
                    && state.damaged.is_empty()
                    && snapshot != serde_json::to_value(&state).ok()
                {
                    let what = "says something else than the records up to it".to_owned();
                    audit.snapshots.insert(state.sequence, what);
                }
            }
        }
        audit.records = state.sequence;
        for (sequence, _) in snapshots {
            let what = "is there, and the records up to it are not".to_owned();
            audit.snapshots.insert(sequence, what);
        }
        audit.damaged = state.damaged;
        audit.damaged.append(&mut state.recovered);
        Ok(audit)
    }
}
