//! The command line of `ops-secrets`, and its settings.

use clap::{Args as ClapArgs, Parser, Subcommand};
use ops_cli::{CommonArgs, LogSettings};
use serde::Deserialize;
use std::ffi::OsString;
use std::path::PathBuf;

/// The defaults of every setting: there is none of its own yet.
pub(crate) const DEFAULTS: &str = "";

/// Everything that `ops-secrets` can be told.
#[derive(Debug, Deserialize)]
pub(crate) struct Settings {
    /// The table `[log]`; read by the common code.
    #[expect(dead_code, reason = "declared so that its keys are known; the common code reads it")]
    pub(crate) log: LogSettings,
}

const EXAMPLES: &str = "Examples:
  ops-secrets exec --env DATABASE_PASSWORD -- ./migrate.sh
  ops-secrets exec --file DATABASE_PASSWORD=/run/secrets/db -- psql -c 'select 1'

Exit codes: that of the command; 64 usage, 65 a secret cannot be read, 69 the command does not start, 128+N it died of signal N.";

/// Run commands without letting a secret reach a terminal or a log
#[derive(Debug, Parser)]
#[command(name = "ops-secrets", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Run a command with secrets in its environment, masked in all that it prints
    Exec(ExecArgs),
}

/// The arguments of `exec`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ExecArgs {
    /// A variable of our environment that is secret: passed on, and masked
    #[arg(long = "env", value_name = "NAME")]
    pub(crate) variables: Vec<String>,
    /// A secret in a file, given to the command as the variable NAME; one newline at its end is no part of it
    #[arg(long = "file", value_name = "NAME=PATH")]
    pub(crate) files: Vec<String>,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// A secret in a file, and the variable that takes it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SecretFile {
    pub(crate) variable: String,
    pub(crate) path: PathBuf,
}

/// Reads `NAME=PATH`; None where it is something else.
pub(crate) fn secret_file(word: &str) -> Option<SecretFile> {
    let (variable, path) = word.split_once('=')?;
    let usable = !variable.is_empty() && !path.is_empty();
    usable.then(|| SecretFile { variable: variable.to_owned(), path: path.into() })
}

#[cfg(test)]
mod tests {
    use super::secret_file;

    #[test]
    fn a_file_needs_a_name_and_a_path() {
        for (word, expected) in [("A=/b=c", Some("/b=c")), ("A", None), ("=b", None), ("A=", None)] {
            assert_eq!(
                secret_file(word).map(|file| file.path.display().to_string()).as_deref(),
                expected,
                "{word}"
            );
        }
    }
}
