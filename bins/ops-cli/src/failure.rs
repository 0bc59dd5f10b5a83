//! An error at the edge: what failed on what object, hints, and the exit code.

use crate::exit::Exit;
use std::error::Error;
use std::fmt;

/// Why a command ended without doing its work.
///
/// Its `Display` is one line: the message, then the chain of causes. Hints are separate lines, added here at the edge,
/// because only the command knows which flag would help.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    hints: Vec<String>,
}

impl Failure {
    /// A failure that says what failed on what object.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure { exit, message: one_line(&message.into()), hints: Vec::new() }
    }

    /// A failure from a library's error, with its whole chain of causes on one line.
    pub fn from_error(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        Failure::new(exit, chain(error))
    }

    /// Adds a line that says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(one_line(&hint.into()));
        self
    }

    /// The same failure with another exit code: a signal decides over what it interrupted.
    #[must_use]
    pub fn with_exit(self, exit: Exit) -> Self {
        Failure { exit, ..self }
    }

    /// How the process ends.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// The lines after the first.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

/// An error and its causes, each said once: some libraries repeat their source in their own text.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let part = cause.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        source = cause.source();
    }
    text
}

/// A server's message may have several lines; a failure has one.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
