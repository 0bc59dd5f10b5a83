//! What references in settings have leased, for a program that has no watch: kept alive while it runs, given back in the end.

use super::client::Vault;
use super::error::VaultErrorKind;
use super::lease::Lease;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

/// A lease is renewed when this part of what is left of it is over.
const DUE: f64 = 0.6;
/// No renewal is tried again sooner.
const PAUSE: Duration = Duration::from_millis(500);

/// The leases of references.
#[derive(Default)]
pub(super) struct Leased {
    open: Mutex<Vec<(Lease, Instant)>>,
    more: Notify,
}

impl Leased {
    pub(super) async fn add(&self, lease: Lease) {
        let due = due(&lease);
        self.open.lock().await.push((lease, due));
        self.more.notify_one();
    }
}

fn due(lease: &Lease) -> Instant {
    Instant::now() + lease.remaining().mul_f64(DUE).max(PAUSE)
}

impl Vault {
    /// Renews what references have leased for as long as this future is polled; it never ends by itself, and one of it is enough.
    ///
    /// A lease cannot be renewed beyond its longest life, nor beyond that of the token that took it. That is told as a warning
    /// with the path, in time: a program that runs longer watches its credentials (feature `rotate`).
    pub async fn keep_leases(&self) {
        loop {
            let next = self.leased().open.lock().await.iter().map(|(_, due)| *due).min();
            let more = self.leased().more.notified();
            match next {
                None => more.await,
                Some(due) => tokio::select! {
                    () = more => {}
                    () = tokio::time::sleep_until(due) => self.renew_due().await,
                },
            }
        }
    }

    async fn renew_due(&self) {
        let mut open = self.leased().open.lock().await;
        let now = Instant::now();
        let mut kept = Vec::new();
        for (lease, at) in std::mem::take(&mut *open) {
            if at > now {
                kept.push((lease, at));
                continue;
            }
            match self.renew(&lease).await {
                Ok(renewed) if renewed.renewable() => {
                    let due = due(&renewed);
                    kept.push((renewed, due));
                }
                Ok(renewed) => ends(&renewed),
                Err(error) if error.kind() == VaultErrorKind::LeaseEnded => ends(&lease),
                Err(_) if lease.remaining() > PAUSE => {
                    let due = due(&lease);
                    kept.push((lease, due));
                }
                Err(_) => ends(&lease),
            }
        }
        *open = kept;
    }

    /// Gives back what references have leased; the server takes the credentials away.
    pub async fn give_back_leases(&self) {
        for (lease, _) in std::mem::take(&mut *self.leased().open.lock().await) {
            if let Err(error) = self.revoke(&lease).await {
                tracing::debug!(%error, "a lease is not given back, and ends by itself");
            }
        }
    }
}

fn ends(lease: &Lease) {
    let left = lease.remaining().as_secs();
    tracing::warn!("what was leased at {} cannot be renewed, and ends in {left} s", lease.path());
}
