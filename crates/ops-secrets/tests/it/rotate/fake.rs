//! A source of our own that keeps the time of the test: it issues leases with a maximum, may be down, and counts.

use ops_secrets::Secret;
use ops_secrets::rotate::{Error, ErrorKind, Fetched, Lease, Provider, Work};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// Clones are the same source.
#[derive(Debug, Clone)]
pub(crate) struct Source(Arc<Mutex<State>>);

pub(crate) struct State {
    pub(crate) ttl: Duration,
    pub(crate) max: Duration,
    pub(crate) down: bool,
    /// The value of a source without leases.
    pub(crate) fixed: Option<String>,
    pub(crate) fetches: usize,
    pub(crate) renewals: usize,
    pub(crate) revoked: Vec<String>,
    issued: BTreeMap<String, Issued>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("fetches", &self.fetches).finish_non_exhaustive()
    }
}

struct Issued {
    at: Instant,
    ends: Instant,
}

impl Source {
    pub(crate) fn leasing(ttl: u64, max: u64) -> Self {
        Self::new(ttl, max, None)
    }

    pub(crate) fn fixed(value: &str) -> Self {
        Self::new(0, 0, Some(value.to_owned()))
    }

    fn new(ttl: u64, max: u64, fixed: Option<String>) -> Self {
        Self(Arc::new(Mutex::new(State {
            ttl: Duration::from_secs(ttl),
            max: Duration::from_secs(max),
            down: false,
            fixed,
            fetches: 0,
            renewals: 0,
            revoked: Vec::new(),
            issued: BTreeMap::new(),
        })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Whether somebody with this password may log in now.
    pub(crate) fn accepts(&self, password: &str) -> bool {
        let state = self.state();
        match &state.fixed {
            Some(fixed) => fixed == password,
            None => state.issued.get(password).is_some_and(|issued| Instant::now() < issued.ends),
        }
    }
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "the source is down")
}

impl Provider for Source {
    fn name(&self) -> String {
        "source of the test".into()
    }

    fn fetch(&self) -> Work<'_, Fetched> {
        Box::pin(async {
            let mut state = self.state();
            state.fetches += 1;
            if state.down {
                return Err(unavailable());
            }
            if let Some(value) = &state.fixed {
                return Ok(Fetched::value(
                    Secret::from(value.as_str()),
                    format!("v{}", value.len() * 31 + value.bytes().map(usize::from).sum::<usize>()),
                ));
            }
            let password = format!("issued-password-{}", state.fetches);
            let (at, remaining) = (Instant::now(), state.ttl.min(state.max));
            state.issued.insert(password.clone(), Issued { at, ends: at + remaining });
            let id = format!("lease/{}", state.fetches);
            let lease = Some(Lease { id: id.clone(), remaining, renewable: true });
            Ok(Fetched { lease, ..Fetched::value(Secret::from(password), id) })
        })
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> Work<'a, Lease> {
        Box::pin(async move {
            let mut state = self.state();
            state.renewals += 1;
            if state.down {
                return Err(unavailable());
            }
            let (ttl, max, now) = (state.ttl, state.max, Instant::now());
            let password = lease.id.replace("lease/", "issued-password-");
            let Some(issued) = state.issued.get_mut(&password).filter(|issued| now < issued.ends) else {
                return Err(Error::new(ErrorKind::NotRenewable, format!("{} has ended", lease.id)));
            };
            // As OpenBao does: success, with as much as the maximum leaves.
            issued.ends = (now + ttl).min(issued.at + max);
            Ok(Lease { remaining: issued.ends - now, ..lease.clone() })
        })
    }

    fn revoke<'a>(&'a self, lease: &'a Lease) -> Work<'a, ()> {
        Box::pin(async move {
            let mut state = self.state();
            if state.down {
                return Err(unavailable());
            }
            let password = lease.id.replace("lease/", "issued-password-");
            if state.issued.remove(&password).is_some() {
                state.revoked.push(lease.id.clone());
            }
            Ok(())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_source_of_the_tests_keeps_the_contract_itself() {
    super::contract::check(&Source::leasing(5, 12), None).await;
    let source = Source::fixed("first-value");
    let other = source.clone();
    super::contract::check(&source, Some(&mut || other.state().fixed = Some("second-value!".into()))).await;
}
