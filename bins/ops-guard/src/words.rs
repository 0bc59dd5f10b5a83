//! What the commands over approvals and audit logs share: exit codes of library errors, and text that is safe to show.

use ops_cli::{Exit, Failure};
use ops_core::{Error, ErrorKind};

/// Words a library error, with the exit code that belongs to its kind.
pub(crate) fn failed(error: &Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::AlreadyExists => Exit::CannotCreate,
        ErrorKind::Io if is_not_openable(error) => Exit::Input,
        ErrorKind::Io => Exit::Io,
        ErrorKind::LogBusy => Exit::Busy,
        ErrorKind::BrokenChain | ErrorKind::TornLog | ErrorKind::SelfApproval => Exit::No,
        _ => Exit::Input,
    };
    let failure = Failure::from_error(exit, error);
    match error.kind() {
        ErrorKind::UnsafeFile => failure.hint("it must be a file of yours or root's; `chmod go-w` it"),
        ErrorKind::TornLog => failure.hint("`ops-guard audit recover` moves the rest of a crash aside"),
        ErrorKind::SelfApproval => failure.hint("an approval is somebody else's: ask another person"),
        _ => failure,
    }
}

/// A file that is not there or may not be read is bad input; a disk that fails while it is read is not.
fn is_not_openable(error: &Error) -> bool {
    use std::io::ErrorKind as Io;

    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    source.is_some_and(|source| {
        matches!(source.kind(), Io::NotFound | Io::PermissionDenied | Io::IsADirectory | Io::NotADirectory)
    })
}

/// Says that the answer could not be written.
pub(crate) fn unwritten(error: std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("the answer cannot be written: {error}"))
}

/// Returns a text in which nothing is hidden: signs that move the cursor, change the direction or have no width are
/// written out. Line ends and tabs stay.
pub(crate) fn visible(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control() && c != '\n' && c != '\t'
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    };
    text.chars().map(|c| if is_hidden(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn nothing_is_hidden() {
        let cases = [
            ("SELECT 'ä'\n\t-- x", "SELECT 'ä'\n\t-- x"),
            ("a\u{1b}[2Kb", "a\\u{1b}[2Kb"),
            ("a\rb", "a\\u{d}b"),
            ("a\u{202e}b\u{200b}", "a\\u{202e}b\\u{200b}"),
        ];
        for (text, expected) in cases {
            assert_eq!(visible(text), expected);
        }
    }
}
