//! `drill`: puts a fault into a system on purpose, and measures how it recovers.

use crate::settings::Settings;
use ops_cli::{Context, Exit, Failure, Format, output};
use ops_gates::drill::{Drill, DrillOutcome, DrillRecord, carry_out};
use ops_gates::{Options, ReadOptions};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Which drill is carried out.
#[derive(Debug, clap::Args)]
pub(crate) struct DrillArgs {
    /// The drill
    pub(crate) drill: PathBuf,
    /// Leave everything in this directory, which must not hold a drill yet [default: a new one in ./ops-gate-runs]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Sign the evidence with this private key (ed25519, PKCS#8 PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) signing_key: Option<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    schema: &'static str,
    dir: &'a Path,
    drill: &'a DrillRecord,
}

/// Reads a drill, and registers the secrets of its checks.
pub(crate) fn load(path: &Path, read: &ReadOptions) -> Result<Drill, Failure> {
    Drill::load(path, read).map_err(|error| Failure::from_error(Exit::Input, &error))
}

/// Carries a drill out, or only says what would be done.
pub(crate) async fn drill(
    drill: &Drill,
    options: &Options,
    directory: &Path,
    dry_run: bool,
    context: &Context<Settings>,
) -> Result<Exit, Failure> {
    if dry_run {
        output::text(&drill.summary()).map_err(stdout)?;
        return Ok(Exit::Done);
    }
    let record = carry_out(drill, options, directory, context.stop.token()).await.map_err(|error| {
        let exit = match error.kind() {
            ops_gates::ErrorKind::RunDirectory => Exit::CannotCreate,
            _ => Exit::Io,
        };
        Failure::from_error(exit, &error)
    })?;
    let written = match context.format {
        Format::Json => output::json(&Answer { schema: "ops-gate/drill/v1", dir: directory, drill: &record }),
        Format::Text => {
            output::text(&format!("{}\ndrill directory: {}", record.markdown(), directory.display()))
        }
    };
    written.map_err(stdout)?;
    Ok(match record.outcome {
        DrillOutcome::Passed => Exit::Done,
        DrillOutcome::Failed => Exit::No,
        _ => Exit::Unjudged,
    })
}

fn stdout(error: std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("cannot write to stdout: {error}"))
}
