//! The way of one kind of record to the collector: a bounded queue and the one thread that empties it.
//!
//! Whoever puts a record in never waits: a queue that is full refuses it, and that is counted. Spans, log records and
//! metrics have a lane each, so that they are delivered at the same time and one that stalls holds up no other.
//!
//! A child that was forked without `exec` has the queue and not the thread: what it puts in counts as undelivered.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use super::courier::{Courier, Pause};

/// The most records of one request, and the bytes at which it is full too.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1 << 20;

thread_local! {
    /// Set in a thread that delivers: what it logs itself is a line and nothing more, or it would never end.
    static DELIVERS: Cell<bool> = const { Cell::new(false) };
}

/// Where the records of a lane come from.
pub(super) enum Source<T> {
    /// From [`Lane::push`], at most so many bytes at a time.
    Queue { capacity: usize },
    /// From a call each time that it is time.
    Read(Box<dyn Fn() -> Vec<T> + Send + Sync>),
}

/// From a batch to the body of a request.
type Encode<T> = Box<dyn Fn(&mut [T]) -> Vec<u8> + Send>;

/// What a lane is asked to do with its records.
pub(super) struct Way<T> {
    /// How the thread is called, and the records in messages.
    pub(super) name: &'static str,
    /// The service of gRPC that takes them.
    pub(super) service: &'static str,
    pub(super) source: Source<T>,
    /// How long the first record of a request waits for more of them, or how much time lies between two readings.
    pub(super) delay: Duration,
    pub(super) encode: Encode<T>,
    /// How many things a batch is, where records are not counted one by one.
    pub(super) count: fn(&[T]) -> u64,
}

pub(super) struct Lane<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    source: Source<T>,
    delay: Duration,
    process: u32,
    /// Records that were given up, of those that are read the ones of the last time.
    lost: AtomicU64,
    delivered: AtomicU64,
    state: Mutex<State<T>>,
    /// Wakes the thread.
    work: Condvar,
    /// Wakes those who wait for a delivery.
    progress: Condvar,
}

struct State<T> {
    queue: VecDeque<(usize, T)>,
    bytes: usize,
    in_flight: u64,
    /// Records that were put in, and of those the ones that are delivered or given up.
    pushed: u64,
    settled: u64,
    /// Whether somebody waits for what is there.
    is_urgent: bool,
    closing: Option<Instant>,
    /// Whether the last reading was made.
    is_read: bool,
    is_over: bool,
}

impl<T: Send + 'static> Lane<T> {
    pub(super) fn start(way: Way<T>, courier: Courier) -> io::Result<Self> {
        let Way { name, source, delay, encode, count, .. } = way;
        let state = State {
            queue: VecDeque::new(),
            bytes: 0,
            in_flight: 0,
            pushed: 0,
            settled: 0,
            is_urgent: false,
            closing: None,
            is_read: false,
            is_over: false,
        };
        let shared = Arc::new(Shared {
            source,
            delay,
            process: std::process::id(),
            lost: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            state: Mutex::new(state),
            work: Condvar::new(),
            progress: Condvar::new(),
        });
        let thread = Arc::clone(&shared);
        thread::Builder::new()
            .name(format!("otlp-{name}"))
            .spawn(move || thread.run(courier, &*encode, count))?;
        Ok(Self { shared })
    }

    /// Puts a record of about `size` bytes in, or counts it as lost.
    pub(super) fn push(&self, size: usize, record: T) {
        if DELIVERS.try_with(Cell::get).unwrap_or(true) {
            return;
        }
        let shared = &*self.shared;
        let Source::Queue { capacity } = shared.source else { return };
        let Some(mut state) = shared.lock() else {
            shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if state.is_over || state.bytes + size > capacity {
            drop(state);
            shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_full = state.is_full();
        state.bytes += size;
        state.pushed += 1;
        state.queue.push_back((size, record));
        let wake = state.queue.len() == 1 || (!was_full && state.is_full());
        drop(state);
        if wake {
            shared.work.notify_one();
        }
    }

    /// Waits until what was put in so far is delivered or given up, and tells whether it is.
    pub(super) fn flush(&self, until: Instant) -> bool {
        let shared = &*self.shared;
        let Some(mut state) = shared.lock().filter(|_| !shared.is_child()) else { return false };
        let wanted = state.pushed;
        state.is_urgent = true;
        shared.work.notify_one();
        let left = until.saturating_duration_since(Instant::now());
        let (state, _) = (shared.progress)
            .wait_timeout_while(state, left, |state| state.settled < wanted && !state.is_over)
            .unwrap_or_else(PoisonError::into_inner);
        state.settled >= wanted
    }

    /// Delivers what there is until then, and returns how many records were not.
    pub(super) fn close(&self, until: Instant) -> u64 {
        let shared = &*self.shared;
        let Some(mut state) = shared.lock() else { return shared.lost.load(Ordering::Relaxed) };
        if !shared.is_child() {
            state.closing = Some(until);
            shared.work.notify_one();
            let left = until.saturating_duration_since(Instant::now());
            (state, _) = (shared.progress)
                .wait_timeout_while(state, left, |state| !state.is_over)
                .unwrap_or_else(PoisonError::into_inner);
        }
        shared.lost.load(Ordering::Relaxed) + state.in_flight + state.queue.len() as u64
    }

    /// Returns how many records were taken by the collector and how many were given up.
    pub(super) fn counts(&self) -> impl Fn() -> (u64, u64) + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || (shared.delivered.load(Ordering::Relaxed), shared.lost.load(Ordering::Relaxed))
    }
}

impl<T> Drop for Lane<T> {
    fn drop(&mut self) {
        if let Some(mut state) = self.shared.lock() {
            state.closing.get_or_insert_with(Instant::now);
        }
        self.shared.work.notify_one();
    }
}

impl<T> Shared<T> {
    /// Locks the state, or returns `None` in a forked child where a thread that is not there holds the lock.
    fn lock(&self) -> Option<MutexGuard<'_, State<T>>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner()),
            Err(TryLockError::WouldBlock) if self.is_child() => None,
            Err(TryLockError::WouldBlock) => Some(self.state.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn is_child(&self) -> bool {
        std::process::id() != self.process
    }

    fn run(&self, mut courier: Courier, encode: &dyn Fn(&mut [T]) -> Vec<u8>, count: fn(&[T]) -> u64) {
        DELIVERS.set(true);
        while let Some(mut batch) = self.next_batch() {
            let (records, things) = (batch.len() as u64, count(&batch));
            if records > 0 {
                self.state.lock().unwrap_or_else(PoisonError::into_inner).in_flight = things;
                let body = encode(&mut batch);
                // The memory of the records is free while the request waits for its answer.
                drop(batch);
                let refused = courier.deliver(&body, things, self).min(things);
                self.delivered.fetch_add(things - refused, Ordering::Relaxed);
                match self.source {
                    Source::Queue { .. } => self.lost.fetch_add(refused, Ordering::Relaxed),
                    // The next reading makes up for this one.
                    Source::Read(_) => self.lost.swap(refused, Ordering::Relaxed),
                };
            }
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.in_flight = 0;
            state.settled += records;
            self.progress.notify_all();
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
        self.progress.notify_all();
    }

    /// Waits for the next records; `None` is the end.
    fn next_batch(&self) -> Option<Vec<T>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = None;
        let Source::Read(read) = &self.source else {
            loop {
                let is_empty = state.queue.is_empty();
                if is_empty && state.closing.is_some() {
                    return None;
                }
                if is_empty {
                    state.is_urgent = false;
                    state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                let due = *due.get_or_insert_with(|| Instant::now() + self.delay);
                let left = due.saturating_duration_since(Instant::now());
                if state.is_full() || state.is_urgent || state.closing.is_some() || left.is_zero() {
                    return Some(state.take_batch());
                }
                state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        };
        if state.is_read {
            return None;
        }
        let (mut state, _) = (self.work)
            .wait_timeout_while(state, self.delay, |state| state.closing.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        state.is_read = state.closing.is_some();
        drop(state);
        Some(read())
    }
}

impl<T> Pause for Shared<T> {
    fn closing(&self) -> Option<Instant> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closing
    }

    fn pause(&self, time: Duration) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was_closing = state.closing.is_some();
        let _ = self.work.wait_timeout_while(state, time, |state| state.closing.is_some() == was_closing);
    }
}

impl<T> State<T> {
    fn is_full(&self) -> bool {
        self.queue.len() >= BATCH || self.bytes >= BATCH_BYTES
    }

    fn take_batch(&mut self) -> Vec<T> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            let Some((size, record)) = self.queue.pop_front() else { break };
            bytes += size;
            batch.push(record);
        }
        self.bytes -= bytes;
        self.in_flight = batch.len() as u64;
        batch
    }
}
