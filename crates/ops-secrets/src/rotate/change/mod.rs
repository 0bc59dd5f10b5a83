//! Gives a secret a new value at its issuer, and publishes it for those who use it.
//!
//! Order of steps: (1) *prepared*: the new value stands in `..pending` of the folder, on the disk; (2) *set*: the issuer has it;
//! (3) *verified*: a login with it works; (4) *published*: the folder's `..data` link points to it, as in a mounted volume of
//! Kubernetes; (5) *finished*: `..rotated.json` says when, and `..pending` and old versions are gone.
//!
//! A crash after any step loses nothing: the next run finds `..pending` and goes on with the same value, and every step may be
//! done twice. The new value is on the disk before the issuer gets it, so no account is ever left with a password that nobody
//! knows. Where the verification is refused, an account that is in use gets its old value back.
//!
//! With two accounts the one that is not in use gets the new value and comes into use; the other keeps its own until the next
//! rotation, so nobody's login fails in between. With one account logins with the old value fail from step 2 until the user
//! has seen step 4.

pub mod entry;
mod folder;

pub use folder::{Record, record};

use self::folder::Folder;
use super::error::{Error, ErrorKind};
use super::provider::Work;
use crate::mask::Masker;
use crate::secret::Secret;
use std::fmt;
use std::path::Path;
use std::time::SystemTime;

/// What issues a secret: a database for the passwords of its roles.
///
/// Contract: `set` is idempotent and takes effect as a whole or not at all; an error may also mean that it took effect. `verify`
/// uses the value as a user of it would, on a connection of its own, and fails with [`ErrorKind::Refused`] only where the
/// issuer said no. No error holds a value.
pub trait Target: Send + Sync {
    /// Returns what a person would call the issuer.
    fn name(&self) -> String;

    /// Checks that an account is there and may be given a new value, and changes nothing.
    fn check<'a>(&'a self, account: &'a str) -> Work<'a, ()>;

    /// Gives an account a value.
    fn set<'a>(&'a self, account: &'a str, value: &'a Secret) -> Work<'a, ()>;

    /// Logs in with a value.
    fn verify<'a>(&'a self, account: &'a str, value: &'a Secret) -> Work<'a, ()>;
}

/// A step that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The new value is on the disk.
    Prepared,
    /// The issuer has it.
    Set,
    /// A login with it works.
    Verified,
    /// Those who use the folder have it.
    Published,
    /// The record is written, and what is old is gone.
    Finished,
    /// The verification was refused, and the account has its old value again.
    PutBack,
    /// Somebody else has changed the entry meanwhile, and nothing more is done.
    GivenUp,
}

impl Step {
    /// Returns the stable machine-readable name.
    pub fn code(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Set => "set",
            Self::Verified => "verified",
            Self::Published => "published",
            Self::Finished => "finished",
            Self::PutBack => "put_back",
            Self::GivenUp => "given_up",
        }
    }
}

/// What a rotation will do. It holds the folder's lock where there is one, so nobody else plans meanwhile.
pub struct Plan {
    folder: Folder,
    account: String,
    in_use: Option<(String, Secret)>,
    pending: Option<(String, Secret)>,
}

impl Plan {
    /// Returns the account that gets a new value.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// Returns the account that is in use now.
    pub fn in_use(&self) -> Option<&str> {
        self.in_use.as_ref().map(|(account, _)| account.as_str())
    }

    /// Returns whether an earlier rotation was cut off, and this one goes on with its value.
    pub fn resumes(&self) -> bool {
        self.pending.is_some()
    }

    /// Returns whether the account is in use: logins with its old value fail until its users have the new one.
    pub fn interrupts(&self) -> bool {
        self.in_use() == Some(self.account())
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("account", &self.account)
            .field("in_use", &self.in_use())
            .field("resumes", &self.resumes())
            .finish_non_exhaustive()
    }
}

/// Decides which account gets a new value, and checks that it can; changes nothing and makes no file.
///
/// # Errors
/// [`ErrorKind::Busy`] where another rotation of the folder runs; [`ErrorKind::Invalid`] where the accounts do not fit a
/// rotation that was cut off; the target's own; [`ErrorKind::Io`].
pub async fn plan(target: &dyn Target, folder: &Path, accounts: &[String]) -> Result<Plan, Error> {
    let folder = Folder::look(folder)?;
    let in_use = folder.published()?;
    let pending = folder.pending()?;
    let account = match (&pending, &in_use) {
        (Some((account, _)), _) if accounts.contains(account) => account.clone(),
        (Some((account, _)), _) => {
            let message =
                format!("a rotation of `{account}` was cut off; name that account to go on with it");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        (None, Some((used, _))) => {
            // A single account is its own successor.
            let other = accounts.iter().find(|account| *account != used).or_else(|| accounts.first());
            other.cloned().ok_or_else(no_account)?
        }
        (None, None) => accounts.first().cloned().ok_or_else(no_account)?,
    };
    target.check(&account).await?;
    Ok(Plan { folder, account, in_use, pending })
}

fn no_account() -> Error {
    Error::new(ErrorKind::Invalid, "no account is named")
}

/// Does what was planned. `generate` makes the new value; `told` hears of each step after it is done, and ends the rotation
/// there by an error, for example where the step cannot be audited.
///
/// # Errors
/// The target's, `told`'s, [`ErrorKind::Io`], and [`ErrorKind::Busy`] where another rotation works in the folder, or the first
/// one there came between plan and apply. A next run goes on where this one ended, but after [`Step::PutBack`].
pub async fn apply(
    target: &dyn Target,
    plan: Plan,
    masker: &Masker,
    now: SystemTime,
    generate: impl FnOnce() -> Secret,
    mut told: impl FnMut(Step) -> Result<(), Error>,
) -> Result<Record, Error> {
    let Plan { mut folder, account, in_use, pending } = plan;
    if !folder.hold()? {
        let (now, other) = (folder.published()?, folder.pending()?);
        if !same(now.as_ref(), in_use.as_ref()) || !same(other.as_ref(), pending.as_ref()) {
            return Err(folder.busy("another rotation worked in it meanwhile"));
        }
    }
    let value = match pending {
        Some((_, value)) => value,
        None => {
            let value = generate();
            folder.prepare(&account, &value)?;
            value
        }
    };
    masker.register(&account, value.expose_secret());
    told(Step::Prepared)?;
    target.set(&account, &value).await?;
    told(Step::Set)?;
    if let Err(error) = target.verify(&account, &value).await {
        if error.kind() == ErrorKind::Refused {
            let old = in_use.filter(|(used, _)| *used == account);
            if let Some((_, old)) = &old {
                target.set(&account, old).await?;
                target.verify(&account, old).await?;
            }
            folder.forget()?;
            told(Step::PutBack)?;
        }
        return Err(error);
    }
    told(Step::Verified)?;
    let generation = folder.publish(&account, &value)?;
    told(Step::Published)?;
    let record = Record::new(account, generation, now);
    folder.finish(&record)?;
    told(Step::Finished)?;
    Ok(record)
}

/// Whether the same account and value are in use.
fn same(one: Option<&(String, Secret)>, other: Option<&(String, Secret)>) -> bool {
    match (one, other) {
        (Some((one, old)), Some((other, new))) => one == other && old.expose_secret() == new.expose_secret(),
        (None, None) => true,
        _ => false,
    }
}
