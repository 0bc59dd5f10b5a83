//! Small files that a check reads: reports, lists, documents. Their size is bounded, and they may be on a slow disk.

use crate::gate::{Context, Program};
use crate::outcome::{Fault, Finding};
use crate::value::Text;
use serde::de::DeserializeOwned;
use std::path::Path;

/// How much of a program's output is read.
const OUTPUT: usize = 64 * 1024 * 1024;

/// A report of a scanner over a large image has some tens of megabytes; beyond this something is wrong.
const LIMIT: u64 = 256 * 1024 * 1024;

/// The text of a file. One that is missing or empty is not evidence of anything.
pub(super) async fn text(context: &Context<'_>, path: &Text) -> Result<String, Finding> {
    let (shown, path) = (path.to_string(), context.path(path)?);
    let read = tokio::task::spawn_blocking(move || bounded(&path)).await;
    let read = read.map_err(|_| Finding::error(Fault::Internal, "panic", "the reading of a file stopped"))?;
    let text = read.map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let code = if missing { "file-missing" } else { "file-unreadable" };
        Finding::error(Fault::Unresolved, code, format!("cannot read {shown}: {error}"))
    })?;
    if text.trim().is_empty() {
        return Err(Finding::error(Fault::NoData, "file-empty", format!("{shown} is empty")));
    }
    Ok(text)
}

fn bounded(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > LIMIT {
        return Err(std::io::Error::other("it is too large"));
    }
    std::fs::read_to_string(path)
}

/// Reads JSON that a tool wrote; `what` names it.
pub(super) fn json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, Finding> {
    serde_json::from_str(text).map_err(|error| {
        Finding::error(Fault::Parse, "not-understood", format!("{what} is not understood: {error}"))
    })
}

/// Reads TOML that a person wrote; `what` names it.
pub(super) fn toml<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, Finding> {
    toml::from_str(text).map_err(|error| {
        let place = error.span().map(|span| format!(" in line {}", line_of(text, span.start)));
        let message = error.message().replace('\n', "; ");
        let reason = format!("{what} is not understood{}: {message}", place.unwrap_or_default());
        Finding::error(Fault::Parse, "not-understood", reason)
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or(text).matches('\n').count() + 1
}

/// What a program says on its standard output, where it ends with one of the exit codes that mean an answer.
pub(super) async fn answer(context: &Context<'_>, run: &[Text], answers: &[i32]) -> Result<String, Finding> {
    let resolved: Result<Vec<String>, Finding> = run.iter().map(|text| context.resolve(text)).collect();
    program(context, resolved?, answers).await
}

/// As [`answer`], with arguments that were made here.
pub(super) async fn program(
    context: &Context<'_>,
    mut run: Vec<String>,
    answers: &[i32],
) -> Result<String, Finding> {
    if run.is_empty() {
        return Err(Finding::error(Fault::Unresolved, "not-started", "no program is named"));
    }
    let name = run.remove(0);
    let mut program = Program::new(&name).args(run);
    program.keep = OUTPUT;
    let ran = context.run(program).await?;
    let code = ran
        .code()
        .ok_or_else(|| Finding::error(Fault::Tool, "tool", format!("`{name}` was ended by a signal")))?;
    if !answers.contains(&code) {
        let reason = format!("`{name}` ended with exit code {code}, which is no answer");
        return Err(Finding::error(Fault::Tool, "tool", reason));
    }
    if ran.stdout.len() >= OUTPUT {
        return Err(Finding::error(Fault::Parse, "too-much", format!("`{name}` wrote more than is read")));
    }
    String::from_utf8(ran.stdout)
        .map_err(|_| Finding::error(Fault::Parse, "not-understood", format!("`{name}` did not write UTF-8")))
}
