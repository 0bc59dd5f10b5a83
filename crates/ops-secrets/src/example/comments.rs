//! The comments above the keys of a TOML text.

use std::collections::BTreeMap;

/// What stands above each key, by the key's path; also above keys that are commented out, `#key = …` without a space.
///
/// Lines are enough for it: a line of a text of several lines that looks like a key can only document a key that is none, and
/// nobody asks for that one.
pub(super) fn of(text: &str) -> BTreeMap<String, String> {
    let mut docs = BTreeMap::new();
    let (mut table, mut above) = (String::new(), Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            table = format!("{}.", plain(name.trim_start_matches('[')));
            above.clear();
        } else if let Some(key) = key(line.strip_prefix('#').unwrap_or(line)) {
            if !above.is_empty() {
                docs.insert(format!("{table}{key}"), above.join("\n"));
            }
            above.clear();
        } else if let Some(comment) = line.strip_prefix('#') {
            above.push(comment.trim().to_owned());
        } else {
            above.clear();
        }
    }
    docs
}

/// The key that a line assigns.
fn key(line: &str) -> Option<String> {
    let (key, _) = line.split_once('=')?;
    let key = plain(key);
    let is_key = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    // A sentence with an equals sign in it begins after a space, and a key does not.
    (!line.starts_with(' ') && !key.is_empty() && key.chars().all(is_key)).then_some(key)
}

/// A path without its spaces and quotes.
fn plain(path: &str) -> String {
    path.split('.').map(|part| part.trim().trim_matches(['"', '\''])).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn a_comment_belongs_to_the_key_below_it() {
        let docs = of("
# One.
a = 1
# Two,
# and more = of it.
 b.'c' = 2
# Nobody's.

d = 3
# The table's own.
[t . \"u\"]
e = 4
# Five.
#f = 5
# Six.
[[g]]
h = 6
");
        let docs: Vec<(&str, &str)> = docs.iter().map(|(key, doc)| (key.as_str(), doc.as_str())).collect();
        assert_eq!(docs, [("a", "One."), ("b.c", "Two,\nand more = of it."), ("t.u.f", "Five.")]);
    }
}
