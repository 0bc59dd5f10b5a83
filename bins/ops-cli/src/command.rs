//! What a binary is: its arguments, its settings, and its work.

#[cfg(doc)]
use crate::common::LogSettings;
use crate::common::{CommonArgs, Flag};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::layers::Parts;
use crate::output::Format;
#[cfg(doc)]
use crate::sources::SourceSettings;
use crate::stop::Stop;
use ops_secrets::{Masker, Profile, References};
use ops_telemetry::TraceContext;
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

    /// Settings that are no secrets, but may be references to where a secret stands: connection strings.
    const MAY_REFER: &'static [&'static str] = &[];

    /// The arguments that every binary has.
    fn common(&self) -> &CommonArgs;

    /// The flags that override settings.
    fn flags(&self) -> Vec<Flag>;

    /// Does the work.
    fn run(self, context: Context<Self::Settings>) -> impl Future<Output = Result<Exit, Failure>> + Send;

    /// Does the work where that needs neither a runtime, which costs more to start than a short call takes, nor all settings;
    /// `None` where [`run`] is to do it. A signal ends the process meanwhile, as it does one that has no handlers.
    ///
    /// [`run`]: Command::run
    fn run_at_once(&self, parts: &Parts<'_>) -> Option<Result<Exit, Failure>> {
        let _ = parts;
        None
    }

    /// The exit of a failure; a command with a contract of its own changes it.
    fn failure_exit(&self) -> fn(Exit) -> Exit {
        |exit| exit
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
