//! The server's log, read back as statements.

use std::collections::{BTreeMap, BTreeSet};

/// What the server needs to log each statement as it was sent, and each that it could not read.
pub(crate) const SETTINGS: [(&str, &str); 6] = [
    ("log_statement", "all"),
    ("log_line_prefix", "@ops@ "),
    ("log_parameter_max_length", "0"),
    ("log_min_messages", "error"),
    ("log_min_error_statement", "error"),
    ("max_prepared_transactions", "10"),
];

const PREFIX: &str = "@ops@ ";

/// What stands before a statement: sent as it is, or prepared and then executed under a name.
const SIMPLE: &str = "LOG:  statement: ";
const EXTENDED: &str = "LOG:  execute ";

/// The statements of one part of the log.
#[derive(Debug, Default)]
pub(crate) struct Logged {
    /// Each statement, and how often it was sent.
    pub(crate) statements: BTreeMap<String, u64>,
    /// Those that the server refused because it could not read them.
    pub(crate) unreadable: BTreeSet<String>,
}

/// Reads entries: a line with the prefix, and the lines after it that begin with a tab.
pub(crate) fn read(text: &str) -> Logged {
    let mut entries: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(entry) = line.strip_prefix(PREFIX) {
            entries.push(entry.to_owned());
        } else if let (Some(entry), Some(more)) = (entries.last_mut(), line.strip_prefix('\t')) {
            entry.push('\n');
            entry.push_str(more);
        }
    }
    let mut logged = Logged::default();
    let mut syntax = false;
    for entry in entries {
        if let Some(statement) = statement(&entry) {
            *logged.statements.entry(statement.to_owned()).or_default() += 1;
        } else if let Some(message) = entry.strip_prefix("ERROR:  ") {
            syntax = message.starts_with("syntax error") || message.starts_with("unterminated");
        } else if let Some(statement) = entry.strip_prefix("STATEMENT:  ")
            && syntax
        {
            logged.unreadable.insert(statement.to_owned());
        }
    }
    logged
}

fn statement(entry: &str) -> Option<&str> {
    if let Some(statement) = entry.strip_prefix(SIMPLE) {
        return Some(statement);
    }
    // `execute name: …`, and `execute fetch from name: …` for the rest of a portal.
    let (name, statement) = entry.strip_prefix(EXTENDED)?.split_once(": ")?;
    (!name.starts_with("fetch from ")).then_some(statement)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_back() {
        let text = "start\n@ops@ LOG:  statement: SELECT 1\n@ops@ LOG:  execute <unnamed>: SELECT\n\t  2\n\
                    @ops@ LOG:  execute fetch from s/p: SELECT 3\n@ops@ LOG:  statement: SELECT 1\n\
                    @ops@ LOG:  statement: SELCT\n@ops@ ERROR:  syntax error at or near \"SELCT\" at character 1\n\
                    @ops@ STATEMENT:  SELCT\n@ops@ ERROR:  division by zero\n@ops@ STATEMENT:  SELECT 1/0\n";
        let logged = read(text);
        let expected = [("SELCT", 1), ("SELECT\n  2", 1), ("SELECT 1", 2)];
        assert_eq!(logged.statements, expected.map(|(sql, times)| (sql.to_owned(), times)).into());
        assert_eq!(logged.unreadable, ["SELCT".to_owned()].into());
    }
}
