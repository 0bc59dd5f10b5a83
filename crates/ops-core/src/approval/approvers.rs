//! Who may approve: names and public keys, from a file that only its owner can write.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::terms::MAX_LIFETIME;
use crate::error::{Error, ErrorKind};
use crate::evidence::VerifyingKey;
use crate::trusted;

/// The longest approvers' file, and the longest key file.
const MAX_BYTES: u64 = 1 << 20;

/// The names that may approve, each with its public key.
///
/// A person who also has a role in the database should stand here under the role's name too, with the same key: then
/// nobody approves for themselves under a second name.
#[derive(Clone, Debug)]
pub struct Approvers {
    keys: BTreeMap<String, VerifyingKey>,
    max_lifetime: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileForm {
    approvers: BTreeMap<String, String>,
    max_lifetime_minutes: Option<u32>,
}

impl Default for Approvers {
    fn default() -> Self {
        Self::new()
    }
}

impl Approvers {
    /// Begins with nobody: then no approval verifies.
    pub fn new() -> Self {
        Self { keys: BTreeMap::new(), max_lifetime: MAX_LIFETIME }
    }

    /// Adds a name with its key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSettings`] where the name is empty or there already: one name has one key.
    pub fn insert(&mut self, name: impl Into<String>, key: VerifyingKey) -> Result<(), Error> {
        let name = name.into();
        if name.trim().is_empty() || name.chars().any(char::is_control) {
            return Err(Error::new(ErrorKind::InvalidSettings, "approver has an empty or unreadable name"));
        }
        if self.keys.contains_key(&name) {
            let message = format!("approver {name:?} is named twice");
            return Err(Error::new(ErrorKind::InvalidSettings, message));
        }
        self.keys.insert(name, key);
        Ok(())
    }

    /// Refuses approvals that last longer than this; more than [`MAX_LIFETIME`] does not hold.
    #[must_use]
    pub fn with_max_lifetime(mut self, max_lifetime: Duration) -> Self {
        self.max_lifetime = max_lifetime.min(MAX_LIFETIME);
        self
    }

    /// Reads TOML: a table `[approvers]` with `name = "key.pem"` (relative to the folder) or the PEM itself, and optionally
    /// `max_lifetime_minutes` before it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidSettings`] where the text is something else; [`ErrorKind::InvalidKey`], [`ErrorKind::Io`] or
    /// [`ErrorKind::UnsafeFile`] where a key cannot be used.
    pub fn from_toml(text: &str, folder: &Path) -> Result<Self, Error> {
        let form: FileForm = toml::from_str(text).map_err(|error| {
            let line =
                error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            // Not as the source: its text quotes the line, in which a private key may stand by mistake.
            let message = format!("approvers' table cannot be read at line {line}");
            Error::new(ErrorKind::InvalidSettings, message)
        })?;
        let mut approvers = Self::new();
        if let Some(minutes) = form.max_lifetime_minutes {
            approvers = approvers.with_max_lifetime(Duration::from_secs(u64::from(minutes) * 60));
        }
        for (name, value) in form.approvers {
            let key = if value.contains("-----BEGIN") {
                VerifyingKey::from_pem(&value)
            } else {
                let bytes = trusted::read(&folder.join(&value), MAX_BYTES)?;
                VerifyingKey::from_pem(&String::from_utf8_lossy(&bytes))
            };
            let key = key.map_err(|error| {
                Error::new(error.kind(), format!("key of the approver {name:?} cannot be used"))
                    .caused_by(error)
            })?;
            approvers.insert(name, key)?;
        }
        Ok(approvers)
    }

    /// Reads a file as [`Approvers::from_toml`] does. The file and the key files must not be writable by others: whoever
    /// can write them can approve everything.
    ///
    /// # Errors
    /// As [`Approvers::from_toml`].
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let bytes = trusted::read(path, MAX_BYTES)?;
        let in_file = |error: Error| {
            let message = format!("cannot use the approvers in {}", path.display());
            Error::new(error.kind(), message).caused_by(error)
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            in_file(Error::new(ErrorKind::InvalidSettings, "approvers' table is not UTF-8").caused_by(error))
        })?;
        Self::from_toml(&text, path.parent().unwrap_or(Path::new(""))).map_err(in_file)
    }

    /// Returns the names and keys, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &VerifyingKey)> {
        self.keys.iter().map(|(name, key)| (name.as_str(), key))
    }

    pub(super) fn max_lifetime(&self) -> Duration {
        self.max_lifetime
    }
}
