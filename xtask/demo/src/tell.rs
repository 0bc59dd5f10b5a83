//! What a person sees: the only module that prints.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// Tells the story; plain text without colours where the reader is not a terminal or asks for none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Teller {
    colour: bool,
}

impl Teller {
    /// A teller that looks at the terminal and at `NO_COLOR`.
    pub(crate) fn new() -> Self {
        let colour = std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Teller { colour }
    }

    /// A chapter of the story.
    pub(crate) fn chapter(self, number: usize, title: &str) {
        let text = format!("{number}. {title}");
        self.line(&if self.colour { format!("\n\x1b[1m{text}\x1b[0m") } else { format!("\n{text}") });
    }

    /// Something that happened as it should.
    pub(crate) fn good(self, text: &str) {
        self.marked("ok", "32", text);
    }

    /// Something that was refused, as it should be.
    pub(crate) fn refused(self, text: &str) {
        self.marked("no", "33", text);
    }

    /// Damage.
    pub(crate) fn damage(self, text: &str) {
        self.marked("!!", "31", text);
    }

    /// A line that explains the one above it.
    pub(crate) fn detail(self, text: &str) {
        for line in text.lines() {
            self.line(&format!("       {line}"));
        }
    }

    /// A row of the closing table.
    pub(crate) fn row(self, name: &str, value: &str) {
        self.line(&format!("  {name:28} {value}"));
    }

    fn marked(self, mark: &str, colour: &str, text: &str) {
        self.line(&if self.colour {
            format!("  \x1b[{colour}m{mark}\x1b[0m   {text}")
        } else {
            format!("  {mark}   {text}")
        });
    }

    /// A reader that went away does not stop the clean-up.
    fn line(self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    }
}

/// A duration for people: two digits that matter.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// A size for people, in binary units.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut unit = 0;
    let mut divided = count;
    while divided >= 10 * 1024 && unit + 1 < UNITS.len() {
        divided /= 1024;
        unit += 1;
    }
    format!("{divided} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_keep_two_digits_or_more() {
        for (count, expected) in [
            (0, "0 B"),
            (10_239, "10239 B"),
            (10_240, "10 KiB"),
            (300 << 20, "300 MiB"),
            (20 << 30, "20 GiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }
}
