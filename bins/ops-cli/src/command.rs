//! What a binary is: its arguments, its settings, and its work.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Format;
#[cfg(doc)]
use crate::sources::SourceSettings;
use crate::stop::Stop;
use ops_secrets::{Masker, Profile, References};
use ops_telemetry::TraceContext;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::path::PathBuf;

/// A binary: its arguments, its settings, and its work.
pub trait Command: clap::Parser + Send {
    /// The settings, with a `log` field of type [`LogSettings`] and a `secrets` field of type [`SourceSettings`] beside the
    /// binary's own table.
    type Settings: DeserializeOwned + Send;

    /// The name of the binary, which the logs carry as `service.name`.
    const NAME: &'static str;

    /// The name of the binary's table in the settings file.
    const TABLE: &'static str;

    /// The defaults, as TOML.
    const DEFAULTS: &'static str;

    /// The arguments that every binary has.
    fn common(&self) -> &CommonArgs;

    /// The flags that override settings.
    fn flags(&self) -> Vec<Flag>;

    /// Does the work.
    fn run(self, context: Context<Self::Settings>) -> impl Future<Output = Result<Exit, Failure>> + Send;

    /// Does the work where that needs no runtime, which costs more to start than a short call takes; `None` where [`run`]
    /// is to do it. A signal ends the process meanwhile, as it does one that has no handlers.
    ///
    /// [`run`]: Command::run
    fn run_at_once(&self, settings: &Self::Settings) -> Option<Result<Exit, Failure>> {
        let _ = settings;
        None
    }

    /// The exit of a failure; a command with a contract of its own changes it.
    fn failure_exit(&self) -> fn(Exit) -> Exit {
        |exit| exit
    }
}

/// The arguments that every binary has.
#[derive(Debug, Clone, clap::Args)]
pub struct CommonArgs {
    /// Read settings from this TOML file instead of ./ops.toml
    #[arg(long, global = true, value_name = "FILE", help_heading = "Common options")]
    pub config: Option<PathBuf>,
    /// Lay the file of a profile (dev, stage, prod) over ops.toml: ops.prod.toml beside it
    #[arg(long, global = true, value_name = "NAME", help_heading = "Common options")]
    pub profile: Option<Profile>,
    /// Read OPS_ variables from this .env file too, below those of the environment
    #[arg(long, global = true, value_name = "FILE", help_heading = "Common options")]
    pub env_file: Option<PathBuf>,
    /// How the answer is written
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Common options")]
    pub format: Format,
    /// How log lines are written to stderr
    #[arg(long, global = true, value_enum, value_name = "FORMAT", help_heading = "Common options")]
    pub log_format: Option<LogFormat>,
    /// What is logged, for example `info` or `warn,ops_backup=debug`
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Common options")]
    pub log_level: Option<String>,
    /// Print every setting, where it came from, with secrets masked, and stop
    #[arg(long, global = true, help_heading = "Common options")]
    pub show_config: bool,
    /// Print the `.env.example` of the settings, and stop. `ops-secrets example` and `check` ask for it, people ask those.
    #[arg(long, global = true, hide = true)]
    pub env_example: bool,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// The `[log]` table of the settings.
#[derive(Debug, Clone, Deserialize)]
pub struct LogSettings {
    /// How log lines are written.
    pub format: LogFormat,
    /// What is logged.
    pub level: String,
}

/// A setting that was given as a flag.
#[derive(Debug, Clone)]
pub struct Flag {
    /// The key, for example `backup.repo`.
    pub key: &'static str,
    /// The flag as typed, for example `--repo`.
    pub name: &'static str,
    /// The value as typed.
    pub value: String,
}

impl Flag {
    /// A flag, where it was given.
    pub fn given(key: &'static str, name: &'static str, value: Option<impl ToString>) -> Option<Flag> {
        value.map(|value| Flag { key, name, value: value.to_string() })
    }
}

/// What a command works with.
#[derive(Debug)]
pub struct Context<S> {
    /// The settings, all layers applied.
    pub settings: S,
    /// How the answer is written.
    pub format: Format,
    /// Ends the work when a signal comes.
    pub stop: Stop,
    /// Knows every loaded secret; hand it to whatever writes text.
    pub masker: Masker,
    /// Resolves references that stand outside the settings, as those of the command line.
    pub references: References,
    /// The trace of this process.
    pub trace: TraceContext,
    /// The settings file that was read, absolute, for commands that call themselves later.
    pub config_file: Option<PathBuf>,
    /// The profile whose file lies over it.
    pub profile: Option<Profile>,
}
