//! The end of the story: the table, and the count of log lines that carry the trace.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::Path;

/// What the log files of a run hold.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    /// Files that have at least one line.
    pub(crate) files: usize,
    /// Lines in all of them.
    pub(crate) lines: usize,
}

/// Reads every log of the run and fails on the first line without the trace id.
pub(crate) fn check_logs(folder: &Path, trace_id: &str) -> Result<Logs> {
    let mut logs = Logs::default();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("{} cannot be listed", folder.display()))?
    {
        let path = entry?.path();
        let text = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let text = String::from_utf8_lossy(&text);
        let mut lines = 0;
        for line in text.lines().filter(|line| !line.is_empty()) {
            // PostgreSQL continues a long message on lines that begin with a tab: they belong to the line above.
            ensure!(
                line.contains(trace_id) || line.starts_with('\t'),
                "{}: a log line without the trace id: {line}",
                path.display()
            );
            lines += 1;
        }
        logs.files += usize::from(lines > 0);
        logs.lines += lines;
    }
    ensure!(logs.lines > 0, "no process of the run left a log line");
    Ok(logs)
}

/// A number of a record's measurements; None where it was not measured.
pub(crate) fn measurement(record: &Value, name: &str) -> Option<f64> {
    record.get("measurements")?.get(name)?.as_f64()
}

/// A number of seconds for people, or that it is unknown.
pub(crate) fn seconds(record: &Value, name: &str) -> String {
    measurement(record, name).map_or_else(|| "unknown".into(), |seconds| format!("{seconds:.3} s"))
}
