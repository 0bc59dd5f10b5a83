//! The profile: which environment a program runs in, and the files that go with it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The environment that a program runs in.
///
/// ```
/// use ops_secrets::Profile;
///
/// assert_eq!("production".parse(), Ok(Profile::Prod));
/// assert_eq!(Profile::Stage.to_string(), "stage");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Profile {
    /// A developer's machine: `dev`, also called `local`.
    Dev,
    /// Like production, without its data: `stage`, also called `staging`.
    Stage,
    /// `prod`, also called `production`.
    Prod,
}

/// A name that is not that of a profile; holds nothing, for the name may have come from anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no profile: expected dev (local), stage (staging) or prod (production)")]
pub struct UnknownProfile;

impl Profile {
    /// The names of a profile, its own first.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Dev => ["dev", "local"],
            Self::Stage => ["stage", "staging"],
            Self::Prod => ["prod", "production"],
        }
    }

    /// The files beside `ops.toml` that would hold this profile: `ops.prod.toml` and `ops.production.toml`.
    pub(super) fn files_beside(self, file: &Path) -> Vec<PathBuf> {
        let stem = file.file_stem().unwrap_or_default();
        let named = self.names().into_iter().map(|name| {
            let mut beside = stem.to_owned();
            beside.push(format!(".{name}"));
            if let Some(extension) = file.extension() {
                beside.push(".");
                beside.push(extension);
            }
            file.with_file_name(beside)
        });
        named.collect()
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        let all = [Self::Dev, Self::Stage, Self::Prod];
        all.into_iter().find(|profile| profile.names().contains(&name)).ok_or(UnknownProfile)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.names()[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stand_beside_the_settings_file() {
        for (file, expected) in [
            ("/etc/ops.toml", ["/etc/ops.prod.toml", "/etc/ops.production.toml"]),
            ("ops.toml", ["ops.prod.toml", "ops.production.toml"]),
            ("my.app.toml", ["my.app.prod.toml", "my.app.production.toml"]),
            ("settings", ["settings.prod", "settings.production"]),
        ] {
            assert_eq!(Profile::Prod.files_beside(Path::new(file)), expected.map(PathBuf::from));
        }
    }

    #[test]
    fn only_the_names_are_profiles() {
        for name in ["", "PROD", "prd", "test", "dev "] {
            assert_eq!(name.parse::<Profile>(), Err(UnknownProfile), "{name}");
        }
    }
}
