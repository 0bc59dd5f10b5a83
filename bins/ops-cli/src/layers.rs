//! The settings of a binary, read in layers.

use crate::common::{CommonArgs, Flag, LogSettings};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::sources::{self, SourceSettings};
use ops_secrets::{ErrorKind, Loader, Masker, Problem, Profile, References};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// The file that is read where `--config` does not name one.
const DEFAULT_FILE: &str = "ops.toml";

/// The tables of the settings file: one file serves all binaries, and each reads its own beside those that all share.
const TABLES: [&str; 5] = ["backup", "gate", "guard", "log", "secrets"];

/// The table of `ops-secrets` alone below the one that all share.
const OWN_OF_SECRETS: &str = "secrets.postgres";

/// The defaults of the `[log]` table, added to those of every binary.
const LOG_DEFAULTS: &str = "
[log]
# How log lines are written to stderr; auto: human on a terminal, JSON elsewhere.
format = \"auto\"
# What is logged, for example `warn,ops_backup=debug`.
level = \"info\"
";

/// The part of the settings that the life of a command needs before all others.
#[derive(Debug, Deserialize)]
struct OnlyLog {
    log: LogSettings,
}

/// The part that says where references lead to.
#[derive(Debug, Deserialize)]
struct OnlySources {
    secrets: SourceSettings,
}

/// What of the settings is a binary's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    /// The name of its table.
    pub(crate) table: &'static str,
    /// Its defaults, as TOML.
    pub(crate) defaults: &'static str,
    /// Settings that are no secrets, but may be references.
    pub(crate) may_refer: &'static [&'static str],
}

impl Own {
    /// The defaults of all that the binary takes.
    pub(crate) fn all_defaults(&self) -> String {
        format!("{}{}{LOG_DEFAULTS}", self.defaults, sources::DEFAULTS)
    }
}

/// The layers of a command.
#[derive(Debug)]
pub(crate) struct Layers {
    common: CommonArgs,
    flags: Vec<Flag>,
    own: Own,
    /// The settings file: the named one, else ./ops.toml where it exists; absolute.
    pub(crate) file: Option<PathBuf>,
    pub(crate) profile: Option<Profile>,
}

impl Layers {
    pub(crate) fn of(common: &CommonArgs, flags: Vec<Flag>, own: Own) -> Result<Self, Failure> {
        let common = common.clone();
        let file = settings_file(&common);
        let profile = profile(&common)?;
        if let (Some(_), None, Some(profile)) = (common.profile, &file, profile) {
            let failure =
                Failure::new(Exit::Config, format!("--profile {profile}: there is no settings file"));
            return Err(failure.hint("the file of a profile lies over ./ops.toml or what --config names"));
        }
        let of_all = [
            Flag::given(
                "log.format",
                "--log-format",
                common.log_format.map(|format| format!("{format:?}").to_lowercase()),
            ),
            Flag::given("log.level", "--log-level", common.log_level.clone()),
        ];
        let flags = of_all.into_iter().flatten().chain(flags).collect();
        Ok(Self { common, flags, own, file, profile })
    }

    /// What the logs need; no secret is loaded with it.
    pub(crate) fn log(&self) -> Result<LogSettings, Failure> {
        let loader = self.loader::<OnlyLog>(LOG_DEFAULTS, &["log"], &Masker::new());
        Ok(loader.references(self.local()).load().map_err(failed)?.settings.log)
    }

    /// What references need.
    pub(crate) fn sources(&self, masker: &Masker) -> Result<SourceSettings, Failure> {
        let loader = self.loader::<OnlySources>(sources::DEFAULTS, &["secrets"], masker);
        let loader = loader.foreign_tables([OWN_OF_SECRETS]);
        Ok(loader.references(self.local()).load().map_err(failed)?.settings.secrets)
    }

    /// All that the binary takes.
    pub(crate) fn settings<T: DeserializeOwned>(&self, references: References, masker: &Masker) -> Loader<T> {
        let Own { table, may_refer, .. } = self.own;
        let loader = self.loader(&self.own.all_defaults(), &[table, "log", "secrets"], masker);
        let foreign = (table != "secrets").then_some(OWN_OF_SECRETS);
        let loader = loader.foreign_tables(foreign).references(references);
        may_refer.iter().fold(loader, |loader, key| loader.reference_in(key))
    }

    /// References that this process resolves alone. Not commands: whoever can write a setting could else run one.
    pub(crate) fn local(&self) -> References {
        let references = References::new().env_vars(std::env::vars_os());
        match self.file.as_deref().and_then(Path::parent) {
            Some(folder) => references.relative_to(folder),
            None => references,
        }
    }

    /// A loader of these tables; the others belong to other programs, or are read another time.
    fn loader<T: DeserializeOwned>(&self, defaults: &str, tables: &[&str], masker: &Masker) -> Loader<T> {
        let foreign = TABLES.into_iter().filter(|table| !tables.contains(table));
        let mut loader = Loader::<T>::new()
            .defaults_toml(defaults)
            .masker(masker.clone())
            .env_vars("OPS_", std::env::vars_os())
            .foreign_tables(foreign);
        if let Some(file) = &self.file {
            loader = loader.toml_file(file);
        }
        if let Some(profile) = self.profile {
            loader = loader.profile(profile);
        }
        if let Some(file) = &self.common.env_file {
            loader = loader.dotenv_file(file);
        }
        if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty()) {
            loader = loader.systemd_credentials(Path::new(&folder));
        }
        for flag in &self.flags {
            loader = loader.flag(flag.key, &flag.value, flag.name);
        }
        loader
    }
}

/// The settings by parts, before all of them are loaded: for what a call needs that is done at once, and must be done also where
/// another setting is wrong, or refers to a server that is away.
#[derive(Debug)]
pub struct Parts<'a> {
    layers: &'a Layers,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(layers: &'a Layers) -> Self {
        Self { layers }
    }

    /// Loads what `T` declares of the settings, no secret among it; `None` where that cannot be, and loading all tells why.
    pub fn load<T: DeserializeOwned>(&self) -> Option<T> {
        let loader = self.layers.loader::<T>(self.layers.own.defaults, &[], &Masker::new());
        loader.load().ok().map(|loaded| loaded.settings)
    }
}

/// A server that does not answer is no mistake in the settings.
pub(crate) fn failed(error: ops_secrets::Error) -> Failure {
    let exit = if error.is_unavailable() { Exit::Unavailable } else { Exit::Config };
    let failure = Failure::from_error(exit, &error);
    let unresolved = |problem: &Problem| problem.kind() == ErrorKind::UnresolvedReference;
    match error.problems().iter().any(unresolved) {
        true => failure.hint(
            "what a reference needs: [secrets.openbao] or BAO_ADDR and BAO_TOKEN, `identity` under [secrets.age], AWS_REGION and what AWS logs in with",
        ),
        false => failure,
    }
}

fn settings_file(common: &CommonArgs) -> Option<PathBuf> {
    let named =
        common.config.clone().or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.is_file()))?;
    Some(std::path::absolute(&named).unwrap_or(named))
}

/// The profile: of the flag, else of the environment.
fn profile(common: &CommonArgs) -> Result<Option<Profile>, Failure> {
    let named = std::env::var_os("OPS_PROFILE").filter(|name| !name.is_empty() && common.profile.is_none());
    let Some(named) = named else { return Ok(common.profile) };
    let parsed = named.to_str().unwrap_or_default().parse::<Profile>();
    let parsed = parsed.map_err(|error| Failure::new(Exit::Config, format!("env OPS_PROFILE: {error}")));
    parsed.map(Some)
}
