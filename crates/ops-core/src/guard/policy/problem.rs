//! What is wrong with a policy file: every problem with its place, not only the first.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a policy file cannot be used. `Display` names the first problem; [`Self::problems`] has all of them.
#[derive(Debug)]
pub struct PolicyError {
    file: Option<PathBuf>,
    problems: Vec<PolicyProblem>,
    unread: Option<std::io::Error>,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyProblem {
    /// The number of the line, from 1.
    pub line: usize,
    /// The key, with those of the tables around it: `rule.effect`. None where the text is not TOML.
    pub key: Option<String>,
    /// What is wrong, with what was given.
    pub message: String,
    /// What would be accepted.
    pub hint: Option<String>,
}

impl PolicyError {
    /// Returns the problems, in the order of the text. There is none where the file could not be read.
    pub fn problems(&self) -> &[PolicyProblem] {
        &self.problems
    }

    /// Returns why the file could not be read, where it could not.
    pub(crate) fn into_unread(self) -> Option<std::io::Error> {
        self.unread
    }

    pub(super) fn new(problems: Vec<PolicyProblem>) -> Self {
        Self { file: None, problems, unread: None }
    }

    pub(super) fn unread(file: &Path, error: std::io::Error) -> Self {
        Self { file: Some(file.to_owned()), problems: Vec::new(), unread: Some(error) }
    }

    pub(super) fn of_file(self, file: &Path) -> Self {
        Self { file: Some(file.to_owned()), ..self }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("policy")?;
        if let Some(file) = &self.file {
            write!(f, " {}", file.display())?;
        }
        let Some(first) = self.problems.first() else { return f.write_str(" cannot be read") };
        write!(f, ", {first}")?;
        match self.problems.len() - 1 {
            0 => Ok(()),
            1 => f.write_str(", and one more problem"),
            more => write!(f, ", and {more} more problems"),
        }
    }
}

impl std::error::Error for PolicyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.unread.as_ref().map(|error| error as _)
    }
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(key) = &self.key {
            write!(f, ", key {key}")?;
        }
        write!(f, ": {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Says which of the known words was probably meant, or lists them.
pub(super) fn suggestion(given: &str, known: &[&str]) -> String {
    let near = known.iter().map(|word| (distance(given, word), *word)).min();
    match near {
        // Half of a short word may be wrong, and a third of a long one.
        Some((wrong, word)) if wrong <= (word.len() / 3).max(2) && wrong < word.len() => {
            format!("did you mean `{word}`?")
        }
        _ => format!("known are `{}`", known.join("`, `")),
    }
}

/// Counts the characters to add, remove or replace (Levenshtein's distance). A long word is far from all.
fn distance(one: &str, other: &str) -> usize {
    const LONG: usize = 64;
    let (one, other): (Vec<char>, Vec<char>) =
        (one.chars().take(LONG).collect(), other.chars().take(LONG).collect());
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, left) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, right) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested() {
        let known = ["update", "update-all", "delete", "any"];
        let cases = [
            ("updte", "did you mean `update`?"),
            ("update_all", "did you mean `update-all`?"),
            ("Delete", "did you mean `delete`?"),
            ("remove", "known are `update`, `update-all`, `delete`, `any`"),
            ("", "known are `update`, `update-all`, `delete`, `any`"),
        ];
        for (given, expected) in cases {
            assert_eq!(suggestion(given, &known), expected, "{given}");
        }
    }
}
