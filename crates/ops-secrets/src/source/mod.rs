//! Where values come from. A source reads values for known settings, and tells what it could not use.

mod environment;
mod suggest;
mod text;
mod toml_text;

pub(crate) use environment::Environment;
pub(crate) use text::from_text;
pub(crate) use toml_text::TomlText;

use crate::error::{ErrorKind, Problem};
use figment::value::Value;
use std::fmt;
use std::path::PathBuf;

/// What the sources gave.
#[derive(Default)]
pub(crate) struct Gathered {
    /// The values, lowest layer first.
    pub(crate) given: Vec<Given>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Warning>,
}

/// A value that a source gave for a setting.
pub(crate) struct Given {
    pub(crate) key: String,
    pub(crate) value: Value,
    /// Where it came from, for a person: `default`, `ops.toml:3`, `env OPS_REPO`, …
    pub(crate) origin: String,
}

impl Gathered {
    pub(crate) fn give(&mut self, key: &str, origin: &str, value: impl Into<Value>) {
        self.given.push(Given { key: key.to_owned(), value: value.into(), origin: origin.to_owned() });
    }

    /// Notes that a setting's value from an origin cannot be used.
    pub(crate) fn refuse(&mut self, kind: ErrorKind, key: &str, origin: &str, why: impl fmt::Display) {
        self.problems.push(Problem::new(kind, format!("`{key}` from {origin}: {why}")));
    }
}

/// Something that is odd but does not keep the settings from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A variable begins like those of the settings, but belongs to none: perhaps misspelt.
    UnknownVariable {
        /// The variable.
        name: String,
        /// The variable that may be meant.
        suggestion: Option<String>,
    },
    /// A file that holds secrets can be read by others than its owner.
    OpenFile {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A secret is too short to be masked in logs and other texts.
    Unmaskable {
        /// The setting.
        key: String,
    },
    /// A secret begins or ends with whitespace, or has a byte-order mark or a NUL in it.
    OddSecret {
        /// The setting.
        key: String,
        /// Where its value came from.
        source: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVariable { name, suggestion: None } => {
                write!(f, "environment variable {name} belongs to no setting")
            }
            Self::UnknownVariable { name, suggestion: Some(suggestion) } => {
                write!(f, "environment variable {name} belongs to no setting; did you mean {suggestion}?")
            }
            Self::OpenFile { path, mode } => {
                let path = path.display();
                write!(
                    f,
                    "{path} holds a secret and can be read by others (mode {mode:03o}); chmod 600 closes it"
                )
            }
            Self::Unmaskable { key } => {
                write!(f, "secret `{key}` is too short or too long to be masked in logs")
            }
            Self::OddSecret { key, source } => {
                write!(
                    f,
                    "secret `{key}` from {source} has whitespace around it or an invisible character in it; it is used as it is"
                )
            }
        }
    }
}

/// The permission bits of a file that others than its owner can read; None where only the owner can.
pub(crate) fn open_to_others(metadata: &std::fs::Metadata) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        Some(metadata.permissions().mode() & 0o777).filter(|mode| mode & 0o044 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        None
    }
}
