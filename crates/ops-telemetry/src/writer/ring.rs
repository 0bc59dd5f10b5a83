//! A bounded queue of lines and the one thread that writes them, so that a slow reader does not slow the program.
//!
//! Lines are written in the order in which they came. An ERROR line takes its place like any other, but its caller waits
//! until it is written; so it is out before the program can crash, in order, and never within a write of the caller's own
//! that a full pipe could hold for ever. All waiting ends after [`WhenFull::Block::at_most`]; once it had to, nobody waits
//! again until the reader has taken something.
//!
//! The thread naps for a moment when it has nothing to do, and only after many such naps sleeps until it is woken: a line
//! then costs its copy and no system call.
//!
//! A child that was forked without `exec` has the queue but not the thread. It finds out by the process id, which is looked
//! at where a system call is due anyway and every few lines, and writes for itself from then on. Lines that waited at the
//! moment of the fork may then be written twice.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use super::output::Sink;
use crate::severity::Severity;

/// How large a piece the thread writes at once.
const CHUNK: usize = 64 * 1024;
const NAP: Duration = Duration::from_millis(2);
const NAPS: u32 = 50;
/// After so many lines without a sign of the thread, the process id is looked at.
const SIGN_OF_LIFE: u32 = 64;
/// Emptied pieces that are kept for the next lines.
const SPARE_CHUNKS: usize = 8;

/// How lines wait for the thread that writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingOptions {
    /// The bytes that may wait; what the thread is writing, 64 KiB or one longer line, no longer does. Memory is taken only
    /// as it is needed.
    pub capacity: usize,
    /// What happens to a line that finds no room.
    pub when_full: WhenFull,
}

/// What happens to a line that finds no room.
///
/// In both cases lines of a lower severity that wait are given up for it, the lowest first; where there are none, the line
/// itself is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// At once.
    Drop,
    /// After its caller has waited for room.
    Block {
        /// How long a caller waits for room, and for an ERROR line to be written.
        at_most: Duration,
    },
}

impl Default for RingOptions {
    /// 8 MiB, and waits of up to 50 ms.
    fn default() -> Self {
        Self { capacity: 8 << 20, when_full: WhenFull::Block { at_most: Duration::from_millis(50) } }
    }
}

impl WhenFull {
    fn patience(self) -> Duration {
        match self {
            Self::Drop => Duration::ZERO,
            Self::Block { at_most } => at_most,
        }
    }
}

#[derive(Debug)]
pub(super) struct Ring {
    shared: Arc<Shared>,
}

struct Shared {
    options: RingOptions,
    sink: Arc<Sink>,
    process: u32,
    /// Set in a forked child, where the thread is missing.
    is_orphan: AtomicBool,
    state: Mutex<State>,
    /// Wakes the thread.
    work: Condvar,
    /// Wakes those who wait for room or for their line.
    progress: Condvar,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Chunk>,
    spare: Vec<Chunk>,
    /// Bytes that wait, by severity.
    waiting: [usize; Severity::ALL.len()],
    /// The number that the next chunk gets; chunks below `done` are written.
    next: u64,
    done: u64,
    rest: Rest,
    /// Whether a wait has ended without the thread getting on.
    is_stalled: bool,
    pushed_since_done: u32,
    end: End,
}

/// What the thread does while it has no work.
#[derive(Clone, Copy, Default, PartialEq)]
enum Rest {
    #[default]
    Busy,
    Naps,
    Sleeps,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum End {
    #[default]
    Open,
    /// The thread writes what is there and ends.
    Closing,
    /// All is written, and the thread is gone.
    Closed,
    /// The time was up before all was written.
    Abandoned,
}

#[derive(Default)]
struct Chunk {
    number: u64,
    lines: Vec<u8>,
    marks: Vec<(u32, Severity)>,
}

impl Ring {
    pub(super) fn start(sink: Arc<Sink>, options: RingOptions) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            options,
            sink,
            process: std::process::id(),
            is_orphan: AtomicBool::new(false),
            state: Mutex::default(),
            work: Condvar::new(),
            progress: Condvar::new(),
        });
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("telemetry-writer".into()).spawn(move || writer.run())?;
        Ok(Self { shared })
    }

    pub(super) fn push(&self, severity: Severity, line: &[u8]) {
        let patience = self.shared.options.when_full.patience();
        let Some(mut state) = self.shared.lock_open(severity, line) else { return };
        if !state.has_room(line.len(), self.shared.options.capacity)
            && !patience.is_zero()
            && !state.is_stalled
        {
            let room = |state: &mut State| {
                state.end == End::Open && !state.has_room(line.len(), self.shared.options.capacity)
            };
            let (waited, result) = (self.shared.progress)
                .wait_timeout_while(state, patience, room)
                .unwrap_or_else(PoisonError::into_inner);
            state = waited;
            state.is_stalled |= result.timed_out();
            if state.end != End::Open {
                drop(state);
                return self.push(severity, line);
            }
        }
        if !state.make_room(line.len(), severity, self.shared.options.capacity, &self.shared.sink) {
            self.shared.sink.lose(severity, 1);
            return;
        }
        let chunk = self.shared.append(&mut state, severity, line);
        if severity >= Severity::Error && !state.is_stalled && !patience.is_zero() {
            self.shared.await_chunk(state, chunk, Instant::now() + patience);
        }
    }

    /// Takes a line in, room or not, and waits for it as for an ERROR line. It is never given up for another one.
    pub(super) fn push_surely(&self, line: &[u8]) {
        let Some(mut state) = self.shared.lock_open(Severity::Fatal, line) else { return };
        let chunk = self.shared.append(&mut state, Severity::Fatal, line);
        if !state.is_stalled {
            let patience = self.shared.options.when_full.patience();
            self.shared.await_chunk(state, chunk, Instant::now() + patience);
        }
    }

    pub(super) fn flush(&self, until: Instant) -> bool {
        let Some(state) = self.shared.lock() else { return true };
        let Some(last) = state.next.checked_sub(1) else { return true };
        if self.shared.is_child() {
            drop(state);
            self.shared.orphan();
            return true;
        }
        self.shared.await_chunk(state, last, until)
    }

    pub(super) fn close(&self, until: Instant) -> bool {
        let Some(mut state) = self.shared.lock() else { return true };
        if self.shared.is_child() {
            drop(state);
            self.shared.orphan();
            return true;
        }
        if state.end == End::Open {
            state.end = End::Closing;
        }
        self.shared.work.notify_one();
        let left = until.saturating_duration_since(Instant::now());
        let (mut state, _) = (self.shared.progress)
            .wait_timeout_while(state, left, |state| state.end == End::Closing)
            .unwrap_or_else(PoisonError::into_inner);
        if state.end == End::Closing {
            state.end = End::Abandoned;
            for chunk in std::mem::take(&mut state.chunks) {
                chunk.marks.iter().for_each(|(_, severity)| self.shared.sink.lose(*severity, 1));
            }
        }
        state.end == End::Closed
    }
}

impl Shared {
    /// Returns the state where lines still go through the ring, and deals with the line otherwise.
    fn lock_open(&self, severity: Severity, line: &[u8]) -> Option<MutexGuard<'_, State>> {
        let Some(mut state) = self.lock() else {
            self.sink.write(severity, line);
            return None;
        };
        match state.end {
            End::Open => {}
            End::Closing => {
                // The last lines come from the thread; this one must not overtake them.
                state = self
                    .progress
                    .wait_timeout_while(state, self.options.when_full.patience(), |state| {
                        state.end == End::Closing
                    })
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                if state.end != End::Closed {
                    self.sink.lose(severity, 1);
                    return None;
                }
                drop(state);
                self.sink.write(severity, line);
                return None;
            }
            End::Closed => {
                drop(state);
                self.sink.write(severity, line);
                return None;
            }
            End::Abandoned => {
                self.sink.lose(severity, 1);
                return None;
            }
        }
        state.pushed_since_done += 1;
        let is_suspect = state.rest == Rest::Sleeps || state.pushed_since_done.is_multiple_of(SIGN_OF_LIFE);
        if is_suspect && self.is_child() {
            drop(state);
            self.orphan();
            self.sink.write(severity, line);
            return None;
        }
        Some(state)
    }

    /// Locks the state, or returns `None` in a forked child: there the lock may be held by a thread that is not there.
    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        if self.is_orphan.load(Ordering::Relaxed) {
            return None;
        }
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner()),
            Err(TryLockError::WouldBlock) if self.is_child() => {
                self.is_orphan.store(true, Ordering::Relaxed);
                None
            }
            Err(TryLockError::WouldBlock) => Some(self.state.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn is_child(&self) -> bool {
        std::process::id() != self.process
    }

    /// Writes what waits, in a child that has no thread for it.
    fn orphan(&self) {
        let Ok(mut state) = self.state.try_lock() else { return };
        self.is_orphan.store(true, Ordering::Relaxed);
        for chunk in std::mem::take(&mut state.chunks) {
            self.sink.write_all(&chunk.lines, &chunk.marks);
        }
    }

    /// Puts a line into the last chunk and returns the chunk's number.
    fn append(&self, state: &mut State, severity: Severity, line: &[u8]) -> u64 {
        let fits = state.chunks.back().is_some_and(|chunk| chunk.lines.len() + line.len() <= CHUNK);
        if !fits {
            let mut chunk = state.spare.pop().unwrap_or_default();
            chunk.number = state.next;
            state.next += 1;
            state.chunks.push_back(chunk);
        }
        let many = state.chunks.len() > 1;
        let chunk = state.chunks.back_mut().expect("one was put there");
        chunk.lines.extend_from_slice(line);
        chunk.marks.push((line.len() as u32, severity));
        let number = chunk.number;
        state.waiting[severity.index()] += line.len();
        let wake = match state.rest {
            Rest::Busy => false,
            Rest::Naps => severity >= Severity::Error || many,
            Rest::Sleeps => true,
        };
        if wake {
            state.rest = Rest::Busy;
            self.work.notify_one();
        }
        number
    }

    /// Waits until a chunk is written.
    fn await_chunk(&self, mut state: MutexGuard<'_, State>, chunk: u64, until: Instant) -> bool {
        if state.rest != Rest::Busy {
            state.rest = Rest::Busy;
            self.work.notify_one();
        }
        let left = until.saturating_duration_since(Instant::now());
        let (mut state, _) = self
            .progress
            .wait_timeout_while(state, left, |state| state.done <= chunk && state.end != End::Abandoned)
            .unwrap_or_else(PoisonError::into_inner);
        let is_done = state.done > chunk;
        state.is_stalled |= !is_done;
        is_done
    }

    fn run(&self) {
        let mut naps = 0;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(mut chunk) = state.chunks.pop_front() {
                naps = 0;
                state.rest = Rest::Busy;
                for (len, severity) in &chunk.marks {
                    state.waiting[severity.index()] -= *len as usize;
                }
                drop(state);
                self.sink.write_all(&chunk.lines, &chunk.marks);
                let number = chunk.number;
                chunk.lines.clear();
                chunk.marks.clear();
                state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.done = number + 1;
                state.is_stalled = false;
                state.pushed_since_done = 0;
                if state.spare.len() < SPARE_CHUNKS && chunk.lines.capacity() <= 2 * CHUNK {
                    state.spare.push(chunk);
                }
                self.progress.notify_all();
                continue;
            }
            if state.end != End::Open {
                self.sink.tell();
                if state.end == End::Closing {
                    state.end = End::Closed;
                }
                self.progress.notify_all();
                return;
            }
            // Where lines were lost and none came since, this is the moment to say so.
            drop(state);
            self.sink.tell();
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if !state.chunks.is_empty() || state.end != End::Open {
                continue;
            }
            if naps < NAPS {
                naps += 1;
                state.rest = Rest::Naps;
                state = self.work.wait_timeout(state, NAP).unwrap_or_else(PoisonError::into_inner).0;
            } else {
                naps = 0;
                state.rest = Rest::Sleeps;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl State {
    fn has_room(&self, len: usize, capacity: usize) -> bool {
        self.waiting.iter().sum::<usize>() + len <= capacity
    }

    /// Gives up waiting lines of a lower severity, the lowest and oldest first, and tells whether there is room now.
    fn make_room(&mut self, len: usize, severity: Severity, capacity: usize, sink: &Sink) -> bool {
        for lower in Severity::ALL.into_iter().take(severity.index()) {
            if self.has_room(len, capacity) {
                return true;
            }
            // A little more than is needed, so that not every line goes through the whole queue.
            let mut wanted = len + capacity / 16;
            if self.waiting[lower.index()] == 0 {
                continue;
            }
            for chunk in &mut self.chunks {
                let freed = chunk.give_up(lower, wanted, sink);
                self.waiting[lower.index()] -= freed;
                wanted = wanted.saturating_sub(freed);
                if wanted == 0 {
                    break;
                }
            }
        }
        self.has_room(len, capacity)
    }
}

impl Chunk {
    /// Removes lines of one severity until `wanted` bytes are free, and returns how many are.
    fn give_up(&mut self, severity: Severity, wanted: usize, sink: &Sink) -> usize {
        let (mut from, mut to, mut freed) = (0, 0, 0);
        let lines = &mut self.lines;
        self.marks.retain(|(len, of)| {
            let len = *len as usize;
            let is_lost = *of == severity && freed < wanted;
            if is_lost {
                sink.lose(severity, 1);
                freed += len;
            } else {
                lines.copy_within(from..from + len, to);
                to += len;
            }
            from += len;
            !is_lost
        });
        lines.truncate(to);
        freed
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("options", &self.options).finish_non_exhaustive()
    }
}
