//! One delivery, with the retries that OTLP asks for ("OTLP/HTTP Response", "OTLP/HTTP Throttling").
//!
//! A collector that cannot be reached, or that answers that it may take the records later, is asked again after a while
//! that doubles, or after the time that it names; anything else that is no success is final. All of it ends after a minute,
//! and at once where the process is about to end.

use std::time::{Duration, Instant};

use crate::random;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const MAX_ELAPSED: Duration = Duration::from_secs(60);

/// One way to a collector.
pub(super) trait Client: Send {
    /// Sends one request and returns what became of it, at the latest then. Called by one thread that does nothing else, so
    /// it may block; what it holds is used for the next request where that is possible.
    fn post(&mut self, body: &[u8], until: Instant) -> Sent;

    /// Returns the collector's name and port.
    fn address(&self) -> String;
}

/// What became of one request.
#[derive(Debug, PartialEq)]
pub(super) enum Sent {
    /// The collector took it, but for so many of its records.
    Taken { rejected: u64, why: String },
    /// It may take it later.
    Later { after: Option<Duration>, why: String },
    /// It never will.
    Refused(String),
    /// There was no answer.
    Unanswered(String),
}

/// The time between two attempts.
pub(super) trait Pause {
    /// Returns when the process wants to end, if it does.
    fn closing(&self) -> Option<Instant>;

    /// Waits; less where the process comes to want to end meanwhile.
    fn pause(&self, time: Duration);
}

pub(super) struct Courier {
    client: Box<dyn Client>,
    timeout: Duration,
    /// The name of what is delivered, in messages.
    what: &'static str,
    /// Whether the last delivery failed, and that was said.
    is_failing: bool,
}

impl Courier {
    pub(super) fn new(client: Box<dyn Client>, timeout: Duration, what: &'static str) -> Self {
        Self { client, timeout, what, is_failing: false }
    }

    /// Delivers `count` records and returns how many were not taken.
    pub(super) fn deliver(&mut self, body: &[u8], count: u64, wait: &dyn Pause) -> u64 {
        let began = Instant::now();
        let mut longest = FIRST_PAUSE;
        loop {
            let until = Instant::now() + self.timeout;
            let until = wait.closing().map_or(until, |closing| until.min(closing));
            let (after, why) = match self.client.post(body, until) {
                Sent::Taken { rejected: 0, .. } => {
                    self.recovered();
                    return 0;
                }
                Sent::Taken { rejected, why } => {
                    self.failed(&format!("{rejected} were rejected: {why}"));
                    return rejected;
                }
                Sent::Refused(why) => {
                    self.failed(&why);
                    return count;
                }
                // Nobody comes to listen within the moment that is left.
                Sent::Unanswered(why) if wait.closing().is_some() => {
                    self.failed(&why);
                    return count;
                }
                Sent::Later { after, why } => (after, why),
                Sent::Unanswered(why) => (None, why),
            };
            self.failed(&why);
            let pause = after.unwrap_or_else(|| jittered(longest));
            let end = wait.closing().unwrap_or(began + MAX_ELAPSED);
            // A collector may name a time that no clock has.
            if Instant::now().checked_add(pause).is_none_or(|again| again >= end) {
                return count;
            }
            wait.pause(pause);
            longest = (longest * 2).min(LONGEST_PAUSE);
        }
    }

    /// Says so once for each time that it begins: a collector that is away must not fill the log.
    fn failed(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_failing, true) {
            let (records, collector) = (self.what, self.client.address());
            tracing::warn!(target: "ops_telemetry", records, collector, reason = why, "collector does not take what is sent");
        }
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            tracing::info!(target: "ops_telemetry", records = self.what, "collector takes what is sent again");
        }
    }
}

/// Between half of it and all: many processes that lost the same collector must not come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    let [drawn] = random::next();
    pause / 2 + (pause / 2).mul_f64(drawn as f64 / u64::MAX as f64)
}
