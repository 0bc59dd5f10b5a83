//! The version of what a backup refers to: what a newer program wrote is refused by its number, and never taken for damage.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind};

/// Of manifests, listings, pieces and parts.
pub(super) const VERSION: u32 = 2;

/// Why stored bytes are not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// What is wrong with them.
    Damaged(String),
    /// They have this version.
    Newer(u32),
}

impl From<String> for Refusal {
    fn from(what: String) -> Self {
        Refusal::Damaged(what)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Damaged(what) => f.write_str(what),
            Refusal::Newer(version) => write!(f, "has version {version}; this program reads {VERSION}"),
        }
    }
}

impl Refusal {
    /// Returns the error that names `place`, the object or the frame.
    pub(crate) fn at(self, place: impl fmt::Display) -> Error {
        let kind = match self {
            Refusal::Damaged(_) => ErrorKind::Corrupt,
            Refusal::Newer(_) => ErrorKind::Unsupported,
        };
        Error::new(kind, format!("{place} {self}"))
    }
}

/// Reads JSON that has a `version`; `what` says of anything else that it is none.
pub(super) fn parse<T: DeserializeOwned>(
    bytes: &[u8],
    version: impl Fn(&T) -> u32,
    what: &str,
) -> Result<T, Refusal> {
    #[derive(Deserialize)]
    struct Only {
        version: u32,
    }
    let parsed: Result<T, _> = serde_json::from_slice(bytes);
    // A newer program may have changed everything but this one field.
    let version = match &parsed {
        Ok(parsed) => version(parsed),
        Err(_) => serde_json::from_slice(bytes).map_or(VERSION, |only: Only| only.version),
    };
    match version {
        VERSION => parsed.map_err(|error| Refusal::Damaged(format!("{what}: {error}"))),
        newer if newer > VERSION => Err(Refusal::Newer(newer)),
        older => Err(Refusal::Damaged(format!("has version {older}, which never was"))),
    }
}
