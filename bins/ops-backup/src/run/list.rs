//! `list` and `metrics`: what the repository holds.

use super::Answered;
use crate::args::MetricsArgs;
use crate::failed::failed;
use crate::open;
use crate::render::Answer;
use crate::settings::BackupSettings;
use jiff::Timestamp;
use ops_backup::{Inventory, metrics as prometheus};
use ops_cli::{Exit, Failure};
use std::path::Path;

pub(super) async fn list(settings: &BackupSettings) -> Answered {
    let inventory = inventory(settings).await?;
    let nothing = inventory.clusters.is_empty() && inventory.trees.is_empty();
    let exit = if nothing { Exit::Nothing } else { Exit::Done };
    Ok((Answer::Inventory(Box::new(inventory)), exit))
}

pub(super) async fn metrics(args: &MetricsArgs, settings: &BackupSettings) -> Answered {
    let text = prometheus::render(&inventory(settings).await?, Timestamp::now());
    if let Some(file) = &args.write {
        replace(file, &text).map_err(|error| {
            Failure::new(
                Exit::CannotCreate,
                format!("the metrics {} cannot be written: {error}", file.display()),
            )
        })?;
    }
    Ok((Answer::Metrics { text, written: args.write.clone() }, Exit::Done))
}

async fn inventory(settings: &BackupSettings) -> Result<Inventory, Failure> {
    ops_backup::list(&open::repository(settings).await?).await.map_err(|error| failed(&error))
}

/// A collector that reads meanwhile sees the old file or the new one. Two writers at once do not mix.
fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    let mut partial = file.as_os_str().to_owned();
    // A collector reads *.prom: this ends otherwise.
    partial.push(format!(".{}.partial", std::process::id()));
    let written = std::fs::write(&partial, text).and_then(|()| std::fs::rename(&partial, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    written
}
