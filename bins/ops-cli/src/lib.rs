//! What every binary of this workspace shares.
//!
//! A binary declares its arguments ([`Command`]), its settings (a `Deserialize` struct with defaults in TOML), and one
//! async `run`. [`main`] does what all of them do in the same way: it reads the settings in layers, starts the logs
//! with a masker for every loaded secret, listens for signals, answers `--show-config`, prints a failure with its
//! hints, and turns the end into one documented exit code.
//!
//! Only [`output`] writes to stdout, and only [`failure`](Failure) lines go to stderr besides the logs.

mod command;
mod common;
mod exit;
mod failure;
mod layers;
mod life;
pub mod output;
pub mod sources;
mod stop;

pub use command::{Command, Context};
pub use common::{CommonArgs, Flag, LogFormat, LogSettings};
pub use exit::Exit;
pub use failure::Failure;
pub use layers::Parts;
pub use life::main;
pub use output::Format;
pub use sources::SourceSettings;
pub use stop::Stop;
