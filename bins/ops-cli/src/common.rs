//! What all binaries take: the arguments that every one has, the settings of the logs, and flags as settings.

use crate::output::Format;
use ops_secrets::Profile;
use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;

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

/// A setting that was given as a flag. Its `Debug` leaves the value out: it may hold a password.
#[derive(Clone)]
pub struct Flag {
    /// The key, for example `backup.repo`.
    pub key: &'static str,
    /// The flag as typed, for example `--repo`.
    pub name: &'static str,
    /// The value as typed.
    pub value: String,
}

impl fmt::Debug for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flag").field("key", &self.key).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Flag {
    /// A flag, where it was given.
    pub fn given(key: &'static str, name: &'static str, value: Option<impl ToString>) -> Option<Flag> {
        value.map(|value| Flag { key, name, value: value.to_string() })
    }
}
