//! The loader: collects the layers and makes typed settings of them.

use super::layers::Layers;
use super::merge::Merged;
use super::profile::Profile;
use super::report::{Entry, Report};
use super::resolve::{resolved, wanted};
use super::values::{secret_texts, texts};
use crate::error::{Error, ErrorKind};
use crate::mask::{Masker, decoded, passwords};
use crate::reference::{References, Resolution, Wanted};
use crate::schema::{Schema, Setting};
use crate::source::{Gathered, Mount, Variables, Warning};
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use zeroize::Zeroizing;

/// Loads settings of type `T`, a struct that derives `Deserialize` and has [`Secret`](crate::Secret) fields.
///
/// The layers, lowest first: defaults, the TOML file, the file of the profile, a `.env` file, mounted folders, systemd
/// credentials, the environment with its `_FILE` variables, flags. Which settings there are is read from the type itself,
/// so variables are looked up by name and never guessed, a text is read as what its setting accepts, and what is misspelt
/// is told.
///
/// - `backup.s3.region` is set by `OPS_BACKUP_S3_REGION`, where `OPS_` is the prefix.
/// - `OPS_BACKUP_PASSWORD_FILE` names a file that holds the value; one line end at its end is not part of it.
/// - An empty variable counts as not set; an empty file is an error, and so is a secret that is set to nothing elsewhere
///   than in the defaults.
/// - Passwords within connection strings are masked too, and so is every value that a secret had in a lower layer.
///
/// Two things a type cannot tell: what stands in a `#[serde(flatten)]`, which is refused, and in an untagged or internally
/// tagged enum, which is never shown but whose secrets are not masked elsewhere.
pub struct Loader<T> {
    layers: Layers,
    references: References,
    /// Settings that are no secrets, but may hold references.
    asking: Vec<String>,
    masker: Masker,
    settings: PhantomData<fn() -> T>,
}

/// A setting that was given as a flag.
pub(super) struct Flag {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) name: String,
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
            layers: Layers::default(),
            references: References::new(),
            asking: Vec::new(),
            masker: Masker::new(),
            settings: PhantomData,
        }
    }

    /// Sets the defaults, as TOML text.
    #[must_use]
    pub fn defaults_toml(mut self, text: &str) -> Self {
        text.clone_into(&mut self.layers.defaults);
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
        self.layers.file = Some(path.to_owned());
        self
    }

    /// Lays the file of a profile over the TOML file, where there is one beside it: `ops.prod.toml` beside `ops.toml`.
    ///
    /// A file of its own and no table in the same one, so that it can have a mode, an owner and a history of its own. It
    /// may carry either name of the profile, `ops.prod.toml` or `ops.production.toml`; both at once are a conflict.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.layers.profile = Some(profile);
        self
    }

    /// Reads the variables of this `.env` file, which must exist; they lie below those of the process.
    ///
    /// It is read strictly: no expansion, no shell; a line that two tools would read differently is an error. With a
    /// profile other than [`Profile::Dev`] it is a conflict. Set the prefix with [`env_vars`](Self::env_vars).
    #[must_use]
    pub fn dotenv_file(mut self, path: &Path) -> Self {
        self.layers.dotenv = Some(path.to_owned());
        self
    }

    /// Reads a folder with one file a setting, which must exist: Docker's `/run/secrets`, or a mounted Kubernetes secret.
    ///
    /// `backup.s3.region` is read from `backup.s3.region`, `backup_s3_region` or `OPS_BACKUP_S3_REGION`; files with other
    /// names are left alone, and told where they look misspelt. Of several folders the last one lies on top.
    #[must_use]
    pub fn secrets_dir(mut self, folder: &Path) -> Self {
        self.layers.mounted.push((folder.to_owned(), Mount::Secrets));
        self
    }

    /// Reads the credentials that systemd gives a service; the folder is the value of `$CREDENTIALS_DIRECTORY`.
    #[must_use]
    pub fn systemd_credentials(mut self, folder: &Path) -> Self {
        self.layers.mounted.push((folder.to_owned(), Mount::Credentials));
        self
    }

    /// Reads the variables that begin with a prefix; of `std::env::vars_os()`, for example.
    #[must_use]
    pub fn env_vars(
        mut self,
        prefix: &str,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        prefix.clone_into(&mut self.layers.prefix);
        self.layers.variables = Variables::of_process(prefix, variables);
        self
    }

    /// Names tables that belong to others, by their paths (`gate`, `secrets.postgres`): what they have beside the settings of
    /// `T` is not looked at, be it in a file, a variable or a flag.
    #[must_use]
    pub fn foreign_tables<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.layers.foreign.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// Sets one setting by a flag, over all other layers.
    #[must_use]
    pub fn flag(mut self, key: &str, value: &str, name: &str) -> Self {
        self.layers.flags.push(Flag { key: key.into(), value: value.into(), name: name.into() });
        self
    }

    /// Gives what is needed to resolve references, such as `env://NAME` or `file://path`, in any layer.
    ///
    /// References stand where a [`Secret`](crate::Secret) is expected; another setting has to ask by
    /// [`reference_in`](Self::reference_in). Only the value that wins is resolved. A text that looks like a reference and
    /// cannot be resolved is an error, never a value.
    #[must_use]
    pub fn references(mut self, references: References) -> Self {
        self.references = references;
        self
    }

    /// Resolves references in a setting that is not secret by its type; what they lead to is masked all the same.
    #[must_use]
    pub fn reference_in(mut self, key: &str) -> Self {
        self.asking.push(key.to_owned());
        self
    }

    /// Loads the settings, with references that this process can resolve alone.
    ///
    /// # Errors
    /// The error names every setting that cannot be used, where its value came from and what would be accepted; never
    /// the value.
    pub fn load(self) -> Result<Loaded<T>, Error> {
        let _span = tracing::debug_span!("load_settings").entered();
        let prepared = self.prepare()?;
        let resolution = self.references.resolve(prepared.wanted(&self.asking));
        self.finish(prepared, resolution)
    }

    /// Loads the settings, with references to servers too; all documents are fetched at the same time.
    ///
    /// # Errors
    /// As [`load`](Self::load); and what a server refuses, by its kind.
    #[cfg(feature = "tokio")]
    pub async fn load_async(self) -> Result<Loaded<T>, Error> {
        use tracing::Instrument as _;
        let prepared = self.prepare()?;
        let wanted = prepared.wanted(&self.asking);
        let span = tracing::debug_span!("resolve_references", count = wanted.len());
        let resolution = self.references.resolve_async(wanted).instrument(span).await;
        self.finish(prepared, resolution)
    }

    fn prepare(&self) -> Result<Prepared, Error> {
        let schema = Schema::of::<T>()?;
        if let Some(key) = self.asking.iter().find(|key| schema.find(key).is_none()) {
            let message = format!("`{key}` asks for references, but there is no such setting");
            return Err(Error::new(ErrorKind::InvalidDefinition, message));
        }
        let (mut gathered, unreadable) = self.layers.gather(&schema)?;
        // Before anything can fail: what fails later may carry the values elsewhere.
        self.register(&schema, &mut gathered);
        if let Some(error) = unreadable.or_else(|| Error::of(std::mem::take(&mut gathered.problems))) {
            return Err(error);
        }
        let merged = Merged::of(&gathered.given);
        merged.refuse_empty(&schema)?;
        Ok(Prepared { schema, gathered, merged })
    }

    fn finish(&self, prepared: Prepared, mut resolution: Resolution) -> Result<Loaded<T>, Error> {
        let Prepared { schema, mut gathered, mut merged } = prepared;
        let values = resolution.values.iter();
        self.masker.register_all(values.map(|((key, _), found)| (key.as_str(), found.value.as_str())));
        let given = resolved(&merged, &gathered.given, &schema, &self.asking, &mut resolution);
        let mut over = Gathered { given, problems: resolution.problems, warnings: Vec::new() };
        self.register(&schema, &mut over);
        for (path, exposure) in &resolution.files {
            over.warn_exposed(path, *exposure);
        }
        if let Some(error) = Error::of(over.problems) {
            return Err(error);
        }
        if !over.given.is_empty() {
            gathered.replace(over.given);
            merged = Merged::of(&gathered.given);
        }
        over.warnings.retain(|warning| !gathered.warnings.contains(warning));
        gathered.warnings.extend(over.warnings);
        let settings = merged.extract(&schema)?;
        let entry = |setting: &Setting| {
            let found = merged.get(setting.key.as_str());
            Entry::new(setting, &self.layers.prefix, found, &gathered.given, &self.masker)
        };
        let entries = schema.settings.iter().map(entry).collect();
        Ok(Loaded { settings, report: Report { entries, warnings: gathered.warnings } })
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

/// All layers, read and merged; references stand in them still.
struct Prepared {
    schema: Schema,
    gathered: Gathered,
    merged: Merged,
}

impl Prepared {
    fn wanted(&self, asking: &[String]) -> Vec<Wanted> {
        wanted(&self.merged, &self.schema, asking)
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
            .field("file", &self.layers.file)
            .field("profile", &self.layers.profile)
            .field("prefix", &self.layers.prefix)
            .finish_non_exhaustive()
    }
}
