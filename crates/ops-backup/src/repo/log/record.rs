//! One record of the log, as it is stored: JSON.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::SystemIdentifier;
use crate::repo::catalog::{Backup, BackupSource};
use crate::repo::log::host::Host;

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) sequence: u64,
    /// By the clock of the host that wrote it; nothing is decided by it but how long something has waited.
    pub(crate) at: Timestamp,
    pub(crate) by: Host,
    /// Makes two records with the same content two objects: whoever reads it back knows whose it is.
    pub(crate) nonce: String,
    #[serde(flatten)]
    pub(crate) event: Event,
    /// The record before this one, without its own predecessor: one damaged object is made good by the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) previous: Option<Box<Record>>,
}

/// What happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// A backup's job began; from here on its packs belong to it.
    Begin {
        backup: String,
        /// What is backed up, for example `postgres/7418890012345678901`.
        source: String,
        /// The backups, committed or abandoned, that it refers to blocks of.
        bases: Vec<String>,
    },
    /// The backup exists from here on.
    Commit { backup: Box<Backup> },
    /// The job will never commit.
    Abandon { backup: String, reason: String },
    /// The backups exist no more; what they alone refer to may be condemned.
    Expire { backups: Vec<Expired> },
    /// The WAL of a cluster before this segment number is needed by nothing that is kept, on any timeline, except
    /// for the stretches in `keep`, which make older backups consistent.
    ExpireWal {
        system_identifier: SystemIdentifier,
        before: u64,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        keep: Vec<WalStretch>,
    },
    /// The objects that the one at `list` names are referred to by nothing; they are removed after a grace time.
    Condemn {
        list: String,
        packs: u64,
        bytes: u64,
        /// Expired backups and abandoned jobs that nothing can build on from here on.
        backups: Vec<String>,
    },
    /// What record `condemned` listed is gone.
    Sweep { condemned: u64 },
    /// Backups were read and proven, or found damaged.
    Verify { proofs: Vec<Proof> },
    /// A backup was restored, started and asked.
    Rehearse { backup: String, passed: bool, recovery_seconds: f64 },
    /// The wrapped key no longer counts; its object is removed after this record.
    RemoveKey { key: String },
}

/// The names of all events.
const EVENTS: [&str; 10] = [
    "begin",
    "commit",
    "abandon",
    "expire",
    "expire_wal",
    "condemn",
    "sweep",
    "verify",
    "rehearse",
    "remove_key",
];

/// Segments of one timeline, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct WalStretch {
    pub(crate) timeline: u32,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// A backup that was expired, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Expired {
    pub(crate) backup: String,
    pub(crate) reason: String,
}

/// What a verification found out about one backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proof {
    pub(crate) backup: String,
    /// Whether every object that it needs was read; otherwise a sample.
    pub(crate) complete: bool,
    pub(crate) problems: u64,
}

impl Record {
    pub(crate) const VERSION: u32 = 2;

    /// The record that follows `previous`, the newest one where it is known.
    pub(crate) fn new(
        sequence: u64,
        at: Timestamp,
        by: Host,
        event: Event,
        previous: Option<&Record>,
    ) -> Self {
        let nonce = format!("{:016x}", crate::repo::random());
        let previous = previous.map(|record| Box::new(record.alone()));
        Record { version: Self::VERSION, sequence, at, by, nonce, event, previous }
    }

    /// The record without the one before it.
    pub(crate) fn alone(&self) -> Self {
        let Record { version, sequence, at, by, nonce, event, previous: _ } = self;
        Record {
            version: *version,
            sequence: *sequence,
            at: *at,
            by: by.clone(),
            nonce: nonce.clone(),
            event: event.clone(),
            previous: None,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record is always valid JSON")
    }

    /// # Errors
    /// `Unsupported` where a newer program wrote it; `Corrupt` where it is none.
    pub(crate) fn decode(path: &str, bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Outline {
            version: u32,
            event: Option<String>,
            /// The description of a committed backup; text in other events.
            backup: Option<serde_json::Value>,
        }
        let damaged = |error| Error::corrupt(format!("{path} is no record")).with_source(error);
        let newer = |what: String| Error::new(ErrorKind::Unsupported, format!("{path} {what}"));
        let error = match serde_json::from_slice::<Record>(bytes) {
            Ok(record) if record.version <= Self::VERSION => return Ok(record),
            Ok(record) => return Err(newer(of_version(record.version))),
            Err(error) => error,
        };
        // It is what somebody sealed here: what cannot be read of it was written by a newer program, if that can be told.
        let outline: Outline = serde_json::from_slice(bytes).map_err(damaged)?;
        if outline.version > Self::VERSION {
            return Err(newer(of_version(outline.version)));
        }
        let engine = outline.backup.as_ref().and_then(|backup| backup["source"]["engine"].as_str());
        match (outline.event.as_deref(), engine) {
            (Some(event), _) if !EVENTS.contains(&event) => {
                Err(newer(format!("is the unknown event {event:?}; a newer program wrote it")))
            }
            (_, Some(engine)) if !BackupSource::ENGINES.contains(&engine) => {
                Err(newer(format!("is about the unknown engine {engine:?}; a newer program wrote it")))
            }
            _ => Err(damaged(error)),
        }
    }
}

fn of_version(version: u32) -> String {
    format!("has version {version}; this program reads {}", Record::VERSION)
}
