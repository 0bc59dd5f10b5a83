//! The chapter "The log": from records to the backups that exist.

use std::collections::BTreeMap;

use serde_json::Value;

use super::object::{Reader, Result, kind, list, number, text, version_two};

/// The sum of the log, each thing by its id.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Sum {
    pub(crate) sequence: u64,
    /// The descriptions of the backups that exist.
    pub(crate) backups: BTreeMap<String, Value>,
    pub(crate) running: BTreeMap<String, Value>,
    pub(crate) abandoned: BTreeMap<String, Value>,
    pub(crate) expired: BTreeMap<String, Value>,
    /// Paths of lists by the number of their record.
    pub(crate) condemned: BTreeMap<u64, String>,
    /// When a backup was last proven, if nothing worse was found since.
    pub(crate) verified: BTreeMap<String, Value>,
    /// By cluster.
    pub(crate) wal_before: BTreeMap<String, u64>,
    pub(crate) removed_keys: Vec<String>,
    /// Records that were made good by the next.
    pub(crate) repaired: Vec<u64>,
}

impl Sum {
    fn knows(&self, id: &str) -> bool {
        [&self.backups, &self.running, &self.abandoned, &self.expired]
            .iter()
            .any(|state| state.contains_key(id))
    }

    fn apply(&mut self, record: &Value) -> Result<()> {
        version_two(record)?;
        self.sequence = number(record, "sequence")?;
        let at = &record["at"];
        match text(record, "event")? {
            "begin" => {
                let id = text(record, "backup")?;
                if !self.knows(id) {
                    self.running.insert(id.to_owned(), record["bases"].clone());
                }
            }
            "commit" => {
                let id = text(&record["backup"], "id")?;
                if self.running.remove(id).is_some() {
                    self.backups.insert(id.to_owned(), record["backup"].clone());
                }
            }
            "abandon" => {
                let id = text(record, "backup")?;
                if let Some(bases) = self.running.remove(id) {
                    self.abandoned.insert(id.to_owned(), bases);
                }
            }
            "expire" => {
                for expired in list(record, "backups")? {
                    let id = text(expired, "backup")?;
                    if self.backups.remove(id).is_some() {
                        self.verified.remove(id);
                        self.expired.insert(id.to_owned(), at.clone());
                    }
                }
            }
            "expire_wal" => {
                let cluster = text(record, "system_identifier")?.to_owned();
                self.wal_before.insert(cluster, number(record, "before")?);
            }
            "condemn" => {
                for id in list(record, "backups")? {
                    let id = id.as_str().ok_or("an id is text")?;
                    self.expired.remove(id);
                    self.abandoned.remove(id);
                }
                self.condemned.insert(self.sequence, text(record, "list")?.to_owned());
            }
            "sweep" => _ = self.condemned.remove(&number(record, "condemned")?),
            "verify" => {
                for proof in list(record, "proofs")? {
                    let id = text(proof, "backup")?;
                    if number(proof, "problems")? > 0 {
                        self.verified.remove(id);
                    } else if proof["complete"] == true && self.backups.contains_key(id) {
                        self.verified.insert(id.to_owned(), at.clone());
                    }
                }
            }
            "rehearse" => {}
            "remove_key" => self.removed_keys.push(text(record, "key")?.to_owned()),
            other => return Err(format!("the event {other} is not known to this reader")),
        }
        Ok(())
    }
}

impl Reader {
    /// Reads every record, and makes one that cannot be read good by the next.
    pub(crate) fn log(&self) -> Result<Sum> {
        let mut sum = Sum::default();
        let mut missing = None;
        for number in 1.. {
            let path = |number| format!("log/{number:020}");
            if (number..=number + 16).all(|number| !self.has(&path(number))) {
                break;
            }
            let record = match self.json(kind::RECORD, &path(number)) {
                Ok(record) => record,
                Err(_) if missing.is_none() => {
                    missing = Some(number);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(lost) = missing.take() {
                let previous = &record["previous"];
                if previous["sequence"] != lost {
                    return Err(format!("record {lost} is lost"));
                }
                sum.apply(previous)?;
                sum.repaired.push(lost);
            }
            sum.apply(&record)?;
        }
        Ok(sum)
    }
}
