//! What a service says about itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::error::Error;
use crate::wal::{Fetched, Pushed};

/// The state of a service at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Why the service cannot do its work now; `None` where it can.
    pub trouble: Option<String>,
    /// What was done since it began.
    pub totals: Totals,
    /// When a file last became durable.
    pub last_push: Option<Timestamp>,
    /// WAL files that wait to be archived.
    pub waiting: u64,
    /// Since when the oldest of them waits.
    pub waiting_since: Option<Timestamp>,
    /// The file system of the WAL; `None` where it was not looked at yet.
    pub disk: Option<Disk>,
}

/// The file system of the WAL.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Disk {
    /// Its size, in bytes.
    pub size: u64,
    /// What the server can still write, in bytes.
    pub free: u64,
    /// In how many seconds what waits will have filled it, if it goes on like this; `None` where it does not grow.
    pub full_in: Option<f64>,
}

/// What was done since a service began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Files that were stored, those that were there already among them.
    pub pushed: u64,
    /// Attempts to store a file that failed.
    pub push_failures: u64,
    /// Requests of the server to store a file that were answered.
    pub push_answers: u64,
    /// The seconds that these took in all.
    pub push_seconds: f64,
    /// Files that were served.
    pub fetched: u64,
    /// Those of them that had been fetched ahead.
    pub fetched_ahead: u64,
    /// Requests for a file that is not there.
    pub absent: u64,
    /// Requests for a file that failed.
    pub fetch_failures: u64,
    /// The seconds that the requests took in all.
    pub fetch_seconds: f64,
}

/// Shows the state of a running service. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct StatusHandle(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: Count,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    repository: Option<String>,
    waiting: u64,
    waiting_since: Option<Timestamp>,
    disk: Option<Disk>,
}

/// What is counted where the work is done.
#[derive(Debug, Clone, Default)]
pub(super) struct Count(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    pushed: AtomicU64,
    push_failures: AtomicU64,
    push_answers: AtomicU64,
    push_micros: AtomicU64,
    fetched: AtomicU64,
    fetched_ahead: AtomicU64,
    absent: AtomicU64,
    fetch_failures: AtomicU64,
    fetch_micros: AtomicU64,
    last_push: Mutex<LastPush>,
}

#[derive(Debug, Default)]
struct LastPush {
    at: Option<Timestamp>,
    failure: Option<String>,
}

impl StatusHandle {
    pub(super) fn totals(&self) -> Count {
        self.0.count.clone()
    }

    /// Returns the state now.
    pub fn get(&self) -> Status {
        let counters = &self.0.count.0;
        let state = self.state();
        let last_push = counters.last_push();
        Status {
            trouble: state.repository.clone().or_else(|| last_push.failure.clone()),
            totals: counters.totals(),
            last_push: last_push.at,
            waiting: state.waiting,
            waiting_since: state.waiting_since,
            disk: state.disk,
        }
    }

    /// Notes whether the repository could be read.
    pub(super) fn repository(&self, trouble: Option<String>) {
        self.state().repository = trouble;
    }

    pub(super) fn waiting(&self, files: u64, since: Option<Timestamp>, disk: Option<Disk>) {
        let mut state = self.state();
        (state.waiting, state.waiting_since, state.disk) = (files, since, disk);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    pub(super) fn pushed(&self, outcome: &Result<Pushed, Arc<Error>>) {
        let mut last = self.0.last_push();
        match outcome {
            Ok(_) => {
                add(&self.0.pushed, 1);
                *last = LastPush { at: Some(Timestamp::now()), failure: None };
            }
            Err(error) => {
                add(&self.0.push_failures, 1);
                last.failure = Some(error.to_string());
            }
        }
    }

    /// A request to store a file was answered after this time.
    pub(super) fn answered(&self, time: Duration) {
        add(&self.0.push_answers, 1);
        add(&self.0.push_micros, micros(time));
    }

    pub(super) fn fetched(&self, fetched: Fetched, time: Duration) {
        let counter = match fetched {
            Fetched::Written => &self.0.fetched,
            Fetched::Absent => &self.0.absent,
        };
        add(counter, 1);
        add(&self.0.fetch_micros, micros(time));
    }

    pub(super) fn fetched_ahead(&self) {
        add(&self.0.fetched_ahead, 1);
    }

    pub(super) fn fetch_failed(&self, error: &Error) {
        add(&self.0.fetch_failures, 1);
        tracing::warn!(%error, "a WAL file could not be fetched");
    }
}

impl Counters {
    fn last_push(&self) -> MutexGuard<'_, LastPush> {
        self.last_push.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seconds = |counter: &AtomicU64| Duration::from_micros(read(counter)).as_secs_f64();
        Totals {
            pushed: read(&self.pushed),
            push_failures: read(&self.push_failures),
            push_answers: read(&self.push_answers),
            push_seconds: seconds(&self.push_micros),
            fetched: read(&self.fetched),
            fetched_ahead: read(&self.fetched_ahead),
            absent: read(&self.absent),
            fetch_failures: read(&self.fetch_failures),
            fetch_seconds: seconds(&self.fetch_micros),
        }
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
