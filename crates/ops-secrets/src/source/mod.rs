//! Where values come from. A source reads values for known settings, and tells what it could not use.

mod dotenv;
mod mounted;
mod text;
mod toml_text;
mod variables;

pub(crate) use mounted::{Mount, Mounted};
pub(crate) use text::from_text;
pub(crate) use toml_text::TomlText;
pub(crate) use variables::Variables;

use crate::error::{ErrorKind, Problem};
use crate::file::Exposure;
use figment::value::Value;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a container engine mounts secrets and decides about their mode.
const ENGINE_MOUNTS: [&str; 2] = ["/run/secrets", "/var/run/secrets"];

/// Whether a key that no setting has stands in a table that belongs to others.
pub(crate) fn is_foreign(key: &str, tables: &[String]) -> bool {
    let within = |table: &String| {
        key.strip_prefix(table.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    tables.iter().any(within)
}

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
    /// What was done to it.
    pub(crate) note: Option<&'static str>,
}

impl Gathered {
    pub(crate) fn give(&mut self, key: &str, origin: &str, value: impl Into<Value>) {
        self.give_noted(key, origin, value.into(), None);
    }

    pub(crate) fn give_noted(&mut self, key: &str, origin: &str, value: Value, note: Option<&'static str>) {
        self.given.push(Given { key: key.to_owned(), value, origin: origin.to_owned(), note });
    }

    /// Puts values in the place of the references that led to them: both are one layer, not one over the other.
    pub(crate) fn replace(&mut self, resolved: Vec<Given>) {
        let led = |from: &Given, to: &Given| {
            from.key == to.key
                && to.origin.strip_prefix(&from.origin).is_some_and(|rest| rest.starts_with(" -> "))
        };
        self.given.retain(|from| !resolved.iter().any(|to| led(from, to)));
        self.given.extend(resolved);
    }

    /// Warns where others have a hand in the file of a secret; a container engine decides about what it mounts.
    pub(crate) fn warn_exposed(&mut self, path: &Path, exposure: Exposure) {
        self.warnings.extend(exposed(path, exposure));
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
    /// A line of a `.env` file or a mounted file is named almost like a setting: perhaps misspelt.
    UnknownName {
        /// The file and line, or the file.
        source: String,
        /// The name that may be meant.
        suggestion: Option<String>,
    },
    /// A file that holds secrets belongs to a user who is neither that of this process nor root, and who can change it.
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// The number of its owner.
        owner: u32,
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
            Self::UnknownName { source, suggestion: None } => write!(f, "{source} belongs to no setting"),
            Self::UnknownName { source, suggestion: Some(suggestion) } => {
                write!(f, "{source} belongs to no setting; did you mean {suggestion}?")
            }
            Self::ForeignOwner { path, owner } => {
                let path = path.display();
                write!(
                    f,
                    "{path} holds a secret and belongs to another user (uid {owner}), who can change it"
                )
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

/// What is told of a file with a secret in which others have a hand.
pub(crate) fn exposed(path: &Path, exposure: Exposure) -> Vec<Warning> {
    if is_engine_mount(path) {
        return Vec::new();
    }
    let mode = exposure.mode.map(|mode| Warning::OpenFile { path: path.to_owned(), mode });
    let owner = exposure.owner.map(|owner| Warning::ForeignOwner { path: path.to_owned(), owner });
    mode.into_iter().chain(owner).collect()
}

/// Whether a container engine mounted the path.
fn is_engine_mount(path: &Path) -> bool {
    ENGINE_MOUNTS.iter().any(|mount| path.starts_with(mount))
}
