//! Entries of KV version 2 as a store that rotations change.

use super::client::Vault;
use super::error::{VaultError, VaultErrorKind};
use super::kv::{Expected, KvVersion};
use super::provider;
use crate::rotate::change::entry::{Found, Store};
use crate::rotate::{Error, ErrorKind, Work};
use serde_json::{Map, Value};

impl Vault {
    /// Refuses what keeps no versions before it is read: another engine would make a secret just because it is asked.
    async fn versioned(&self, path: &str) -> Result<(), Error> {
        let why = match self.mount(path).await.map_err(|error| told(&error))?.kv {
            Some(KvVersion::Two) => return Ok(()),
            Some(KvVersion::One) => {
                "the mount is KV version 1, which cannot tell a change of somebody else; `kv enable-versioning` makes it version 2"
            }
            None => "the mount is no KV",
        };
        Err(Error::new(ErrorKind::Invalid, format!("{path}: {why}")))
    }
}

impl Store for Vault {
    fn name(&self) -> String {
        self.place()
    }

    fn read<'a>(&'a self, path: &'a str, version: Option<u64>) -> Work<'a, Found> {
        Box::pin(async move {
            self.versioned(path).await?;
            let entry = Vault::read(self, path, version).await.map_err(|error| told(&error))?;
            let (fields, version, _) = entry.into_parts();
            let version = version
                .ok_or_else(|| Error::new(ErrorKind::Invalid, format!("{path}: it has no version")))?;
            Ok(Found { version, fields })
        })
    }

    fn write<'a>(&'a self, path: &'a str, fields: &'a Map<String, Value>, seen: u64) -> Work<'a, bool> {
        Box::pin(async move {
            match self.put(path, fields, Expected::Version(seen)).await {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == VaultErrorKind::Conflict => Ok(false),
                Err(error) => Err(told(&error)),
            }
        })
    }
}

fn told(error: &VaultError) -> Error {
    Error::new(provider::kind(error), error.to_string())
}
