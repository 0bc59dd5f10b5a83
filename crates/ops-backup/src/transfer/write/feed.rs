//! What the workers work on: files that are at hand, in a planned order, or parcels of files as they come.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::engine::{Facts, FileList, Findings, Inspector, Opener, PagesOf};
use crate::transfer::write::base::Known;
use crate::transfer::write::plan::Plan;

/// The list of the files: whole from the start, or as far as they have come.
#[derive(Clone)]
pub(super) struct Files(Arc<RwLock<FileList>>);

impl Files {
    pub(super) fn new(files: FileList) -> Self {
        Files(Arc::new(RwLock::new(files)))
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, FileList> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, FileList> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the work comes from.
pub(super) enum Feed {
    /// Files at hand: every worker opens what it takes.
    Listed { plan: Plan, opener: Arc<dyn Opener> },
    /// Bytes that have come.
    Arriving { parcels: Parcels, inspector: Arc<dyn Inspector> },
}

impl Feed {
    /// Gives out no work any more.
    pub(super) fn stop(&self) {
        match self {
            Feed::Listed { plan, .. } => plan.stop(),
            Feed::Arriving { parcels, .. } => parcels.stop(),
        }
    }

    /// Returns what was found wrong with the content so far.
    pub(super) fn findings(&self) -> Findings {
        match self {
            Feed::Listed { opener, .. } => opener.findings(),
            Feed::Arriving { inspector, .. } => inspector.findings(),
        }
    }
}

/// The parcels that wait for a worker.
pub(super) struct Parcels(Mutex<mpsc::Receiver<Parcel>>);

impl Parcels {
    pub(super) fn new(receiver: mpsc::Receiver<Parcel>) -> Self {
        Parcels(Mutex::new(receiver))
    }

    /// Waits for the next parcel, and blocks meanwhile; `None` where no more come.
    pub(super) fn next(&self) -> Option<Parcel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
    }

    /// What waits is dropped, and whoever sends learns that nobody takes it.
    fn stop(&self) {
        let mut receiver = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.close();
        while receiver.try_recv().is_ok() {}
    }
}

/// What a worker takes at once of a source that sends its files.
pub(super) enum Parcel {
    Span(Span),
    Changes(ChangedSpan),
    /// A large file of which no page came.
    Unchanged {
        item: u32,
        path: Arc<str>,
        facts: Facts,
    },
    /// Small files that came one after another.
    Group(Vec<Arrived>),
}

/// A small file.
pub(super) struct Arrived {
    pub(super) item: u32,
    pub(super) path: String,
    pub(super) facts: Facts,
    pub(super) body: Body,
    pub(super) chunks: Vec<Bytes>,
}

/// What came of a small file.
pub(super) enum Body {
    Whole,
    Changes(PagesOf),
}

/// A run of a piece of which only some pages came.
pub(super) struct ChangedSpan {
    pub(super) place: SpanPlace,
    /// Where it begins in its piece: at a block.
    pub(super) start: u64,
    pub(super) length: u64,
    /// By their number in the piece.
    pub(super) pages: PagesOf,
    pub(super) chunks: Vec<Bytes>,
}

/// A run of a piece of a large file. A piece is the unit that the repository knows, but too large to be held in memory
/// once for each worker.
pub(super) struct Span {
    pub(super) place: SpanPlace,
    /// Where it begins in its piece: at a block.
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) chunks: Vec<Bytes>,
}

/// Where a span belongs.
#[derive(Clone)]
pub(super) struct SpanPlace {
    pub(super) piece: Arc<ArrivingPiece>,
    pub(super) number: u32,
}

/// A piece of a large file that is coming.
pub(super) struct ArrivingPiece {
    pub(super) item: u32,
    pub(super) number: u32,
    pub(super) spans: u32,
    pub(super) path: Arc<str>,
    pub(super) facts: Facts,
    pub(super) length: u64,
    /// What the base has of it, looked up by the first worker that takes a span.
    pub(super) known: OnceLock<Vec<Known>>,
    /// The same where only changes of it come.
    pub(super) before: OnceLock<Before>,
}

/// What the base has of a piece of which only changes come.
pub(super) struct Before {
    pub(super) known: Known,
    /// The checksum of the base's bytes, with zeros behind them where the piece has grown; `None` where it has shrunk. Where
    /// there is one, each span has as its checksum by what it changes this one.
    pub(super) crc32c: Option<u32>,
}
