//! What is tried again, how often and after which pause.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use object_store::Error;
use object_store::path::Path;
use tokio::time::Instant;

/// How hard a repository tries before an operation of its store counts as failed.
///
/// An answer is never asked for twice: "not found", "already there", "forbidden" and every other refusal are final.
/// Tried again are failures of the server, of the network, and silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often one operation is tried in all; 1 never tries again.
    pub attempts: u32,
    /// The pause after the first failure. Each later one is twice as long, and half of each is left to chance, so that
    /// the workers of a job do not come back all at once.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
    /// No attempt begins later than this after the first one.
    pub budget: Duration,
    /// An attempt without any progress for so long is given up. A write, whose progress cannot be seen, has the time
    /// of [`RetryPolicy::slowest`] on top.
    pub stall: Duration,
    /// The slowest upload, in bytes per second, that still counts as progress.
    pub slowest: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            attempts: 6,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(10),
            budget: Duration::from_secs(180),
            stall: Duration::from_secs(45),
            slowest: 64 << 10,
        }
    }
}

impl RetryPolicy {
    /// How long a write of `bytes` may take.
    pub(super) fn patience(&self, bytes: u64) -> Duration {
        self.stall.saturating_add(Duration::from_secs(bytes / u64::from(self.slowest.max(1))))
    }
}

/// The attempts of one operation.
#[derive(Debug)]
pub(super) struct Trial {
    policy: RetryPolicy,
    started: Instant,
    failed: u32,
}

impl Trial {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        Trial { policy, started: Instant::now(), failed: 0 }
    }

    /// Whether an attempt has failed: an earlier one may have been carried out all the same.
    pub(super) fn is_repeated(&self) -> bool {
        self.failed > 0
    }

    /// There was progress: what failed before does not count.
    pub(super) fn progressed(&mut self) {
        *self = Trial::new(self.policy);
    }

    /// Returns after a pause where `operation` should be tried again.
    ///
    /// # Errors
    /// `error`, where it is final or was the last one.
    pub(super) async fn failed(
        &mut self,
        operation: &str,
        path: Option<&Path>,
        error: Error,
    ) -> Result<(), Error> {
        self.failed += 1;
        let pause = self.pause(crate::repo::random());
        let late = self.started.elapsed() + pause > self.policy.budget;
        if !is_transient(&error) || self.failed >= self.policy.attempts || late {
            return Err(error);
        }
        let path = path.map_or("", Path::as_ref);
        tracing::warn!(operation, path, failed = self.failed, %error, "the store failed; trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn pause(&self, chance: u64) -> Duration {
        let doubled = self.policy.first_pause.saturating_mul(1 << (self.failed - 1).min(20));
        let half = doubled.min(self.policy.longest_pause) / 2;
        let chance = u64::from(chance as u16) * half.as_nanos() as u64 / u64::from(u16::MAX);
        half + Duration::from_nanos(chance)
    }
}

/// Whether the same request may succeed later.
fn is_transient(error: &Error) -> bool {
    match error {
        // A task that was lost with its runtime, or a failure of any other kind: the cause tells.
        Error::Generic { source, .. } => !is_final(source.as_ref()),
        Error::JoinError { .. } => true,
        _ => false,
    }
}

fn is_final(error: &(dyn StdError + 'static)) -> bool {
    use io::ErrorKind as Io;
    let of_files = error.downcast_ref::<io::Error>();
    let is_final_kind = of_files.is_some_and(|error| {
        matches!(
            error.kind(),
            Io::PermissionDenied
                | Io::ReadOnlyFilesystem
                | Io::StorageFull
                | Io::QuotaExceeded
                | Io::FileTooLarge
                | Io::NotADirectory
                | Io::IsADirectory
                | Io::InvalidFilename
                | Io::InvalidInput
        )
    });
    // The source of such an error is that of the error in it, which would be passed over.
    let inner = of_files.and_then(io::Error::get_ref).map(|inner| inner as &(dyn StdError + 'static));
    is_final_kind || is_refusal(&error.to_string()) || inner.or(error.source()).is_some_and(is_final)
}

/// The clients of object_store keep their error types to themselves: only the text says that a server answered with a
/// status of 4xx, or that a range lies outside of an object. A test asks a server for each.
fn is_refusal(text: &str) -> bool {
    let status = text.split("status code: ").nth(1).and_then(|rest| rest.get(..3));
    let refused = status.is_some_and(|status| status.starts_with('4') && !matches!(status, "408" | "429"));
    refused || text.contains("but object was only")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        Error::Generic { store: "test", source: source.into() }
    }

    #[test]
    fn refusals_are_final_and_failures_are_not() {
        for (error, expected) in [
            (of("reset by peer"), true),
            (of(io::Error::from(io::ErrorKind::ConnectionReset)), true),
            (of("Server returned non-2xx status code: 503 Service Unavailable"), true),
            (of("Server returned non-2xx status code: 429 Too Many Requests"), true),
            (of("Server returned non-2xx status code: 408 Request Timeout"), true),
            (of("Server returned non-2xx status code: 400 Bad Request: ExpiredToken"), false),
            (of(io::Error::from(io::ErrorKind::StorageFull)), false),
            (of(io::Error::other(io::Error::from(io::ErrorKind::PermissionDenied))), false),
            (Error::NotFound { path: "x".to_owned(), source: "gone".into() }, false),
            (Error::PermissionDenied { path: "x".to_owned(), source: "403".into() }, false),
            (Error::AlreadyExists { path: "x".to_owned(), source: "409".into() }, false),
        ] {
            assert_eq!(is_transient(&error), expected, "{error:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_a_limit_and_half_of_each_is_chance() {
        let mut trial = Trial::new(RetryPolicy::default());
        for (failed, longest) in [(1, 200), (2, 400), (6, 6_400), (7, 10_000), (60, 10_000)] {
            trial.failed = failed;
            let pauses = [trial.pause(0), trial.pause(u64::from(u16::MAX))];
            assert_eq!(
                pauses,
                [Duration::from_millis(longest / 2), Duration::from_millis(longest)],
                "{failed}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_and_their_time_are_bounded() {
        let policy = RetryPolicy { attempts: 1_000_000, ..RetryPolicy::default() };
        let started = Instant::now();
        let mut trial = Trial::new(policy);
        while trial.failed("get", None, of("reset")).await.is_ok() {}
        assert!(
            started.elapsed() <= policy.budget && started.elapsed() + policy.longest_pause > policy.budget
        );
        let mut trial = Trial::new(RetryPolicy::default());
        let mut attempts = 1;
        while trial.failed("get", None, of("reset")).await.is_ok() {
            attempts += 1;
        }
        assert_eq!(attempts, 6);
    }
}
