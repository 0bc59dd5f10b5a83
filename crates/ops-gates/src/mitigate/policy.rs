//! The file of mitigations: what may be done at all, how it is taken back, and for how long it may stay.

use crate::error::{Error, ErrorKind};
use crate::value::Span;
use ops_core::evidence::sha256_hex;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// The schema of the file.
const SCHEMA: &str = "ops-gates/mitigations/v1";

/// The mitigations that are allowed.
#[derive(Debug, Clone)]
pub struct Mitigations {
    keys: Keys,
    sha256: String,
    directory: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    schema: String,
    name: String,
    #[serde(default)]
    mitigation: Vec<Mitigation>,
}

/// One mitigation: exactly one of `flag`, `throttle` and `command`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mitigation {
    /// What it is called.
    pub name: String,
    /// The longest time for which it may stay.
    pub max_duration: Span,
    /// Sets a flag that is a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<Flag>,
    /// Sets a number that is a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// Anything else that has an undo, and a state that can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Commands>,
    /// A command that succeeds where the mitigation helps. Where it does not, all is taken back at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<String>,
    /// A plan whose gates pass where the mitigation helps, instead of `verify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<PathBuf>,
    /// How long `verify` or `checks` is tried.
    #[serde(default = "minute")]
    pub verify_within: Span,
}

/// A file that holds one of two values, with or without a newline after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flag {
    /// The file.
    pub file: PathBuf,
    /// Its value while the mitigation is in place.
    pub on: String,
    /// Its value otherwise. With any other, nothing is done.
    pub off: String,
}

/// A file that holds a number. The one that it held is recorded, and comes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// The file.
    pub file: PathBuf,
    /// The number while the mitigation is in place.
    pub on: f64,
}

// A number of a file is never NaN here: it was read from one that was checked.
impl Eq for Throttle {}

/// Commands without a shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commands {
    /// Brings it about.
    #[serde(rename = "do")]
    pub apply: Vec<String>,
    /// Takes it back; also run where `do` was broken off half-way, so it must be harmless then.
    pub undo: Vec<String>,
    /// Prints the state.
    pub state: Vec<String>,
    /// What `state` prints while the mitigation is in place.
    pub on: String,
    /// What it prints otherwise. With any other, nothing is done.
    pub off: String,
}

fn minute() -> Span {
    Span::from_secs(60)
}

impl Mitigations {
    /// Reads a file of mitigations, which must have a digest where one is given. Relative paths and commands in it start at its
    /// directory.
    ///
    /// # Errors
    /// [`ErrorKind::PolicyInvalid`], where it cannot be read, is another one, or is wrong.
    pub fn load(path: &Path, sha256: Option<&str>) -> Result<Self, Error> {
        let unreadable = |error| Error::io(ErrorKind::PolicyInvalid, "read mitigations", path, error);
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let directory = std::path::absolute(path).map_err(unreadable)?;
        let directory = directory.parent().map(Path::to_path_buf).unwrap_or_default();
        let invalid = |what: &str| {
            Error::new(ErrorKind::PolicyInvalid, format!("mitigations {}: {what}", path.display()))
        };
        let keys: Keys = toml::from_str(&text).map_err(|error| invalid(&Error::in_toml(&text, &error)))?;
        if keys.schema != SCHEMA {
            return Err(invalid(&format!(
                "schema `{}` is not known; this version reads `{SCHEMA}`",
                keys.schema
            )));
        }
        if keys.mitigation.is_empty() {
            return Err(invalid("it allows nothing; write `[[mitigation]]` and `name = \"…\"`"));
        }
        let mut names = HashSet::new();
        for one in &keys.mitigation {
            if !names.insert(&one.name) {
                return Err(invalid(&format!("there are two of the name `{}`", one.name)));
            }
            if let Some(what) = one.wrong() {
                return Err(invalid(&format!("`{}`: {what}", one.name)));
            }
        }
        let actual = sha256_hex(text.as_bytes());
        if let Some(wanted) = sha256.filter(|wanted| *wanted != actual) {
            return Err(invalid(&format!("its digest is {actual}, expected {wanted}")));
        }
        Ok(Self { keys, sha256: actual, directory })
    }

    /// The name of the file's policy.
    pub fn name(&self) -> &str {
        &self.keys.name
    }

    /// The digest of its text.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// All that may be done.
    pub fn iter(&self) -> impl Iterator<Item = &Mitigation> {
        self.keys.mitigation.iter()
    }

    /// The one of this name.
    ///
    /// # Errors
    /// [`ErrorKind::MitigationRefused`], where there is none: only what is listed may be done.
    pub fn get(&self, name: &str) -> Result<&Mitigation, Error> {
        self.iter().find(|one| one.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.iter().map(|one| one.name.as_str()).collect();
            let known = known.join("`, `");
            let message =
                format!("mitigation `{name}` is not allowed; policy `{}` allows `{known}`", self.name());
            Error::new(ErrorKind::MitigationRefused, message)
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Mitigation {
    fn wrong(&self) -> Option<String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if self.name.is_empty() || !self.name.chars().all(is_name) {
            return Some("a name has letters, digits, `-` and `_`".to_owned());
        }
        let given = [self.flag.is_some(), self.throttle.is_some(), self.command.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            return Some("it needs exactly one of `flag`, `throttle` and `command`".to_owned());
        }
        if !self.verify.is_empty() && self.checks.is_some() {
            return Some("give either `verify` or `checks`".to_owned());
        }
        let same =
            |on: &str, off: &str| on.trim() == off.trim() || on.trim().is_empty() || off.trim().is_empty();
        if let Some(flag) = &self.flag
            && same(&flag.on, &flag.off)
        {
            return Some("`on` and `off` are two different values, and neither is empty".to_owned());
        }
        if self.throttle.as_ref().is_some_and(|throttle| !throttle.on.is_finite()) {
            return Some("`on` is not a finite number".to_owned());
        }
        let Some(command) = &self.command else { return None };
        let empty = |argv: &[String]| argv.first().is_none_or(String::is_empty);
        if same(&command.on, &command.off) {
            return Some("`on` and `off` are two different states, and neither is empty".to_owned());
        }
        if empty(&command.undo) {
            return Some("`undo` names no program; what cannot be taken back is no mitigation".to_owned());
        }
        let other = [("do", &command.apply), ("state", &command.state)];
        let missing = other.iter().find(|(_, argv)| empty(argv));
        missing.map(|(name, _)| format!("`{name}` names no program"))
    }
}

impl fmt::Display for Mitigation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(flag) = &self.flag {
            write!(f, "set {} from `{}` to `{}`", flag.file.display(), flag.off.trim(), flag.on.trim())?;
        } else if let Some(throttle) = &self.throttle {
            write!(f, "set {} to {}", throttle.file.display(), throttle.on)?;
        } else if let Some(command) = &self.command {
            write!(f, "run `{}`, taken back by `{}`", command.apply.join(" "), command.undo.join(" "))?;
        }
        if !self.verify.is_empty() {
            write!(f, "; then `{}` must succeed within {}", self.verify.join(" "), self.verify_within)?;
        }
        if let Some(checks) = &self.checks {
            write!(f, "; then the gates of {} must pass within {}", checks.display(), self.verify_within)?;
        }
        write!(f, "; for at most {}", self.max_duration)
    }
}
