//! One secret of a group while it is watched: what is in use of it, and when something has to be done.

use super::live::Part;
use super::pace::{self, Options};
use super::provider::{Lease, Provider};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) part: Arc<Part>,
    pub(super) life: Life,
}

/// How long what is in use can be used.
#[derive(Debug, Clone)]
pub(super) enum Life {
    /// Until somebody changes it; the source confirmed it at this moment.
    Confirmed(Instant),
    Leased(Leased),
}

#[derive(Debug, Clone)]
pub(super) struct Leased {
    pub(super) lease: Lease,
    /// What the source gave when the secret was new: what each renewal asks for.
    pub(super) asked: Duration,
    pub(super) ends: Instant,
    pub(super) due: Instant,
}

impl Life {
    /// The life of what was fetched now.
    pub(super) fn new(lease: Option<&Lease>, now: Instant, random: f64) -> Self {
        match lease {
            None => Self::Confirmed(now),
            Some(lease) => Self::Leased(Leased {
                lease: lease.clone(),
                asked: lease.remaining,
                ends: now + lease.remaining,
                due: now + pace::renew_after(lease.remaining, random),
            }),
        }
    }

    /// Until when the secret may be given out.
    pub(super) fn stale_at(&self, options: &Options) -> Instant {
        match self {
            Self::Confirmed(at) => *at + options.poll.mul_f64(1.1) + options.stale_for,
            Self::Leased(leased) => leased.ends,
        }
    }
}

impl Leased {
    /// Takes over what a renewal gave; false where so little is left that a new secret is needed.
    pub(super) fn renewed(&mut self, lease: Lease, now: Instant, random: f64) -> bool {
        self.ends = now + lease.remaining;
        self.due = now + pace::renew_after(lease.remaining, random);
        let enough = lease.renewable && !pace::is_capped(self.asked, lease.remaining);
        self.lease = lease;
        enough
    }
}
