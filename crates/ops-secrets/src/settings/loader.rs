//! The loader: collects the layers and makes typed settings of them.

use super::merge::Merged;
use super::report::{Entry, Report};
use super::values::{secret_texts, texts};
use crate::error::{Error, ErrorKind, Problem};
use crate::mask::{Masker, decoded, passwords};
use crate::schema::Schema;
use crate::source::{Environment, Gathered, TomlText, Warning, from_text, open_to_others};
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Loads settings of type `T`, a struct that derives `Deserialize` and has [`Secret`](crate::Secret) fields.
///
/// The layers, lowest first: defaults, the TOML file, the environment with its `_FILE` variables, flags. Which settings
/// there are is read from the type itself, so variables are looked up by name and never guessed, a text is read as what
/// its setting accepts, and what is misspelt is told.
///
/// - `backup.s3.region` is set by `OPS_BACKUP_S3_REGION`, where `OPS_` is the prefix.
/// - `OPS_BACKUP_PASSWORD_FILE` names a file that holds the value; one line end at its end is not part of it.
/// - An empty variable counts as not set.
/// - Passwords within connection strings are masked too, and so is every value that a secret had in a lower layer.
///
/// Two things a type cannot tell: what stands in a `#[serde(flatten)]`, which is refused, and in an untagged or internally
/// tagged enum, which is never shown but whose secrets are not masked elsewhere.
pub struct Loader<T> {
    defaults: String,
    file: Option<PathBuf>,
    environment: Environment,
    prefix: String,
    foreign: Vec<String>,
    flags: Vec<Flag>,
    masker: Masker,
    settings: PhantomData<fn() -> T>,
}

struct Flag {
    key: String,
    value: String,
    name: String,
}

/// Settings, and where they came from.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The settings, all layers applied.
    pub settings: T,
    /// Where each came from.
    pub report: Report,
}

impl<T: DeserializeOwned> Loader<T> {
    /// A loader without any source.
    pub fn new() -> Self {
        Self {
            defaults: String::new(),
            file: None,
            environment: Environment::default(),
            prefix: String::new(),
            foreign: Vec::new(),
            flags: Vec::new(),
            masker: Masker::new(),
            settings: PhantomData,
        }
    }

    /// Sets the defaults, as TOML text.
    #[must_use]
    pub fn defaults_toml(mut self, text: &str) -> Self {
        text.clone_into(&mut self.defaults);
        self
    }

    /// Registers every secret that is loaded, used or shadowed, with this masker; also where loading fails.
    #[must_use]
    pub fn masker(mut self, masker: Masker) -> Self {
        self.masker = masker;
        self
    }

    /// Reads this TOML file, which must exist.
    #[must_use]
    pub fn toml_file(mut self, path: &Path) -> Self {
        self.file = Some(path.to_owned());
        self
    }

    /// Reads the variables that begin with a prefix; of `std::env::vars_os()`, for example.
    #[must_use]
    pub fn env_vars(
        mut self,
        prefix: &str,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        prefix.clone_into(&mut self.prefix);
        self.environment = Environment::new(prefix, variables);
        self
    }

    /// Names top-level tables that belong to other programs: neither they nor their variables are unknown.
    #[must_use]
    pub fn foreign_tables<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.foreign.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// Sets one setting by a flag, over all other layers.
    #[must_use]
    pub fn flag(mut self, key: &str, value: &str, name: &str) -> Self {
        self.flags.push(Flag { key: key.into(), value: value.into(), name: name.into() });
        self
    }

    /// Loads the settings.
    ///
    /// # Errors
    /// The error names every setting that cannot be used, where its value came from and what would be accepted; never
    /// the value.
    pub fn load(self) -> Result<Loaded<T>, Error> {
        let schema = Schema::of::<T>()?;
        let mut gathered = Gathered::default();
        TomlText { text: &self.defaults, file: None, foreign: &self.foreign }.gather(&schema, &mut gathered);
        if let Some(problem) = gathered.problems.first() {
            return Err(Error::new(ErrorKind::InvalidDefinition, problem.to_string()));
        }
        let unreadable =
            self.file.as_deref().and_then(|path| self.gather_file(path, &schema, &mut gathered).err());
        self.environment.gather(&schema, &self.foreign, &mut gathered);
        self.gather_flags(&schema, &mut gathered);
        // Before anything can fail: what fails later may carry the values elsewhere.
        self.register(&schema, &mut gathered);
        if let Some(error) = unreadable.or_else(|| Error::of(gathered.problems)) {
            return Err(error);
        }
        let merged = Merged::of(&gathered.given);
        let settings = merged.extract(&schema)?;
        let entry = |setting| {
            Entry::new(setting, &self.prefix, merged.get(setting.key.as_str()), &gathered.given, &self.masker)
        };
        let entries = schema.settings.iter().map(entry).collect();
        Ok(Loaded { settings, report: Report { entries, warnings: gathered.warnings } })
    }

    fn gather_file(&self, path: &Path, schema: &Schema, into: &mut Gathered) -> Result<(), Error> {
        let name = path.display().to_string();
        let failed =
            |error| Error::new(ErrorKind::Unreadable, format!("{name} cannot be read")).caused_by(error);
        let mode = open_to_others(&fs::metadata(path).map_err(failed)?);
        let bytes = Zeroizing::new(fs::read(path).map_err(failed)?);
        let Ok(text) = str::from_utf8(&bytes) else {
            into.problems.push(Problem::new(ErrorKind::Syntax, format!("{name} is not UTF-8")));
            return Ok(());
        };
        let before = into.given.len();
        TomlText { text, file: Some(name.clone()), foreign: &self.foreign }.gather(schema, into);
        let holds_secret = into.given[before..].iter().any(|given| {
            let setting = schema.find(&given.key);
            setting.is_some_and(|setting| {
                secret_texts(&given.value, &setting.node).iter().any(|text| !text.is_empty())
            })
        });
        into.warnings.extend(
            mode.filter(|_| holds_secret).map(|mode| Warning::OpenFile { path: path.to_owned(), mode }),
        );
        Ok(())
    }

    fn gather_flags(&self, schema: &Schema, into: &mut Gathered) {
        for Flag { key, value, name } in &self.flags {
            let origin = format!("flag {name}");
            let Some(setting) = schema.find(key) else {
                into.refuse(ErrorKind::InvalidDefinition, key, &origin, "there is no such setting");
                continue;
            };
            match from_text(value, &setting.node) {
                Ok(value) => into.give(key, &origin, value),
                Err(why) => into.refuse(ErrorKind::InvalidValue, key, &origin, why),
            }
        }
    }

    fn register(&self, schema: &Schema, gathered: &mut Gathered) {
        let mut secrets: Vec<(String, Zeroizing<String>)> = Vec::new();
        let mut odd = Vec::new();
        for given in &gathered.given {
            let Some(setting) = schema.find(&given.key) else { continue };
            for text in secret_texts(&given.value, &setting.node).into_iter().map(Zeroizing::new) {
                if text.trim() != text.as_str() || text.contains(['\0', '\u{feff}']) {
                    odd.push(Warning::OddSecret { key: given.key.clone(), source: given.origin.clone() });
                }
                secrets.push((given.key.clone(), text));
            }
            for text in texts(&given.value) {
                let within = passwords(&text).into_iter().flat_map(|span| decoded(&text[span]));
                secrets.extend(within.map(|password| (given.key.clone(), Zeroizing::new(password))));
            }
        }
        self.masker.register_all(secrets.iter().map(|(key, text)| (key.as_str(), text.as_str())));
        let unmaskable = self.masker.unmaskable().into_iter().filter(|key| schema.find(key).is_some());
        gathered.warnings.extend(odd.into_iter().chain(unmaskable.map(|key| Warning::Unmaskable { key })));
    }
}

impl<T: DeserializeOwned> Default for Loader<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Loader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader")
            .field("file", &self.file)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
