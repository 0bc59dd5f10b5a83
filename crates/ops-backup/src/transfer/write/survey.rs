//! Compares the list of a source with its base, before anything is read: what can stay unread, and where the pieces of
//! large files are.
//!
//! A file is left unread only where its size and time are those of the base, its time is older than the base's start by a
//! margin, and *nothing in the whole list* makes the times doubtful: a time in the future, one earlier than that in the
//! base, another size at the same time. One such file, and all files are read.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt as _;
use jiff::Timestamp;

use crate::engine::{FileList, Kind};
use crate::error::Result;
use crate::monitor::Monitor;
use crate::repo::content::{Content, Entry, FileEntry, INLINE, Piece, PieceRef};
use crate::transfer::write::base::Base;

/// A file that was written so shortly before the base began may have been written again within the same time stamp.
const MARGIN: i64 = 2_000_000_000;

/// How the times of files are to be taken.
#[derive(Debug, Clone)]
pub(crate) enum Times {
    /// They tell nothing, for this reason; `None` where that was asked for.
    Doubtful(Option<String>),
    /// They tell, unless an anomaly is found: those older than `base` began, none later than `now`.
    Trusted { base: Timestamp, now: Timestamp },
}

/// What the base has for the items of a list.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Whether an item stays unread and has the content of the base; empty where none does.
    unchanged: Vec<bool>,
    /// The pieces of large files.
    large: HashMap<u32, Vec<PieceRef>>,
    /// The content of small files that have become large.
    grown: HashMap<u32, Piece>,
}

impl Survey {
    #[tracing::instrument(name = "survey", skip_all)]
    pub(super) async fn new(files: &FileList, base: &Base, times: Times, monitor: &Monitor) -> Result<Self> {
        let mut survey = Survey::default();
        let (trusted, mut doubt) = match times {
            Times::Trusted { base, now } => {
                survey.unchanged = vec![false; files.len()];
                let start = |time: Timestamp| i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX);
                let now = start(now);
                let in_future =
                    files.items().iter().position(|item| item.kind == Kind::File && item.modified > now);
                let doubt =
                    in_future.map(|index| format!("{:?} was changed in the future", files.path(index)));
                (Some(start(base).saturating_sub(MARGIN)), doubt)
            }
            Times::Doubtful(reason) => (None, reason),
        };
        let mut entries = std::pin::pin!(base.entries());
        let mut next = 0;
        while let Some(listing) = entries.next().await {
            monitor.check()?;
            for entry in listing {
                let Entry::File(before) = entry else { continue };
                let Some(index) = advance(files, &mut next, &before.path) else { continue };
                let item = files.item(index);
                if item.kind != Kind::File {
                    continue;
                }
                if let Some(limit) = trusted {
                    doubt = doubt.or_else(|| anomaly(&before, item.size, item.modified));
                    let same = before.size == item.size && before.modified == item.modified;
                    survey.unchanged[index] =
                        same && before.modified <= limit && base.is_file_usable(&before);
                }
                match before.content {
                    Content::Pieces(pieces) => _ = survey.large.insert(index as u32, pieces),
                    Content::Inline(piece) if item.size > INLINE => {
                        survey.grown.insert(index as u32, piece);
                    }
                    Content::Inline(_) => {}
                }
            }
        }
        if let Some(reason) = doubt {
            tracing::warn!(
                reason,
                "the times of files are not to be trusted: every file is read and compared"
            );
            survey.unchanged = Vec::new();
        }
        Ok(survey)
    }

    pub(super) fn is_unchanged(&self, item: usize) -> bool {
        self.unchanged.get(item).copied().unwrap_or(false)
    }

    pub(super) fn any_unchanged(&self) -> bool {
        self.unchanged.contains(&true)
    }

    /// Returns the content of large file `item` where it was small.
    pub(super) fn grown(&self, item: u32) -> Option<&Piece> {
        self.grown.get(&item)
    }

    /// Returns where piece `number` of a file that was large is in the base.
    pub(super) fn piece(&self, item: u32, number: u32) -> Option<&PieceRef> {
        self.large.get(&item)?.get(number as usize)
    }
}

/// Moves on to the item at `path`, which is behind all earlier ones.
pub(super) fn advance(files: &FileList, next: &mut usize, path: &str) -> Option<usize> {
    while *next < files.len() {
        match files.compare_path(*next, path) {
            std::cmp::Ordering::Less => *next += 1,
            std::cmp::Ordering::Equal => return Some(*next),
            std::cmp::Ordering::Greater => return None,
        }
    }
    None
}

fn anomaly(before: &FileEntry, size: u64, modified: i64) -> Option<String> {
    let path = &before.path;
    if modified < before.modified {
        Some(format!("{path:?} has an earlier time than in the backup before"))
    } else if modified == before.modified && size != before.size {
        Some(format!("{path:?} has another size at the same time"))
    } else {
        None
    }
}

/// What a job shares of its base.
pub(super) struct Compared {
    pub(super) base: Arc<Base>,
    pub(super) survey: Survey,
}
