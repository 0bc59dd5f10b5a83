//! The answer on stdout, as text or JSON; the only writer of stdout in the binaries.
//!
//! A reader that went away (`| head`) is a success: it had what it wanted.

use std::io::{ErrorKind, Write as _};

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON document, or one a line, each with a `schema` field.
    Json,
}

/// Writes a text and ends it with a newline.
///
/// # Errors
/// Fails where stdout cannot be written for another reason than a reader that went away.
pub fn text(text: &str) -> std::io::Result<()> {
    let mut bytes = text.trim_end_matches('\n').as_bytes().to_vec();
    bytes.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(&bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes one JSON document on one line.
///
/// # Errors
/// As [`text`], and where the value cannot be serialised.
pub fn json(value: &impl serde::Serialize) -> std::io::Result<()> {
    text(&serde_json::to_string(value)?)
}
