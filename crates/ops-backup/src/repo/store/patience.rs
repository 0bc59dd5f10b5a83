//! How long an attempt may go without progress.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::{Error, Result};
use tokio::time::Instant;

/// The moment at which an attempt is given up. It travels with the request (in its `extensions`), so that whoever makes
/// the request wait on purpose can move it. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Patience(Arc<Mutex<Instant>>);

impl Patience {
    pub(crate) fn new(length: Duration) -> Self {
        Patience(Arc::new(Mutex::new(Instant::now() + length)))
    }

    /// There was progress: the wait begins anew.
    pub(crate) fn renew(&self, length: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + length;
    }

    /// Time that was waited on purpose does not count.
    pub(crate) fn extend(&self, by: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    /// Waits for `work` until patience runs out.
    pub(crate) async fn limit<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            result = work => result,
            () = self.run_out() => Err(Error::Generic { store: "patience", source: Box::new(Stalled) }),
        }
    }

    async fn run_out(&self) {
        loop {
            let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

/// The store was given up on.
#[derive(Debug, thiserror::Error)]
#[error("the store made no progress for too long")]
struct Stalled;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_never_ends_is_ended_and_waiting_on_purpose_does_not_count() {
        let patience = Patience::new(Duration::from_secs(10));
        let started = Instant::now();
        let extended = patience.clone();
        let work = async move {
            extended.extend(Duration::from_secs(100));
            std::future::pending::<Result<()>>().await
        };
        assert!(patience.limit(work).await.is_err());
        assert_eq!(started.elapsed().as_secs(), 110);
    }
}
