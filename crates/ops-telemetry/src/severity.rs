//! How grave a line is.

use tracing::Level;

/// The levels of `tracing`, and one above them for a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// What only the author of the code wants to see.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happened.
    Info,
    /// What may become a fault.
    Warn,
    /// What failed.
    Error,
    /// A panic.
    Fatal,
}

impl Severity {
    /// All of them, the least grave first.
    pub const ALL: [Self; 6] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Fatal];

    /// Returns the name in capitals, as it stands in the default line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }

    /// Returns the severity number of the OpenTelemetry log data model, from 1 to 24.
    pub fn number(self) -> u8 {
        self as u8 * 4 + 1
    }

    /// Returns the place in [`Severity::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::TRACE => Self::Trace,
            Level::DEBUG => Self::Debug,
            Level::INFO => Self::Info,
            Level::WARN => Self::Warn,
            Level::ERROR => Self::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_and_the_numbers_are_those_of_opentelemetry() {
        let numbers: Vec<u8> = Severity::ALL.iter().map(|severity| severity.number()).collect();
        assert_eq!(numbers, [1, 5, 9, 13, 17, 21]);
        assert!(Severity::ALL.is_sorted());
        assert_eq!(Severity::from(Level::WARN), Severity::Warn);
    }
}
