//! The way of a finished line: straight to its writer, or through the ring; and the count of those that did not arrive.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::LineWriter;
use super::counts::{Counts, LinesLost};
use super::ring::{Ring, RingOptions};
use crate::severity::Severity;

/// Makes the line that tells of lost ones.
pub(crate) type Announce = Box<dyn Fn(&LinesLost) -> Vec<u8> + Send + Sync>;

/// Writes lines, counts the lost ones and tells of them once a line gets through again.
pub(crate) struct Output {
    sink: Arc<Sink>,
    ring: Option<Ring>,
}

/// A writer, and what became of the lines given to it.
pub(super) struct Sink {
    writer: Arc<dyn LineWriter>,
    counts: Counts,
    announce: Announce,
    /// What the last announcement told.
    told: Mutex<LinesLost>,
    /// Whether lines were lost since.
    is_untold: AtomicBool,
}

impl Output {
    /// Without `ring`, or where no thread can be started, lines are written by those who log them.
    pub(crate) fn new(writer: Arc<dyn LineWriter>, ring: Option<RingOptions>, announce: Announce) -> Self {
        let sink = Arc::new(Sink {
            writer,
            counts: Counts::default(),
            announce,
            told: Mutex::default(),
            is_untold: AtomicBool::new(false),
        });
        let ring = ring.and_then(|options| Ring::start(Arc::clone(&sink), options).ok());
        Self { sink, ring }
    }

    pub(crate) fn write(&self, severity: Severity, line: &[u8]) {
        match &self.ring {
            Some(ring) => ring.push(severity, line),
            None => self.sink.write(severity, line),
        }
    }

    /// Writes a line that must not be lost, after all lines before it.
    pub(crate) fn write_surely(&self, line: &[u8]) {
        match &self.ring {
            Some(ring) => ring.push_surely(line),
            None => self.sink.write(Severity::Fatal, line),
        }
    }

    /// Counts a line that was lost elsewhere.
    pub(crate) fn lose(&self, severity: Severity) {
        self.sink.lose(severity, 1);
    }

    /// Waits until everything so far is written, and tells whether it is.
    pub(crate) fn flush(&self, until: Instant) -> bool {
        self.ring.as_ref().is_none_or(|ring| ring.flush(until))
    }

    /// Writes everything so far; from then on lines are written by those who log them. What cannot be written in time is
    /// lost, and so is all that follows.
    pub(crate) fn close(&self, until: Instant) -> bool {
        self.ring.as_ref().is_none_or(|ring| ring.close(until))
    }

    pub(crate) fn lost(&self) -> LinesLost {
        self.sink.counts.get()
    }

    pub(crate) fn reopen(&self) -> std::io::Result<()> {
        self.sink.writer.reopen()
    }
}

impl Sink {
    /// Writes one line, after the news of lost ones.
    pub(super) fn write(&self, severity: Severity, line: &[u8]) {
        self.tell();
        if self.writer.write_line(line).is_err() {
            self.lose(severity, 1);
        }
    }

    /// Writes several lines, each with its length and severity.
    pub(super) fn write_all(&self, lines: &[u8], marks: &[(u32, Severity)]) {
        self.tell();
        if self.writer.accepts_batches() {
            if self.writer.write_line(lines).is_err() {
                marks.iter().for_each(|(_, severity)| self.lose(*severity, 1));
            }
            return;
        }
        let mut rest = lines;
        for (len, severity) in marks {
            let (line, after) = rest.split_at(*len as usize);
            rest = after;
            if self.writer.write_line(line).is_err() {
                self.lose(*severity, 1);
            }
        }
    }

    pub(super) fn lose(&self, severity: Severity, lines: u64) {
        self.counts.add(severity, lines);
        self.is_untold.store(true, Ordering::Release);
    }

    /// Tells of lost lines, where there are some that it has not told of.
    pub(super) fn tell(&self) {
        if !self.is_untold.load(Ordering::Relaxed) || !self.is_untold.swap(false, Ordering::AcqRel) {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.counts.get();
        let news = now.since(&told);
        if news.total() == 0 {
            return;
        }
        match self.writer.write_line(&(self.announce)(&news)) {
            Ok(()) => *told = now,
            // The reader is still away; the next line tries again.
            Err(_) => self.is_untold.store(true, Ordering::Release),
        }
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("lost", &self.lost()).finish_non_exhaustive()
    }
}
