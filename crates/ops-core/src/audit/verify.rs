//! Reading a log again: every line, their order, and where it ends.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use super::chain::{Chain, Flaw, Head, Standing};
use super::entry::Recorded;
use super::head::{self, HeadFile};
use super::lines::{Lock, Piece, Pieces};
use crate::error::{Error, ErrorKind};
use crate::evidence::VerifyingKey;

/// How many faults are told.
const MAX_FAULTS: usize = 100;

/// How long a reader waits for writers.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was found in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// How many lines were read.
    pub entries: u64,
    /// How many approvals were used up.
    pub claims: u64,
    /// Where the log ends, by its own lines.
    pub head: Head,
    /// How the head file stands to that.
    pub head_state: HeadState,
    /// The id of the given key that signed the head.
    pub signed_by: Option<String>,
    /// What is wrong, in the order of the lines; the first hundred.
    pub faults: Vec<Fault>,
}

impl Report {
    /// Tells whether nothing is wrong.
    pub fn is_intact(&self) -> bool {
        self.faults.is_empty()
    }

    /// Tells whether the only fault is what a crash leaves, which [`recover`](super::recover) clears away.
    pub fn is_torn(&self) -> bool {
        matches!(self.faults.as_slice(), [Fault { kind: FaultKind::Torn, .. }])
    }
}

/// How the head file stands to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeadState {
    /// It names the last line.
    Current,
    /// It names the line before the last, as after a crash. The last line is covered by nothing but its own chain.
    BehindByOne,
    /// Something else, which a fault tells.
    Wrong,
}

/// One thing that is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1; the one after the last where the end is at fault.
    pub line: u64,
    /// What is wrong.
    pub kind: FaultKind,
}

/// What is wrong with a line, or with the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The line cannot be read, or is of another version.
    Unreadable,
    /// Lines before it are missing.
    Gap,
    /// Its number was there before: it was moved or written twice.
    Repeated,
    /// It does not name the line before it: one of the two was changed.
    Edited,
    /// It uses an approval that was used before.
    ClaimedTwice,
    /// The log ends within a line that its head does not name, as after a crash.
    Torn,
    /// The log ends within a line that its head names.
    CutLine,
    /// So many lines are missing at the end.
    Truncated(u64),
    /// The head file is missing.
    HeadMissing,
    /// The head file cannot be read.
    HeadUnreadable,
    /// The head names another digest for this line.
    HeadDiffers,
    /// The head is behind by so many lines, which were written without it.
    HeadBehind(u64),
    /// None of the given keys signed the head.
    HeadUnsigned,
    /// The line is not the one that the expected head names.
    NotAsExpected,
    /// There is a head, and the log is gone.
    LogMissing,
}

impl FaultKind {
    /// Returns the stable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Gap => "gap",
            Self::Repeated => "repeated",
            Self::Edited => "edited",
            Self::ClaimedTwice => "claimed_twice",
            Self::Torn => "torn",
            Self::CutLine => "cut_line",
            Self::Truncated(_) => "truncated",
            Self::HeadMissing => "head_missing",
            Self::HeadUnreadable => "head_unreadable",
            Self::HeadDiffers => "head_differs",
            Self::HeadBehind(_) => "head_behind",
            Self::HeadUnsigned => "head_unsigned",
            Self::NotAsExpected => "not_as_expected",
            Self::LogMissing => "log_missing",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match self.kind {
            FaultKind::Unreadable => f.write_str("it cannot be read"),
            FaultKind::Gap => f.write_str("lines before it are missing"),
            FaultKind::Repeated => f.write_str("its number was there before: it was moved or written twice"),
            FaultKind::Edited => {
                f.write_str("it does not follow the line before it: one of the two was changed")
            }
            FaultKind::ClaimedTwice => f.write_str("it uses an approval that was used before"),
            FaultKind::Torn => f.write_str("it was not finished, as after a crash"),
            FaultKind::CutLine => f.write_str("it ends in the middle"),
            FaultKind::Truncated(lines) => write!(f, "{lines} lines are missing from here on"),
            FaultKind::HeadMissing => f.write_str("there is no head file"),
            FaultKind::HeadUnreadable => f.write_str("the head file cannot be read"),
            FaultKind::HeadDiffers => f.write_str("it is not the line that the head file names"),
            FaultKind::HeadBehind(lines) => write!(f, "the head file is behind by {lines} lines"),
            FaultKind::HeadUnsigned => f.write_str("the head file is not signed by one of the keys"),
            FaultKind::NotAsExpected => f.write_str("it is not the line that the expected head names"),
            FaultKind::LogMissing => f.write_str("there is a head file, and the log is gone"),
        }
    }
}

/// Verifies a log: each line, their order, the head file, and a head that was kept elsewhere.
///
/// The log may be longer than `expected`, never shorter. With `keys`, one of them must have signed the head file. A
/// log that is written to meanwhile is verified up to where it was.
///
/// # Errors
/// [`ErrorKind::Io`] where a file cannot be read, and [`ErrorKind::LogBusy`] where a writer holds it for ten seconds.
/// What is wrong with the log is no error; the [`Report`] has it.
pub fn verify(path: &Path, expected: Option<&Head>, keys: &[VerifyingKey]) -> Result<Report, Error> {
    read(path, expected, keys, &mut |_| {})
}

/// As [`verify`], and hands over each line that can be read.
///
/// # Errors
/// As [`verify`].
pub fn read(
    path: &Path,
    expected: Option<&Head>,
    keys: &[VerifyingKey],
    visit: &mut dyn FnMut(&Recorded),
) -> Result<Report, Error> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("cannot read the audit log {}", path.display())).caused_by(error)
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && head::path_of(path).exists() => {
            return Ok(gone());
        }
        Err(error) => return Err(failed(error)),
    };
    // Only for as long as it takes to learn where the log ends: what is there does not change any more.
    let lock = Lock::shared(&file, path, PATIENCE)?;
    let end = file.metadata().map_err(failed)?.len();
    let found = match head::read_copy(path) {
        Err(error) if error.kind() != ErrorKind::BrokenChain => return Err(error),
        other => other,
    };
    drop(lock);
    let head_file = found.as_ref().ok().and_then(Option::as_ref);
    let mut chain = Chain::new();
    let mut not_as_expected = expected.is_some_and(|head| head.sequence == 0 && *head != chain.head);
    let walk =
        walk(&mut chain, &file, 0..end, head_file.map(HeadFile::head).as_ref(), &mut |head, recorded| {
            not_as_expected |=
                expected.is_some_and(|expected| expected.sequence == head.sequence && expected != head);
            if let Some(recorded) = recorded {
                visit(recorded);
            }
        });
    let Walk { mut faults, .. } = walk.map_err(failed)?;
    let lines = chain.head.sequence;
    let head_state = match &found {
        Ok(Some(head_file)) => judge_head(&chain, &head_file.head(), &mut faults),
        Ok(None) => {
            faults.push(Fault { line: lines + 1, kind: FaultKind::HeadMissing });
            HeadState::Wrong
        }
        Err(_) => {
            faults.push(Fault { line: lines + 1, kind: FaultKind::HeadUnreadable });
            HeadState::Wrong
        }
    };
    if let Some(expected) = expected {
        let missing = expected.sequence.saturating_sub(lines);
        let known = Fault { line: lines + 1, kind: FaultKind::Truncated(missing) };
        if missing > 0 && !faults.contains(&known) {
            faults.push(known);
        } else if not_as_expected {
            faults.push(Fault { line: expected.sequence, kind: FaultKind::NotAsExpected });
        }
    }
    let signed_by = head_file.and_then(|file| file.signer(keys));
    if !keys.is_empty() && signed_by.is_none() {
        faults.push(Fault { line: lines, kind: FaultKind::HeadUnsigned });
    }
    let claims = chain.claims.len() as u64;
    Ok(Report { entries: lines, claims, head: chain.head, head_state, signed_by, faults })
}

/// The report on a log of which only the head is left.
fn gone() -> Report {
    let faults = vec![Fault { line: 1, kind: FaultKind::LogMissing }];
    let head = Head::genesis();
    Report { entries: 0, claims: 0, head, head_state: HeadState::Wrong, signed_by: None, faults }
}

fn judge_head(chain: &Chain, head: &Head, faults: &mut Vec<Fault>) -> HeadState {
    let lines = chain.head.sequence;
    let fault = match chain.standing(head) {
        Standing::Current => return HeadState::Current,
        Standing::BehindByOne => return HeadState::BehindByOne,
        Standing::Ahead(missing) => Fault { line: lines + 1, kind: FaultKind::Truncated(missing) },
        Standing::Behind(more) => Fault { line: head.sequence + 1, kind: FaultKind::HeadBehind(more) },
        Standing::Differs => Fault { line: head.sequence, kind: FaultKind::HeadDiffers },
    };
    faults.push(fault);
    HeadState::Wrong
}

/// What a walk over lines found.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) faults: Vec<Fault>,
    /// The bytes that a crash left behind the last whole line, which were not taken over.
    pub(super) torn: Option<Vec<u8>>,
    /// The byte after the last line that was taken over.
    pub(super) end: u64,
}

/// Takes over the lines of a part of a log, and hands each over with the head after it.
///
/// A last line that cannot be read or has no end is torn where the head file names the line before it; a crash leaves
/// no other.
pub(super) fn walk(
    chain: &mut Chain,
    file: &File,
    range: std::ops::Range<u64>,
    head: Option<&Head>,
    visit: &mut dyn FnMut(&Head, Option<&Recorded>),
) -> std::io::Result<Walk> {
    let mut pieces = Pieces::new(file, range.start, range.end);
    let mut walk = Walk { faults: Vec::new(), torn: None, end: range.start };
    let mut told = BTreeSet::new();
    // A line that cannot be read waits for what follows: nothing does, where a crash left it.
    let mut waiting: Option<Vec<u8>> = None;
    let mut tell = |faults: &mut Vec<Fault>, line: u64, kind| {
        if told.len() < MAX_FAULTS && told.insert(line) {
            faults.push(Fault { line, kind });
        }
    };
    loop {
        let begin = pieces.position();
        let piece = pieces.next_piece()?;
        let is_torn_after = |chain: &Chain| head == Some(&chain.head);
        if let Some(line) = waiting.take() {
            if piece.is_none() && is_torn_after(chain) {
                tell(&mut walk.faults, chain.head.sequence + 1, FaultKind::Torn);
                walk.torn = Some([line, b"\n".to_vec()].concat());
                return Ok(walk);
            }
            tell(&mut walk.faults, chain.head.sequence + 1, FaultKind::Unreadable);
            chain.push(&line, None);
            visit(&chain.head, None);
            walk.end = begin;
        }
        let number = chain.head.sequence + 1;
        match piece {
            None => return Ok(walk),
            Some(Piece::TooLong) => {
                tell(&mut walk.faults, number, FaultKind::Unreadable);
                return Ok(walk);
            }
            Some(Piece::Tail(tail)) => {
                let is_torn = is_torn_after(chain);
                tell(&mut walk.faults, number, if is_torn { FaultKind::Torn } else { FaultKind::CutLine });
                walk.torn = is_torn.then_some(tail);
                return Ok(walk);
            }
            Some(Piece::Line(line)) => match chain.read(&line) {
                (None, _) => waiting = Some(line),
                (Some(recorded), flaw) => {
                    if let Some(flaw) = flaw {
                        tell(&mut walk.faults, number, kind(flaw));
                    }
                    chain.push(&line, Some(&recorded));
                    visit(&chain.head, Some(&recorded));
                    walk.end = pieces.position();
                }
            },
        }
    }
}

fn kind(flaw: Flaw) -> FaultKind {
    match flaw {
        Flaw::Unreadable => FaultKind::Unreadable,
        Flaw::Gap => FaultKind::Gap,
        Flaw::Repeated => FaultKind::Repeated,
        Flaw::Edited => FaultKind::Edited,
        Flaw::ClaimedTwice => FaultKind::ClaimedTwice,
    }
}
