//! Where finished lines go.

mod counts;
mod file;
mod output;
mod ring;

use std::io::{self, IsTerminal, Write};

pub use counts::LinesLost;
pub use file::{FileWriter, Rotation};
pub(crate) use output::{Announce, Output};
pub use ring::{RingOptions, WhenFull};

/// Takes finished lines, newline included.
///
/// Contract: one call is one line, or several whole ones where [`LineWriter::accepts_batches`] says so; lines of several
/// threads are never mixed; a call never panics. An error means that the lines of the call are lost; they are counted in
/// [`Telemetry::lines_lost`](crate::Telemetry::lines_lost).
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

    /// Tells whether one call may carry several lines. A pipe that other processes write to as well takes them one by
    /// one: a longer write could be torn.
    fn accepts_batches(&self) -> bool {
        false
    }

    /// Opens the destination again, after another program has moved it away.
    ///
    /// # Errors
    /// Where it cannot be opened; lines go on to the old one then.
    fn reopen(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to the standard error stream.
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

/// Writes to the standard output stream, for a service whose output is its log.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdoutWriter;

impl LineWriter for StdoutWriter {
    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        // The stream is buffered up to its last newline, so this is one write.
        let mut stdout = io::stdout().lock();
        stdout.write_all(line)?;
        stdout.flush()
    }

    fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }
}
