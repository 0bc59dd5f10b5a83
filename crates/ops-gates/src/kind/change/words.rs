//! What stands in a document that people wrote: headings, what is under them, and what was left to be filled in. Pure.

use jiff::civil::Date;

/// Words that stand where something is still to be written; as whole words.
const PLACEHOLDERS: [&str; 8] = ["TODO", "TBD", "FIXME", "XXX", "???", "CHANGEME", "TBA", "tbd"];

/// Phrases that do; in any case.
const PHRASES: [&str; 6] =
    ["lorem ipsum", "to be defined", "to be determined", "to be written", "coming soon", "fill in"];

/// What was left to be filled in, if anything. Code is not looked at: it may be about such words.
pub(super) fn placeholder(text: &str) -> Option<&'static str> {
    let prose = without_code(text);
    let lower = prose.to_lowercase();
    if let Some(phrase) = PHRASES.into_iter().find(|phrase| lower.contains(phrase)) {
        return Some(phrase);
    }
    PLACEHOLDERS.into_iter().find(|word| {
        let whole = |at: usize| {
            let edge = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
            edge(prose[..at].chars().next_back()) && edge(prose[at + word.len()..].chars().next())
        };
        prose.match_indices(word).any(|(at, _)| whole(at))
    })
}

/// The text without fenced blocks and without what stands in backticks.
fn without_code(text: &str) -> String {
    let mut prose = String::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            prose.push_str(&line.split('`').step_by(2).collect::<Vec<_>>().join(" "));
            prose.push('\n');
        }
    }
    prose
}

/// The headings of a Markdown text: level, words, and what stands under each until the next of its level or above.
pub(super) fn sections(text: &str) -> Vec<(usize, &str, String)> {
    let mut found: Vec<(usize, &str, String)> = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let level = line.chars().take_while(|c| *c == '#').count();
        let heading = (1..=6).contains(&level) && line[level..].starts_with(' ') && !fenced;
        if heading {
            found.push((level, line[level..].trim(), String::new()));
        } else if let Some((.., body)) = found.last_mut() {
            body.push_str(line);
            body.push('\n');
        }
    }
    // What stands under a heading below belongs to it too.
    let own: Vec<(usize, String)> = found.iter().map(|(level, _, body)| (*level, body.clone())).collect();
    for (at, (level, _, body)) in found.iter_mut().enumerate() {
        for (_, below) in own[at + 1..].iter().take_while(|(below, _)| below > level) {
            body.push_str(below);
        }
    }
    found
}

/// The value of a line such as `Tested: 2026-11-01`, in a list or in bold too.
pub(super) fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let line = line.trim_start_matches([' ', '-', '*', '>']);
        let (key, value) = line.split_once(':')?;
        let key = key.trim_end_matches('*').trim();
        key.eq_ignore_ascii_case(name).then(|| value.trim_matches([' ', '*', '.']))
    })
}

/// The day of such a line.
pub(super) fn day(text: &str, name: &str) -> Option<Date> {
    field(text, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_to_be_filled_in_is_found() {
        for (text, expected) in [
            ("Restart the service.", None),
            ("TODO: write this", Some("TODO")),
            ("owner: TBD", Some("TBD")),
            ("owner: tbd.", Some("tbd")),
            ("Why???", None),
            ("owner: ???", Some("???")),
            ("Lorem Ipsum dolor", Some("lorem ipsum")),
            ("To be determined by Ada", Some("to be determined")),
            ("METHODOTODOS are fine, and XXXL too", None),
            ("`grep TODO` finds them", None),
            ("```\nTODO\n```\nfine", None),
            ("a `b` TODO `c`", Some("TODO")),
        ] {
            assert_eq!(placeholder(text), expected, "{text}");
        }
    }

    #[test]
    fn headings_have_what_stands_under_them() {
        let text = "# A\none\n## B\ntwo\n```\n# no heading\n```\n# C\n#no\n";
        let found: Vec<(usize, &str, String)> = sections(text);
        let shown: Vec<(usize, &str, &str)> =
            found.iter().map(|(level, words, body)| (*level, *words, body.as_str())).collect();
        let code = "```\n# no heading\n```\n";
        assert_eq!(
            shown,
            [(1, "A", &*format!("one\ntwo\n{code}")), (2, "B", &format!("two\n{code}")), (1, "C", "#no\n")]
        );
    }

    #[test]
    fn a_line_gives_a_day() {
        for (text, expected) in [
            ("Tested: 2026-11-01", Some("2026-11-01")),
            ("- **Tested:** 2026-11-01.", Some("2026-11-01")),
            ("tested: never", None),
            ("Not tested: 2026-11-01", None),
        ] {
            assert_eq!(day(text, "Tested").map(|day| day.to_string()).as_deref(), expected, "{text}");
        }
    }
}
