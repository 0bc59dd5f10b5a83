//! Leases: credentials that the server makes for us and takes back. How long one lives is what the server granted, and
//! never longer than the token that took it.

use super::client::{Parent, Vault};
use super::error::{VaultError, VaultErrorKind};
use crate::secret::Secret;
use reqwest::Method;
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// A renewal that grants less than this part of what was asked says that the longest life of the lease is near.
const CUT_SHORT: f64 = 0.9;

/// A right that ends.
#[derive(Clone, PartialEq, Eq)]
pub struct Lease {
    id: String,
    path: String,
    granted: Duration,
    /// When it ends by itself.
    own_end: Instant,
    parent: Parent,
    renewable: bool,
    capped: bool,
}

impl Lease {
    /// Returns the name under which the server knows it.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Returns how long it lives from now; nothing where it has ended.
    pub fn remaining(&self) -> Duration {
        // The server revokes all leases of a token that ends.
        let end = self.parent.end.map_or(self.own_end, |end| end.min(self.own_end));
        end.saturating_duration_since(Instant::now())
    }

    /// Returns how long it was to live when it was issued or renewed last.
    pub fn granted(&self) -> Duration {
        self.granted
    }

    /// Returns whether a renewal would make it longer: the server allows it, and the last one was not cut short.
    pub fn renewable(&self) -> bool {
        self.renewable && !self.capped
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("path", &self.path)
            .field("granted", &self.granted)
            .field("renewable", &self.renewable())
            .finish_non_exhaustive()
    }
}

/// A user and a password that were made for us.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: Secret,
    /// How long they live.
    pub lease: Lease,
}

impl Vault {
    /// Has the server make credentials, for example at `database/creds/shop`.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`VaultErrorKind::UnexpectedAnswer`] where what stands there is no leased user and password.
    pub async fn credentials(&self, path: &str) -> Result<Credentials, VaultError> {
        let (data, _, lease) = self.read(path, None).await?.into_parts();
        let text = |field: &str| data.get(field).and_then(Value::as_str);
        match (text("username"), text("password"), lease) {
            (Some(username), Some(password), Some(lease)) => {
                Ok(Credentials { username: username.to_owned(), password: Secret::from(password), lease })
            }
            _ => {
                let why = "what stands there is no user and password with a lease";
                Err(VaultError::new(VaultErrorKind::UnexpectedAnswer, path, why))
            }
        }
    }

    /// Asks for more time, as much as was granted at first, and returns the lease as it is now.
    ///
    /// The server answers 200 also where it grants almost nothing, because the longest life of the lease is near: what
    /// counts is [`remaining`](Lease::remaining), and [`renewable`](Lease::renewable) tells that another renewal is of no
    /// use. Then new credentials must be issued before the old ones end.
    ///
    /// # Errors
    /// [`VaultErrorKind::LeaseEnded`] where there is nothing left to renew.
    pub async fn renew(&self, lease: &Lease) -> Result<Lease, VaultError> {
        let body = json!({ "lease_id": lease.id, "increment": lease.granted.as_secs() });
        let asked_at = Instant::now();
        let answer = self.request(Method::POST, "sys/leases/renew", Some(&body)).await;
        let ended = || {
            let why = "the lease has ended, was revoked, or cannot be renewed";
            VaultError::new(VaultErrorKind::LeaseEnded, &lease.path, why)
        };
        let answer = answer.map_err(|error| VaultError::new(error.kind(), &lease.path, error.why()))?;
        let granted = answer.body["lease_duration"].as_u64().filter(|_| answer.status == 200);
        let granted =
            granted.map(Duration::from_secs).filter(|granted| !granted.is_zero()).ok_or_else(ended)?;
        let capped = answer.warns() || granted < lease.granted.mul_f64(CUT_SHORT);
        // After another login the lease still ends with the token that took it, so only new credentials help.
        let current = self.parent().await?;
        let same = current.generation == lease.parent.generation;
        let parent = if same { current } else { lease.parent };
        let renewable = answer.body["renewable"].as_bool().unwrap_or(false);
        // What is asked for next time is still what was granted at first: a renewal that was cut short must not become the
        // measure of those after it.
        Ok(Lease {
            granted: lease.granted.max(granted),
            own_end: asked_at + granted,
            parent,
            renewable,
            capped: capped || !same,
            ..lease.clone()
        })
    }

    /// Gives a lease back; the server takes the credentials away before it answers. One that has ended is given back too.
    ///
    /// # Errors
    /// What keeps the server from it: the credentials may still work.
    pub async fn revoke(&self, lease: &Lease) -> Result<(), VaultError> {
        let body = json!({ "lease_id": lease.id, "sync": true });
        let answer = self.request(Method::POST, "sys/leases/revoke", Some(&body)).await;
        let answer = answer.map_err(|error| VaultError::new(error.kind(), &lease.path, error.why()))?;
        match answer.status {
            200 | 204 => Ok(()),
            400 if answer.says("invalid lease") || answer.says("lease not found") => Ok(()),
            _ => {
                let why = "the server did not revoke the lease";
                Err(VaultError::new(VaultErrorKind::UnexpectedAnswer, &lease.path, why))
            }
        }
    }
}

/// The lease in an answer, if it has one.
pub(super) fn of(body: &Value, path: &str, asked_at: Instant, parent: Parent) -> Option<Lease> {
    let id = body["lease_id"].as_str().filter(|id| !id.is_empty())?;
    let granted = Duration::from_secs(body["lease_duration"].as_u64()?);
    Some(Lease {
        id: id.to_owned(),
        path: path.to_owned(),
        granted,
        own_end: asked_at + granted,
        parent,
        renewable: body["renewable"].as_bool().unwrap_or(false),
        capped: false,
    })
}
