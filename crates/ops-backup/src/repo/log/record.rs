//! One record of the log, as it is stored: JSON.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::postgres::lsn::SystemIdentifier;
use crate::repo::catalog::Backup;

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
}

/// Who wrote a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) name: String,
    /// Changes with every start of the machine; empty where the system has none.
    pub(crate) boot: String,
    pub(crate) process: u32,
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
    /// The WAL of a cluster before these segment numbers is needed by nothing that is kept.
    ExpireWal { system_identifier: SystemIdentifier, before: u64 },
    /// The packs that the object at `list` names are referred to by nothing; they are removed after a grace time.
    Condemn { list: String, packs: u64, bytes: u64 },
    /// What record `condemned` listed is gone.
    Sweep { condemned: u64 },
    /// Backups were read and proven, or found damaged.
    Verify { proofs: Vec<Proof> },
    /// A backup was restored, started and asked.
    Rehearse { backup: String, passed: bool, recovery_seconds: f64 },
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

    pub(crate) fn new(sequence: u64, at: Timestamp, by: Host, event: Event) -> Self {
        let nonce = format!("{:016x}", crate::repo::random());
        Record { version: Self::VERSION, sequence, at, by, nonce, event }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record is always valid JSON")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

impl Host {
    /// This process on this machine.
    pub(crate) fn this() -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Host { name, boot: boot.trim().to_owned(), process: std::process::id() }
    }
}
