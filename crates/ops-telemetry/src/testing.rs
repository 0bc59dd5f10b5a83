//! For tests: lines in memory instead of on standard error.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::layer::SubscriberExt;

use crate::error::Error;
use crate::layer::TelemetryLayer;
use crate::options::Options;
use crate::writer::LineWriter;

/// Collects lines. Tests may run in parallel: [`Capture::run`] sees only what its own closure logs on its own thread.
///
/// ```
/// let capture = ops_telemetry::testing::Capture::default();
/// capture.run(Default::default(), || tracing::info!(answer = 42, "done"))?;
/// assert!(capture.lines()[0].contains("\"answer\":42"));
/// # Ok::<(), ops_telemetry::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Capture {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Capture {
    /// Runs `body` with telemetry as `options` say, its lines going here.
    ///
    /// # Errors
    /// As [`TelemetryLayer::new`].
    pub fn run<T>(&self, options: Options, body: impl FnOnce() -> T) -> Result<T, Error> {
        let layer = TelemetryLayer::new(Options { writer: Arc::new(self.clone()), ..options })?;
        Ok(tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), body))
    }

    /// Returns the lines so far, without their newline.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl LineWriter for Capture {
    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line)).into_owned();
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        Ok(())
    }
}
