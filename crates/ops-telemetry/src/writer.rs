//! Where finished lines go.

use std::io::{self, IsTerminal, Write};

/// Takes finished lines, newline included.
///
/// Contract: one call is one line; lines of several threads are never mixed; a call never panics. An error means that
/// the line is lost; it is counted in [`Telemetry::lines_lost`](crate::Telemetry::lines_lost).
pub trait LineWriter: Send + Sync {
    /// Writes one line.
    ///
    /// # Errors
    /// Whatever the sink reports; the line counts as lost then.
    fn write_line(&self, line: &[u8]) -> io::Result<()>;

    /// Tells whether a person reads along, which is when [`LogFormat::Auto`](crate::LogFormat::Auto) means the human format.
    fn is_terminal(&self) -> bool {
        false
    }
}

/// Writes to the standard error stream, in the calling thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct StderrWriter;

impl LineWriter for StderrWriter {
    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        // `eprint!` would panic here when the reader is gone.
        io::stderr().lock().write_all(line)
    }

    fn is_terminal(&self) -> bool {
        io::stderr().is_terminal()
    }
}
