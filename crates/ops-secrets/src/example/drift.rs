//! How a committed example differs from what it should be.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What must be mended in a committed example. It names variables and lines; never a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Drift {
    /// Variables that the program takes and the file has not.
    pub missing: Vec<String>,
    /// Variables that the file has and the program does not take.
    pub stale: Vec<String>,
    /// Variables that should be empty and have a value: perhaps a real one.
    pub filled: Vec<String>,
    /// Variables whose default or doc is another.
    pub changed: Vec<String>,
    /// Nothing of the above; the files differ in order or in their first lines.
    pub arranged: bool,
}

impl Drift {
    /// Compares two texts of examples; None where they are the same but for line ends.
    pub fn between(expected: &str, committed: &str) -> Option<Self> {
        let committed = committed.replace("\r\n", "\n");
        if expected == committed {
            return None;
        }
        let (wanted, found) = (entries(expected), entries(&committed));
        let mut drift = Self::default();
        for (name, entry) in &wanted {
            match found.get(name) {
                None => drift.missing.push((*name).to_owned()),
                Some(other) if entry.value.is_empty() && !other.value.is_empty() => {
                    drift.filled.push((*name).to_owned());
                }
                Some(other) if other != entry => drift.changed.push((*name).to_owned()),
                Some(_) => {}
            }
        }
        drift.stale =
            found.keys().filter(|name| !wanted.contains_key(*name)).map(|name| (*name).to_owned()).collect();
        let none = [&drift.missing, &drift.stale, &drift.filled, &drift.changed]
            .iter()
            .all(|names| names.is_empty());
        drift.arranged = none;
        Some(drift)
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("missing", &self.missing),
            ("stale", &self.stale),
            ("should be empty", &self.filled),
            ("changed", &self.changed),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {}", names.join(", ")))
            .collect();
        match parts.as_slice() {
            [] => f.write_str("its order or its first lines are others"),
            parts => f.write_str(&parts.join("; ")),
        }
    }
}

#[derive(PartialEq)]
struct Entry<'a> {
    /// The comments above it.
    doc: Vec<&'a str>,
    is_default: bool,
    value: &'a str,
}

/// Each variable, set or shown as a default, with what stands above it.
fn entries(text: &str) -> BTreeMap<&str, Entry<'_>> {
    let mut all = BTreeMap::new();
    let mut doc = Vec::new();
    for line in text.lines() {
        let (is_default, assignment) = match line.strip_prefix('#') {
            Some(rest) => (true, rest),
            None => (false, line.strip_prefix("export ").unwrap_or(line)),
        };
        let name = assignment.split_once('=').filter(|(name, _)| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        });
        match name {
            Some((name, value)) => {
                let doc = std::mem::take(&mut doc);
                all.insert(name, Entry { doc, is_default, value: value.trim() });
            }
            None if line.starts_with('#') => doc.push(line),
            None => doc.clear(),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# First.\n\n# Doc.\n# Text.\n#A_HOST=localhost\n\n# Text, secret.\nA_PASSWORD=\n";

    #[test]
    fn every_kind_of_drift_is_named_and_no_value_is() {
        let table = [
            (GOOD.to_owned(), None),
            (GOOD.replace('\n', "\r\n"), None),
            (GOOD.replace("A_PASSWORD=", "A_PASSWORD=hunter2"), Some("should be empty: A_PASSWORD")),
            (GOOD.replace("A_PASSWORD=", "#A_PASSWORD=hunter2"), Some("should be empty: A_PASSWORD")),
            (GOOD.replace("localhost", "db.internal"), Some("changed: A_HOST")),
            (GOOD.replace("#A_HOST", "A_HOST"), Some("changed: A_HOST")),
            (GOOD.replace("# Doc.", "# Other."), Some("changed: A_HOST")),
            (GOOD.replace("A_HOST", "A_HOSTS"), Some("missing: A_HOST; stale: A_HOSTS")),
            (GOOD.replace("First", "1."), Some("its order or its first lines are others")),
            (String::new(), Some("missing: A_HOST, A_PASSWORD")),
        ];
        for (committed, expected) in table {
            let found = Drift::between(GOOD, &committed);
            assert_eq!(found.as_ref().map(ToString::to_string).as_deref(), expected, "{committed}");
            assert!(!format!("{found:?}").contains("hunter2"));
        }
    }
}
