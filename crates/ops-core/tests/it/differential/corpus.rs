//! Reads the corpus: files of statements, one a line, and templates that stand for many.

use std::collections::{BTreeMap, HashSet};

/// One statement and how it is to be run.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The file and the line, for messages.
    pub(super) place: String,
    /// The roles to run it as; `super` is the superuser.
    pub(super) roles: Vec<String>,
    /// Statements that must run before it, in the same transaction, and are not judged.
    pub(super) setup: Vec<String>,
    /// The statement.
    pub(super) sql: String,
    /// What is sent after a `COPY … FROM STDIN`.
    pub(super) data: Option<String>,
    /// The oldest major that has its syntax; older ones must refuse it.
    pub(super) since: u32,
    /// Whether the server may refuse it for any reason: it is one of many that a template makes.
    pub(super) made: bool,
}

const FILES: [&str; 7] =
    ["queries.sql", "rows.sql", "tables.sql", "objects.sql", "server.sql", "session.sql", "templates.txt"];

/// Stands between statements that belong together.
const THEN: &str = "/*then*/";

/// Reads one file of the corpus.
pub(crate) fn text(file: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(file);
    std::fs::read_to_string(path).unwrap()
}

/// Returns every statement of the corpus once.
///
/// A line is a statement; `/*then*/` stands between what must run before and the statement, `--<` before the data of a
/// `COPY`.
/// A line that begins with `--` is a comment, or one of these, which hold until the next of their kind in the file:
/// `-- as: owner app` names the roles, `-- since: 17` a major, `-- let name = one ;; two` what `@name@` stands for.
pub(super) fn read() -> Vec<Entry> {
    let mut seen = HashSet::new();
    let mut entries = Vec::new();
    for file in FILES {
        let text = text(file);
        let mut roles = vec!["corpus_owner".to_owned()];
        let mut since = 0;
        let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            if let Some(comment) = line.strip_prefix("--") {
                let comment = comment.trim();
                if let Some(words) = comment.strip_prefix("as:") {
                    roles = words.split_whitespace().map(role).collect();
                } else if let Some(major) = comment.strip_prefix("since:") {
                    since = major.trim().parse().unwrap();
                } else if let Some((name, values)) =
                    comment.strip_prefix("let ").and_then(|rest| rest.split_once('='))
                {
                    names.insert(name.trim(), values.split(";;").map(str::trim).collect());
                }
                continue;
            }
            if line.trim().is_empty() {
                continue;
            }
            let lines = expand(line, &names);
            let made = lines.len() > 1;
            for line in lines {
                if seen.insert(line.clone()) {
                    let place = format!("{file}:{}", index + 1);
                    entries.push(entry(place, roles.clone(), &line, since, made));
                }
            }
        }
    }
    entries
}

fn role(word: &str) -> String {
    if word == "super" { word.to_owned() } else { format!("corpus_{word}") }
}

fn entry(place: String, roles: Vec<String>, line: &str, since: u32, made: bool) -> Entry {
    let (statements, data) = match line.split_once("--<") {
        Some((statements, data)) => (statements, Some(data.trim_start().replace("\\n", "\n"))),
        None => (line, None),
    };
    let mut parts = steps(statements);
    let sql = parts.pop().unwrap();
    Entry { place, roles, setup: parts, sql, data, since, made }
}

/// Returns the statements of one line, without the semicolons between them and at its end.
pub(crate) fn steps(line: &str) -> Vec<String> {
    line.split(THEN).map(|part| part.trim().trim_end_matches(';').to_owned()).collect()
}

/// Puts every value in the place of every name.
fn expand(line: &str, names: &BTreeMap<&str, Vec<&str>>) -> Vec<String> {
    let mut lines = vec![line.to_owned()];
    for (name, values) in names {
        let mark = format!("@{name}@");
        if lines[0].contains(&mark) {
            lines =
                lines.iter().flat_map(|line| values.iter().map(|value| line.replace(&mark, value))).collect();
        }
    }
    lines
}
