//! An entry or leased credentials of Vault or OpenBao as a secret that changes while the program runs.

use super::client::Vault;
use super::error::{VaultError, VaultErrorKind};
use super::lease::Lease as VaultLease;
use crate::rotate::{Error, ErrorKind, Fetched, Lease, Provider, Work};
use crate::secret::Secret;
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Provides what stands at a path: an entry of KV, or credentials that the server makes, each time new ones with a lease.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use ops_secrets::rotate::{Group, Options};
/// use ops_secrets::vault::{Auth, Vault, VaultOptions, VaultProvider};
///
/// let vault = Vault::new(VaultOptions::new("https://vault.example:8200", Auth::kubernetes("shop")))?;
/// let group = Group::new(Options::default(), || 0.5);
/// let (live, watch) =
///     group.member("database", VaultProvider::new(vault, "database/creds/shop")).start().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct VaultProvider {
    vault: Vault,
    path: String,
    /// The leases that live: what was granted, and by which token, is more than their name tells.
    leases: Mutex<BTreeMap<String, VaultLease>>,
    /// Keys the versions of what the server keeps no versions of, so that they tell nothing to others.
    key: RandomState,
}

impl VaultProvider {
    /// Provides what stands at a path, as [`Vault::read`] takes it.
    pub fn new(vault: Vault, path: &str) -> Self {
        Self { vault, path: path.to_owned(), leases: Mutex::default(), key: RandomState::new() }
    }

    async fn read(&self) -> Result<Fetched, Error> {
        let entry = self.vault.read(&self.path, None).await.map_err(|error| self.error(&error))?;
        let (data, version, lease) = entry.into_parts();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let fields: BTreeMap<String, Secret> = data
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), Secret::from(text(value))))
            .collect();
        if fields.is_empty() || fields.values().any(Secret::is_empty) {
            let message = format!("{} has no fields, or an empty one", self.name());
            return Err(Error::new(ErrorKind::Missing, message));
        }
        let version = match (version, &lease) {
            (Some(version), _) => version.to_string(),
            (None, Some(lease)) => lease.id().to_owned(),
            (None, None) => self.fingerprint(&fields),
        };
        let lease = lease.map(|lease| {
            let told = told(&lease);
            self.remember(lease);
            told
        });
        Ok(Fetched { fields, version, lease })
    }

    fn fingerprint(&self, fields: &BTreeMap<String, Secret>) -> String {
        let mut hasher = self.key.build_hasher();
        fields.iter().for_each(|(name, value)| (name, value.expose_secret()).hash(&mut hasher));
        format!("{:016x}", hasher.finish())
    }

    fn remember(&self, lease: VaultLease) {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        // What has ended is of no use any more, also where nobody revoked it.
        leases.retain(|_, lease| lease.remaining() > Duration::ZERO);
        leases.insert(lease.id().to_owned(), lease);
    }

    fn known(&self, id: &str) -> Option<VaultLease> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn error(&self, error: &VaultError) -> Error {
        Error::new(kind(error), format!("{}: {}", self.name(), error.why()))
    }
}

impl Provider for VaultProvider {
    fn name(&self) -> String {
        format!("vault://{}", self.path)
    }

    fn fetch(&self) -> Work<'_, Fetched> {
        Box::pin(self.read())
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> Work<'a, Lease> {
        Box::pin(async move {
            let Some(known) = self.known(&lease.id) else {
                let message = format!("{} has no such lease, or it has ended", self.name());
                return Err(Error::new(ErrorKind::NotRenewable, message));
            };
            let renewed = self.vault.renew(&known).await.map_err(|error| self.error(&error))?;
            let told = told(&renewed);
            self.remember(renewed);
            Ok(told)
        })
    }

    fn revoke<'a>(&'a self, lease: &'a Lease) -> Work<'a, ()> {
        Box::pin(async move {
            let Some(known) = self.known(&lease.id) else { return Ok(()) };
            self.vault.revoke(&known).await.map_err(|error| self.error(&error))?;
            self.leases.lock().unwrap_or_else(PoisonError::into_inner).remove(&lease.id);
            Ok(())
        })
    }
}

fn told(lease: &VaultLease) -> Lease {
    Lease { id: lease.id().to_owned(), remaining: lease.remaining(), renewable: lease.renewable() }
}

/// What an error of the client is to those who rotate.
pub(super) fn kind(error: &VaultError) -> ErrorKind {
    match error.kind() {
        VaultErrorKind::Login | VaultErrorKind::Forbidden => ErrorKind::Refused,
        VaultErrorKind::NotFound | VaultErrorKind::Deleted | VaultErrorKind::Destroyed => ErrorKind::Missing,
        VaultErrorKind::LeaseEnded => ErrorKind::NotRenewable,
        VaultErrorKind::Sealed | VaultErrorKind::TooManyRequests | VaultErrorKind::Unreachable => {
            ErrorKind::Unavailable
        }
        VaultErrorKind::Options | VaultErrorKind::Conflict | VaultErrorKind::UnexpectedAnswer => {
            ErrorKind::Invalid
        }
    }
}
