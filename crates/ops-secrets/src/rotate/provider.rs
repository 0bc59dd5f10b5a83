//! Where a secret that changes comes from.

use super::error::{Error, ErrorKind};
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

/// A future that a provider returns.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A source of one secret.
///
/// Contract, which the tests' contract suite checks for every implementation:
/// - `fetch` changes nothing about a static secret, and two fetches without a change between them give the same version. A
///   fetch of a dynamic secret issues a new one, with a lease of its own; it never gives an earlier one again.
/// - What one fetch gives is of one version: never a new user with an old password.
/// - `version` says nothing about the value to those who do not have it. It is compared, never ordered.
/// - `renew` gives what the lease has left now, whatever was asked for. Success with little left is what a source says near
///   the end of all renewals; the caller judges by the time. A lease that has ended is [`ErrorKind::NotRenewable`].
/// - `revoke` is idempotent: a lease that has ended is revoked.
/// - Every future may be dropped at any point; what it may leave is a lease that ends by itself.
/// - No error, `name` or `Debug` holds a value. No call retries or waits for longer than its own request: the watch does both.
pub trait Provider: Send + Sync + fmt::Debug {
    /// Returns what a person would call the source, for logs and errors.
    fn name(&self) -> String;

    /// Fetches the secret as it is now, or a new one.
    fn fetch(&self) -> Work<'_, Fetched>;

    /// Makes a lease longer, as far as the source allows.
    fn renew<'a>(&'a self, _lease: &'a Lease) -> Work<'a, Lease> {
        let message = format!("{} has no lease that could be renewed", self.name());
        Box::pin(async move { Err(Error::new(ErrorKind::NotRenewable, message)) })
    }

    /// Ends a lease before its time.
    fn revoke<'a>(&'a self, _lease: &'a Lease) -> Work<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Returns the folders in which a change shows as a file event; none where polling is the only way.
    fn folders(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// A secret of one version.
#[derive(Debug)]
pub struct Fetched {
    /// Its parts; a secret of one part calls it `value`.
    pub fields: BTreeMap<String, Secret>,
    /// Changes with the secret.
    pub version: String,
    /// How long it lives; None where it lives until somebody changes it.
    pub lease: Option<Lease>,
}

impl Fetched {
    /// A secret of one part, without a lease.
    pub fn value(value: Secret, version: impl Into<String>) -> Self {
        Self { fields: BTreeMap::from([("value".to_owned(), value)]), version: version.into(), lease: None }
    }
}

/// The life of a dynamic secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The source's name for it.
    pub id: String,
    /// What it had left when the source answered.
    pub remaining: Duration,
    /// Whether asking for more makes sense. A source that warns that the end is near says no.
    pub renewable: bool,
}
