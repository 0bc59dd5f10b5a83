//! The chain: what makes one line follow another.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::entry::{Recorded, RecordedEvent, VERSION};
use crate::approval::ApprovalId;
use crate::error::{Error, ErrorKind};

/// What stands for the line before the first.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The end of a log: how many lines it has, and the digest of the last.
///
/// Its text is `12:<64 hexadecimal digits>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number of lines.
    pub sequence: u64,
    /// The SHA-256 of the last line's bytes without its line end, in hexadecimal; 64 zeros where there is none.
    pub digest: String,
}

impl Head {
    /// Returns the head of a log without lines.
    pub(super) fn genesis() -> Self {
        Self { sequence: 0, digest: GENESIS.to_owned() }
    }

    pub(super) fn is_well_formed(&self) -> bool {
        self.digest.len() == 64 && self.digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.digest)
    }
}

impl FromStr for Head {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let head = text.split_once(':').and_then(|(sequence, digest)| {
            Some(Self { sequence: sequence.parse().ok()?, digest: digest.to_ascii_lowercase() })
        });
        head.filter(Self::is_well_formed).ok_or_else(|| {
            let message = "head of an audit log is not a number, a colon and 64 hexadecimal digits";
            Error::new(ErrorKind::InvalidSettings, message)
        })
    }
}

/// Why a line does not follow the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It is no line of this version.
    Unreadable,
    /// Its number is greater than the next.
    Gap,
    /// Its number was there before.
    Repeated,
    /// It names another line before it.
    Edited,
    /// It claims an approval that an earlier line claimed.
    ClaimedTwice,
}

/// The chain up to some line.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) head: Head,
    /// The digest of the line before the last.
    pub(super) before: String,
    pub(super) claims: HashSet<ApprovalId>,
}

impl Chain {
    pub(super) fn new() -> Self {
        Self { head: Head::genesis(), before: GENESIS.to_owned(), claims: HashSet::new() }
    }

    /// Reads the next line and tells what is wrong with it. It is not taken over yet.
    pub(super) fn read(&self, line: &[u8]) -> (Option<Recorded>, Option<Flaw>) {
        let recorded = serde_json::from_slice::<Recorded>(line).ok();
        let expected = self.head.sequence + 1;
        let flaw = match &recorded {
            None => Some(Flaw::Unreadable),
            Some(line) if line.version != VERSION => Some(Flaw::Unreadable),
            Some(line) if line.sequence > expected => Some(Flaw::Gap),
            Some(line) if line.sequence < expected => Some(Flaw::Repeated),
            Some(line) if line.previous != self.head.digest => Some(Flaw::Edited),
            Some(line) if claim(line).is_some_and(|id| self.claims.contains(id)) => Some(Flaw::ClaimedTwice),
            Some(_) => None,
        };
        (recorded, flaw)
    }

    /// Takes a line over as the next one, whatever it says.
    pub(super) fn push(&mut self, line: &[u8], recorded: Option<&Recorded>) {
        self.claims.extend(recorded.and_then(claim).cloned());
        let next = Head { sequence: self.head.sequence + 1, digest: crate::digest::sha256_hex(line) };
        self.before = std::mem::replace(&mut self.head, next).digest;
    }

    /// Compares the head file with the end of the log.
    pub(super) fn standing(&self, head: &Head) -> Standing {
        let lines = self.head.sequence;
        if *head == self.head {
            Standing::Current
        } else if head.sequence > lines {
            Standing::Ahead(head.sequence - lines)
        } else if head.sequence + 1 == lines && head.digest == self.before {
            Standing::BehindByOne
        } else if head.sequence + 1 < lines {
            Standing::Behind(lines - head.sequence)
        } else {
            Standing::Differs
        }
    }
}

/// How a head file stands to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Current,
    /// A crash came between the line and the head.
    BehindByOne,
    /// So many lines are missing at the end.
    Ahead(u64),
    /// So many lines were added by something else.
    Behind(u64),
    /// The number fits, and the digest does not.
    Differs,
}

/// Returns the approval that a line uses up.
fn claim(recorded: &Recorded) -> Option<&ApprovalId> {
    let body = &recorded.body;
    body.approval.as_ref().filter(|_| body.event == RecordedEvent::Claimed).map(|approval| &approval.id)
}
